"""Metrics by slice: the rows that share a value of a column, with intervals, and where two strategies differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluation.delong import Difference, auc_interval, auc_variance, compare
from core.evaluation.metrics import log_loss
from core.evaluation.multiplicity import holm

REST, MISSING = "all other values", "missing"
LEAST_ROWS = 30
"""A slice with fewer rows joins the rest: its interval would span everything."""


@dataclass(frozen=True)
class Slice:
    """A slice by name and the numbers of its rows."""

    name: str
    rows: np.ndarray


@dataclass(frozen=True)
class SliceMetrics:
    """Metrics of one slice; AUC and its DeLong interval NaN where it holds a single class."""

    name: str
    rows: int
    click_rate: float
    auc: float
    auc_low: float
    auc_high: float
    log_loss: float
    predicted_over_actual: float


@dataclass(frozen=True)
class SliceDifference:
    """AUC of a less that of b on one slice; p adjusted over all slices (Holm)."""

    name: str
    rows: int
    difference: Difference
    adjusted_p: float


def slices_of(values: Sequence[str | None], top: int = 10) -> list[Slice]:
    """The `top` most frequent values, most frequent first, then missing ones and all others, where there are any."""
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


def slice_metrics(labels: np.ndarray, scores: np.ndarray, slices: Sequence[Slice]) -> list[SliceMetrics]:
    """Metrics of every slice."""
    found = []
    for one in slices:
        y, p = labels[one.rows].astype(np.float64), scores[one.rows].astype(np.float64)
        auc, variance = auc_variance(y, p)
        low, high = auc_interval(auc, variance) if variance == variance else (float("nan"), float("nan"))
        clicks = y.sum()
        ratio = float(p.sum() / clicks) if clicks else float("nan")
        found.append(SliceMetrics(one.name, len(y), float(y.mean()), auc, low, high, log_loss(y, p), ratio))
    return found


def slice_differences(
    labels: np.ndarray, a: np.ndarray, b: np.ndarray, slices: Sequence[Slice]
) -> list[SliceDifference]:
    """Where a and b differ most in AUC, largest first; slices of a single class are left out."""
    compared = [(one, compare(labels[one.rows], a[one.rows], b[one.rows])) for one in slices]
    compared = [(one, difference) for one, difference in compared if difference.p == difference.p]
    adjusted = holm([difference.p for _, difference in compared])
    found = [
        SliceDifference(one.name, len(one.rows), difference, float(p))
        for (one, difference), p in zip(compared, adjusted, strict=True)
    ]
    return sorted(found, key=lambda one: -abs(one.difference.delta))
