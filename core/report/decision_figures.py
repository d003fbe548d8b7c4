"""Figures for decisions: the path between backbone and fine-tuned weights, cost by threshold, metrics by slice."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from core.evaluation.slices import SliceMetrics
from core.report.palette import LEGEND, MARGIN, NEUTRAL, SOURCE, TARGET, TRAINED


def mixing_figure(
    alphas: Sequence[float], auc: Mapping[str, Sequence[float | None]], chosen: float, shown: float
) -> go.Figure:
    """AUC of target and source test rows by alpha; a star where validation rows chose, a line where the slider is."""
    figure = go.Figure()
    for part, name, color in (("target_test", "target", TARGET), ("source_test", "source", SOURCE)):
        if part not in auc:
            continue
        values = np.array([np.nan if value is None else value for value in auc[part]])
        figure.add_trace(
            go.Scatter(
                x=np.array(alphas),
                y=values,
                name=f"{name} test rows",
                mode="lines+markers",
                line={"color": color, "width": 2},
                marker={
                    "size": [13 if alpha == chosen else 7 for alpha in alphas],
                    "symbol": ["star" if alpha == chosen else "circle" for alpha in alphas],
                },
                hovertemplate="alpha %{x:.1f}: AUC %{y:.4f}<extra>%{fullData.name}</extra>",
            )
        )
    figure.add_vline(x=shown, line={"color": NEUTRAL, "dash": "dot", "width": 1.5})
    figure.update_xaxes(title_text="alpha: 0 the backbone, 1 fine-tuned", range=[-0.04, 1.04], dtick=0.2)
    figure.update_yaxes(title_text="AUC")
    return _finish(figure, "mixing")


def cost_figure(thresholds: np.ndarray, costs: np.ndarray, chosen: float) -> go.Figure:
    """Cost a row by threshold, with a line at the threshold chosen on validation rows."""
    figure = go.Figure(
        go.Scatter(
            x=thresholds,
            y=costs,
            mode="lines",
            line={"color": TRAINED, "width": 2},
            hovertemplate="threshold %{x:.3f}: %{y:.4f} a row<extra></extra>",
        )
    )
    figure.add_vline(
        x=min(chosen, 1.0),
        line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
        annotation_text="chosen on validation rows",
    )
    figure.update_xaxes(title_text="Threshold", range=[-0.02, 1.02])
    figure.update_yaxes(title_text="Cost a row", rangemode="tozero")
    return _finish(figure, "cost")


def slice_figure(by_name: Mapping[str, Sequence[SliceMetrics]], colors: Mapping[str, str]) -> go.Figure:
    """AUC with DeLong's interval of every slice, a row each, for one or two scorings by name."""
    figure = go.Figure()
    for place, (name, slices) in enumerate(by_name.items()):
        auc = np.array([one.auc for one in slices])
        figure.add_trace(
            go.Scatter(
                x=auc,
                y=[one.name for one in slices],
                name=name,
                mode="markers",
                marker={"size": 9, "color": colors[name], "symbol": ("circle", "diamond")[place % 2]},
                error_x={
                    "type": "data",
                    "array": np.nan_to_num(np.array([one.auc_high for one in slices]) - auc),
                    "arrayminus": np.nan_to_num(auc - np.array([one.auc_low for one in slices])),
                    "thickness": 1.5,
                    "width": 4,
                },
                hovertemplate="%{y}: AUC %{x:.4f}<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_xaxes(title_text="AUC, 95 % interval (DeLong)")
    # Values such as 05db9164 or 1e5 are names, not numbers.
    figure.update_yaxes(type="category", autorange="reversed", automargin=True)
    return _finish(figure, "slices")


def _finish(figure: go.Figure, revision: str) -> go.Figure:
    return figure.update_layout(margin=MARGIN, legend=LEGEND, uirevision=revision)
