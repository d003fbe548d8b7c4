"""Figures that overlay one run of each arm, with the point of a common threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from core.evaluation.curves import CalibrationBins, ConfusionMatrix, Curve
from core.report.arm_styles import Style, arm_styles
from core.report.figure_base import Trace, axis, make_figure, scatter, vertical_line
from core.report.palette import NEUTRAL
from core.report.run_figures import NO_CURVE_NO_CLICKS, NO_CURVE_ONE_CLASS

MIN_LIFT_SHARE = 0.01
"""Share of rows from which lift is drawn."""


@dataclass(frozen=True)
class ArmCurves:
    """What one arm adds to the figures, measured on one of its runs.

    Attributes:
        label: in legends; it also decides the colour, see `arm_styles`.
        roc: false positive rate and true positive rate.
        precision_recall: recall and precision.
        gains: share of rows taken, best scored first, and share of clicks among them.
        calibration_bins: of equally many rows.
        at_threshold: confusion matrix at the common threshold.
        score_histogram: share of rows in each of its bins, which have equal width from 0 to 1.
    """

    label: str
    roc: Curve
    precision_recall: Curve
    gains: Curve
    calibration_bins: CalibrationBins
    at_threshold: ConfusionMatrix
    score_histogram: np.ndarray


def roc_overlay_figure(runs: Mapping[str, ArmCurves]) -> go.Figure:
    """Return ROC curves by run id, each with its point at the threshold."""
    traces = [_reference_line([0, 1], [0, 1])]
    for run_id, run in runs.items():
        _add_curve(traces, runs, run_id, run.roc.x, run.roc.y)
        # Rows of one class have no curve, and so no point on it.
        if len(run.roc.x):
            _add_threshold_point(
                traces, runs, run_id, run.at_threshold.false_positive_rate, run.at_threshold.recall
            )
    return make_figure(
        traces,
        axis("False positive rate"),
        axis("True positive rate (recall)"),
        "one-roc",
        NO_CURVE_ONE_CLASS,
    )


def precision_recall_overlay_figure(runs: Mapping[str, ArmCurves], click_rate: float) -> go.Figure:
    """Return precision by recall for each run, with its point at the threshold.

    Args:
        runs: curves by run id.
        click_rate: of the test rows; it is the precision of a random classifier.
    """
    traces = [_reference_line([0, 1], [click_rate, click_rate])]
    for run_id, run in runs.items():
        _add_curve(traces, runs, run_id, run.precision_recall.x, run.precision_recall.y)
        # Where no row is acted on, there is no precision; without clicks there is no curve.
        if run.at_threshold.tp + run.at_threshold.fp and len(run.precision_recall.x):
            _add_threshold_point(
                traces, runs, run_id, run.at_threshold.recall, run.at_threshold.precision
            )
    return make_figure(traces, axis("Recall"), axis("Precision"), "one-pr", NO_CURVE_NO_CLICKS)


def gains_overlay_figure(runs: Mapping[str, ArmCurves]) -> go.Figure:
    """Return a figure of cumulative gains: the share of clicks by the share of rows taken.

    The share of rows acted on at the threshold is marked.
    """
    traces = [_reference_line([0, 1], [0, 1])]
    for run_id, run in runs.items():
        _add_curve(traces, runs, run_id, run.gains.x, run.gains.y)
        rows = run.at_threshold.tp + run.at_threshold.fp + run.at_threshold.tn + run.at_threshold.fn
        if len(run.gains.x):
            _add_threshold_point(
                traces,
                runs,
                run_id,
                (run.at_threshold.tp + run.at_threshold.fp) / max(rows, 1),
                run.at_threshold.recall,
            )
    return make_figure(
        traces,
        axis("Rows taken, best scored first"),
        axis("Clicks among them"),
        "one-gains",
        NO_CURVE_NO_CLICKS,
    )


def lift_overlay_figure(runs: Mapping[str, ArmCurves]) -> go.Figure:
    """Return lift by the share of rows taken: their click rate over that of all rows."""
    traces = [_reference_line([0, 1], [1, 1])]
    for run_id, run in runs.items():
        # The first hundredth of the rows is noise, and would set the scale.
        shown = run.gains.x >= MIN_LIFT_SHARE
        _add_curve(
            traces, runs, run_id, run.gains.x[shown], run.gains.y[shown] / run.gains.x[shown]
        )
        acted = (run.at_threshold.tp + run.at_threshold.fp) / max(
            run.at_threshold.tp + run.at_threshold.fp + run.at_threshold.tn + run.at_threshold.fn, 1
        )
        if acted >= MIN_LIFT_SHARE and len(run.gains.x):
            _add_threshold_point(traces, runs, run_id, acted, run.at_threshold.recall / acted)
    return make_figure(
        traces, axis("Rows taken, best scored first"), axis("Lift"), "one-lift", NO_CURVE_NO_CLICKS
    )


def calibration_overlay_figure(runs: Mapping[str, ArmCurves]) -> go.Figure:
    """Return a figure of click rate by mean score in bins of equally many rows.

    The diagonal is perfect calibration.
    """
    limit = max(
        float(
            max(
                run.calibration_bins.predicted.max(initial=0),
                run.calibration_bins.actual.max(initial=0),
            )
        )
        for run in runs.values()
    )
    traces = [_reference_line([0, limit], [0, limit])]
    for run_id, run in runs.items():
        _add_curve(
            traces,
            runs,
            run_id,
            run.calibration_bins.predicted,
            run.calibration_bins.actual,
            mode="lines+markers",
        )
    return make_figure(
        traces, axis("Mean predicted click probability"), axis("Click rate"), "one-calibration"
    )


def score_overlay_figure(runs: Mapping[str, ArmCurves], threshold: float) -> go.Figure:
    """Return the distribution of the scores of all rows, as steps; a line marks the threshold."""
    traces: list[Trace] = []
    for run_id, run in runs.items():
        edges = np.linspace(0, 1, len(run.score_histogram) + 1)
        _add_curve(
            traces,
            runs,
            run_id,
            edges,
            np.append(run.score_histogram, run.score_histogram[-1]),
            shape="hv",
        )
    x, y = axis("Predicted click probability"), axis("Share of rows", tickformat=".0%")
    return make_figure(
        traces, x, y, "one-scores", shapes=[vertical_line(threshold, color=NEUTRAL, width=2)]
    )


def _add_curve(
    traces: list[Trace],
    runs: Mapping[str, ArmCurves],
    run_id: str,
    x: np.ndarray,
    y: np.ndarray,
    mode: str = "lines",
    shape: str = "linear",
) -> None:
    color, dash = _arm_style(runs, run_id)
    traces.append(
        scatter(
            x=x,
            y=y,
            mode=mode,
            name=runs[run_id].label,
            legendgroup=run_id,
            line={"color": color, "dash": dash, "width": 2, "shape": shape},
            marker={"size": 6},
            hovertemplate="%{x:.3f}, %{y:.3f}<extra>%{fullData.name}</extra>",
        )
    )


def _add_threshold_point(
    traces: list[Trace], runs: Mapping[str, ArmCurves], run_id: str, x: float, y: float
) -> None:
    traces.append(
        scatter(
            x=np.array([x]),
            y=np.array([y]),
            mode="markers",
            name=runs[run_id].label,
            legendgroup=run_id,
            showlegend=False,
            marker={"size": 11, "color": _arm_style(runs, run_id)[0], "line": {"width": 2}},
            hovertemplate="at the threshold: %{x:.3f}, %{y:.3f}<extra>%{fullData.name}</extra>",
        )
    )


def _arm_style(runs: Mapping[str, ArmCurves], run_id: str) -> Style:
    return arm_styles([run.label for run in runs.values()])[runs[run_id].label]


def _reference_line(x: Sequence[float], y: Sequence[float]) -> Trace:
    return scatter(
        x=np.array(x, dtype=float),
        y=np.array(y, dtype=float),
        mode="lines",
        line={"color": NEUTRAL, "dash": "dash", "width": 1},
        showlegend=False,
        hoverinfo="skip",
    )
