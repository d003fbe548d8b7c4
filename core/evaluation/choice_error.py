"""The standard error of a choice that was made on validation rows.

The arm with the lowest validation loss leads. How far it leads is known only as well as the
validation rows allow: the differences between two arms, row by row, have a standard error of their
own, which is smaller than that of either loss, as both arms score the same rows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PairedLoss:
    """How much higher an arm's mean loss is than the leading arm's, on the same rows.

    Args:
        difference: mean over rows of the arm's loss less the leading arm's.
        standard_error: of that mean; NaN with a single row.
    """

    difference: float
    standard_error: float


@dataclass(frozen=True)
class Choice:
    """How clearly an arm leads on validation rows.

    Args:
        setting: target size or the like; "" where there is only one.
        lead: title of the leading arm.
        runner_up: title of the arm with the second lowest validation loss.
        difference: log loss of the runner-up less that of the leading arm.
        standard_error: of the difference, paired over rows.
        rows: number of validation rows.
        within: titles of the arms whose difference from the leading arm is at most one standard
            error of that difference.
        tied: titles of the other arms with the leading one's loss on every row, as that of the
            backbone where no epoch improved on it. They share the lead, and are neither runner-up
            nor `within`; where all others are tied, the runner-up is one of them.
    """

    setting: str
    lead: str
    runner_up: str
    difference: float
    standard_error: float
    rows: int
    within: tuple[str, ...]
    tied: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The choice in words.

        >>> print(Choice("", "freeze depth 2", "zero-shot", 3e-4, 1.1e-3, 1714, ("a",)).sentence)
        On 1,714 validation rows freeze depth 2 leads zero-shot by a log loss of 0.0003 ± 0.0011 \
(standard error); 1 arm is within one standard error of the choice.
        """
        lead, verb = self.lead, "leads"
        if self.tied:
            lead, verb = f"{', '.join([self.lead, *self.tied[:-1]])} and {self.tied[-1]}", "lead"
        if self.runner_up in self.tied:
            return (
                f"On {self.rows:,} validation row{'s' if self.rows != 1 else ''} the losses of"
                f" {lead} are equal, so none of them leads."
            )
        if math.isnan(self.standard_error):
            return (
                f"On {self.rows:,} validation row {lead} {verb} {self.runner_up} by a log loss"
                f" of {self.difference:.4f}; a single row has no standard error."
            )
        number = len(self.within)
        near = (
            "no other arm is" if not number else "1 arm is" if number == 1 else f"{number} arms are"
        )
        equal = " (equal losses)" if self.tied else ""
        return (
            f"On {self.rows:,} validation rows {lead}{equal} {verb} {self.runner_up} by a log loss"
            f" of {self.difference:.4f} ± {self.standard_error:.4f} (standard error); {near} within"
            " one standard error of the choice."
        )


def paired_loss(losses: np.ndarray, lead_losses: np.ndarray) -> PairedLoss:
    """Return the mean difference of two arms and its standard error over rows.

    Args:
        losses: of every row, mean over an arm's seeds, shape ``(n_rows,)``.
        lead_losses: of the leading arm on the same rows.

    >>> found = paired_loss(np.array([1.0, 3.0]), np.array([0.0, 0.0]))
    >>> print(f"{found.difference:g} {found.standard_error:g}")
    2 1
    """
    differences = np.asarray(losses, dtype=np.float64) - lead_losses
    n_rows = len(differences)
    error = float(np.std(differences, ddof=1)) / n_rows**0.5 if n_rows > 1 else float("nan")
    return PairedLoss(float(np.mean(differences)), error)


def summarise_choice(
    setting: str, lead: str, n_rows: int, others: Mapping[str, PairedLoss]
) -> Choice:
    """Return how clearly an arm leads.

    Args:
        setting: of all arms.
        lead: title of the leading arm.
        n_rows: number of validation rows.
        others: by title, every other arm compared with the leading one; at least one.
    """
    # Equal on average and, as nothing varies, on every row.
    tied = tuple(
        title
        for title, found in others.items()
        if found.difference == 0 and not found.standard_error > 0
    )
    behind = [title for title in others if title not in tied] or [*others]
    runner_up = min(behind, key=lambda title: others[title].difference)
    nearest = others[runner_up]
    within = tuple(
        title
        for title, found in others.items()
        if title not in tied and found.difference <= found.standard_error
    )
    return Choice(
        setting, lead, runner_up, nearest.difference, nearest.standard_error, n_rows, within, tied
    )
