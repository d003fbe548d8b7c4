"""How figures are made: traces and layout as plain values that plotly checks once, all together.

Every `add_trace` and `update_…` on a figure checks and copies what is there already: made at once,
a figure takes a fifth of the time, and a threshold that moves makes six.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

MARGIN = {"l": 8, "r": 12, "t": 36, "b": 48}
LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
"""Space around a plot in pixels, and its legend in a row on top: one frame for all of them."""
HIDDEN_TICKS = {"showticklabels": False, "showgrid": False, "zeroline": False}
"""Of an axis on which there is nothing."""

Trace = dict[str, Any]


def scatter(**fields: Any) -> Trace:
    """A trace of points or lines."""
    return {"type": "scatter", **fields}


def bar(**fields: Any) -> Trace:
    """A trace of bars."""
    return {"type": "bar", **fields}


def axis(title: str, **fields: Any) -> dict[str, Any]:
    """An axis with its title."""
    return {"title": {"text": title}, **fields}


def vertical_line(x: float, **line: Any) -> dict[str, Any]:
    """A line over the full height at `x`: one of a layout's shapes."""
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
    """The figure of these traces between its axes. revision: a zoom is kept from one figure to the
    next of the same.

    nothing: what the figure says where no trace has a point, since the numbers do not exist; plotly
    would show axes with made-up numbers. Traces that cannot be hovered over, such as the diagonal
    of guessing, do not count.
    """
    if empty_text and not any(_has_points(trace) for trace in traces):
        x, y = ({**one, **({} if "ticktext" in one else HIDDEN_TICKS)} for one in (x, y))
        layout["annotations"] = [text_annotation(empty_text)]
    # Without a template of its own plotly would put its default into every figure; the page's theme
    # takes its place.
    frame = {"template": {}, "margin": MARGIN, "legend": LEGEND, "uirevision": uirevision}
    return go.Figure(list(traces), {"xaxis": x, "yaxis": y, **frame, **layout})


def text_annotation(text: str) -> dict[str, Any]:
    """A text in the plot: one of a layout's annotations."""
    # Above the middle, where the diagonal of guessing does not cross it.
    where = {"x": 0.5, "y": 0.75, "xref": "paper", "yref": "paper"}
    return {**where, "text": text, "showarrow": False, "font": {"size": 14}}


def _has_points(trace: Trace) -> bool:
    if trace.get("hoverinfo") == "skip":
        return False
    x, y = (np.asarray(trace[name], dtype=float) for name in ("x", "y"))
    return bool(np.any(np.isfinite(x) & np.isfinite(y)))
