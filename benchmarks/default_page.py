"""The text of docs/defaults.md: the default settings compared with a grid.

The trainings are those of benchmarks.default_settings.
"""

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from textwrap import wrap

import numpy as np

from core.evaluation.metric_functions import log_loss
from core.evaluation.paired_comparison import PairedDifference, compare_auc, compare_log_loss
from core.evaluation.roc_auc import auc_variance
from core.jobs.requests import TrainSettings
from core.training.default_settings import (
    LARGE_EPOCH_STEPS,
    PRESETS,
    SMALL_EPOCH_STEPS,
    default_settings,
)
from core.training.pretraining_defaults import PRETRAINING_DEFAULTS

Example = tuple[str, float, float]
"""(preset, AUC after pretraining, AUC after fine-tuning)."""
TASKS = {
    "scratch": "from scratch",
    "finetune": "full fine-tuning",
    "head": "new head alone",
}


MAIN = (
    "task", "training rows", "windows", "default", "AUC / log loss", "chosen",
    "AUC / log loss", "difference, AUC", "difference, log loss",
)  # fmt: skip
TEST = (
    "task", "training rows", "best on test", "AUC / log loss", "default less best, log loss",
    "*fast*, AUC / log loss",
    "default less *fast*, AUC", "log loss",
)  # fmt: skip
EPOCHS = (
    "task", "training rows", "default: steps", "after one epoch", "best epoch", "seconds",
    "*fast*: steps", "after one epoch", "best epoch", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What one setting reached in a study, window by window.

    Attributes:
        choice: scores of the rows that choose among settings, shape ``(n_windows, n_rows)``.
        test: scores of the test rows, shape ``(n_windows, n_rows)``.
        best_epochs: one per window.
        epochs: epochs run, one per window.
        seconds: of one core, one per window.
    """

    settings: TrainSettings
    choice: np.ndarray
    test: np.ndarray
    best_epochs: tuple[int, ...]
    epochs: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def name(self) -> str:
        """Batch size and learning rate, as the tables write them."""
        return f"{self.settings.batch_size:,} · {self.settings.learning_rate:g}"


@dataclass(frozen=True)
class Finding:
    """The outcomes of a study.

    Attributes:
        choice_labels: shape ``(n_rows,)``.
        test_labels: shape ``(n_rows,)``.
        default: outside the grid.
        fast: the default of earlier versions.
        one_epoch: the default after a single epoch.
        fast_one_epoch: `fast` after a single epoch.
    """

    task: str
    rows: int
    simulated: bool
    choice_labels: np.ndarray
    test_labels: np.ndarray
    default: Outcome
    fast: Outcome
    one_epoch: Outcome
    fast_one_epoch: Outcome
    grid: tuple[Outcome, ...]

    @property
    def chosen(self) -> Outcome:
        """The setting of the grid with the lowest mean log loss on the rows that choose."""
        return min(self.grid, key=lambda one: mean_loss(self.choice_labels, one.choice))

    @property
    def best_on_test(self) -> Outcome:
        """Return the setting of the grid with the lowest mean log loss on the test rows.

        Nobody could know it in advance.
        """
        return min(self.grid, key=lambda one: mean_loss(self.test_labels, one.test))


def mean_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean log loss over windows."""
    return float(np.mean([log_loss(labels, one) for one in scores]))


def mean_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean AUC over windows."""
    return float(np.mean([auc_variance(labels, one)[0] for one in scores]))


def differences(
    finding: Finding, a: Outcome, b: Outcome
) -> tuple[PairedDifference, PairedDifference]:
    """Return (AUC, log loss) of `a` minus `b` on the test rows, paired by row and window."""
    pair = a.test.astype(np.float64), b.test.astype(np.float64)
    return compare_auc(finding.test_labels, *pair), compare_log_loss(finding.test_labels, *pair)


def interval(difference: PairedDifference) -> str:
    """Return a difference with its 95 % interval, bold if the interval excludes 0."""
    text = f"{difference.delta:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
    return text if difference.low <= 0 <= difference.high else f"**{text}**"


def test_metrics_text(finding: Finding, outcome: Outcome) -> str:
    """Return AUC and log loss on the test rows."""
    labels = finding.test_labels
    return f"{mean_auc(labels, outcome.test):.4f} / {mean_loss(labels, outcome.test):.4f}"


def first_cells(finding: Finding) -> list[str]:
    """Return task, rows and number of windows."""
    rows = f"{finding.rows:,}{' simulated' if finding.simulated else ''}"
    return [TASKS[finding.task], rows, str(len(finding.default.test))]


def table_row(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def table_head(titles: Sequence[str]) -> str:
    """The head of a table."""
    return f"{table_row(titles)}\n{'|---' * len(titles)}|"


def main_line(finding: Finding) -> str:
    """The default beside the setting of the grid that the validation rows chose."""
    default, chosen = finding.default, finding.chosen
    auc, loss = differences(finding, default, chosen)
    cells = [
        default.name,
        test_metrics_text(finding, default),
        chosen.name,
        test_metrics_text(finding, chosen),
    ]
    return table_row([*first_cells(finding), *cells, interval(auc), interval(loss)])


def test_line(finding: Finding) -> str:
    """Compare the default with the best setting on the test rows, and with the earlier default."""
    default, best, fast = finding.default, finding.best_on_test, finding.fast
    _, to_best = differences(finding, default, best)
    to_fast, loss_to_fast = differences(finding, default, fast)
    cells = [best.name, test_metrics_text(finding, best), interval(to_best)]
    return table_row(
        [
            *first_cells(finding)[:2],
            *cells,
            test_metrics_text(finding, fast),
            interval(to_fast),
            interval(loss_to_fast),
        ]
    )


def epoch_line(finding: Finding) -> str:
    """Return what a single epoch reaches, and what the whole training takes."""
    default, fast = finding.default, finding.fast
    steps = [math.ceil(finding.rows / one.settings.batch_size) for one in (default, fast)]
    cells = [
        f"{steps[0]:,}",
        test_metrics_text(finding, finding.one_epoch),
        f"{np.mean(default.best_epochs):.1f} of {np.mean(default.epochs):.1f}",
        f"{np.mean(default.seconds):.0f}",
        f"{steps[1]:,}",
        test_metrics_text(finding, finding.fast_one_epoch),
        f"{np.mean(fast.best_epochs):.1f} of {np.mean(fast.epochs):.1f}",
        f"{np.mean(fast.seconds):.0f}",
    ]
    return table_row([*first_cells(finding)[:2], *cells])


def grid_table(finding: Finding) -> str:
    """Return the log loss on the selection rows as a table; the lowest is bold.

    Batch sizes are the rows and learning rates the columns.
    """
    rates = sorted({outcome.settings.learning_rate for outcome in finding.grid})
    loss_by_setting = {
        (outcome.settings.batch_size, outcome.settings.learning_rate): mean_loss(
            finding.choice_labels, outcome.choice
        )
        for outcome in finding.grid
    }
    lowest = min(loss_by_setting.values())
    lines = [
        table_row(["batch", *(f"{rate:g}" for rate in rates)]),
        "|---" * (len(rates) + 1) + "|",
    ]
    for batch in sorted({batch for batch, _ in loss_by_setting}):
        losses = [loss_by_setting.get((batch, rate)) for rate in rates]
        cells = [
            "" if loss is None else f"**{loss:.4f}**" if loss == lowest else f"{loss:.4f}"
            for loss in losses
        ]
        lines.append(table_row([f"{batch:,}", *cells]))
    own = mean_loss(finding.choice_labels, finding.default.choice)
    title = (
        f"{TASKS[finding.task]}, {finding.rows:,}{' simulated' if finding.simulated else ''} rows"
    )
    return f"{title} (default {finding.default.name}: {own:.4f}):\n\n" + "\n".join(lines)


def chosen_line(rows: int) -> str:
    """Return the settings that are the default for a number of rows."""
    settings = default_settings(rows)[1]
    steps = math.ceil(rows / settings.batch_size)
    return table_row(
        [
            f"{rows:,}",
            f"{settings.batch_size:,}",
            f"{settings.learning_rate:g}",
            str(settings.epochs),
            f"{steps:,}",
        ]
    )


def verdict(findings: Sequence[Finding]) -> str:
    """Say for which studies the default equals the chosen setting within its interval."""
    worse, better = [], []
    for finding in findings:
        auc, loss = differences(finding, finding.default, finding.chosen)
        title = f"{TASKS[finding.task]} on {finding.rows:,} rows"
        if auc.high < 0 or loss.low > 0:
            worse.append(f"{title} (AUC {auc.delta:+.4f}, log loss {loss.delta:+.4f})")
        elif auc.low > 0 or loss.high < 0:
            better.append(title)
    alike = len(findings) - len(worse) - len(better)
    text = f"In {alike} of {len(findings)} comparisons neither interval leaves 0 out."
    if better:
        text += (
            " The default is better, by one of the two and worse by neither, in:"
            f" {'; '.join(better)}."
        )
    if worse:
        text += f" It is worse beyond noise, by AUC or log loss, in: {'; '.join(worse)}."
    return "\n".join(wrap(text, 120))


def write_page(
    findings: Sequence[Finding], example: Sequence[Example], commands: Sequence[str]
) -> str:
    """Return the text of docs/defaults.md.

    Args:
        findings: one per study.
        example: of one epoch, by preset.
        commands: that made the example.
    """
    fast = PRESETS["fast"]
    every = [one for found in findings for one in (found.default, found.fast, *found.grid)]
    return PAGE.format(
        today=date.today().isoformat(),
        machine=f"{os.cpu_count()} busy cores, one thread, Python {platform.python_version()}",
        minutes=sum(sum(one.seconds) for one in every) / 60,
        pretraining_rows=PRETRAINING_DEFAULTS[-1].rows,
        few=SMALL_EPOCH_STEPS,
        many=LARGE_EPOCH_STEPS,
        sizes="\n".join(
            map(
                chosen_line,
                (120, 1_000, 5_000, 20_000, 60_000, 100_000, 300_000, 1_000_000, 45_840_617),
            )
        ),
        stopping=fast.early_stopping,
        main_head=table_head(MAIN),
        test_head=table_head(TEST),
        epoch_head=table_head(EPOCHS),
        main="\n".join(map(main_line, findings)),
        verdict=verdict(findings),
        test="\n".join(map(test_line, findings)),
        epochs="\n".join(map(epoch_line, findings)),
        grids="\n\n".join(map(grid_table, findings)),
        example="\n".join(
            table_row([f"*{preset}*", f"{before:.3f}", f"{after:.3f}"])
            for preset, before, after in example
        ),
        commands="\n".join(commands),
    )


PAGE = """# Default settings

Made by `python -m benchmarks.default_settings` on {today} ({machine};
the trainings took {minutes:.0f} minutes of one core).

One function of the number of training rows, `default_settings` in
`core/training/default_settings.py`, chooses batch size, learning rate and epochs wherever they are
not given: on the pages and in the commands (preset *auto*), for every target size of a sweep, in
the demo. Pretraining on click labels with fewer than {pretraining_rows:,} training rows has a table
of its own, `core/training/pretraining_defaults.py`; all else follows this. The batch size is a
power of two: from 16 to 64 it gives an epoch about {few} optimiser steps; it stays 64 until an
epoch has about {many:,}, and then grows with the rows to 4,096. The learning rate of pretrained
stages is 1e-4 up to 9,000 rows and grows with the root of their number to 3e-4 at 81,000. Where
batches of 16 make few steps, there are more epochs than 30. An average of the weights is validated
and kept; what is new trains at 1e-3 and for at least 300 steps, unless a number of epochs is given.
As in *fast*, training ends after {stopping} epochs without a lower validation loss, the rate falls
to a tenth after one such epoch, and the best epoch is kept. For some sizes:

| training rows | batch size | learning rate | epochs at most | steps per epoch |
|---|---|---|---|---|
{sizes}

## Compared with the best of a grid

A DCNv2 (embedding 16, two cross layers, two blocks of 256) is trained from scratch; and one
pretrained on the first 40,000 real rows is fine-tuned, all of it or its new head alone. Rows are in
order of time: training rows, a ninth as many validation rows that decide when training ends, then
the rows that choose a setting of the grid (real 10,000, simulated 20,000), then the test rows (real
20,000, simulated 50,000). Every window has a seed and, where there are enough, training rows of its
own. A setting is written as batch size · learning rate; AUC and log loss are means over windows on
the test rows.

*Chosen* is the setting of the grid with the lowest mean log loss on the rows that choose.
Differences are default less chosen, paired by test row and window, with 95 % intervals for other
test rows and windows. With one window they hold for the test rows alone. Intervals in bold leave 0
out. The default is better where the difference of AUC is above 0, and that of log loss below.

{main_head}
{main}

{verdict}

The values in the function were chosen on the rows that choose, in these windows; the test rows were
not used for it. At 120 rows only 13 validate, and they decide when training ends: the intervals
there are wide, and a difference that is not significant may still be large. From 20,000 rows on,
training from scratch would prefer a higher rate and fine-tuning a lower one; one function of the
number of rows is a compromise. At 1,000,000 rows the grid has four settings, trained for three
epochs at most (batches of 64 for one), and there is one window.

## Compared with the best on the test rows, and with the previous default

Which setting is best on the test rows is known only after the test, so no rule can be sure to reach
it. Until now commands trained with *fast* (batch 4,096, rate 0.001, at most 20 epochs) at every
size.

{test_head}
{test}

## One epoch, and the whole training

Optimiser steps of an epoch; AUC / log loss on the test rows when training ends after one (`--epochs
1`); the best of the epochs run, and seconds of one core, of a whole training. Means over windows.

{epoch_head}
{epochs}

The example that motivated this: the last 37,139 rows of the real file, one epoch of pretraining and
one of fine-tuning. AUC on the target test rows:

| preset | after pretraining | after fine-tuning |
|---|---|---|
{example}

```
{commands}
```

## The grid

Mean log loss on the rows that choose; the lowest is bold. Batch sizes above the number of rows are
one step per epoch. A rate of 0.003 is left out at 60,000 rows and above, except for two settings,
because it was never the best at 20,000.

{grids}
"""
