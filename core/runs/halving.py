"""Successive halving: only the arms that lead at a rung train on (Jamieson and Talwalkar, AISTATS
2016).

Arms are ranked by validation loss, mean over their seeds of the best so far; all seeds of an arm go
on or end together. What is decided hangs on stored points and results alone, so whoever asks, and
after whatever break, hears the same.
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
    """Rungs at epochs / factor, epochs / factor², … down to the first epoch; each leaves a
    factor-th of the arms.

    As many as it takes to leave one arm, the first ones left out where there are too few epochs for
    all of them.
    """
    wanted = math.ceil(round(math.log(max(1, arms), factor), 9))
    exponents = [exponent for exponent in range(wanted, 0, -1) if epochs // factor**exponent]
    return tuple(
        (epochs // factor**exponent, max(1, math.ceil(arms / factor ** (place + 1))))
        for place, exponent in enumerate(exponents)
    )


def decide(store: RunStore, run: Run, epoch: int) -> Decision:
    """Whether a run of a sweep goes on after `epoch`, ends there, or waits until its rivals have
    come so far.

    A rival that failed, was cancelled or was interrupted before it came so far counts as not there.
    """
    left = dict(_rungs(run)).get(epoch)
    if left is None:
        return "continue"
    arms: dict[str, list[Run]] = {}
    for rival in store.list_group(run.finetune_request.group):
        if rival.finetune_request.target_rows == run.finetune_request.target_rows and _rungs(rival):
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
    """What the seeds of an arm have in common."""
    request = run.finetune_request
    rate = request.train.learning_rate
    return f"{request.strategy} {request.freeze_depth} {request.options} {rate}"
