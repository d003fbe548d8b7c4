"""Metrics by slice, the rows that share a value of a column, and slices where arms differ."""

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
from core.evaluation.significance import Outcome, comparison_outcome, is_significant

OTHER_VALUES, MISSING_VALUES = "all other values", "missing"
AUC_REQUIREMENT = "comparing AUC takes at least two clicks and two rows without one"
"""Why a slice cannot be compared, to end a sentence with."""
MIN_SLICE_ROWS = 30
"""Values with fewer rows go into "all other values": their intervals would span everything."""


@dataclass(frozen=True)
class Slice:
    """A slice: the value that its rows share, and their row numbers, int64."""

    name: str
    rows: np.ndarray


@dataclass(frozen=True)
class SliceMetrics:
    """Metrics of one slice, means over seeds with 95 % intervals.

    The AUC is NaN where the slice holds a single class.
    """

    name: str
    rows: int
    click_rate: float
    auc: MeanEstimate
    log_loss: MeanEstimate
    predicted_over_actual: float


@dataclass(frozen=True)
class SliceDifference:
    """AUC of `arm` minus that of the reference on one slice.

    adjusted_p is adjusted over all slices and arms compared (Holm).
    """

    name: str
    rows: int
    arm: str
    difference: PairedDifference
    adjusted_p: float

    @property
    def outcome(self) -> Outcome:
        """What the difference supports about the arm."""
        return comparison_outcome(self.difference.delta, self.adjusted_p)


def slices_by_value(values: Sequence[str | None], top: int = 10) -> list[Slice]:
    """A slice for each of the `top` most frequent values, the most frequent first.

    Then one of rows without a value and one of all other rows, where there are any.
    """
    column = np.array(
        [MISSING_VALUES if value is None else f"={value}" for value in values], dtype=object
    )
    names, counts = np.unique(column.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    frequent = [
        names[i] for i in order if names[i] != MISSING_VALUES and counts[i] >= MIN_SLICE_ROWS
    ]
    slices = [Slice(name[1:], np.flatnonzero(column == name)) for name in frequent[:top]]
    missing = column == MISSING_VALUES
    if missing.sum() >= MIN_SLICE_ROWS:
        slices.append(Slice(MISSING_VALUES, np.flatnonzero(missing)))
    covered = np.zeros(len(column), dtype=bool)
    for one in slices:
        covered[one.rows] = True
    if not covered.all():
        slices.append(Slice(OTHER_VALUES, np.flatnonzero(~covered)))
    return slices


def slice_metrics(
    y_true: np.ndarray, y_score: np.ndarray, slices: Sequence[Slice]
) -> list[SliceMetrics]:
    """Metrics of every slice.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: click probabilities, shape ``(n_seeds, n_rows)``.
        slices: row numbers among the n_rows.
    """
    metrics = []
    for one in slices:
        y, p = y_true[one.rows].astype(np.float64), y_score[:, one.rows].astype(np.float64)
        auc, clicks = mean_auc(placement_values_by_seed(y, p)), y.sum()
        if not is_missing(auc.low):
            auc = MeanEstimate(auc.value, max(0.0, auc.low), min(1.0, auc.high))
        metrics.append(
            SliceMetrics(
                name=one.name,
                rows=len(y),
                click_rate=float(y.mean()),
                auc=auc,
                log_loss=mean_over_rows(log_loss_per_row(y, p)),
                predicted_over_actual=(
                    float(p.mean(axis=0).sum() / clicks) if clicks else float("nan")
                ),
            )
        )
    return metrics


def slice_differences(
    y_true: np.ndarray, y_score: Mapping[str, np.ndarray], reference: str, slices: Sequence[Slice]
) -> list[SliceDifference]:
    """Compare every other arm with the reference in AUC, slice by slice.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: click probabilities by arm, shape ``(n_seeds, n_rows)`` each, the same seeds in
            the same order.
        reference: the arm that the others are compared with.
        slices: row numbers among the n_rows; those of a single class are left out.

    Returns:
        Significant differences first, then by size.
    """
    compared: list[tuple[Slice, str, PairedDifference]] = []
    for one in slices:
        y = y_true[one.rows].astype(np.float64)
        placements = {
            arm: placement_values_by_seed(y, scores[:, one.rows].astype(np.float64))
            for arm, scores in y_score.items()
        }
        for arm in y_score:
            if arm != reference:
                difference = compare_placement_values(
                    placements[arm], placements[reference], len(y)
                )
                if not is_missing(difference.p):
                    compared.append((one, arm, difference))
    adjusted = holm_adjust([difference.p for _, _, difference in compared])
    differences = [
        SliceDifference(one.name, len(one.rows), arm, difference, float(p))
        for (one, arm, difference), p in zip(compared, adjusted, strict=True)
    ]
    return sorted(
        differences,
        key=lambda one: (not is_significant(one.adjusted_p), -abs(one.difference.delta)),
    )
