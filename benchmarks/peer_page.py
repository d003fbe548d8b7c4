"""docs/parity.md: what the trainings of benchmarks.parity came to, as tables and text."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from scipy.stats import t as student

from core.evaluation.metric_functions import log_loss
from core.evaluation.roc_auc import auc_interval, auc_variance, delong_test

VERDICTS = ("ours higher", "no difference", "ours lower", "one seed only")
TITLES = {
    "dnn": "DNN",
    "deepfm": "DeepFM",
    "dcnv2": "DCNv2",
    "autoint": "AutoInt+",
    "finalmlp": "FinalMLP",
}


@dataclass(frozen=True)
class Trial:
    """A model, the peer's package it is compared with, and the text about it on the page.

    Attributes:
        title: what the page calls the class that is taken from the package.
    """

    model: str
    peer: str
    title: str


@dataclass(frozen=True)
class Training:
    """The result of one training.

    Attributes:
        scores: of the test rows.
        seconds: processor seconds per epoch, including its validation.
    """

    scores: np.ndarray
    seconds: float
    best_epoch: int
    parameters: int


@dataclass(frozen=True)
class Comparison:
    """Trainings of both sides, one a seed.

    gap: largest difference of a test row's probability when the peer's network has our trained
    weights. start: the peer's training with seed 0 from the weights ours starts from, None where
    its network cannot hold them.
    """

    trial: Trial
    ours: list[Training]
    theirs: list[Training]
    gap: float
    start: Training | None

    def aucs(self, labels: np.ndarray) -> tuple[list[float], list[float]]:
        """Test AUCs, ours and theirs."""
        ours, theirs = (
            [auc_variance(labels, run.scores)[0] for run in runs]
            for runs in (self.ours, self.theirs)
        )
        return ours, theirs


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Return (mean of a less mean of b, low and high of its 95 % interval) by Welch's method.

    The method does not assume equal variances (Welch 1947).
    """
    delta = float(np.mean(a) - np.mean(b))
    if min(len(a), len(b)) < 2:
        return delta, float("nan"), float("nan")
    shares = [float(np.var(values, ddof=1)) / len(values) for values in (a, b)]
    freedom = sum(shares) ** 2 / sum(
        share**2 / (len(v) - 1) for share, v in zip(shares, (a, b), strict=True)
    )
    half = float(student.ppf(0.975, freedom)) * sum(shares) ** 0.5
    return delta, delta - half, delta + half


def verdict(low: float, high: float) -> str:
    """Return what the interval of our value minus the peer's shows.

    With a single seed the interval is NaN, and there is no verdict.
    """
    if low != low:
        return "one seed only"
    return "ours higher" if low > 0 else "ours lower" if high < 0 else "no difference"


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean ± standard deviation."""
    return f"{np.mean(values):.4f}" + (
        f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    )


def settings_text(settings: dict[str, Any]) -> str:
    """Return settings as text."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())


def auc_line(comparison: Comparison, labels: np.ndarray) -> str:
    """A row of the first table."""
    auc_a, auc_b = comparison.aucs(labels)
    delta, low, high = welch(auc_a, auc_b)
    loss_a, loss_b = (
        [log_loss(labels, run.scores) for run in runs]
        for runs in (comparison.ours, comparison.theirs)
    )
    seconds = [
        float(np.median([run.seconds for run in runs]))
        for runs in (comparison.ours, comparison.theirs)
    ]
    cells = [
        TITLES[comparison.trial.model],
        comparison.trial.title,
        mean_and_deviation(auc_a),
        mean_and_deviation(auc_b),
        f"{delta:+.4f} ({low:+.4f} to {high:+.4f})",
        verdict(low, high),
        mean_and_deviation(loss_a),
        mean_and_deviation(loss_b),
        f"{seconds[0]:.1f} / {seconds[1]:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def check_line(comparison: Comparison, labels: np.ndarray) -> str:
    """A row of the second table."""
    start, first = comparison.start, comparison.aucs(labels)[0][0]
    same = (
        f"{first:.4f} / {auc_variance(labels, start.scores)[0]:.4f}"
        if start
        else "not representable in theirs"
    )
    sides = (comparison.ours, comparison.theirs)
    cells = [
        TITLES[comparison.trial.model],
        comparison.trial.title,
        f"{comparison.gap:.0e}" if comparison.gap else "0",
        same,
        " / ".join(f"{np.mean([run.best_epoch for run in runs]):.1f}" for runs in sides),
        " / ".join(f"{runs[0].parameters:,}" for runs in sides),
    ]
    return f"| {' | '.join(cells)} |"


def write_page(
    comparisons: Sequence[Comparison],
    labels: np.ndarray,
    rows: dict[str, int],
    settings: dict[str, dict[str, Any]],
    training: dict[str, Any],
    packages: Sequence[str],
    commands: Sequence[str],
) -> str:
    """Return the text of the page.

    Args:
        labels: of the test rows.
        rows: number of rows of each part.
        settings: of each model, the same on both sides.
    """
    intervals = [welch(*comparison.aucs(labels)) for comparison in comparisons]
    verdicts = [verdict(low, high) for _, low, high in intervals]
    counted = [f"{verdicts.count(name)} {name}" for name in VERDICTS if name in verdicts]
    auc, variance = auc_variance(labels, comparisons[0].ours[0].scores)
    pairs = [pair for item in comparisons for pair in zip(item.ours, item.theirs, strict=True)]
    differences = [delong_test(labels, ours.scores, theirs.scores) for ours, theirs in pairs]
    return PAGE.format(
        today=date.today().isoformat(),
        machine=(
            f"{os.cpu_count()} cores, one thread a training, Python {platform.python_version()},"
            " device cpu"
        ),
        seeds=len(comparisons[0].ours),
        count=len(comparisons),
        counted=", ".join(counted),
        table="\n".join(auc_line(comparison, labels) for comparison in comparisons),
        checks="\n".join(check_line(comparison, labels) for comparison in comparisons),
        one=auc_interval(auc, variance)[1] - auc,
        two=float(np.median([difference.high - difference.delta for difference in differences])),
        settings="\n".join(
            f"| {TITLES[name]} | {settings_text(values)} |" for name, values in settings.items()
        ),
        training=settings_text(training),
        packages=", ".join(package.replace("==", " ") for package in packages),
        commands="\n".join(commands),
        **rows,
    )


PAGE = """# Parity with the peers' networks

Made by `python -m benchmarks.parity` on {today} ({machine}).

Five architectures as two open-source libraries publish them, trained alongside ours on the same {train:,} real Criteo rows
with the same settings, {seeds} seeds each, alternating between ours and theirs. {validation:,} later rows choose the best epoch;
the last {test:,} test. Outcome of the {count} comparisons: {counted}.

## Test AUC

Mean ± standard deviation over seeds; difference of the means, ours less theirs, with Welch's 95 %
interval; log loss in nats; processor seconds an epoch with its validation, median.

| model | peer | AUC, ours | AUC, theirs | difference | verdict | log loss, ours | log loss, theirs | s, ours / theirs |
|---|---|---|---|---|---|---|---|---|
{table}

For scale, DeLong's 95 % intervals say what other test rows would do: ± {one:.4f} to one AUC, ±
{two:.4f} (median) to the difference of two trainings.

## Is it the same network?

| model | peer | gap | AUC from one start, ours / theirs | best epoch, ours / theirs | parameters, ours / theirs |
|---|---|---|---|---|---|
{checks}

Gap: with our trained weights copied into the peer's network, the largest difference of any test
row's probability; about 1e-7 is float32 rounding, so both compute the same function. One start:
with seed 0, the peer's network trained from the weights that ours starts from. Best epoch: the mean
over seeds.

## What differs

- **The start.** Ours: embeddings normal with deviation 0.01, blocks as torch starts a linear layer (uniform within
  1/√inputs), cross layers and head Xavier-uniform. DeepCTR-Torch has one deviation for embeddings and dense layers
  alike, set to 0.01 here (0.0001 unless set), and 0.05 for attention. FuxiCTR: Xavier-normal layers, biases zero; its
  embeddings are set to 0.01 (0.0001 unless set). The initialisation is what changes the AUC: on 2026-11-25, in five seeds each on
  these rows, our blocks started Xavier-uniform with zero biases took DNN from 0.7646 to 0.7660 (validation: 0.7494 to
  0.7514) and FinalMLP from 0.7653 to 0.7656 (validation: 0.7496 to 0.7503).
- **DeepFM.** Our head weights the parts of the factorisation machine, theirs adds them; theirs is ours with all weights equal to one.
- **FuxiCTR's forms.** Its package holds no DNN, and DCNv2 and FinalMLP in the form for sequences of items. They run
  with one item (the last numeric) and none before it, which leaves one input that is always zero; each numeric is multiplied by a learned
factor that starts at one. Its FinalMLP builds feature gates that its forward code skips in this
  release: a hook puts them back before the two streams. DNN is its DCNv2 without cross layers.
- **DeepCTR-Torch's forms.** Its attention is as wide as its embeddings, so ours is too (our default is 32). DNN is its
  Wide & Deep without wide columns. It has no FinalMLP, and its DCN is the parallel form: neither is compared.
- **The loop** is ours on both sides, written again for the peers' environment: Adam, cross entropy, no decay, no
  clipping, no regularisation of embeddings, the same order of rows, the best epoch by validation log loss.

## Settings

Training: {training}.

Rows in order of time: the first 60 % less its test and validation rows train, nine tenths of the
next 20 % validate, the last 20 % test. Categories seen fewer than 10 times in training rows share
one id.

Peers, in an environment of their own: {packages}.

| model | settings of both sides |
|---|---|
{settings}

Commands:

```
{commands}
```
"""  # noqa: E501 - a table's rows
