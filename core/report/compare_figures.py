"""Figures of selected arms: a metric by freeze depth, and parallel coordinates.

The first shows several settings. A sweep of one setting needs neither figure; those it has are in
`core.report.sweep_figures`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from core.evaluation.metric_registry import HEADLINE_METRIC, METRICS
from core.report.arm_traces import add_intervals, defined_spreads, empty_text, is_freeze_depth
from core.report.figure_base import Trace, axis, make_figure
from core.report.palette import FROZEN, SERIES, TRAINED
from core.runs.sweep_result import ArmResult

_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
_DODGE = 0.06
"""Horizontal distance between two settings at the same freeze depth."""
MAX_LABEL_LENGTH = 22
"""Letters of a value's name on an axis of the parallel coordinates; more would reach the next
axis."""


def depth_by_setting_figure(
    results: Sequence[ArmResult], metric: str = HEADLINE_METRIC
) -> go.Figure:
    """Return a metric on target test rows by freeze depth, one line per setting.

    Args:
        results: arms of several settings (backbone, target rows, learning rate).
        metric: a key of METRICS, see `core.evaluation.metric_registry`.
    """
    traces: list[Trace] = []
    depth_arms = sorted((arm for arm in results if is_freeze_depth(arm)), key=lambda arm: arm.depth)
    # In the order of the arms and not of the depths, so that lines keep their colours.
    settings = [
        setting
        for setting in dict.fromkeys(arm.setting for arm in results)
        if any(setting == arm.setting for arm in depth_arms)
    ]
    for index, setting in enumerate(settings):
        arms = [
            arm
            for arm in depth_arms
            if arm.setting == setting and "target_test" in defined_spreads(arm, metric)
        ]
        spreads = [defined_spreads(arm, metric)["target_test"] for arm in arms]
        # Side by side, so that the intervals of one depth do not cover one another.
        depths = np.array([arm.depth + _DODGE * (index - (len(settings) - 1) / 2) for arm in arms])
        color, symbol = SERIES[index % len(SERIES)], _SYMBOLS[index % len(_SYMBOLS)]
        add_intervals(
            traces,
            spreads,
            depths,
            arms,
            setting or "target",
            color,
            symbol,
            value_axis="y",
            dash="solid",
        )
    x = axis("Freeze depth (stages frozen from the input)", dtick=1)
    y = axis(f"{METRICS[metric].axis_title} on target test rows", nticks=6)
    empty = empty_text(results, metric)
    return make_figure(traces, x, y, f"setting-depths-{metric}", empty, showlegend=True)


@dataclass(frozen=True)
class ParallelAxis:
    """One axis of the parallel coordinates.

    Attributes:
        title: of the axis.
        values: one per run; for a setting that is no number, the index into `tick_labels`.
        tick_labels: names of the values of such a setting; empty for numbers.
    """

    title: str
    values: Sequence[float]
    tick_labels: Sequence[str] = ()


def parallel_coordinates_figure(
    axes: Sequence[ParallelAxis], color_by: Sequence[float]
) -> go.Figure:
    """Return a parallel-coordinates figure: one line per run through its settings and results.

    Dragging along an axis filters runs.

    Args:
        axes: in order, from left to right.
        color_by: one number per run, which colours its line.
    """
    figure = go.Figure(
        go.Parcoords(
            dimensions=[_dimension(axis) for axis in axes],
            line={
                "color": np.array(color_by, dtype=float),
                "colorscale": [[0, FROZEN], [1, TRAINED]],
            },
            labelfont={"size": 13},
            tickfont={"size": 12},
        )
    )
    names = max((len(_shorten(text)) for text in axes[0].tick_labels), default=6)
    margin = {"l": 24 + 7 * names, "r": 64, "t": 56, "b": 24}
    return figure.update_layout(margin=margin, uirevision="parallel")


def _dimension(axis: ParallelAxis) -> dict[str, object]:
    """Return plotly's dimension: a setting of few values has a tick at each of them."""
    values = np.array(axis.values, dtype=float)
    dimension: dict[str, object] = {"label": axis.title, "values": values}
    distinct = np.unique(values[~np.isnan(values)])
    if axis.tick_labels:
        indices = list(range(len(axis.tick_labels)))
        return dimension | {
            "tickvals": indices,
            "ticktext": [_shorten(text) for text in axis.tick_labels],
        }
    if len(distinct) <= 6:
        return dimension | {
            "tickvals": distinct,
            "ticktext": [f"{value:,.6g}" for value in distinct],
        }
    return dimension


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_LABEL_LENGTH else text[: MAX_LABEL_LENGTH - 1] + "…"
