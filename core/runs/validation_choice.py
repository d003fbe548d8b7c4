"""How clearly an arm of a sweep leads on the validation rows that chose it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from core.evaluation.choice_error import Choice, PairedLoss, paired_loss, summarise_choice
from core.evaluation.metric_functions import log_loss_per_row
from core.jobs.predictions import read_predictions
from core.jobs.store import Run
from core.workspace import Workspace

LABELS, SCORES = "target_validation_label", "target_validation_score"
RunKeys = tuple[tuple[str, str | None], ...]
"""Id of each run of an arm and the time at which it ended: after a restore it may be another."""


@dataclass(frozen=True)
class ValidatedArm:
    """An arm and its finished runs, one for each seed.

    Args:
        title: of the arm.
        validation_loss: mean log loss of the runs on validation rows; NaN where it is not known.
        runs: at least one.
    """

    title: str
    validation_loss: float
    runs: tuple[Run, ...]

    @property
    def keys(self) -> RunKeys:
        """What the runs' predictions are cached by."""
        return tuple((run.id, run.finished) for run in self.runs)


def assess_choice(
    workspace: Workspace, setting: str, arms: Sequence[ValidatedArm]
) -> Choice | None:
    """Return how clearly the leading arm leads the others of its setting.

    Args:
        workspace: holds the runs' predictions.
        setting: of all arms.
        arms: validated on the same rows.

    Returns:
        None for fewer than two arms with a validation loss, or if they turn out to have been
        validated on different rows.
    """
    known = [arm for arm in arms if not math.isnan(arm.validation_loss)]
    if len(known) < 2:
        return None
    lead = min(known, key=lambda arm: arm.validation_loss)
    compared: dict[str, PairedLoss] = {}
    n_rows = 0
    for arm in known:
        if arm is not lead:
            found = _compare(workspace, arm.keys, lead.keys)
            if found is None:
                return None
            compared[arm.title], n_rows = found
    return summarise_choice(setting, lead.title, n_rows, compared)


def validated_difference(
    workspace: Workspace, arm: ValidatedArm, other: ValidatedArm
) -> PairedLoss | None:
    """Return how much higher an arm's validation loss is than another's; None on other rows."""
    found = _compare(workspace, arm.keys, other.keys)
    return found[0] if found else None


@lru_cache(maxsize=2**13)
def _compare(workspace: Workspace, arm: RunKeys, lead: RunKeys) -> tuple[PairedLoss, int] | None:
    """Return (comparison, number of rows); None where the rows differ.

    Cached, because a sweep's page asks for all arms whenever a run ends.
    """
    labels, losses = _mean_losses(workspace, arm)
    lead_labels, lead_losses = _mean_losses(workspace, lead)
    if not np.array_equal(labels, lead_labels):
        return None
    return paired_loss(losses, lead_losses), len(labels)


@lru_cache(maxsize=2)
def _mean_losses(workspace: Workspace, runs: RunKeys) -> tuple[np.ndarray, np.ndarray]:
    """Return (labels, mean loss over seeds) of every validation row.

    Two arms are kept: the leading one, which all others are compared with, and the latest other.
    """
    scored = [read_predictions(workspace, run_id, [LABELS, SCORES]) for run_id, _ in runs]
    labels = np.asarray(scored[0][LABELS], dtype=np.float64)
    losses = [log_loss_per_row(labels, np.asarray(one[SCORES], np.float64)) for one in scored]
    return labels, np.mean(losses, axis=0)
