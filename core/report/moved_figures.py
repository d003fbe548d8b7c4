"""Figures of what a fine-tuning moved: weights and activations stage by stage, gradients, an embedding map."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from core.report.palette import FROZEN, LEGEND, MARGIN, NEUTRAL, SERIES, TRAINED, with_alpha
from core.report.run_figures import Points

GRADIENT = "gradient/"
"""What the names of gradient points begin with; the stage's name follows."""
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def distance_figure(stages: Sequence[Mapping[str, Any]]) -> go.Figure:
    """How far every stage's weights moved, as a share of their norm: frozen cold, trained warm, the input below."""
    shares = [stage["relative"] for stage in stages]
    texts = ["–" if one is None else "0" if one == 0 else f"{100 * one:.3g} %" for one in shares]
    figure = _bars(stages, shares, texts, "%{y}: weights moved by %{text} of their norm<extra>%{fullData.name}</extra>")
    most = max((one for one in shares if one), default=0.01)
    figure.update_xaxes(
        title_text="Distance from the backbone",
        tickformat=".0%" if most > 0.05 else ".1%",
        range=[0, 1.2 * most],
        nticks=5,
    )
    return _finish(figure, "distance")


def cka_figure(stages: Sequence[Mapping[str, Any]]) -> go.Figure:
    """How alike what every stage hands on is before and after; 1 is the same up to turning and scaling."""
    values = [stage["cka"] for stage in stages]
    texts = ["–" if one is None else f"{one:.4f}" for one in values]
    figure = _bars(stages, values, texts, "%{y}: CKA %{text}<extra>%{fullData.name}</extra>")
    figure.update_xaxes(title_text="Linear CKA, before against after", range=[0, 1.2], tickvals=[0, 0.25, 0.5, 0.75, 1])
    return _finish(figure, "cka")


def gradient_figure(points: Points, titles: Mapping[str, str]) -> go.Figure:
    """Norm of every trained stage's gradient by optimiser step, on a log scale. titles: by stage name."""
    figure = go.Figure()
    for place, (name, title) in enumerate(titles.items()):
        if GRADIENT + name not in points:
            continue
        steps, norms = points[GRADIENT + name]
        figure.add_trace(
            go.Scatter(
                x=steps,
                y=norms,
                name=title,
                mode="lines+markers" if len(steps) < 3 else "lines",
                line={
                    "color": SERIES[place % len(SERIES)],
                    "dash": _DASHES[place % len(_DASHES)],
                    "width": 2,
                },
                hovertemplate="step %{x}: %{y:.3g}<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_xaxes(title_text="Optimiser step")
    figure.update_yaxes(title_text="Norm of the gradient", type="log", dtick="D2", tickformat="~g")
    return _finish(figure, "gradients")


def map_figure(before: np.ndarray, after: np.ndarray, values: np.ndarray) -> go.Figure:
    """Places (values, 2) of a field's vectors: before cold rings, after warm dots, a line for each way."""
    ways = np.full((3 * len(before), 2), np.nan)
    ways[::3], ways[1::3] = before, after
    figure = go.Figure(
        go.Scatter(
            x=ways[:, 0],
            y=ways[:, 1],
            mode="lines",
            line={"color": with_alpha(NEUTRAL, 0.55), "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for name, places, color, symbol in (
        ("before", before, FROZEN, "circle-open"),
        ("after", after, TRAINED, "circle"),
    ):
        figure.add_trace(
            go.Scatter(
                x=places[:, 0],
                y=places[:, 1],
                mode="markers",
                name=name,
                customdata=values,
                marker={"color": color, "symbol": symbol, "size": 8 if name == "before" else 6},
                hovertemplate="%{customdata}<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_xaxes(title_text="First principal component", zeroline=False)
    figure.update_yaxes(title_text="Second", zeroline=False)
    return _finish(figure, "map")


def _bars(
    stages: Sequence[Mapping[str, Any]], values: Sequence[float | None], texts: Sequence[str], hover: str
) -> go.Figure:
    figure = go.Figure()
    titles = [stage["title"] for stage in stages]
    for frozen, name, color in ((True, "frozen", FROZEN), (False, "trained", TRAINED)):
        chosen = [place for place, stage in enumerate(stages) if stage["frozen"] == frozen]
        if chosen:
            figure.add_trace(
                go.Bar(
                    y=[titles[place] for place in chosen],
                    x=np.array([np.nan if values[place] is None else values[place] for place in chosen], dtype=float),
                    text=[texts[place] for place in chosen],
                    textposition="outside",
                    cliponaxis=False,
                    orientation="h",
                    name=name,
                    marker={"color": color},
                    hovertemplate=hover,
                )
            )
    figure.update_layout(barmode="overlay", bargap=0.35)
    # The input lies at the bottom, as in the stack.
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=titles, automargin=True)
    return figure


def _finish(figure: go.Figure, revision: str) -> go.Figure:
    return figure.update_layout(margin=MARGIN, legend=LEGEND, uirevision=revision)
