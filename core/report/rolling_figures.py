"""Figures of a rolling evaluation: a line for each arm over the windows, in a band."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from core.evaluation.format_metrics import format_bounds, format_metric
from core.evaluation.metric_registry import METRICS
from core.report.arm_styles import Style, arm_styles
from core.report.figure_base import Trace, axis, make_figure, scatter
from core.report.palette import NEUTRAL, with_alpha
from core.runs.rolling_result import FORGETTING_PARTS, RollingLine, WindowPoint

BAND_OPACITY = 0.12
NO_POINTS = {
    "target_test": "No window is tested yet",
    "source_test": "No run has source test rows and a backbone that scores clicks yet",
    "earlier_windows": "No run has trained on window 2 yet, before which there is no earlier one",
}
"""What a figure without a point says, by part."""


def rolling_figure(
    lines: Sequence[RollingLine], n_windows: int, metric: str = "auc", part: str = "target_test"
) -> go.Figure:
    """Return a metric by window, a line for each arm in a band of its 95 % interval.

    Args:
        lines: of `core.runs.rolling_result.rolling_lines`, of the same metric and part.
        n_windows: how many windows there are, finished or not; the axis has room for all.
        metric: "auc" or "log_loss".
        part: "target_test", by the window that tests; or a part on which forgetting is measured, by
            the window that trained, where values are changes from the backbone.
    """
    is_change = part in FORGETTING_PARTS
    # A model of window k is tested on the next window.
    shift = 0 if is_change else 1
    styles = arm_styles([line.title for line in lines])
    # All bands lie below all lines.
    traces = [band for line in lines if (band := _band(line, styles[line.title], shift))]
    traces += [_line(line, styles[line.title], shift, is_change) for line in lines]
    first = 2 if part == "earlier_windows" else 1 + shift
    ticks = np.arange(first, n_windows + shift)
    x = axis(
        "Trained up to window" if is_change else "Window that tests",
        tickvals=ticks,
        ticktext=[str(tick) for tick in ticks],
        range=[first - 0.3, n_windows + shift - 0.7],
    )
    title = METRICS[metric].axis_title
    y = axis(title, nticks=6)
    if is_change:
        y = axis(f"{title}: change from the backbone", nticks=6, tickformat="+.2~r")
    layout: dict[str, Any] = {"shapes": [_zero_line()]} if is_change and lines else {}
    name = f"rolling-{part}-{metric}"
    return make_figure(traces, x, y, name, NO_POINTS[part], showlegend=True, **layout)


def _band(line: RollingLine, style: Style, shift: int) -> Trace | None:
    points = _with_interval(line)
    if len(points) < 2:
        # A band of one point has no area; `_line` draws its interval.
        return None
    x = np.array([one.window + shift for one in points])
    low, high = (np.array([getattr(one, end) for one in points]) for end in ("low", "high"))
    return scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        fill="toself",
        fillcolor=with_alpha(style[0], BAND_OPACITY),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=line.title,
    )


def _with_interval(line: RollingLine) -> list[WindowPoint]:
    return [one for one in line.points if np.isfinite(one.low) and np.isfinite(one.high)]


def _line(line: RollingLine, style: Style, shift: int, is_change: bool) -> Trace:
    color, dash = style
    texts = [
        f"{format_metric(one.value, signed=is_change)}, 95 %"
        f" {format_bounds(one.low, one.high, signed=is_change)},"
        f" {one.seeds} seed{'s' if one.seeds > 1 else ''}"
        for one in line.points
    ]
    interval: dict[str, Any] = {}
    if len(_with_interval(line)) == 1:
        high, low = (
            np.nan_to_num([getattr(one, end) - one.value for one in line.points])
            for end in ("high", "low")
        )
        sizes = {"array": high, "arrayminus": -low}
        interval["error_y"] = {
            "type": "data",
            "thickness": 1.5,
            "width": 4,
            "color": color,
            **sizes,
        }
    return scatter(
        x=np.array([one.window + shift for one in line.points]),
        y=np.array([one.value for one in line.points]),
        mode="lines+markers",
        name=line.title,
        legendgroup=line.title,
        line={"color": color, "dash": dash, "width": 2},
        marker={"size": 7, "color": color},
        text=texts,
        hovertemplate="window %{x}: %{text}<extra>%{fullData.name}</extra>",
        **interval,
    )


def _zero_line() -> dict[str, Any]:
    return {
        "type": "line",
        "x0": 0,
        "x1": 1,
        "xref": "x domain",
        "y0": 0,
        "y1": 0,
        "line": {"color": NEUTRAL, "width": 1, "dash": "dash"},
        "layer": "below",
    }
