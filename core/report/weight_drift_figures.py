"""Figures of what fine-tuning changed: weights and outputs by stage, gradients, embeddings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from core.inference.weight_drift_files import StageDrift
from core.report.figure_base import Trace, axis, bar, make_figure, scatter
from core.report.palette import FROZEN, NEUTRAL, SERIES, TRAINED, with_alpha
from core.report.run_figures import MetricSeries

GRADIENT_PREFIX = "gradient/"
"""Prefix of the metric names of gradient norms; the stage's name follows."""
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def weight_distance_figure(stages: Sequence[StageDrift]) -> go.Figure:
    """Return the relative distance of every stage's weights from the backbone's, in percent.

    Frozen stages are cold, trained ones warm; the input is at the bottom.

    Args:
        stages: from the input up.
    """
    shares = [stage.relative for stage in stages]
    texts = [
        "–" if share is None else "0" if share == 0 else f"{100 * share:.3g} %" for share in shares
    ]
    largest = max((share for share in shares if share), default=0.01)
    percent = ".0%" if largest > 0.05 else ".1%"
    x = axis("Distance from the backbone", tickformat=percent, range=[0, 1.2 * largest], nticks=5)
    hover = "%{y}: weights moved by %{text} of their norm<extra>%{fullData.name}</extra>"
    return _stage_bars(stages, shares, texts, hover, x, "distance")


def cka_figure(stages: Sequence[StageDrift]) -> go.Figure:
    """Return how similar the outputs of every stage are before and after fine-tuning (linear CKA).

    1 means equal up to rotation and scale (Kornblith et al., ICML 2019).
    """
    values = [stage.cka for stage in stages]
    texts = ["–" if value is None else f"{value:.4f}" for value in values]
    x = axis("Linear CKA, before against after", range=[0, 1.2], tickvals=[0, 0.25, 0.5, 0.75, 1])
    return _stage_bars(
        stages, values, texts, "%{y}: CKA %{text}<extra>%{fullData.name}</extra>", x, "cka"
    )


def gradient_figure(points: MetricSeries, titles: Mapping[str, str]) -> go.Figure:
    """Return the norm of every trained stage's gradient by optimiser step, on a logarithmic axis.

    Args:
        points: of the run.
        titles: of stages, by name.
    """
    traces: list[Trace] = []
    for index, (name, title) in enumerate(titles.items()):
        if GRADIENT_PREFIX + name not in points:
            continue
        steps, norms = points[GRADIENT_PREFIX + name]
        traces.append(
            scatter(
                x=steps,
                y=norms,
                name=title,
                mode="lines+markers" if len(steps) < 3 else "lines",
                line={
                    "color": SERIES[index % len(SERIES)],
                    "dash": _DASHES[index % len(_DASHES)],
                    "width": 2,
                },
                hovertemplate="step %{x}: %{y:.3g}<extra>%{fullData.name}</extra>",
            )
        )
    y = axis("Norm of the gradient", type="log", dtick="D2", tickformat="~g")
    return make_figure(traces, axis("Optimiser step"), y, "gradients")


def embedding_map_figure(before: np.ndarray, after: np.ndarray, values: np.ndarray) -> go.Figure:
    """Return the first two principal components of a field's embedding vectors, before and after.

    Args:
        before: shape ``(n_values, 2)``; cold rings.
        after: shape ``(n_values, 2)``; warm dots, joined by a line to where they were.
        values: names of the values, shape ``(n_values,)``.
    """
    segments = np.full((3 * len(before), 2), np.nan)
    segments[::3], segments[1::3] = before, after
    traces = [
        scatter(
            x=segments[:, 0],
            y=segments[:, 1],
            mode="lines",
            line={"color": with_alpha(NEUTRAL, 0.55), "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    ]
    for name, places, color, symbol in (
        ("before", before, FROZEN, "circle-open"),
        ("after", after, TRAINED, "circle"),
    ):
        traces.append(
            scatter(
                x=places[:, 0],
                y=places[:, 1],
                mode="markers",
                name=name,
                customdata=values,
                marker={"color": color, "symbol": symbol, "size": 8 if name == "before" else 6},
                hovertemplate="%{customdata}<extra>%{fullData.name}</extra>",
            )
        )
    return make_figure(
        traces,
        axis("First principal component", zeroline=False),
        axis("Second", zeroline=False),
        "map",
    )


def _stage_bars(
    stages: Sequence[StageDrift],
    values: Sequence[float | None],
    texts: Sequence[str],
    hover: str,
    x: dict[str, Any],
    revision: str,
) -> go.Figure:
    traces: list[Trace] = []
    titles = [stage.title for stage in stages]
    for frozen, name, color in ((True, "frozen", FROZEN), (False, "trained", TRAINED)):
        indices = [index for index, stage in enumerate(stages) if stage.frozen == frozen]
        if indices:
            traces.append(
                bar(
                    y=[titles[index] for index in indices],
                    x=np.array(
                        [np.nan if values[index] is None else values[index] for index in indices],
                        dtype=float,
                    ),
                    text=[texts[index] for index in indices],
                    textposition="outside",
                    cliponaxis=False,
                    orientation="h",
                    name=name,
                    marker={"color": color},
                    hovertemplate=hover,
                )
            )
    # The input lies at the bottom, as in the stack.
    y = {"type": "category", "categoryorder": "array", "categoryarray": titles, "automargin": True}
    return make_figure(traces, x, y, revision, barmode="overlay", bargap=0.35)
