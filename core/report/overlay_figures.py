"""Figures that lay a run of several arms over each other at one threshold; an arm has one colour in
all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from core.evaluation.curves import Bins, Confusion, Curve
from core.report.arm_styles import Style, arm_styles
from core.report.frame import Trace, axis, framed, scatter, upright
from core.report.palette import NEUTRAL
from core.report.run_figures import NO_CLICKS, ONE_CLASS

LEAST_SHARE = 0.01
"""Share of rows from which lift is drawn."""


@dataclass(frozen=True)
class Laid:
    """What one run adds: its label, its curves, its confusion counts at the threshold, and how its
    scores spread.

    spread: share of rows with a score in each of len(spread) bins of equal width from 0 to 1.
    """

    label: str
    roc: Curve
    precision_recall: Curve
    gains: Curve
    bins: Bins
    at: Confusion
    spread: np.ndarray


def roc_points(runs: Mapping[str, Laid]) -> go.Figure:
    """ROC curves by run id, each with its point at the threshold."""
    traces = [_reference([0, 1], [0, 1])]
    for run_id, run in runs.items():
        _curve(traces, runs, run_id, run.roc.x, run.roc.y)
        # Rows of one class have no curve, and so no point on it.
        if len(run.roc.x):
            _point(traces, runs, run_id, run.at.false_positive_rate, run.at.recall)
    return framed(
        traces,
        axis("False positive rate"),
        axis("True positive rate (recall)"),
        "one-roc",
        ONE_CLASS,
    )


def precision_recall_points(runs: Mapping[str, Laid], rate: float) -> go.Figure:
    """Precision by recall, each with its point at the threshold; `rate` is the click rate,
    guessing's precision."""
    traces = [_reference([0, 1], [rate, rate])]
    for run_id, run in runs.items():
        _curve(traces, runs, run_id, run.precision_recall.x, run.precision_recall.y)
        # Where no row is acted on, there is no precision; without clicks there is no curve.
        if run.at.tp + run.at.fp and len(run.precision_recall.x):
            _point(traces, runs, run_id, run.at.recall, run.at.precision)
    return framed(traces, axis("Recall"), axis("Precision"), "one-pr", NO_CLICKS)


def gains_points(runs: Mapping[str, Laid]) -> go.Figure:
    """Share of clicks among the best scored share of rows, each with the share acted on at the
    threshold."""
    traces = [_reference([0, 1], [0, 1])]
    for run_id, run in runs.items():
        _curve(traces, runs, run_id, run.gains.x, run.gains.y)
        rows = run.at.tp + run.at.fp + run.at.tn + run.at.fn
        if len(run.gains.x):
            _point(traces, runs, run_id, (run.at.tp + run.at.fp) / max(rows, 1), run.at.recall)
    return framed(
        traces,
        axis("Rows taken, best scored first"),
        axis("Clicks among them"),
        "one-gains",
        NO_CLICKS,
    )


def lift_points(runs: Mapping[str, Laid]) -> go.Figure:
    """Click rate among the best scored share of rows over that of all, each with its point at the
    threshold."""
    traces = [_reference([0, 1], [1, 1])]
    for run_id, run in runs.items():
        # The first hundredth of the rows is noise, and would set the scale.
        shown = run.gains.x >= LEAST_SHARE
        _curve(traces, runs, run_id, run.gains.x[shown], run.gains.y[shown] / run.gains.x[shown])
        acted = (run.at.tp + run.at.fp) / max(run.at.tp + run.at.fp + run.at.tn + run.at.fn, 1)
        if acted >= LEAST_SHARE and len(run.gains.x):
            _point(traces, runs, run_id, acted, run.at.recall / acted)
    return framed(
        traces, axis("Rows taken, best scored first"), axis("Lift"), "one-lift", NO_CLICKS
    )


def calibration_overlay(runs: Mapping[str, Laid]) -> go.Figure:
    """Click rate by mean score in 15 bins of equally many rows; on the line a score means what it
    says."""
    most = max(
        float(max(run.bins.predicted.max(initial=0), run.bins.actual.max(initial=0)))
        for run in runs.values()
    )
    traces = [_reference([0, most], [0, most])]
    for run_id, run in runs.items():
        _curve(traces, runs, run_id, run.bins.predicted, run.bins.actual, mode="lines+markers")
    return framed(
        traces, axis("Mean predicted click probability"), axis("Click rate"), "one-calibration"
    )


def score_overlay(runs: Mapping[str, Laid], threshold: float) -> go.Figure:
    """How the scores of all rows spread, as steps; the line is the threshold."""
    traces: list[Trace] = []
    for run_id, run in runs.items():
        edges = np.linspace(0, 1, len(run.spread) + 1)
        _curve(traces, runs, run_id, edges, np.append(run.spread, run.spread[-1]), shape="hv")
    x, y = axis("Predicted click probability"), axis("Share of rows", tickformat=".0%")
    return framed(traces, x, y, "one-scores", shapes=[upright(threshold, color=NEUTRAL, width=2)])


def _curve(
    traces: list[Trace],
    runs: Mapping[str, Laid],
    run_id: str,
    x: np.ndarray,
    y: np.ndarray,
    mode: str = "lines",
    shape: str = "linear",
) -> None:
    color, dash = _style(runs, run_id)
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


def _point(traces: list[Trace], runs: Mapping[str, Laid], run_id: str, x: float, y: float) -> None:
    traces.append(
        scatter(
            x=np.array([x]),
            y=np.array([y]),
            mode="markers",
            name=runs[run_id].label,
            legendgroup=run_id,
            showlegend=False,
            marker={"size": 11, "color": _style(runs, run_id)[0], "line": {"width": 2}},
            hovertemplate="at the threshold: %{x:.3f}, %{y:.3f}<extra>%{fullData.name}</extra>",
        )
    )


def _style(runs: Mapping[str, Laid], run_id: str) -> Style:
    return arm_styles([one.label for one in runs.values()])[runs[run_id].label]


def _reference(x: Sequence[float], y: Sequence[float]) -> Trace:
    return scatter(
        x=np.array(x, dtype=float),
        y=np.array(y, dtype=float),
        mode="lines",
        line={"color": NEUTRAL, "dash": "dash", "width": 1},
        showlegend=False,
        hoverinfo="skip",
    )
