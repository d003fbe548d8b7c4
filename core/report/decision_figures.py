"""Figures for decisions: interpolation between backbone and run, cost by threshold, slices."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from core.evaluation.format_metrics import is_missing
from core.evaluation.metric_registry import HEADLINE_METRIC, METRICS
from core.evaluation.slices import SliceMetrics
from core.report.arm_styles import arm_styles
from core.report.figure_base import Trace, axis, make_figure, scatter, vertical_line
from core.report.palette import NEUTRAL, SOURCE, TARGET, TRAINED

NO_TEST_AUC = "No AUC: all test rows are of one class"
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star", "x")


def interpolation_figure(
    alphas: Sequence[float],
    curves: Mapping[str, Sequence[float | None]],
    chosen_alpha: float,
    shown_alpha: float,
    metric: str = HEADLINE_METRIC,
) -> go.Figure:
    """Return a figure of a metric along the path from the backbone's weights to the run's.

    The metric is on target and source test rows (WiSE-FT).

    Args:
        alphas: shares of the fine-tuned weights, 0 to 1.
        curves: by part, one value per alpha; None where it is undefined.
        chosen_alpha: the one that validation rows chose, marked by a star.
        shown_alpha: where the slider stands, marked by a line.
        metric: key of METRICS.
    """
    heading = METRICS[metric].heading
    traces: list[Trace] = []
    for part, name, color in (("target_test", "target", TARGET), ("source_test", "source", SOURCE)):
        if part not in curves:
            continue
        values = np.array(
            [np.nan if is_missing(value) else value for value in curves[part]], dtype=float
        )
        traces.append(
            scatter(
                x=np.array(alphas),
                y=values,
                name=f"{name} test rows",
                mode="lines+markers",
                line={"color": color, "width": 2},
                marker={
                    "size": [13 if alpha == chosen_alpha else 7 for alpha in alphas],
                    "symbol": ["star" if alpha == chosen_alpha else "circle" for alpha in alphas],
                },
                hovertemplate=(
                    f"alpha %{{x:.1f}}: {heading} %{{y:.4f}}<extra>%{{fullData.name}}</extra>"
                ),
            )
        )
    x = axis("alpha: 0 the backbone, 1 fine-tuned", range=[-0.04, 1.04], dtick=0.2)
    slider = vertical_line(shown_alpha, color=NEUTRAL, dash="dot", width=1.5)
    return make_figure(
        traces, x, axis(METRICS[metric].axis_title), "mixing", NO_TEST_AUC, shapes=[slider]
    )


def cost_curve_figure(
    thresholds: np.ndarray, costs: Mapping[str, tuple[np.ndarray, float]]
) -> go.Figure:
    """Return the mean cost per row by threshold, with the threshold that validation rows chose.

    Args:
        thresholds: shape ``(n_thresholds,)``.
        costs: by arm title, (costs of shape ``(n_thresholds,)``, the chosen threshold).
    """
    traces: list[Trace] = []
    styles = arm_styles([*costs])
    for index, (name, (values, chosen)) in enumerate(costs.items()):
        color, dash = styles[name] if len(costs) > 1 else (TRAINED, "solid")
        traces.append(
            scatter(
                x=thresholds,
                y=values,
                name=name,
                legendgroup=name,
                mode="lines",
                line={"color": color, "dash": dash, "width": 2},
                hovertemplate="threshold %{x:.3f}: %{y:.4f} per row<extra></extra>",
            )
        )
        at = min(chosen, 1.0)
        traces.append(
            scatter(
                x=np.array([at]),
                y=np.interp([at], thresholds, values),
                name="chosen on validation rows",
                legendgroup=name,
                showlegend=index == 0,
                mode="markers",
                marker={"size": 12, "symbol": "diamond", "color": color, "line": {"width": 2}},
                hovertemplate="%{x:.3f}, chosen on validation: %{y:.4f} per row<extra></extra>",
            )
        )
    return make_figure(
        traces,
        axis("Threshold", range=[-0.02, 1.02]),
        axis("Cost per row", rangemode="tozero"),
        "cost",
    )


def slice_figure(
    slices_by_name: Mapping[str, Sequence[SliceMetrics]], colors: Sequence[str]
) -> go.Figure:
    """Return AUC with its 95 % interval for every slice, one row per slice.

    Args:
        slices_by_name: metrics of the same slices, by arm title or "before" and "after".
        colors: one per name.
    """
    traces: list[Trace] = []
    names = [one.name for one in next(iter(slices_by_name.values()))]
    for index, (name, slices) in enumerate(slices_by_name.items()):
        means = [one.auc for one in slices]
        auc = np.array([one.value for one in means])
        # Side by side, so that the intervals of one slice do not cover one another.
        shift = 0.7 * ((index + 0.5) / len(slices_by_name) - 0.5)
        traces.append(
            scatter(
                x=auc,
                y=np.arange(len(slices)) + shift,
                name=name,
                mode="markers",
                marker={
                    "size": 8,
                    "color": colors[index % len(colors)],
                    "symbol": _SYMBOLS[index % len(_SYMBOLS)],
                },
                error_x={
                    "type": "data",
                    "array": np.nan_to_num(np.array([one.high for one in means]) - auc),
                    "arrayminus": np.nan_to_num(auc - np.array([one.low for one in means])),
                    "thickness": 1.5,
                    "width": 3,
                },
                text=[one.name for one in slices],
                hovertemplate="%{text}: AUC %{x:.4f}<extra>%{fullData.name}</extra>",
            )
        )
    rows = {
        "tickvals": np.arange(len(names)),
        "ticktext": names,
        "range": [len(names) - 0.5, -0.5],
        "automargin": True,
        "zeroline": False,
    }
    return make_figure(
        traces,
        axis("AUC, 95 % interval", nticks=6),
        rows,
        "slices",
        "No slice has rows of both classes",
    )
