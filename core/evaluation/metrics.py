"""One set of metrics for labels, click probabilities and a threshold."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from core.evaluation.curves import calibration_curve, confusion_matrix
from core.evaluation.format_metrics import is_missing
from core.evaluation.roc_auc import auc_interval, auc_variance
from core.evaluation.validation import validate_scores

_EPSILON = np.finfo(np.float64).eps


@dataclass(frozen=True)
class Metrics:
    """Metrics at one threshold; NaN where a metric is undefined (no rows, or one class only).

    always_no_accuracy: of predicting "no click" for every row. auc_low, auc_high: DeLong's 95 %
    interval. pr_auc: average precision. normalised_entropy: log loss over the entropy of the click
    rate (He et al. 2014). ece: 15 equal-mass bins. predicted_over_actual: predicted over actual
    clicks. lift_at_10: click rate in the tenth of the rows scored highest, over the click rate.
    """

    rows: int
    click_rate: float
    threshold: float
    accuracy: float
    always_no_accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float
    auc_low: float
    auc_high: float
    pr_auc: float
    log_loss: float
    normalised_entropy: float
    ece: float
    predicted_over_actual: float
    lift_at_10: float

    def as_dict(self) -> dict[str, float | None]:
        """JSON-ready, in the order of the fields; NaN becomes None."""
        values = dataclasses.asdict(self)
        return {name: None if is_missing(value) else value for name, value in values.items()}


def log_loss(y_true: np.ndarray, y_score: np.ndarray) -> float:
    """Mean cross entropy in nats; probabilities are kept off 0 and 1 by the machine epsilon."""
    clipped = np.clip(y_score, _EPSILON, 1 - _EPSILON)
    return float(-np.mean(y_true * np.log(clipped) + (1 - y_true) * np.log1p(-clipped)))


def average_precision(y_true: np.ndarray, y_score: np.ndarray) -> float:
    """Sum over thresholds of precision times the gain in recall; tied scores enter together."""
    order = np.argsort(-y_score)
    ordered = y_score[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    true_positives = np.cumsum(y_true[order])[ends]
    precision = true_positives / (ends + 1)
    return float(np.sum(np.diff(true_positives, prepend=0) * precision) / y_true.sum())


def lift_at(y_true: np.ndarray, y_score: np.ndarray, share: float) -> float:
    """Click rate in the best-scored `share` of rows over the click rate; ties at the edge share
    their clicks."""
    count = max(1, round(len(y_true) * share))
    edge = np.partition(y_score, len(y_score) - count)[len(y_score) - count]
    above, tied = y_score > edge, y_score == edge
    clicks = y_true[above].sum() + y_true[tied].mean() * (count - above.sum())
    return float(clicks / count / y_true.mean())


def compute_metrics(y_true: np.ndarray, y_score: np.ndarray, threshold: float) -> Metrics:
    """All metrics; a row counts as predicted click when its score is at least `threshold`.

    labels: 0 or 1 (rows,); scores: click probabilities (rows,). BadInput on anything else.
    """
    y_true, y_score = validate_scores(y_true, y_score)
    nan = float("nan")
    rows = len(y_true)
    rate = float(y_true.mean()) if rows else nan
    both = rows > 0 and 0 < rate < 1
    table = confusion_matrix(y_true, y_score, threshold)
    auc, variance = auc_variance(y_true, y_score)
    low, high = auc_interval(auc, variance)
    loss = log_loss(y_true, y_score) if rows else nan
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate)) if both else nan
    bins = calibration_curve(y_true, y_score)
    return Metrics(
        rows=rows,
        click_rate=rate,
        threshold=float(threshold),
        accuracy=table.accuracy,
        always_no_accuracy=1 - rate,
        precision=table.precision,
        recall=table.recall,
        f1=table.f1,
        auc=auc,
        auc_low=low,
        auc_high=high,
        pr_auc=average_precision(y_true, y_score) if both else nan,
        log_loss=loss,
        normalised_entropy=float(loss / entropy) if both else nan,
        ece=float(np.sum(bins.rows * np.abs(bins.predicted - bins.actual)) / rows) if rows else nan,
        predicted_over_actual=float(y_score.sum() / y_true.sum()) if rows and rate > 0 else nan,
        lift_at_10=lift_at(y_true, y_score, 0.1) if rows and rate > 0 else nan,
    )
