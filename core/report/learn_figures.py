"""Figures for explaining: what a fine-tuning gained and lost, and ROC curves of its arms."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from core.evaluation.curves import Curve
from core.evaluation.format_metrics import metric_value
from core.report.arm_styles import arm_styles
from core.report.figure_base import HIDDEN_TICKS, LEGEND, MARGIN, text_annotation
from core.report.palette import FROZEN, NEUTRAL, TRAINED
from core.report.run_figures import NO_CURVE_ONE_CLASS

_PARTS = {"source_test": "source test rows", "target_test": "target test rows"}


def before_after_figure(before: Mapping[str, Any], after: Mapping[str, Any]) -> go.Figure:
    """Return AUC before and after fine-tuning, on target and source test rows, with intervals.

    Args:
        before: metrics of the backbone by part, "target_test" and "source_test", each with auc,
            auc_low and auc_high; any may be missing.
        after: the same of the run.
    """
    parts = [part for part in _PARTS if part in before and part in after]
    figure = go.Figure()
    known = False
    # One above the other, so that neither interval covers the other.
    for shift, name, metrics, color, symbol in (
        (0.12, "before", before, FROZEN, "diamond"),
        (-0.12, "after", after, TRAINED, "circle"),
    ):
        auc, low, high = (
            np.array([metric_value(metrics[part], key) for part in parts])
            for key in ("auc", "auc_low", "auc_high")
        )
        known = known or bool(np.isfinite(auc).any())
        figure.add_trace(
            go.Scatter(
                x=auc,
                y=np.arange(len(parts)) + shift,
                mode="markers",
                name=name,
                marker={"color": color, "symbol": symbol, "size": 12},
                error_x={
                    "type": "data",
                    "array": np.nan_to_num(high - auc),
                    "arrayminus": np.nan_to_num(auc - low),
                    "thickness": 1.5,
                    "width": 5,
                },
                text=[_PARTS[part] for part in parts],
                hovertemplate="%{text}: AUC %{x:.4f}<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_xaxes(
        title_text="AUC, 95 % interval (DeLong)", nticks=6, **({} if known else HIDDEN_TICKS)
    )
    if not known:
        figure.add_annotation(text_annotation("No AUC: the rows of each part are of one class"))
    names = {"tickvals": np.arange(len(parts)), "ticktext": [_PARTS[part] for part in parts]}
    figure.update_yaxes(**names, range=[-0.5, len(parts) - 0.5], automargin=True, zeroline=False)
    return figure.update_layout(margin=MARGIN, legend=LEGEND, uirevision="forgotten")


def roc_comparison_figure(curves: Sequence[tuple[str, Curve]]) -> go.Figure:
    """Return ROC curves with their labels, over the diagonal of a random classifier."""
    guess = np.array([0.0, 1.0])
    line = {"color": NEUTRAL, "dash": "dot", "width": 1}
    figure = go.Figure(
        go.Scatter(x=guess, y=guess, mode="lines", line=line, showlegend=False, hoverinfo="skip")
    )
    styles = arm_styles([label for label, _ in curves])
    for label, curve in curves:
        color, dash = styles[label]
        figure.add_trace(
            go.Scatter(
                x=curve.x,
                y=curve.y,
                mode="lines",
                name=label,
                line={"color": color, "dash": dash, "width": 2},
                hovertemplate=(
                    "false positive rate %{x:.3f}, recall %{y:.3f}<extra>%{fullData.name}</extra>"
                ),
            )
        )
    if not any(len(curve.x) for _, curve in curves):
        figure.add_annotation(text_annotation(NO_CURVE_ONE_CLASS))
    figure.update_xaxes(title_text="False positive rate", range=[-0.01, 1.01])
    figure.update_yaxes(title_text="True positive rate (recall)", range=[-0.01, 1.02])
    return figure.update_layout(margin=MARGIN, legend=LEGEND, uirevision="story-roc")
