"""Format metrics as text, and say why a metric is missing.

All metrics are formatted here, since any of them may be missing: where it is undefined (no rows,
one class only, a single row of a class), and in results that an older version stored. Missing
values come as None, as NaN or as a key that is not there; all three are treated alike.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.evaluation.metric_registry import (
    HEADLINE_METRIC,
    METRICS,
    metrics_shown_in,
    stored_names,
    summary_metrics,
)

MISSING_TEXT = "–"
"""Stands for a number that does not exist."""
MetricValues = Mapping[str, Any]
"""Metrics by name, as core.evaluation.metrics.Metrics or as stored; any may be missing."""
SMALLEST_P = 1e-4
"""Smaller p-values are shown as "< 0.0001"."""
NO_VARIANCE = "the difference is the same for every row"
"""Why two scorings are not comparable although there are rows enough: DeLong's variance of the
difference is 0."""


def is_missing(value: object) -> bool:
    """Whether `value` is no finite number: None, NaN, infinite, or not a number at all.

    >>> is_missing(None), is_missing(float("nan")), is_missing(0.0)
    (True, True, False)
    """
    return (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.number)
        or not math.isfinite(value)
    )


def metric_value(metrics: MetricValues | None, name: str) -> float:
    """The metric as a float for arithmetic and figures; NaN where it is missing.

    >>> metric_value({"auc": 0.75}, "auc"), metric_value({"auc": None}, "auc")
    (0.75, nan)
    """
    value = (metrics or {}).get(name)
    return float("nan") if is_missing(value) else float(value)  # type: ignore[arg-type]


def metric_or_none(metrics: MetricValues | None, name: str) -> float | None:
    """The metric as a float for tables and files; None where it is missing."""
    value = metric_value(metrics, name)
    return None if math.isnan(value) else value


def number_or_none(value: float) -> float | None:
    """The value, None where it is missing."""
    return None if is_missing(value) else value


def format_metric(value: object, digits: int = 4, signed: bool = False) -> str:
    """A number to `digits` decimals; MISSING_TEXT where there is none.

    >>> format_metric(0.76512), format_metric(0.0123, signed=True), format_metric(None)
    ('0.7651', '+0.0123', '–')
    >>> format_metric(-0.00001, signed=True)
    '+0.0000'
    """
    # "z": what rounds to 0 has no minus.
    return MISSING_TEXT if is_missing(value) else f"{value:{'+' if signed else ''}z.{digits}f}"


def format_bounds(low: object, high: object, digits: int = 4, signed: bool = False) -> str:
    """Both ends of an interval, "0.7583 to 0.7719"; MISSING_TEXT where either is missing."""
    if is_missing(low) or is_missing(high):
        return MISSING_TEXT
    return f"{format_metric(low, digits, signed)} to {format_metric(high, digits, signed)}"


def format_with_bounds(
    value: object, low: object, high: object, digits: int = 4, signed: bool = False
) -> str:
    """Return a value with its interval, such as "0.7651 (0.7583 to 0.7719)".

    If the interval is missing, only the value is returned.
    """
    if is_missing(low) or is_missing(high):
        return format_metric(value, digits, signed)
    return f"{format_metric(value, digits, signed)} ({format_bounds(low, high, digits, signed)})"


def format_p(p: object) -> str:
    """A p-value, "< 0.0001" or "0.0123"; MISSING_TEXT where nothing could be tested."""
    if is_missing(p):
        return MISSING_TEXT
    return "< 0.0001" if p < SMALLEST_P else f"{p:.4f}"  # type: ignore[operator]


def format_p_equation(p: float) -> str:
    """A p-value in a sentence, "p < 0.0001" or "p = 0.0123"; for one that is not missing."""
    return f"p {format_p(p)}" if p < SMALLEST_P else f"p = {format_p(p)}"


def format_auc(metrics: MetricValues | None, digits: int = 4) -> str:
    """AUC with its 95 % interval as the command line shows it, or the reason why either is missing.

    >>> format_auc({"auc": 0.7651, "auc_low": 0.7583, "auc_high": 0.7719})
    'AUC 0.7651 [0.7583, 0.7719]'
    >>> format_auc({"auc": 0.8276, "rows": 30, "click_rate": 1 / 30})
    'AUC 0.8276 (no interval: one click in 30 rows)'
    >>> format_auc({"rows": 30, "click_rate": 0.0})
    'no AUC: all 30 rows have the label 0'
    """
    if reason := reason_without_auc(metrics):
        return reason
    auc, low, high = (
        format_metric(metric_value(metrics, name), digits) for name in stored_names("auc")
    )
    reason = reason_without_interval(metrics)
    return f"AUC {auc} ({reason})" if reason else f"AUC {auc} [{low}, {high}]"


def format_interval(metrics: MetricValues | None, digits: int = 4) -> str:
    """Return AUC with its 95 % interval as a page shows it, or the reason why either is missing.

    For example "AUC 0.7651 (0.7583 to 0.7719)".
    """
    if reason := reason_without_auc(metrics):
        return reason
    auc, low, high = (metric_value(metrics, name) for name in stored_names("auc"))
    if reason := reason_without_interval(metrics):
        return f"AUC {format_metric(auc, digits)} ({reason})"
    return f"AUC {format_with_bounds(auc, low, high, digits)}"


def format_metrics(metrics: MetricValues) -> str:
    """All that the command line says of one part, in a line."""
    if metrics.get("rows") == 0:
        return "no rows"
    parts = [format_auc(metrics)]
    for key, metric in summary_metrics().items():
        parts.append(f"{metric.name} {format_metric(metrics.get(key), metric.digits)}")
        if key == "accuracy":
            # Most rows have no click, so accuracy says nothing without that of predicting none.
            parts[-1] += f" (always no: {format_metric(metrics.get('always_no_accuracy'))})"
    rows = metrics.get("rows")
    counted = "" if is_missing(rows) else f", {rows:,} row{'' if rows == 1 else 's'}"
    return ", ".join(parts) + counted


@dataclass(frozen=True)
class MetricRow:
    """A row of the table of all metrics. value: NaN where it is missing, and for an interval."""

    title: str
    text: str
    value: float
    digits: int


def metric_rows(metrics: MetricValues | None) -> list[MetricRow]:
    """The table of all metrics: a row for each of METRICS, and one for its interval.

    >>> [(row.title, row.text) for row in metric_rows({"auc": 0.7651, "auc_low": 0.7583})][:2]
    [('AUC-ROC', '0.7651'), ('AUC, 95 % interval (DeLong)', '–')]
    """
    rows = []
    for key, metric in METRICS.items():
        value = metric_value(metrics, key)
        rows.append(
            MetricRow(metric.row_title, format_metric(value, metric.digits), value, metric.digits)
        )
        if metric.interval:
            low, high = (metric_value(metrics, f"{key}_{end}") for end in ("low", "high"))
            rows.append(
                MetricRow(
                    f"{metric.name}, 95 % interval ({metric.interval.method})",
                    format_bounds(low, high, metric.digits),
                    math.nan,
                    metric.digits,
                )
            )
    return rows


def format_arm_metrics(row: Mapping[str, Any], deviation: bool = False) -> str:
    """The metrics of an arm in a row of core.runs.sweep_result.sweep_table, for the command line.

    deviation: whether that of the AUC over seeds stands behind it.

    >>> format_arm_metrics({"auc": 0.76512, "log_loss": 0.5})
    'AUC 0.7651, log loss 0.5000, ECE –, ECE floor –'
    """
    texts = []
    for key, metric in metrics_shown_in("arms").items():
        text = f"{metric.name} {format_metric(row.get(key), metric.digits)}"
        spread = row.get(f"{key}_deviation")
        if deviation and key == HEADLINE_METRIC and not is_missing(spread):
            text += f" ± {format_metric(spread, metric.digits)}"
        texts.append(text)
    return ", ".join(texts)


def format_card_metrics(metrics: MetricValues) -> str:
    """The metrics of a backbone's card besides AUC, which stands above them."""
    return " · ".join(
        f"{metric.name} {format_metric(metrics.get(key), metric.digits)}"
        for key, metric in metrics_shown_in("card").items()
        if key != HEADLINE_METRIC
    )


def reason_without_auc(metrics: MetricValues | None) -> str:
    """Why there is no AUC, "no AUC: all 30 rows have the label 0"; "" where there is one."""
    if not math.isnan(metric_value(metrics, "auc")):
        return ""
    reason = reason_from_counts(*_counts(metrics))
    return f"no AUC: {reason}" if reason else "no AUC"


def reason_without_interval(metrics: MetricValues | None) -> str:
    """Why the AUC has no interval, "no interval: one click in 30 rows"; "" where it has one."""
    if not any(math.isnan(metric_value(metrics, name)) for name in ("auc_low", "auc_high")):
        return ""
    rows, clicks = _counts(metrics)
    reason = reason_from_counts(rows, clicks)
    if not reason and clicks is None:
        reason = "fewer than two rows of a class"
    return f"no interval: {reason}" if reason else "no interval"


def missing_sentence(metrics: MetricValues | None, where: str) -> str:
    """What of the AUC is missing on `where`, as a sentence; "" where nothing is.

    >>> missing_sentence({"auc": 0.8, "rows": 30, "click_rate": 1 / 30}, "target test rows")
    'No AUC interval on target test rows: one click in 30 rows.'
    """
    without_auc = reason_without_auc(metrics)
    what = without_auc or reason_without_interval(metrics)
    if not what:
        return ""
    reason = what.partition(": ")[2]
    return (
        f"No AUC{'' if without_auc else ' interval'} on {where}{f': {reason}' if reason else ''}."
    )


def reason_from_counts(rows: int | None, clicks: int | None) -> str:
    """Return why `rows` rows with `clicks` clicks have no AUC with an interval, or "" if they have.

    >>> reason_from_counts(30, 1), reason_from_counts(30, 29), reason_from_counts(1, 1)
    ('one click in 30 rows', 'one row without a click in 30 rows', 'the only row has the label 1')
    """
    if rows == 0:
        return "no rows"
    if rows is None or clicks is None:
        return ""
    if clicks in (0, rows):
        label = int(clicks > 0)
        return (
            f"the only row has the label {label}"
            if rows == 1
            else f"all {rows:,} rows have the label {label}"
        )
    if clicks == 1:
        return f"one click in {rows:,} rows"
    return f"one row without a click in {rows:,} rows" if rows - clicks == 1 else ""


def reason_from_labels(labels: np.ndarray) -> str:
    """Return why two scorings of rows with these labels cannot be compared.

    Call it only where they cannot be.

    Args:
        labels: 0 or 1, shape ``(n_rows,)``.
    """
    return reason_from_counts(len(labels), int(np.sum(labels))) or NO_VARIANCE


def _counts(metrics: MetricValues | None) -> tuple[int | None, int | None]:
    """(rows, clicks); None where the metrics do not tell."""
    rows, rate = metric_value(metrics, "rows"), metric_value(metrics, "click_rate")
    if math.isnan(rows):
        return None, None
    return int(rows), None if math.isnan(rate) else round(rows * rate)
