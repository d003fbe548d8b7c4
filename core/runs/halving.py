"""Successive halving: only the best arms at a rung continue training.

Jamieson and Talwalkar, AISTATS 2016.

Arms are ranked by validation loss: the lowest so far, averaged over their seeds. All seeds of an
arm continue or end together. The decision depends only on stored points and results, so that every
process decides the same, also after an interruption.
"""

import math
from collections.abc import Sequence

from core.jobs.reporter import Decision
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run, RunStore

FACTORS = (2, 3, 4)
Rungs = tuple[tuple[int, int], ...]
"""(epoch, arms of the same target size that train on after it), ascending."""


def plan_rungs(epochs: int, factor: int, arms: int) -> Rungs:
    """Return the rungs at epochs / factor, epochs / factor², … down to the first epoch.

    Each keeps one in `factor` of the arms. There are as many rungs as it takes to keep one arm;
    where there are too few epochs, the first ones are left out.

    >>> plan_rungs(epochs=9, factor=3, arms=9)
    ((1, 3), (3, 1))
    """
    n_rungs = math.ceil(round(math.log(max(1, arms), factor), 9))
    exponents = [exponent for exponent in range(n_rungs, 0, -1) if epochs // factor**exponent]
    return tuple(
        (epochs // factor**exponent, max(1, math.ceil(arms / factor ** (index + 1))))
        for index, exponent in enumerate(exponents)
    )


def decide(store: RunStore, run: Run, epoch: int) -> Decision:
    """Decide what a run of a sweep does after `epoch`.

    A rival that failed, was cancelled or was interrupted before that epoch is not counted.

    Returns:
        "continue", "stop", or "pause" until all rivals have come to that epoch.
    """
    left = dict(_rungs(run)).get(epoch)
    if left is None:
        return "continue"
    arms: dict[str, list[Run]] = {}
    for rival in store.list_group(run.finetune_request.group):
        if rival.target_rows == run.target_rows and _rungs(rival):
            arms.setdefault(_arm_key(rival), []).append(rival)
    for sibling in arms[_arm_key(run)]:
        if sibling.halted == epoch:
            return "stop"
        if sibling.epoch > epoch:
            return "continue"
    means = {}
    for arm, runs in arms.items():
        if any(0 < one.halted < epoch for one in runs):
            continue
        losses = []
        for one in runs:
            loss, reached = store.best_validation(one.id, epoch * one.steps // max(1, one.epochs))
            if reached or one.status == "done":
                losses.append(loss)
            elif one.active:
                return "pause"
        if losses:
            means[arm] = sum(losses) / len(losses)
    leading = sorted(means, key=means.__getitem__)[:left]
    return "continue" if _arm_key(run) in leading else "stop"


def _rungs(run: Run) -> Sequence[tuple[int, int]]:
    return run.request.rungs if isinstance(run.request, FinetuneRequest) else ()


def _arm_key(run: Run) -> str:
    """What the runs of an arm, one for each seed, have in common."""
    request = run.finetune_request
    rate = request.train.learning_rate
    return f"{request.strategy} {request.freeze_depth} {request.options} {rate}"
