"""Choose the learning rate of an arm of a sweep on validation rows.

Every arm tries the same rates with the same seeds and epochs, so that none is better only because
it was tuned more. Test rows choose nothing.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.evaluation.format_metrics import metric_or_none
from core.freezing.strategies import has_learning_rate
from core.jobs.store import Run


@dataclass(frozen=True)
class RateResult:
    """What one learning rate of an arm gave.

    Args:
        learning_rate: of the settings.
        seeds: number of runs that are done.
        validation_loss: their mean log loss on target validation rows; NaN where none is known.
        chosen: whether the arm's results are those of this rate.
    """

    learning_rate: float
    seeds: int
    validation_loss: float
    chosen: bool


def has_rate(run: Run) -> bool:
    """Whether a run of a sweep depends on the learning rate; a blend, for one, does not."""
    return run.kind != "blend" and has_learning_rate(run.strategy)


def choose_rate(runs: Sequence[Run]) -> float | None:
    """Return the rate with the lowest mean validation loss.

    Only seeds count whose runs have ended at every rate, and of the rates only those with the most
    such seeds done: a rate that lost a run, to a loss that is not finite, say, would otherwise be
    judged by its luckier seeds.

    Args:
        runs: of one arm at one target size: every rate and seed, ended or not.

    Returns:
        The rate; None as long as no seed has ended at every rate, or no run is done.
    """
    waiting = {run.seed for run in runs if run.active}
    done: dict[float, list[Run]] = {}
    for run in runs:
        if run.status == "done" and run.result and run.seed not in waiting:
            done.setdefault(run.request.train.learning_rate, []).append(run)
    most = max(map(len, done.values()), default=0)
    losses = {
        rate: mean_validation_loss(found) for rate, found in done.items() if len(found) == most
    }
    known = {rate: loss for rate, loss in losses.items() if not math.isnan(loss)} or losses
    return min(known, key=known.__getitem__, default=None)


def rate_results(runs: Sequence[Run], chosen: float | None) -> tuple[RateResult, ...]:
    """Return what every rate gave, highest rate first.

    Args:
        runs: as for `choose_rate`.
        chosen: what it returned.
    """
    rates = sorted({run.request.train.learning_rate for run in runs}, reverse=True)
    found = []
    for rate in rates:
        done = [
            run
            for run in runs
            if run.request.train.learning_rate == rate and run.status == "done" and run.result
        ]
        found.append(RateResult(rate, len(done), mean_validation_loss(done), rate == chosen))
    return tuple(found)


def mean_validation_loss(runs: Iterable[Run]) -> float:
    """Return the mean log loss on target validation rows; NaN where a run has none."""
    losses = [
        metric_or_none(run.result.metrics.get("target_validation"), "log_loss")
        for run in runs
        if run.result
    ]
    if not losses or None in losses:
        return math.nan
    return math.fsum(loss for loss in losses if loss is not None) / len(losses)
