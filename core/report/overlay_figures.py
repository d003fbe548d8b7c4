"""Figures that lay a run of several arms over each other at one threshold; an arm has one colour in
all of them."""

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
    """What one run adds: its label, its curves, its confusion counts at the threshold, and how its
    scores spread.

    score_histogram: share of rows with a score in each of len(spread) bins of equal width from 0 to 1.
    """

    label: str
    roc: Curve
    precision_recall: Curve
    gains: Curve
    calibration_bins: CalibrationBins
    at_threshold: ConfusionMatrix
    score_histogram: np.ndarray


def roc_overlay_figure(runs: Mapping[str, ArmCurves]) -> go.Figure:
    """ROC curves by run id, each with its point at the threshold."""
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
    """Precision by recall, each with its point at the threshold; `rate` is the click rate,
    guessing's precision."""
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
    """Share of clicks among the best scored share of rows, each with the share acted on at the
    threshold."""
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
    """Click rate among the best scored share of rows over that of all, each with its point at the
    threshold."""
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
    """Click rate by mean score in 15 bins of equally many rows; on the line a score means what it
    says."""
    most = max(
        float(
            max(
                run.calibration_bins.predicted.max(initial=0),
                run.calibration_bins.actual.max(initial=0),
            )
        )
        for run in runs.values()
    )
    traces = [_reference_line([0, most], [0, most])]
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
    """How the scores of all rows spread, as steps; the line is the threshold."""
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
    return arm_styles([one.label for one in runs.values()])[runs[run_id].label]


def _reference_line(x: Sequence[float], y: Sequence[float]) -> Trace:
    return scatter(
        x=np.array(x, dtype=float),
        y=np.array(y, dtype=float),
        mode="lines",
        line={"color": NEUTRAL, "dash": "dash", "width": 1},
        showlegend=False,
        hoverinfo="skip",
    )
