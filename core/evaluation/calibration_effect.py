"""What a recalibration does on test rows: log loss, ECE and predicted clicks before and after."""

from dataclasses import dataclass

import numpy as np

from core.evaluation.calibration import CalibrationSummary, summarise_calibration
from core.evaluation.format_metrics import format_bounds, format_metric, is_missing
from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.paired_comparison import MeanEstimate, mean_over_rows
from core.evaluation.recalibration import NONE, RecalibrationMap
from core.evaluation.roc_auc import roc_auc


@dataclass(frozen=True)
class CalibrationEffect:
    """Scores of the same rows as trained and calibrated.

    Args:
        calibration: the map.
        before, after: calibration of the scores.
        log_loss_before, log_loss_after: in nats.
        change: log loss after minus before, with its 95 % interval paired over rows.
        auc_before, auc_after: NaN with rows of one class. They differ only by rows that the
            isotonic map ties.
    """

    calibration: RecalibrationMap
    before: CalibrationSummary
    after: CalibrationSummary
    log_loss_before: float
    log_loss_after: float
    change: MeanEstimate
    auc_before: float
    auc_after: float

    @property
    def auc_sentence(self) -> str:
        """What happens to the AUC."""
        if self.calibration.method == NONE or is_missing(self.auc_before):
            return ""
        change = self.auc_after - self.auc_before
        if self.calibration.method != "isotonic":
            return "AUC stays: the order of the rows is the same."
        return (
            "AUC changes only by the rows that get equal scores, below the first and above the last"
            f" knot: by {change:+.1g}."
            if change
            else "AUC stays: no rows of both classes get equal scores."
        )

    @property
    def sentence(self) -> str:
        """What the recalibration did, judged by the interval of the change in log loss."""
        if self.calibration.method == NONE:
            return self.before.sentence
        numbers = (
            f"{format_metric(self.change.value, signed=True)} nats, 95 % interval"
            f" {format_bounds(self.change.low, self.change.high, signed=True)}"
        )
        if self.change.high < 0:
            judged = f"lowers the log loss ({numbers})"
        elif self.change.low > 0:
            judged = f"raises the log loss ({numbers})"
        else:
            judged = f"changes the log loss by no amount that these rows show ({numbers})"
        ratios = " to ".join(format_metric(one.ratio, 3) for one in (self.before, self.after))
        return (
            f"Recalibration {judged}; ECE goes from {format_metric(self.before.ece)} to"
            f" {format_metric(self.after.ece)} (up to {format_metric(self.after.floor_high)} is"
            f" chance), predicted over actual clicks from {ratios}."
        )


def effect_row(effect: CalibrationEffect) -> dict[str, float]:
    """Return an effect as a row of a table."""
    before, after, change = effect.before, effect.after, effect.change
    return {
        "log_loss_before": effect.log_loss_before,
        "log_loss": effect.log_loss_after,
        "log_loss_change": change.value,
        "log_loss_change_low": change.low,
        "log_loss_change_high": change.high,
        "ece_before": before.ece,
        "ece": after.ece,
        "ece_floor": after.floor,
        "ece_floor_high": after.floor_high,
        "predicted_over_actual_before": before.ratio,
        "predicted_over_actual": after.ratio,
        "predicted_over_actual_low": after.ratio_low,
        "predicted_over_actual_high": after.ratio_high,
        "auc_before": effect.auc_before,
        "auc": effect.auc_after,
    }


def measure_effect(
    y_true: np.ndarray, y_score: np.ndarray, calibration: RecalibrationMap
) -> CalibrationEffect:
    """Return what a map does on rows that it was not fitted on.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``, at least one row.
        y_score: click probabilities as trained, shape ``(n_rows,)``.
        calibration: the map.
    """
    y_true, y_score = np.asarray(y_true, np.float64), np.asarray(y_score)
    after = calibration.apply(y_score)
    losses = [log_loss_per_row(y_true, one) for one in (y_score, after)]
    aucs = [roc_auc(y_true, one) for one in (y_score, after)]
    return CalibrationEffect(
        calibration,
        summarise_calibration(y_true, y_score),
        summarise_calibration(y_true, after),
        float(losses[0].mean()),
        float(losses[1].mean()),
        mean_over_rows((losses[1] - losses[0])[None]),
        *aucs,
    )
