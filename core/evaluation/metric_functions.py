"""Metrics as functions of labels and scores, with the conventions of scikit-learn.

`y_true` holds labels 0 or 1 and `y_score` click probabilities, both of shape ``(n_rows,)``. These
functions check neither their input nor whether the rows define them;
`core.evaluation.metrics.compute_metrics` does both.
"""

from functools import cached_property

import numpy as np

from core.evaluation.calibration_floor import N_BINS, calibration_floor
from core.evaluation.curves import ConfusionMatrix, calibration_curve, confusion_matrix
from core.evaluation.roc_auc import auc_interval, auc_variance
from core.evaluation.validation import validate_scores

PROBABILITY_EPSILON = 1e-7
"""How far probabilities are kept off 0 and 1 before a logarithm is taken of them.

A float32 probability may be exactly 0 or 1; 1e-7 is about the spacing of float32 below 1. Training,
validation, reports, blends and controls all clip by this, so that their log losses are the same
number.
"""


class ScoredRows:
    """Labels and scores of the same rows, with a threshold: what the function of a metric receives.

    Quantities that several metrics need are computed at first use and kept.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: click probabilities, shape ``(n_rows,)``.
        threshold: a row counts as a predicted click when its score is at least this.

    Raises:
        BadInput: shapes differ, a label is not 0 or 1, or a score is not finite.
    """

    def __init__(self, y_true: np.ndarray, y_score: np.ndarray, threshold: float = 0.5) -> None:
        self.y_true, self.y_score = validate_scores(y_true, y_score)
        self.threshold = float(threshold)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y_true)

    @cached_property
    def click_rate(self) -> float:
        """Share of rows with a click; NaN without rows."""
        return float(self.y_true.mean()) if self.n_rows else float("nan")

    @cached_property
    def confusion(self) -> ConfusionMatrix:
        """Counts of true and false positives and negatives at the threshold."""
        return confusion_matrix(self.y_true, self.y_score, self.threshold)

    @cached_property
    def auc_and_variance(self) -> tuple[float, float]:
        """AUC and its variance (DeLong), NaN where the rows do not define them."""
        return auc_variance(self.y_true, self.y_score)

    @property
    def auc_bounds(self) -> tuple[float, float]:
        """Both ends of DeLong's 95 % interval of the AUC."""
        return auc_interval(*self.auc_and_variance)

    @cached_property
    def ece_floor(self) -> tuple[float, float]:
        """Mean and 95 % quantile of the ECE of a perfectly calibrated model on these rows."""
        return calibration_floor(self.y_score)


def clip_probabilities(y_score: np.ndarray) -> np.ndarray:
    """Return click probabilities as float64, at least PROBABILITY_EPSILON away from 0 and 1.

    >>> clip_probabilities(np.array([0.0, 0.5])).tolist()
    [1e-07, 0.5]
    """
    return np.clip(np.asarray(y_score, np.float64), PROBABILITY_EPSILON, 1 - PROBABILITY_EPSILON)


def log_loss_per_row(y_true: np.ndarray, y_score: np.ndarray) -> np.ndarray:
    """Cross entropy of every row in nats.

    Scores are kept off 0 and 1 by PROBABILITY_EPSILON, so no row costs more than 16.1.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: click probabilities, shape ``(n_rows,)``, or ``(n_seeds, n_rows)`` for several
            scorings.

    Returns:
        float64 of the shape of `y_score`.

    >>> log_loss_per_row(np.array([0, 1]), np.array([0.2, 0.9])).round(4)
    array([0.2231, 0.1054])
    """
    clipped = clip_probabilities(y_score)
    return -(y_true * np.log(clipped) + (1 - y_true) * np.log1p(-clipped))


def log_loss(y_true: np.ndarray, y_score: np.ndarray) -> float:
    """Mean cross entropy in nats.

    >>> round(log_loss(np.array([0, 1]), np.array([0.2, 0.9])), 4)
    0.1643
    """
    return float(np.mean(log_loss_per_row(y_true, y_score)))


def normalised_entropy(y_true: np.ndarray, y_score: np.ndarray) -> float:
    """Return log loss divided by the entropy of the click rate.

    Predicting the click rate for every row gives 1; needs rows of both classes. See He et al.:
    Practical Lessons from Predicting Clicks, 2014.

    >>> normalised_entropy(np.array([0, 1, 0, 1]), np.full(4, 0.5))
    1.0
    """
    rate = float(y_true.mean())
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    return float(log_loss(y_true, y_score) / entropy)


def average_precision(y_true: np.ndarray, y_score: np.ndarray) -> float:
    """Return the area under the precision-recall curve.

    It is precision times the gain in recall, summed over thresholds. Rows with equal scores share
    one threshold. Needs a click.

    >>> average_precision(np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.8, 0.7])).__round__(4)
    0.8333
    """
    order = np.argsort(-y_score)
    ordered = y_score[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    true_positives = np.cumsum(y_true[order])[ends]
    precision = true_positives / (ends + 1)
    return float(np.sum(np.diff(true_positives, prepend=0) * precision) / y_true.sum())


def calibration_error(y_true: np.ndarray, y_score: np.ndarray, n_bins: int = N_BINS) -> float:
    """Return the expected calibration error over bins of equally many rows.

    It is the absolute difference between mean score and click rate, averaged over the bins.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``, at least one row.
        y_score: click probabilities, shape ``(n_rows,)``.
        n_bins: bins of equally many rows, by rising score.

    >>> calibration_error(np.array([0, 1]), np.array([0.25, 0.75]))
    0.25
    """
    bins = calibration_curve(y_true, y_score, n_bins)
    return float(np.sum(bins.rows * np.abs(bins.predicted - bins.actual)) / len(y_true))


def calibration_error_per_row(
    y_true: np.ndarray, y_score: np.ndarray, n_bins: int = 15
) -> np.ndarray:
    """Return what every row contributes to the calibration error, which is their mean.

    It is the score less the label, with the sign that makes the sum of the row's bin positive. With
    the bins and their signs taken as given, the calibration error is a mean over rows, with the
    standard error of one.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: click probabilities, shape ``(n_rows,)``.
        n_bins: bins of equally many rows, by rising score.

    >>> calibration_error_per_row(np.array([0, 1]), np.array([0.25, 0.5])).tolist()
    [0.25, 0.5]
    """
    excess = np.asarray(y_score, np.float64) - y_true
    bins = calibration_curve(y_true, y_score, n_bins)
    signs = np.repeat(np.where(bins.predicted < bins.actual, -1.0, 1.0), bins.rows.astype(int))
    order = np.argsort(y_score, kind="stable")
    excess[order] *= signs
    return excess


def lift_at(y_true: np.ndarray, y_score: np.ndarray, share: float) -> float:
    """Click rate among the highest-scored `share` of the rows, over the click rate of all of them.

    Rows whose score equals that of the last row taken share its clicks. Needs a click.

    >>> lift_at(np.array([0, 0, 0, 1]), np.array([0.1, 0.2, 0.3, 0.9]), 0.25)
    4.0
    """
    count = max(1, round(len(y_true) * share))
    edge = np.partition(y_score, len(y_score) - count)[len(y_score) - count]
    above, tied = y_score > edge, y_score == edge
    clicks = y_true[above].sum() + y_true[tied].mean() * (count - above.sum())
    return float(clicks / count / y_true.mean())
