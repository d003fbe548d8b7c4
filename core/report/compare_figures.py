"""Figures of several runs side by side; a run has the same colour in each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from core.evaluation.curves import Curve
from core.report.palette import LEGEND, MARGIN, NEUTRAL, SERIES, SOURCE, TARGET

_DASHES = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")


@dataclass(frozen=True)
class Bar:
    """A value with its interval; low and high NaN where there is none."""

    label: str
    run_id: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DepthPoint:
    """AUC of one run at its freeze depth, with DeLong's interval."""

    depth: int
    name: str
    auc: float
    low: float
    high: float


def run_styles(run_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(colour, dash) by run id: the palette place that the id names, or the next one free among these runs."""
    styles = [(color, dash) for dash in _DASHES for color in SERIES]
    chosen: dict[str, tuple[str, str]] = {}
    for run_id in sorted(run_ids):
        start = int(run_id.removeprefix("r-") or "0", 16) % len(SERIES)
        turned = styles[start:] + styles[:start]
        chosen[run_id] = next((style for style in turned if style not in chosen.values()), turned[0])
    return chosen


def roc_overlay(curves: Mapping[str, tuple[str, Curve]]) -> go.Figure:
    """ROC curves by run id, each with its label."""
    styles = run_styles(list(curves))
    figure = go.Figure(
        go.Scatter(
            x=np.array([0.0, 1.0]),
            y=np.array([0.0, 1.0]),
            mode="lines",
            line={"color": NEUTRAL, "dash": "dash", "width": 1},
            showlegend=False,
            hoverinfo="skip",
        )
    )
    for run_id, (label, curve) in curves.items():
        figure.add_trace(
            go.Scatter(
                x=curve.x,
                y=curve.y,
                mode="lines",
                name=label,
                line={"color": styles[run_id][0], "dash": styles[run_id][1], "width": 2},
                hovertemplate="FPR %{x:.3f}, TPR %{y:.3f}<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_xaxes(title_text="False positive rate", range=[-0.01, 1.01])
    figure.update_yaxes(title_text="True positive rate (recall)", range=[-0.01, 1.02])
    return _finish(figure, "roc-overlay")


def metric_bars(bars: Sequence[Bar], title: str) -> go.Figure:
    """One metric of several runs as dots with intervals; the axis spans the values, for differences are small."""
    styles = run_styles([bar.run_id for bar in bars])
    values = np.array([bar.value for bar in bars])
    low, high = np.array([bar.low for bar in bars]), np.array([bar.high for bar in bars])
    figure = go.Figure(
        go.Scatter(
            x=values,
            y=[bar.label for bar in bars],
            mode="markers",
            marker={"size": 11, "color": [styles[bar.run_id][0] for bar in bars]},
            error_x={
                "type": "data",
                "array": np.nan_to_num(high - values),
                "arrayminus": np.nan_to_num(values - low),
                "color": NEUTRAL,
                "thickness": 1.5,
                "width": 5,
            },
            hovertemplate="%{y}: %{x:.4f}<extra></extra>",
        )
    )
    figure.update_xaxes(title_text=title, nticks=6)
    figure.update_yaxes(autorange="reversed", automargin=True)
    return _finish(figure, f"bars-{title}")


def depth_figure(
    target: Sequence[DepthPoint], source: Sequence[DepthPoint], references: Mapping[str, float]
) -> go.Figure:
    """AUC by freeze depth on target and source test rows, with lines for controls on the target test rows."""
    figure = go.Figure()
    for name, points, color, symbol in (
        ("target", target, TARGET, "circle"),
        ("source", source, SOURCE, "diamond"),
    ):
        if points:
            figure.add_trace(_depth_line(points, f"{name} test rows", color, symbol))
    for place, (name, auc_value) in enumerate(references.items()):
        figure.add_hline(
            y=auc_value,
            line={"color": NEUTRAL, "width": 1.5, "dash": _DASHES[1 + place % 3]},
            annotation_text=f"{name}, target",
            annotation_position="top left" if place % 2 else "bottom right",
        )
    figure.update_xaxes(title_text="Freeze depth (stages frozen from the input)", dtick=1)
    figure.update_yaxes(title_text="AUC, 95 % interval (DeLong)")
    return _finish(figure, "depth")


def backbone_depths_figure(target: Mapping[str, Sequence[DepthPoint]]) -> go.Figure:
    """AUC on target test rows by freeze depth, a line a backbone: which one bears freezing, and how deep."""
    figure = go.Figure()
    for place, (backbone, points) in enumerate(target.items()):
        color, symbol = SERIES[place % len(SERIES)], _SYMBOLS[place % len(_SYMBOLS)]
        figure.add_trace(_depth_line(points, backbone, color, symbol))
    figure.update_xaxes(title_text="Freeze depth (stages frozen from the input)", dtick=1)
    figure.update_yaxes(title_text="AUC on target test rows, 95 % interval")
    return _finish(figure, "backbone-depths")


def _depth_line(points: Sequence[DepthPoint], name: str, color: str, symbol: str) -> go.Scatter:
    ordered = sorted(points, key=lambda point: point.depth)
    auc = np.array([point.auc for point in ordered])
    return go.Scatter(
        x=np.array([point.depth for point in ordered]),
        y=auc,
        error_y={
            "type": "data",
            "array": np.nan_to_num(np.array([point.high for point in ordered]) - auc),
            "arrayminus": np.nan_to_num(auc - np.array([point.low for point in ordered])),
            "thickness": 1.5,
            "width": 5,
        },
        name=name,
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={"size": 9, "symbol": symbol},
        text=[point.name for point in ordered],
        hovertemplate="%{text}: freeze depth %{x}, AUC %{y:.4f}<extra>%{fullData.name}</extra>",
    )


def _finish(figure: go.Figure, revision: str) -> go.Figure:
    return figure.update_layout(margin=MARGIN, legend=LEGEND, uirevision=revision)
