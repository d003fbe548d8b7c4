"""How figures are built: traces and layout as plain values that plotly validates once.

Each ``add_trace`` or ``update_…`` on a plotly figure validates and copies everything that is
already there. A figure that is built from plain values in one call takes a fifth of the time, which
counts where a slider redraws six figures.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

MARGIN = {"l": 8, "r": 12, "t": 36, "b": 48}
LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "maxheight": 0.8}
"""Pixels around every plot, and its legend in one row above it."""
NAME_WIDTH = 40
"""Characters of a line of a legend; a legend on a phone clips what is longer."""
HIDDEN_TICKS = {"showticklabels": False, "showgrid": False, "zeroline": False}
"""For an axis of a plot that has no points."""

Trace = dict[str, Any]
"""A trace as plotly's JSON has it."""


def scatter(**fields: Any) -> Trace:
    """Return a trace of points or lines."""
    return {"type": "scatter", **fields}


def bar(**fields: Any) -> Trace:
    """Return a trace of bars."""
    return {"type": "bar", **fields}


def axis(title: str, **fields: Any) -> dict[str, Any]:
    """Return an axis with its title."""
    return {"title": {"text": title}, **fields}


def wrap_text(text: str, width: int) -> str:
    """Return the text in lines of at most `width` characters; longer words stay whole.

    >>> wrap_text("gradient boosting, source and target rows", 28)
    'gradient boosting, source<br>and target rows'
    """
    return "<br>".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def vertical_line(x: float, **line: Any) -> dict[str, Any]:
    """Return a line over the full height at `x`, for a layout's ``shapes``."""
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "xref": "x",
        "y0": 0,
        "y1": 1,
        "yref": "y domain",
        "line": line,
    }


def make_figure(
    traces: Sequence[Trace],
    x: dict[str, Any],
    y: dict[str, Any],
    uirevision: str,
    empty_text: str = "",
    **layout: Any,
) -> go.Figure:
    """Return the figure of these traces.

    Args:
        traces: in drawing order. Those that cannot be hovered over, such as the diagonal of a
            random classifier, are decoration and do not count as points.
        x: the x axis, see `axis`.
        y: the y axis.
        uirevision: figures with the same one keep their zoom when one replaces the other.
        empty_text: shown in the plot if no trace has a finite point; without it plotly would draw
            axes with invented numbers.
        **layout: more fields of plotly's layout.
    """
    if empty_text and not any(_has_points(trace) for trace in traces):
        x, y = ({**one, **({} if "ticktext" in one else HIDDEN_TICKS)} for one in (x, y))
        layout["annotations"] = [text_annotation(empty_text)]
    # Without a template of its own plotly would put its default into every figure; the page's theme
    # takes its place.
    traces = [
        {**trace, "name": wrap_text(trace["name"], NAME_WIDTH)} if trace.get("name") else trace
        for trace in traces
    ]
    frame = {"template": {}, "margin": MARGIN, "legend": LEGEND, "uirevision": uirevision}
    return go.Figure(list(traces), {"xaxis": x, "yaxis": y, **frame, **layout})


def text_annotation(text: str) -> dict[str, Any]:
    """Return a text in the middle of the plot, for a layout's ``annotations``."""
    # Above the middle, where the diagonal of guessing does not cross it.
    where = {"x": 0.5, "y": 0.75, "xref": "paper", "yref": "paper"}
    return {**where, "text": text, "showarrow": False, "font": {"size": 14}}


def _has_points(trace: Trace) -> bool:
    if trace.get("hoverinfo") == "skip":
        return False
    x, y = (np.asarray(trace[name], dtype=float) for name in ("x", "y"))
    return bool(np.any(np.isfinite(x) & np.isfinite(y)))
