"""What `benchmarks.fair` must show, as PASS or FAIL with its numbers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.fair_arms import (
    BOOSTED,
    ZERO_SHOT,
    Results,
    blend,
    difference,
    differences,
    value_at,
)

MAX_BEHIND = 0.001
"""AUC that a pretrained network may be below LightGBM on the same rows."""
MAX_FROM_OPTIMUM = 0.002
"""AUC that a linear probe may be below its optimum."""


@dataclass(frozen=True)
class Check:
    """One thing that must show, and whether it does."""

    passed: bool
    text: str

    def __str__(self) -> str:
        return f"- **{'PASS' if self.passed else 'FAIL'}** {self.text}"


def guarded(make: Callable[[Results], Iterable[Check]], results: Results) -> list[Check]:
    """Return checks; one that cannot be made is a failure that says why."""
    try:
        return [*make(results)]
    except (KeyError, IndexError, ValueError) as error:
        return [Check(False, f"{make.__name__}: {type(error).__name__}: {error}")]


def make_checks(results: Results) -> list[Check]:
    """Return what must show."""
    parts = (kept_heads, last_epochs, probes, networks, blends)
    return [one for part in parts for one in guarded(part, results)]


def kept_heads(results: Results) -> Iterable[Check]:
    """Kept heads are not below zero-shot: on validation rows surely, on test rows by tests."""
    for size in results.sizes:
        zero = results.find(size, ZERO_SHOT)
        kept = [one for one in results.at_size(size) if one.cell["head"] == "keep"]
        if not kept:
            continue
        losses = [
            (value_at(run, ("metrics", "target_validation", "log_loss")), run, arm)
            for arm in kept
            for run in arm.runs
        ]
        worse = [
            arm.title
            for loss, run, arm in losses
            if loss > (value_at(run, ("before", "target_validation", "log_loss")) or 0) + 1e-6
        ]
        yield Check(
            not worse,
            f"{size or 'all'} rows, validation: no run of {len(losses)} with a kept head has a"
            f" higher log loss than zero-shot{_named(worse)}.",
        )
        if zero is None:
            continue
        deltas = [(arm, differences(arm, zero)[0]) for arm in kept]
        lost = [f"{arm.title} {difference(one)}" for arm, one in deltas if one.high < 0]
        mean = float(np.mean([one.delta for _, one in deltas]))
        yield Check(
            not lost,
            f"{size or 'all'} rows, test: no arm of {len(kept)} with a kept head has an AUC"
            f" below zero-shot by its interval (mean difference {mean:+.4f}){_named(lost)}.",
        )


def last_epochs(results: Results) -> Iterable[Check]:
    """No arm's best epoch is its last."""
    trained = [one for one in results.arms if one.cell["kind"] in ("arm", "pretrain")]
    late = [
        f"{one.title} ({one.cell['size'] or 'all'})"
        for one in trained
        if any(run["best_epoch_is_last"] for run in one.runs)
    ]
    yield Check(
        bool(trained) and not late,
        f"Of {len(trained)} arms none has its best epoch last{_named(late)}.",
    )


def probes(results: Results) -> Iterable[Check]:
    """The linear probe reaches its optimum."""
    for arm in results.arms:
        if "optimum" not in arm.extra:
            continue
        optimum = arm.extra["optimum"]
        reached = float(arm.runs[0]["metrics"]["target_test"]["auc"])
        behind = optimum["auc"] - reached
        yield Check(
            behind <= MAX_FROM_OPTIMUM,
            f"Linear probe with a new head, {arm.cell['size'] or 'all'} rows"
            f" ({optimum['train_rows']:,} train): AUC {reached:.4f}; scikit-learn's logistic"
            f" regression on the frozen representation {optimum['auc']:.4f}.",
        )


def networks(results: Results) -> Iterable[Check]:
    """Pretrained networks are within reach of gradient boosting, their blends above it."""
    for _, rows, arm, boosted in results.pretraining():
        if boosted is None:
            continue
        auc = differences(arm, boosted)[0]
        yield Check(
            auc.delta >= -MAX_BEHIND,
            f"{arm.title} on {rows:,} rows: AUC less {BOOSTED} {difference(auc)}.",
        )
        mixed = differences(blend("", arm, boosted), boosted)[0]
        yield Check(
            mixed.delta > 0,
            f"Its blend with {BOOSTED}: AUC less {BOOSTED} {difference(mixed)}.",
        )


def blends(results: Results) -> Iterable[Check]:
    """At every size the blend is above both of its parts."""
    for size in results.sizes:
        mixed, boosted = results.blend_at(size), results.find(size, "gradient-boosting", "both")
        network = results.best_network(size)
        if mixed is None or boosted is None or network is None:
            continue
        against = [differences(mixed, one)[0] for one in (network, boosted)]
        yield Check(
            all(one.delta > 0 for one in against),
            f"{size or 'all'} rows: AUC of the {mixed.title} less its network"
            f" {difference(against[0])}, less {BOOSTED} {difference(against[1])}.",
        )


def _named(names: Sequence[str]) -> str:
    distinct = [*dict.fromkeys(names)]
    return f"; not so: {', '.join(distinct)}" if distinct else ""
