"""Curves and counts for plots: confusion, ROC, precision-recall, calibration, lift."""

from dataclasses import dataclass

import numpy as np

from core.evaluation.inputs import check

POINTS = 400
"""At most this many points of a curve are kept for display; both ends always are."""


@dataclass(frozen=True)
class Confusion:
    """Counts at a threshold: true and false positives and negatives. Ratios over nothing are 0, as
    scikit-learn's."""

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def accuracy(self) -> float:
        """Right predictions over rows; NaN without rows."""
        rows = self.tp + self.fp + self.tn + self.fn
        return (self.tp + self.tn) / rows if rows else float("nan")

    @property
    def precision(self) -> float:
        """Clicks among predicted clicks."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0

    @property
    def recall(self) -> float:
        """Predicted clicks among clicks (true positive rate)."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 0.0

    @property
    def false_positive_rate(self) -> float:
        """Predicted clicks among rows without a click."""
        return self.fp / (self.fp + self.tn) if self.fp + self.tn else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        wrong = self.fp + self.fn
        return 2 * self.tp / (2 * self.tp + wrong) if self.tp or wrong else 0.0


@dataclass(frozen=True)
class Curve:
    """Points of a curve, with the threshold of each."""

    x: np.ndarray
    y: np.ndarray
    threshold: np.ndarray


@dataclass(frozen=True)
class Bins:
    """Equal-mass bins by score: rows, mean score and click rate of each."""

    rows: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray


@dataclass(frozen=True)
class ThresholdTable:
    """Cumulative counts at every distinct score, highest first: any threshold is answered by a
    binary search."""

    thresholds: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    positives: int
    negatives: int

    def at(self, threshold: float) -> Confusion:
        """The confusion counts when scores of at least `threshold` are predicted clicks."""
        tp, fp = (int(counts[0]) for counts in self.predicted_at(np.array([threshold])))
        return Confusion(tp, fp, self.negatives - fp, self.positives - tp)

    def predicted_at(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(clicks, rows without a click) whose score is at least each of `thresholds`, int64
        (thresholds,)."""
        places = np.searchsorted(-self.thresholds, -thresholds, side="right")
        return np.append(0, self.tp)[places], np.append(0, self.fp)[places]

    def spread(self, bins: int) -> np.ndarray:
        """Share of rows with a score in each of `bins` bins of equal width from 0 to 1, the last
        with 1 itself."""
        above = np.sum(self.predicted_at(np.linspace(0, 1, bins + 1)[:-1]), axis=0)
        return -np.diff(above, append=0) / max(self.positives + self.negatives, 1)


def threshold_table(labels: np.ndarray, scores: np.ndarray) -> ThresholdTable:
    """Sorts once, in O(rows log rows)."""
    labels, scores = check(labels, scores)
    order = np.argsort(-scores)
    ordered = scores[order]
    ends = (
        np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        if len(ordered)
        else np.zeros(0, dtype=np.int64)
    )
    tp = np.cumsum(labels[order])[ends].astype(np.int64)
    positives = int(labels.sum())
    return ThresholdTable(ordered[ends], tp, ends + 1 - tp, positives, len(labels) - positives)


def confusion(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Confusion:
    """Confusion counts; a score of at least `threshold` is a predicted click."""
    labels, scores = check(labels, scores)
    predicted = scores >= threshold
    tp = int(labels[predicted].sum())
    fp = int(predicted.sum()) - tp
    positives = int(labels.sum())
    return Confusion(tp, fp, len(labels) - positives - fp, positives - tp)


def roc(table: ThresholdTable) -> Curve:
    """False positive rate against true positive rate, from (0, 0) to (1, 1)."""
    if not table.positives or not table.negatives:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    x = np.append(0.0, table.fp / table.negatives)
    y = np.append(0.0, table.tp / table.positives)
    return _thin(x, y, np.append(np.inf, table.thresholds))


def precision_recall(table: ThresholdTable) -> Curve:
    """Recall against precision, from the highest threshold to recall 1."""
    if not table.positives:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    return _thin(table.tp / table.positives, table.tp / (table.tp + table.fp), table.thresholds)


def gains(table: ThresholdTable) -> Curve:
    """Share of rows taken, best first, against the share of clicks among them (cumulative
    gains)."""
    rows = table.positives + table.negatives
    if not table.positives:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    x = np.append(0.0, (table.tp + table.fp) / rows)
    y = np.append(0.0, table.tp / table.positives)
    return _thin(x, y, np.append(np.inf, table.thresholds))


def calibration(labels: np.ndarray, scores: np.ndarray, bins: int = 15) -> Bins:
    """Mean score and click rate in `bins` bins of equally many rows, by rising score."""
    labels, scores = check(labels, scores)
    order = np.argsort(scores, kind="stable")
    edges = np.unique(np.linspace(0, len(order), bins + 1).round().astype(int))
    if len(edges) < 2:
        return Bins(np.zeros(0), np.zeros(0), np.zeros(0))
    rows = np.diff(edges)
    predicted = np.add.reduceat(scores[order], edges[:-1]) / rows
    actual = np.add.reduceat(labels[order], edges[:-1]) / rows
    return Bins(rows, predicted, actual)


def _thin(x: np.ndarray, y: np.ndarray, threshold: np.ndarray) -> Curve:
    keep = np.unique(np.linspace(0, len(x) - 1, min(POINTS, len(x))).round().astype(int))
    return Curve(x[keep], y[keep], threshold[keep])
