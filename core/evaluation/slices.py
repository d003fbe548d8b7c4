"""Metrics by slice: the rows that share a value of a column, with intervals, and where two
strategies differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluation.format_metrics import is_missing
from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.multiplicity import holm_adjust
from core.evaluation.paired_comparison import (
    MeanEstimate,
    PairedDifference,
    compare_placement_values,
    mean_auc,
    mean_over_rows,
    placement_values_by_seed,
)
from core.evaluation.verdicts import SIGNIFICANCE_LEVEL, comparison_outcome

OTHER_VALUES, MISSING_VALUES = "all other values", "missing"
AUC_REQUIREMENT = "comparing AUC takes at least two clicks and two rows without one"
"""Why a slice cannot be compared, for the end of a sentence."""
MIN_SLICE_ROWS = 30
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
    auc: MeanEstimate
    log_loss: MeanEstimate
    predicted_over_actual: float


@dataclass(frozen=True)
class SliceDifference:
    """AUC of `arm` less the reference's on one slice; p adjusted over all slices and arms compared
    (Holm)."""

    name: str
    rows: int
    arm: str
    difference: PairedDifference
    adjusted_p: float

    @property
    def outcome(self) -> str:
        """Whether the arm's AUC is "better", "worse" or "not distinguishable" there."""
        return comparison_outcome(self.difference.delta, self.adjusted_p)


def slices_by_value(values: Sequence[str | None], top: int = 10) -> list[Slice]:
    """The `top` most frequent values, most frequent first, then missing ones and all others, where
    there are any."""
    column = np.array(
        [MISSING_VALUES if value is None else f"={value}" for value in values], dtype=object
    )
    names, counts = np.unique(column.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = [names[i] for i in order if names[i] != MISSING_VALUES and counts[i] >= MIN_SLICE_ROWS][
        :top
    ]
    found = [Slice(name[1:], np.flatnonzero(column == name)) for name in kept]
    missing = column == MISSING_VALUES
    if missing.sum() >= MIN_SLICE_ROWS:
        found.append(Slice(MISSING_VALUES, np.flatnonzero(missing)))
    taken = np.zeros(len(column), dtype=bool)
    for one in found:
        taken[one.rows] = True
    if not taken.all():
        found.append(Slice(OTHER_VALUES, np.flatnonzero(~taken)))
    return found


def slice_metrics(
    y_true: np.ndarray, y_score: np.ndarray, slices: Sequence[Slice]
) -> list[SliceMetrics]:
    """Metrics of every slice. labels: (rows,); scores: (seeds, rows)."""
    found = []
    for one in slices:
        y, p = y_true[one.rows].astype(np.float64), y_score[:, one.rows].astype(np.float64)
        auc, clicks = mean_auc(placement_values_by_seed(y, p)), y.sum()
        ratio = float(p.mean(axis=0).sum() / clicks) if clicks else float("nan")
        cut = (
            auc
            if is_missing(auc.low)
            else MeanEstimate(auc.value, max(0.0, auc.low), min(1.0, auc.high))
        )
        found.append(
            SliceMetrics(
                one.name,
                len(y),
                float(y.mean()),
                cut,
                mean_over_rows(log_loss_per_row(y, p)),
                ratio,
            )
        )
    return found


def slice_differences(
    y_true: np.ndarray, y_score: Mapping[str, np.ndarray], reference: str, slices: Sequence[Slice]
) -> list[SliceDifference]:
    """Where the other arms differ from the reference in AUC: distinguishable ones first, then by
    size.

    scores: (seeds, rows) by arm, the same seeds in the same order. Slices of a single class are
    left out.
    """
    compared: list[tuple[Slice, str, PairedDifference]] = []
    for one in slices:
        y = y_true[one.rows].astype(np.float64)
        parts = {
            arm: placement_values_by_seed(y, own[:, one.rows].astype(np.float64))
            for arm, own in y_score.items()
        }
        for arm in y_score:
            if arm != reference:
                difference = compare_placement_values(parts[arm], parts[reference], len(y))
                if not is_missing(difference.p):
                    compared.append((one, arm, difference))
    adjusted = holm_adjust([difference.p for _, _, difference in compared])
    found = [
        SliceDifference(one.name, len(one.rows), arm, difference, float(p))
        for (one, arm, difference), p in zip(compared, adjusted, strict=True)
    ]
    return sorted(
        found, key=lambda one: (not one.adjusted_p < SIGNIFICANCE_LEVEL, -abs(one.difference.delta))
    )
