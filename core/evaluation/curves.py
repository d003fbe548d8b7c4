"""Curves and counts for plots: confusion, ROC, precision-recall, calibration, lift."""

from dataclasses import dataclass

import numpy as np

from core.evaluation.validation import validate_scores

MAX_POINTS = 400
"""At most this many points of a curve are kept for display; both ends always are."""


@dataclass(frozen=True)
class ConfusionMatrix:
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
class CalibrationBins:
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

    def confusion_at(self, threshold: float) -> ConfusionMatrix:
        """The confusion counts when scores of at least `threshold` are predicted clicks."""
        tp, fp = (int(counts[0]) for counts in self.positives_at(np.array([threshold])))
        return ConfusionMatrix(tp, fp, self.negatives - fp, self.positives - tp)

    def positives_at(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(clicks, rows without a click) whose score is at least each of `thresholds`, int64
        (thresholds,)."""
        places = np.searchsorted(-self.thresholds, -thresholds, side="right")
        return np.append(0, self.tp)[places], np.append(0, self.fp)[places]

    def histogram(self, n_bins: int) -> np.ndarray:
        """Share of rows with a score in each of `bins` bins of equal width from 0 to 1, the last
        with 1 itself."""
        above = np.sum(self.positives_at(np.linspace(0, 1, n_bins + 1)[:-1]), axis=0)
        return -np.diff(above, append=0) / max(self.positives + self.negatives, 1)


def threshold_table(y_true: np.ndarray, y_score: np.ndarray) -> ThresholdTable:
    """Sorts once, in O(rows log rows)."""
    y_true, y_score = validate_scores(y_true, y_score)
    order = np.argsort(-y_score)
    ordered = y_score[order]
    ends = (
        np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        if len(ordered)
        else np.zeros(0, dtype=np.int64)
    )
    tp = np.cumsum(y_true[order])[ends].astype(np.int64)
    positives = int(y_true.sum())
    return ThresholdTable(ordered[ends], tp, ends + 1 - tp, positives, len(y_true) - positives)


def confusion_matrix(y_true: np.ndarray, y_score: np.ndarray, threshold: float) -> ConfusionMatrix:
    """Confusion counts; a score of at least `threshold` is a predicted click."""
    y_true, y_score = validate_scores(y_true, y_score)
    predicted = y_score >= threshold
    tp = int(y_true[predicted].sum())
    fp = int(predicted.sum()) - tp
    positives = int(y_true.sum())
    return ConfusionMatrix(tp, fp, len(y_true) - positives - fp, positives - tp)


def roc_curve(table: ThresholdTable) -> Curve:
    """False positive rate against true positive rate, from (0, 0) to (1, 1)."""
    if not table.positives or not table.negatives:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    x = np.append(0.0, table.fp / table.negatives)
    y = np.append(0.0, table.tp / table.positives)
    return _thin(x, y, np.append(np.inf, table.thresholds))


def precision_recall_curve(table: ThresholdTable) -> Curve:
    """Recall against precision, from the highest threshold to recall 1."""
    if not table.positives:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    return _thin(table.tp / table.positives, table.tp / (table.tp + table.fp), table.thresholds)


def cumulative_gains(table: ThresholdTable) -> Curve:
    """Share of rows taken, best first, against the share of clicks among them (cumulative
    gains)."""
    rows = table.positives + table.negatives
    if not table.positives:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    x = np.append(0.0, (table.tp + table.fp) / rows)
    y = np.append(0.0, table.tp / table.positives)
    return _thin(x, y, np.append(np.inf, table.thresholds))


def calibration_curve(y_true: np.ndarray, y_score: np.ndarray, n_bins: int = 15) -> CalibrationBins:
    """Mean score and click rate in `bins` bins of equally many rows, by rising score."""
    y_true, y_score = validate_scores(y_true, y_score)
    order = np.argsort(y_score, kind="stable")
    edges = np.unique(np.linspace(0, len(order), n_bins + 1).round().astype(int))
    if len(edges) < 2:
        return CalibrationBins(np.zeros(0), np.zeros(0), np.zeros(0))
    rows = np.diff(edges)
    predicted = np.add.reduceat(y_score[order], edges[:-1]) / rows
    actual = np.add.reduceat(y_true[order], edges[:-1]) / rows
    return CalibrationBins(rows, predicted, actual)


def _thin(x: np.ndarray, y: np.ndarray, threshold: np.ndarray) -> Curve:
    keep = np.unique(np.linspace(0, len(x) - 1, min(MAX_POINTS, len(x))).round().astype(int))
    return Curve(x[keep], y[keep], threshold[keep])
