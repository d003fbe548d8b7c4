"""Figures that lay a run of several arms over each other at one threshold; an arm has one colour in all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from core.evaluation.curves import Bins, Confusion, Curve
from core.report.palette import LEGEND, MARGIN, NEUTRAL, SERIES

_DASHES = ("solid", "dash")
LEAST_SHARE = 0.01
"""Share of rows from which lift is drawn."""


@dataclass(frozen=True)
class Laid:
    """What one run adds: its label, its curves, its confusion counts at the threshold, and how its scores spread.

    spread: share of rows with a score in each of len(spread) bins of equal width from 0 to 1.
    """

    label: str
    roc: Curve
    precision_recall: Curve
    gains: Curve
    bins: Bins
    at: Confusion
    spread: np.ndarray


def style_of(place: int) -> tuple[str, str]:
    """(colour, dash) of the arm in that place."""
    return SERIES[place % len(SERIES)], _DASHES[place // 4 % len(_DASHES)]


def roc_points(runs: Mapping[str, Laid]) -> go.Figure:
    """ROC curves by run id, each with its point at the threshold."""
    figure = go.Figure(_reference([0, 1], [0, 1]))
    for run_id, run in runs.items():
        _curve(figure, runs, run_id, run.roc.x, run.roc.y)
        _point(figure, runs, run_id, run.at.false_positive_rate, run.at.recall)
    return _finish(figure, "False positive rate", "True positive rate (recall)", "one-roc")


def precision_recall_points(runs: Mapping[str, Laid], rate: float) -> go.Figure:
    """Precision by recall, each with its point at the threshold; `rate` is the click rate, guessing's precision."""
    figure = go.Figure(_reference([0, 1], [rate, rate]))
    for run_id, run in runs.items():
        _curve(figure, runs, run_id, run.precision_recall.x, run.precision_recall.y)
        # Where no row is acted on, there is no precision.
        if run.at.tp + run.at.fp:
            _point(figure, runs, run_id, run.at.recall, run.at.precision)
    return _finish(figure, "Recall", "Precision", "one-pr")


def gains_points(runs: Mapping[str, Laid]) -> go.Figure:
    """Share of clicks among the best scored share of rows, each with the share acted on at the threshold."""
    figure = go.Figure(_reference([0, 1], [0, 1]))
    for run_id, run in runs.items():
        _curve(figure, runs, run_id, run.gains.x, run.gains.y)
        rows = run.at.tp + run.at.fp + run.at.tn + run.at.fn
        _point(figure, runs, run_id, (run.at.tp + run.at.fp) / max(rows, 1), run.at.recall)
    return _finish(figure, "Rows taken, best scored first", "Clicks among them", "one-gains")


def lift_points(runs: Mapping[str, Laid]) -> go.Figure:
    """Click rate among the best scored share of rows over that of all, each with its point at the threshold."""
    figure = go.Figure(_reference([0, 1], [1, 1]))
    for run_id, run in runs.items():
        # The first hundredth of the rows is noise, and would set the scale.
        shown = run.gains.x >= LEAST_SHARE
        _curve(figure, runs, run_id, run.gains.x[shown], run.gains.y[shown] / run.gains.x[shown])
        acted = (run.at.tp + run.at.fp) / max(run.at.tp + run.at.fp + run.at.tn + run.at.fn, 1)
        if acted >= LEAST_SHARE:
            _point(figure, runs, run_id, acted, run.at.recall / acted)
    return _finish(figure, "Rows taken, best scored first", "Lift", "one-lift")


def calibration_overlay(runs: Mapping[str, Laid]) -> go.Figure:
    """Click rate by mean score in 15 bins of equally many rows; on the line a score means what it says."""
    most = max(float(max(run.bins.predicted.max(), run.bins.actual.max())) for run in runs.values())
    figure = go.Figure(_reference([0, most], [0, most]))
    for run_id, run in runs.items():
        _curve(figure, runs, run_id, run.bins.predicted, run.bins.actual, mode="lines+markers")
    return _finish(figure, "Mean predicted click probability", "Click rate", "one-calibration")


def score_overlay(runs: Mapping[str, Laid], threshold: float) -> go.Figure:
    """How the scores of all rows spread, as steps; the line is the threshold."""
    figure = go.Figure()
    for run_id, run in runs.items():
        edges = np.linspace(0, 1, len(run.spread) + 1)
        _curve(figure, runs, run_id, edges, np.append(run.spread, run.spread[-1]), shape="hv")
    figure.add_vline(x=threshold, line={"color": NEUTRAL, "width": 2})
    figure.update_yaxes(tickformat=".0%")
    return _finish(figure, "Predicted click probability", "Share of rows", "one-scores")


def _curve(
    figure: go.Figure,
    runs: Mapping[str, Laid],
    run_id: str,
    x: np.ndarray,
    y: np.ndarray,
    mode: str = "lines",
    shape: str = "linear",
) -> None:
    color, dash = style_of(list(runs).index(run_id))
    figure.add_trace(
        go.Scatter(
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


def _point(figure: go.Figure, runs: Mapping[str, Laid], run_id: str, x: float, y: float) -> None:
    figure.add_trace(
        go.Scatter(
            x=np.array([x]),
            y=np.array([y]),
            mode="markers",
            name=runs[run_id].label,
            legendgroup=run_id,
            showlegend=False,
            marker={"size": 11, "color": style_of(list(runs).index(run_id))[0], "line": {"width": 2}},
            hovertemplate="at the threshold: %{x:.3f}, %{y:.3f}<extra>%{fullData.name}</extra>",
        )
    )


def _reference(x: Sequence[float], y: Sequence[float]) -> go.Scatter:
    return go.Scatter(
        x=np.array(x, dtype=float),
        y=np.array(y, dtype=float),
        mode="lines",
        line={"color": NEUTRAL, "dash": "dash", "width": 1},
        showlegend=False,
        hoverinfo="skip",
    )


def _finish(figure: go.Figure, x_title: str, y_title: str, revision: str) -> go.Figure:
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text=y_title)
    return figure.update_layout(margin=MARGIN, legend=LEGEND, uirevision=revision)
