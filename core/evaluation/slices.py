"""Metrics by slice: the rows that share a value of a column, with intervals, and where two
strategies differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluation.format_metrics import is_missing
from core.evaluation.multiplicity import holm
from core.evaluation.seeds import (
    Mean,
    SeedDifference,
    auc_components,
    compare_components,
    mean_auc,
    mean_of_rows,
    row_losses,
)
from core.evaluation.verdicts import LEVEL, word_of

REST, MISSING = "all other values", "missing"
NEEDED = "comparing AUC takes at least two clicks and two rows without one"
"""Why a slice cannot be compared, for the end of a sentence."""
LEAST_ROWS = 30
"""A slice with fewer rows joins the rest: its interval would span everything."""


@dataclass(frozen=True)
class Slice:
    """A slice by name and the numbers of its rows."""

    name: str
    rows: np.ndarray


@dataclass(frozen=True)
class SliceMetrics:
    """Metrics of one slice, means over seeds with 95 % intervals; AUC is NaN where the slice holds
    a single class."""

    name: str
    rows: int
    click_rate: float
    auc: Mean
    log_loss: Mean
    predicted_over_actual: float


@dataclass(frozen=True)
class SliceDifference:
    """AUC of `arm` less the reference's on one slice; p adjusted over all slices and arms compared
    (Holm)."""

    name: str
    rows: int
    arm: str
    difference: SeedDifference
    adjusted_p: float

    @property
    def word(self) -> str:
        """Whether the arm's AUC is "better", "worse" or "not distinguishable" there."""
        return word_of(self.difference.delta, self.adjusted_p)


def slices_of(values: Sequence[str | None], top: int = 10) -> list[Slice]:
    """The `top` most frequent values, most frequent first, then missing ones and all others, where
    there are any."""
    column = np.array([MISSING if value is None else f"={value}" for value in values], dtype=object)
    names, counts = np.unique(column.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = [names[i] for i in order if names[i] != MISSING and counts[i] >= LEAST_ROWS][:top]
    found = [Slice(name[1:], np.flatnonzero(column == name)) for name in kept]
    missing = column == MISSING
    if missing.sum() >= LEAST_ROWS:
        found.append(Slice(MISSING, np.flatnonzero(missing)))
    taken = np.zeros(len(column), dtype=bool)
    for one in found:
        taken[one.rows] = True
    if not taken.all():
        found.append(Slice(REST, np.flatnonzero(~taken)))
    return found


def slice_metrics(
    labels: np.ndarray, scores: np.ndarray, slices: Sequence[Slice]
) -> list[SliceMetrics]:
    """Metrics of every slice. labels: (rows,); scores: (seeds, rows)."""
    found = []
    for one in slices:
        y, p = labels[one.rows].astype(np.float64), scores[:, one.rows].astype(np.float64)
        auc, clicks = mean_auc(auc_components(y, p)), y.sum()
        ratio = float(p.mean(axis=0).sum() / clicks) if clicks else float("nan")
        cut = auc if is_missing(auc.low) else Mean(auc.value, max(0.0, auc.low), min(1.0, auc.high))
        found.append(
            SliceMetrics(
                one.name, len(y), float(y.mean()), cut, mean_of_rows(row_losses(y, p)), ratio
            )
        )
    return found


def slice_differences(
    labels: np.ndarray, scores: Mapping[str, np.ndarray], reference: str, slices: Sequence[Slice]
) -> list[SliceDifference]:
    """Where the other arms differ from the reference in AUC: distinguishable ones first, then by
    size.

    scores: (seeds, rows) by arm, the same seeds in the same order. Slices of a single class are
    left out.
    """
    compared: list[tuple[Slice, str, SeedDifference]] = []
    for one in slices:
        y = labels[one.rows].astype(np.float64)
        parts = {
            arm: auc_components(y, own[:, one.rows].astype(np.float64))
            for arm, own in scores.items()
        }
        for arm in scores:
            if arm != reference:
                difference = compare_components(parts[arm], parts[reference], len(y))
                if not is_missing(difference.p):
                    compared.append((one, arm, difference))
    adjusted = holm([difference.p for _, _, difference in compared])
    found = [
        SliceDifference(one.name, len(one.rows), arm, difference, float(p))
        for (one, arm, difference), p in zip(compared, adjusted, strict=True)
    ]
    return sorted(found, key=lambda one: (not one.adjusted_p < LEVEL, -abs(one.difference.delta)))
