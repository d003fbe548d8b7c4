"""What plots of scores draw: confusion counts, ROC, precision-recall, gains, calibration.

`threshold_table` sorts the scores once; curves and counts at any threshold are read from it.
"""

from dataclasses import dataclass

import numpy as np

from core.evaluation.validation import validate_scores

MAX_POINTS = 400
"""Most points of a curve; more are thinned evenly, keeping both ends."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """Counts of right and wrong predictions at a threshold.

    Ratios over nothing are 0, as scikit-learn has them with ``zero_division=0``.

    Args:
        tp, fp, tn, fn: true and false positives (predicted clicks), true and false negatives.
    """

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def accuracy(self) -> float:
        """Share of right predictions; NaN without rows."""
        rows = self.tp + self.fp + self.tn + self.fn
        return (self.tp + self.tn) / rows if rows else float("nan")

    @property
    def precision(self) -> float:
        """Share of clicks among predicted clicks."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0

    @property
    def recall(self) -> float:
        """Share of clicks that are predicted (true positive rate)."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 0.0

    @property
    def false_positive_rate(self) -> float:
        """Share of rows without a click that are predicted clicks."""
        return self.fp / (self.fp + self.tn) if self.fp + self.tn else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        wrong = self.fp + self.fn
        return 2 * self.tp / (2 * self.tp + wrong) if self.tp or wrong else 0.0


@dataclass(frozen=True)
class Curve:
    """Points (x, y) of a curve and the threshold of each, three arrays of shape ``(n_points,)``."""

    x: np.ndarray
    y: np.ndarray
    threshold: np.ndarray


@dataclass(frozen=True)
class CalibrationBins:
    """Bins of equally many rows, by rising score; arrays of shape ``(n_bins,)``.

    Args:
        rows: number of rows of each bin.
        predicted: mean score.
        actual: click rate.
    """

    rows: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray


@dataclass(frozen=True)
class ThresholdTable:
    """Cumulative counts at every distinct score; any threshold is looked up by binary search.

    Args:
        thresholds: the distinct scores, descending, shape ``(n_thresholds,)``.
        tp, fp: clicks and rows without a click whose score is at least the threshold, int64.
        positives, negatives: number of clicks and of rows without one.
    """

    thresholds: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    positives: int
    negatives: int

    def confusion_at(self, threshold: float) -> ConfusionMatrix:
        """The counts when a score of at least `threshold` is a predicted click."""
        tp, fp = (int(counts[0]) for counts in self.positives_at(np.array([threshold])))
        return ConfusionMatrix(tp, fp, self.negatives - fp, self.positives - tp)

    def positives_at(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """True and false positives at each of `thresholds`, two int64 arrays of its shape."""
        indices = np.searchsorted(-self.thresholds, -thresholds, side="right")
        return np.append(0, self.tp)[indices], np.append(0, self.fp)[indices]

    def histogram(self, n_bins: int) -> np.ndarray:
        """Share of rows in each of `n_bins` bins of equal width from 0 to 1, shape ``(n_bins,)``.

        The last bin includes 1 itself.
        """
        above = np.sum(self.positives_at(np.linspace(0, 1, n_bins + 1)[:-1]), axis=0)
        return -np.diff(above, append=0) / max(self.positives + self.negatives, 1)


def threshold_table(y_true: np.ndarray, y_score: np.ndarray) -> ThresholdTable:
    """Sort the scores and count clicks at every distinct one, in O(n_rows log n_rows).

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: scores, shape ``(n_rows,)``.

    Raises:
        BadInput: see `validate_scores`.

    >>> table = threshold_table(np.array([0, 1, 1]), np.array([0.2, 0.7, 0.4]))
    >>> table.confusion_at(0.5)
    ConfusionMatrix(tp=1, fp=0, tn=1, fn=1)
    """
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
    """Count right and wrong predictions; a score of at least `threshold` is a predicted click.

    For one threshold; for many, `threshold_table` sorts once.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0.2, 0.7, 0.4]), 0.5).recall
    0.5
    """
    y_true, y_score = validate_scores(y_true, y_score)
    predicted = y_score >= threshold
    tp = int(y_true[predicted].sum())
    fp = int(predicted.sum()) - tp
    positives = int(y_true.sum())
    return ConfusionMatrix(tp, fp, len(y_true) - positives - fp, positives - tp)


def roc_curve(table: ThresholdTable) -> Curve:
    """False positive rate (x) and true positive rate (y), from (0, 0) to (1, 1).

    Empty where a class is absent.
    """
    if not table.positives or not table.negatives:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    x = np.append(0.0, table.fp / table.negatives)
    y = np.append(0.0, table.tp / table.positives)
    return _thin(x, y, np.append(np.inf, table.thresholds))


def precision_recall_curve(table: ThresholdTable) -> Curve:
    """Recall (x) and precision (y), from the highest threshold down; empty without clicks."""
    if not table.positives:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    return _thin(table.tp / table.positives, table.tp / (table.tp + table.fp), table.thresholds)


def cumulative_gains(table: ThresholdTable) -> Curve:
    """Share of rows taken, highest score first (x), and share of the clicks among them (y).

    Empty without clicks.
    """
    rows = table.positives + table.negatives
    if not table.positives:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    x = np.append(0.0, (table.tp + table.fp) / rows)
    y = np.append(0.0, table.tp / table.positives)
    return _thin(x, y, np.append(np.inf, table.thresholds))


def calibration_curve(y_true: np.ndarray, y_score: np.ndarray, n_bins: int = 15) -> CalibrationBins:
    """Mean score and click rate in `n_bins` bins of equally many rows, by rising score.

    Fewer bins where there are fewer rows, and none without rows.
    """
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
    """The curve with at most MAX_POINTS of its points."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(MAX_POINTS, len(x))).round().astype(int))
    return Curve(x[keep], y[keep], threshold[keep])
