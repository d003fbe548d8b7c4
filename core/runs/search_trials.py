"""The trials of a search: what its stored runs say about the settings that were tried.

The runs in the store are the only record of a search. Whatever its sampler and pruner know is
computed from them, so that a search goes on after an interruption as if there had been none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from core.freezing.strategies import describe_strategy
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run, RunStore
from core.runs.rate_choice import mean_validation_loss
from core.workspace import Workspace

Parameters = Mapping[str, str | float]
"""A value for each of PARAMETERS."""
PARAMETERS = {
    "strategy": "Strategy",
    "learning_rate": "Learning rate",
    "head": "Head",
    "weight_decay": "Weight decay",
}
"""Titles of what is searched, by name."""
RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"
STATE_WORDS = {
    RUNNING: "running",
    COMPLETE: "done",
    PRUNED: "ended early by the search",
    FAILED: "failed",
}
"""States of a trial in words."""


@dataclass(frozen=True)
class Trial:
    """A setting and the runs that tried it.

    Args:
        number: from 0, in the order in which they were tried.
        parameters: the setting.
        state: RUNNING while one of its runs is missing, waits, runs or is interrupted; COMPLETE;
            PRUNED; or FAILED, also where one of its runs was cancelled.
        loss: mean log loss on validation rows over its seeds, of the weights that were kept; of a
            pruned trial up to the epoch in which it ended; NaN where there is none.
        runs: one for each seed, by seed.
    """

    number: int
    parameters: Parameters
    state: str
    loss: float
    runs: tuple[Run, ...]

    def __hash__(self) -> int:
        # Figures are cached by trials; two of the same hash are still compared by every field.
        return hash((self.number, self.state, self.runs))

    @property
    def epochs(self) -> int:
        """Epochs of the run that ended a pruned trial; 0 for another one."""
        return max(run.halted for run in self.runs)

    @property
    def message(self) -> str:
        """What is to be said of its state; "" for a complete one."""
        if self.state == PRUNED:
            return f"ended early by the search after epoch {self.epochs}"
        if self.state == FAILED:
            return next((run.message for run in self.runs if run.message), "its loss is unknown")
        return "" if self.state == COMPLETE else STATE_WORDS[self.state]


def request_parameters(request: FinetuneRequest) -> Parameters:
    """Return the setting that a request tries.

    >>> request_parameters(FinetuneRequest("d-1", "b-1", freeze_depth=2))["strategy"]
    'freeze depth 2'
    """
    return {
        "strategy": describe_strategy(request.strategy, request.freeze_depth, request.options),
        "learning_rate": request.train.learning_rate,
        "head": "keep" if request.keep_head else "new",
        "weight_decay": request.train.weight_decay,
    }


def collect_trials(runs: Sequence[Run], trial_seeds: int) -> list[Trial]:
    """Return the trials of a search, in their order.

    Args:
        runs: of the search; those that judge its winner are left out.
        trial_seeds: how many runs a whole trial has.
    """
    by_number: dict[int, list[Run]] = {}
    for run in runs:
        number = run.finetune_request.trial if run.is_trial else None
        if number is not None:
            by_number.setdefault(number, []).append(run)
    return [
        _make_trial(number, sorted(by_number[number], key=lambda run: run.seed), trial_seeds)
        for number in sorted(by_number)
    ]


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial with the lowest validation loss, the earliest of equal ones."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    return min(complete, key=lambda trial: trial.loss, default=None)


def spent_seconds(workspace: Workspace, runs: Sequence[Run]) -> float:
    """Return how long the runs of a search's trials have taken in all, in seconds.

    Of a run without a result it is the time that its training had reported.
    """
    found = 0.0
    for run in runs:
        if run.is_trial:
            seconds = run.result.total_seconds if run.result else math.nan
            found += _reported_seconds(workspace, run) if math.isnan(seconds) else seconds
    return found


def epoch_losses(workspace: Workspace, run: Run) -> tuple[float, ...]:
    """Return the lowest validation loss of a run up to the end of every finished epoch."""
    if run.active or not run.finished:
        return _read_epoch_losses(workspace, run)
    return _cached_epoch_losses(workspace, run, run.finished)


@lru_cache(maxsize=2**12)
def _cached_epoch_losses(workspace: Workspace, run: Run, finished: str) -> tuple[float, ...]:
    """Cached, because every suggestion and every epoch asks for those of all runs."""
    return _read_epoch_losses(workspace, run)


def _read_epoch_losses(workspace: Workspace, run: Run) -> tuple[float, ...]:
    curve = RunStore(workspace).points(run.id, "validation_loss").get("validation_loss")
    if curve is None or not run.steps:
        return ()
    steps, losses = curve
    ends = np.arange(1, run.epochs + 1) * run.steps // max(1, run.epochs)
    ends = ends[ends <= steps[-1]]
    lowest = np.minimum.accumulate(losses)
    return tuple(float(lowest[place]) for place in np.searchsorted(steps, ends, "right") - 1)


def _reported_seconds(workspace: Workspace, run: Run) -> float:
    curve = RunStore(workspace).points(run.id, "seconds").get("seconds")
    return float(curve[1][-1]) if curve is not None else 0.0


def _make_trial(number: int, runs: Sequence[Run], trial_seeds: int) -> Trial:
    loss = mean_validation_loss(runs)
    statuses = {run.status for run in runs}
    if statuses & {"queued", "running", "interrupted"}:
        state = RUNNING
    elif statuses != {"done"}:
        state = FAILED
    elif any(run.halted for run in runs):
        state = PRUNED
    elif len(runs) < trial_seeds:
        state = RUNNING
    else:
        state = FAILED if math.isnan(loss) else COMPLETE
    return Trial(number, request_parameters(runs[0].finetune_request), state, loss, tuple(runs))
