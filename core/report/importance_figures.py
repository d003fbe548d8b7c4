"""Figures of why a model scores as it does: importance, one row, response curves."""

import numpy as np
import plotly.graph_objects as go

from core.inference.explanation_files import Response, RowExplanation, Value
from core.inference.importance_files import Importance
from core.report.figure_base import Trace, axis, make_figure, scatter
from core.report.palette import FROZEN, NEUTRAL, TRAINED, with_alpha

ROW_PIXELS = 22
"""Height of one field's line, at which names are readable on a phone."""
SHOWN_FIELDS = 15
"""Fields shown at first, the rest on request."""


def importance_height(n_fields: int) -> int:
    """Return the pixels of a figure with a line for each of so many fields."""
    return 110 + ROW_PIXELS * n_fields


def importance_figure(found: Importance, metric: str = "log_loss", count: int = 39) -> go.Figure:
    """Return a dot with its 95 % interval for every field, the most important at the top.

    Args:
        found: the importance.
        metric: "log_loss" or "auc".
        count: fields shown, those that change the log loss most.
    """
    fields = found.ranked()[:count]
    chosen = [one.log_loss if metric == "log_loss" else one.auc for one in fields]
    names = [one.field for one in fields]
    values, above, below = (np.full(len(fields), np.nan) for _ in range(3))
    for place, one in enumerate(chosen):
        if one is not None:
            values[place] = one.value
            if one.low is not None and one.high is not None:
                above[place], below[place] = one.high - one.value, one.value - one.low
    trace: Trace = scatter(
        x=values,
        y=names,
        mode="markers",
        showlegend=False,
        marker={"color": TRAINED, "size": 8},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": np.nan_to_num(above),
            "arrayminus": np.nan_to_num(below),
            "color": TRAINED,
        },
        hovertemplate="%{y}: %{x:.5f}<extra></extra>",
    )
    words = {"log_loss": "Log loss gained (nats)", "auc": "AUC lost"}[metric]
    title = f"Difference: {words[0].lower()}{words[1:]}" if found.against else words
    return make_figure_of_fields([trace], title, names, f"importance-{metric}")


def explanation_figure(found: RowExplanation, count: int = SHOWN_FIELDS) -> go.Figure:
    """Return the change of the logit by each value of a row, before and after fine-tuning."""
    fields = found.ranked()[:count]
    names = [one.field for one in fields]
    before = [np.nan if one.occlusion_before is None else one.occlusion_before for one in fields]
    gradients = [np.nan if one.gradient is None else one.gradient for one in fields]
    occlusions = [one.occlusion for one in fields]
    hover = "%{y}: %{x:+.4f}<extra>%{fullData.name}</extra>"
    traces = [
        scatter(
            x=np.array(values, dtype=float),
            y=names,
            mode="markers",
            name=name,
            marker={"color": color, "symbol": symbol, "size": 9},
            hovertemplate=hover,
        )
        for name, values, color, symbol in (
            ("occlusion, backbone", before, FROZEN, "circle-open"),
            ("occlusion, this run", occlusions, TRAINED, "circle"),
            ("integrated gradient", gradients, NEUTRAL, "diamond-open"),
        )
        if not np.isnan(values).all()
    ]
    return make_figure_of_fields(traces, "Change of the logit", names, "explanation")


def make_figure_of_fields(
    traces: list[Trace], title: str, names: list[str], uirevision: str
) -> go.Figure:
    """Return a figure with a line per field, the first at the top, and a line at 0."""
    y = {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": names[::-1],
        "tickmode": "array",
        "tickvals": names,
        "ticktext": names,
        "range": [-0.7, len(names) - 0.3],
        "automargin": True,
    }
    x = axis(title, zeroline=True, nticks=5)
    return make_figure(traces, x, y, uirevision)


def response_figure(found: Response, lines: bool = False) -> go.Figure:
    """Return the mean score by a field's value, before and after, with the interval over rows."""
    numeric = all(isinstance(value, float) for value in found.values)
    x = [*found.values] if numeric else [value_text(value) for value in found.values]
    mean, low, high = (np.array(one) for one in (found.mean, found.low, found.high))
    mode = "lines+markers" if numeric else "markers"
    traces: list[Trace] = []
    if lines and numeric:
        traces += [
            scatter(
                x=x,
                y=np.array(one),
                mode="lines",
                line={"color": with_alpha(NEUTRAL, 0.35), "width": 1},
                hoverinfo="skip",
                showlegend=False,
            )
            for one in found.lines
        ]
    hover = "%{x}: %{y:.4f}<extra>%{fullData.name}</extra>"
    if found.before:
        traces.append(
            scatter(
                x=x,
                y=np.array(found.before),
                mode=mode,
                name="backbone",
                marker={"color": FROZEN, "symbol": "circle-open", "size": 8},
                line={"color": FROZEN},
                hovertemplate=hover,
            )
        )
    traces.append(
        scatter(
            x=x,
            y=mean,
            mode=mode,
            name="this run",
            marker={"color": TRAINED, "size": 8},
            line={"color": TRAINED},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": high - mean,
                "arrayminus": mean - low,
                "color": TRAINED,
                "thickness": 1,
            },
            hovertemplate=hover,
        )
    )
    bottom = axis(f"{found.field}", **({} if numeric else {"type": "category", "tickangle": -45}))
    return make_figure(traces, bottom, axis("Mean score", automargin=True), "response")


def value_text(value: Value) -> str:
    """Return a field's value as a page shows it.

    >>> value_text(3.0), value_text(None)
    ('3', 'missing')
    """
    if value is None:
        return "missing"
    return f"{value:g}" if isinstance(value, float) else str(value)
