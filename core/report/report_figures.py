"""Figures of the HTML report: those of page Sweep, for each setting, then ROC and calibration."""

import dataclasses
import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from core.evaluation.curves import calibration_curve, roc_curve, threshold_table
from core.evaluation.metric_registry import metrics_shown_in
from core.jobs.predictions import read_predictions
from core.jobs.store import RunStore
from core.report.arm_styles import Style, arm_styles
from core.report.arm_traces import is_freeze_depth
from core.report.figure_base import LEGEND, MARGIN, text_annotation
from core.report.learning_bands import learning_band_figure, mean_band
from core.report.palette import NEUTRAL
from core.report.run_figures import NO_CURVE_ONE_CLASS
from core.report.sweep_figures import (
    arms_figure,
    auc_by_cost_figure,
    depth_figure,
    forgetting_figure,
)
from core.runs.sweep_result import ArmResult
from core.workspace import Workspace

ARMS_TITLE = "AUC of every arm"
TitledFigure = tuple[str, go.Figure]
"""(title, figure)."""


def setting_figures(results: Sequence[ArmResult]) -> list[TitledFigure]:
    """Return the figures of one setting: intervals, freeze depth, forgetting, cost."""
    results = [with_escaped_title(result) for result in results]
    figures: list[TitledFigure] = [
        (ARMS_TITLE, arms_figure([result.title for result in results], results))
    ]
    if len({result.depth for result in results if is_freeze_depth(result)}) > 1:
        figures += [
            (f"{metric.heading} by freeze depth", depth_figure(results, key))
            for key, metric in metrics_shown_in("figures").items()
        ]
    forgetting = forgetting_figure(results)
    if len(forgetting.data):
        figures.append(("Adaptation against forgetting", forgetting))
    if sum(result.trained_parameters > 0 for result in results) > 1:
        figures += [("AUC by trained parameters", auc_by_cost_figure(results, "parameters"))]
        figures += [("AUC by seconds per run", auc_by_cost_figure(results, "seconds"))]
    return figures


def learning_curves_figure(workspace: Workspace, results: Sequence[ArmResult]) -> go.Figure:
    """Return a figure of validation loss by optimiser step, one curve per arm.

    A curve is the mean over the arm's seeds ± one standard deviation.
    """
    store = RunStore(workspace)
    bands = {}
    for result in results:
        losses = [
            store.points(run.id, "validation_loss").get("validation_loss") for run in result.runs
        ]
        # A single point, as zero-shot leaves at most, is no curve.
        if curves := [curve for curve in losses if curve is not None and len(curve[0]) > 1]:
            bands[escape_text(_full_title(result))] = mean_band(curves)
    return learning_band_figure(bands, "Log loss (nats)")


def roc_of_arms_figure(workspace: Workspace, results: Sequence[ArmResult]) -> go.Figure:
    """Return the ROC curve of each arm's first seed on target test rows."""
    figure = go.Figure()
    drawn = False
    for result, style in _with_styles(results):
        curve = roc_curve(threshold_table(*_first_seed(workspace, result)))
        _add_curve(figure, curve.x, curve.y, result, style, "lines", "FPR %{x:.3f}, TPR %{y:.3f}")
        drawn = drawn or len(curve.x) > 0
    if not drawn:
        figure.add_annotation(text_annotation(NO_CURVE_ONE_CLASS))
    figure.update_xaxes(range=[-0.01, 1.01])
    figure.update_yaxes(range=[-0.01, 1.02])
    return _add_diagonal_and_axes(figure, 1.0, "False positive rate", "True positive rate (recall)")


def calibration_of_arms_figure(workspace: Workspace, results: Sequence[ArmResult]) -> go.Figure:
    """Return the calibration of each arm's first seed on target test rows."""
    figure = go.Figure()
    limit = 0.0
    for result, style in _with_styles(results):
        bins = calibration_curve(*_first_seed(workspace, result))
        limit = max(limit, float(bins.predicted.max(initial=0)), float(bins.actual.max(initial=0)))
        hover = "mean score %{x:.3f}, click rate %{y:.3f}"
        _add_curve(figure, bins.predicted, bins.actual, result, style, "lines+markers", hover)
    return _add_diagonal_and_axes(figure, limit, "Mean predicted click probability", "Click rate")


def escape_text(text: str) -> str:
    """Return text that plotly shows letter by letter; it would interpret some HTML."""
    return html.escape(text, quote=False)


def with_escaped_title(result: ArmResult) -> ArmResult:
    """Return the arm with a title that plotly shows letter by letter."""
    return dataclasses.replace(result, title=escape_text(result.title))


def _full_title(result: ArmResult) -> str:
    return f"{result.title} ({result.setting})" if result.setting else result.title


def _with_styles(results: Sequence[ArmResult]) -> list[tuple[ArmResult, Style]]:
    styles = arm_styles([_full_title(result) for result in results])
    return [(result, styles[_full_title(result)]) for result in results]


def _first_seed(workspace: Workspace, result: ArmResult) -> tuple[np.ndarray, np.ndarray]:
    arrays = read_predictions(
        workspace, result.runs[0].id, ["target_test_label", "target_test_score"]
    )
    return arrays["target_test_label"], arrays["target_test_score"]


def _add_curve(
    figure: go.Figure,
    x: np.ndarray,
    y: np.ndarray,
    result: ArmResult,
    style: Style,
    mode: str,
    hover: str,
) -> None:
    line = {"color": style[0], "dash": style[1], "width": 2}
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            mode=mode,
            name=escape_text(_full_title(result)),
            line=line,
            hovertemplate=hover + "<extra>%{fullData.name}</extra>",
        )
    )


def _add_diagonal_and_axes(
    figure: go.Figure, limit: float, x_title: str, y_title: str
) -> go.Figure:
    figure.add_shape(
        type="line",
        x0=0,
        y0=0,
        x1=limit,
        y1=limit,
        line={"color": NEUTRAL, "dash": "dash", "width": 1},
    )
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text=y_title)
    return figure.update_layout(margin=MARGIN, legend=LEGEND)
