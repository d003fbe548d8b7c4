"""How well click probabilities are calibrated: ECE beside what chance gives, and predicted clicks.

`CalibrationSummary` judges both in words, from scores or from stored metrics; pages, commands and
verdicts call it.
"""

from dataclasses import dataclass

import numpy as np

from core.evaluation.calibration_floor import (
    N_BINS,
    calibration_floor,
    predicted_over_actual_bounds,
)
from core.evaluation.format_metrics import MetricValues, metric_value
from core.evaluation.metric_functions import calibration_error

_STORED = (
    "ece",
    "ece_floor",
    "ece_floor_high",
    "predicted_over_actual",
    "predicted_over_actual_low",
    "predicted_over_actual_high",
)
"""Names of the metrics that a summary holds, in the order of its fields."""


@dataclass(frozen=True)
class CalibrationSummary:
    """Calibration on one set of rows; NaN where it is not defined or not known.

    Args:
        rows: number of rows.
        ece: expected calibration error over N_BINS bins of equally many rows.
        floor, floor_high: mean and 95 % quantile of the ECE that a perfectly calibrated model would
            have on these rows.
        ratio, ratio_low, ratio_high: predicted over actual clicks with its 95 % interval.
    """

    rows: int
    ece: float
    floor: float
    floor_high: float
    ratio: float
    ratio_low: float
    ratio_high: float

    @property
    def exceeds_floor(self) -> bool:
        """Whether the ECE is above what a perfectly calibrated model reaches in 95 % of samples."""
        return self.ece > self.floor_high

    @property
    def off_ratio(self) -> bool:
        """Whether the interval of predicted over actual clicks excludes 1."""
        return self.ratio_low > 1 or self.ratio_high < 1

    @property
    def is_miscalibrated(self) -> bool:
        """Whether the rows show that the probabilities are not calibrated, one way or the other."""
        return self.exceeds_floor or self.off_ratio

    @property
    def ratio_sentence(self) -> str:
        """What the interval of predicted over actual clicks says where it excludes 1, else ""."""
        if not self.off_ratio:
            return ""
        share = 100 * abs(self.ratio - 1)
        many = "too many" if self.ratio > 1 else "too few"
        return (
            f"Predicted over actual clicks is {self.ratio:.3f} (95 % interval"
            f" {self.ratio_low:.3f} to {self.ratio_high:.3f}): {share:.1f} % {many}."
        )

    @property
    def ece_sentence(self) -> str:
        """The ECE, with what a perfectly calibrated model would have; "" where it is not known."""
        if np.isnan(self.ece):
            return ""
        if np.isnan(self.floor_high):
            return f"ECE is {self.ece:.4f}."
        judged = (
            "more than a perfectly calibrated model would have"
            if self.exceeds_floor
            else "no more than a perfectly calibrated model may have"
        )
        return (
            f"ECE is {self.ece:.4f}, {judged} on {self.rows:,} rows ({self.floor:.4f} on average,"
            f" up to {self.floor_high:.4f} in 95 % of samples)."
        )

    @property
    def sentence(self) -> str:
        """Both in words, what is known of them."""
        return " ".join(filter(None, (self.ece_sentence, self.ratio_sentence)))


def summarise_calibration(y_true: np.ndarray, y_score: np.ndarray) -> CalibrationSummary:
    """Return the calibration of scored rows.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: click probabilities, shape ``(n_rows,)``.
    """
    y_true, y_score = np.asarray(y_true, np.float64), np.asarray(y_score, np.float64)
    n_rows, clicks, nan = len(y_true), float(np.sum(y_true)), float("nan")
    return CalibrationSummary(
        n_rows,
        calibration_error(y_true, y_score, N_BINS) if n_rows else nan,
        *calibration_floor(y_score),
        float(np.sum(y_score)) / clicks if clicks else nan,
        *predicted_over_actual_bounds(y_true, y_score),
    )


def calibration_of_metrics(metrics: MetricValues | None) -> CalibrationSummary:
    """Return the calibration that stored metrics tell of; what an older version left out is NaN.

    Args:
        metrics: of one part, see core.evaluation.metrics.Metrics.
    """
    rows = metric_value(metrics, "rows")
    values = [metric_value(metrics, name) for name in _STORED]
    return CalibrationSummary(0 if np.isnan(rows) else int(rows), *values)
