"""Learning curves of arms: the mean over seeds, in a band of one standard deviation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from core.report.arm_styles import arm_styles
from core.report.figure_base import Trace, axis, make_figure, scatter
from core.report.palette import with_alpha

NO_POINTS = "No points: the validation rows do not define this metric"
NO_RUNS = "No finished run of these arms has such a curve"


@dataclass(frozen=True)
class Band:
    """Mean and standard deviation over seeds by optimiser step, each of shape ``(n_steps,)``.

    The deviation is 0 at steps that a single seed has reached.
    """

    steps: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def learning_band_figure(bands: Mapping[str, Band], y_title: str) -> go.Figure:
    """Return mean learning curves with a band of ± one standard deviation over seeds, by arm."""
    traces: list[Trace] = []
    styles = arm_styles([*bands])
    for title, band in bands.items():
        color, dash = styles[title]
        edge = np.concatenate([band.mean + band.deviation, (band.mean - band.deviation)[::-1]])
        if band.deviation.any():
            traces.append(
                scatter(
                    x=np.concatenate([band.steps, band.steps[::-1]]),
                    y=edge,
                    fill="toself",
                    fillcolor=with_alpha(color, 0.16),
                    line={"width": 0},
                    mode="lines",
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=title,
                )
            )
        traces.append(
            scatter(
                x=band.steps,
                y=band.mean,
                mode="lines+markers",
                name=title,
                legendgroup=title,
                line={"color": color, "dash": dash, "width": 2},
                marker={"size": 5},
                hovertemplate="step %{x}: %{y:.4f}<extra>%{fullData.name}</extra>",
            )
        )
    x, y = axis("Optimiser step", nticks=6), axis(y_title, nticks=6)
    return make_figure(
        traces, x, y, f"bands-{y_title}", NO_POINTS if bands else NO_RUNS, showlegend=True
    )


def mean_band(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band:
    """Return the mean of the curves of an arm's seeds.

    At steps that only some seeds have reached, as others stopped early, it is the mean of those.

    Args:
        curves: (steps, values) of every seed.
    """
    steps = np.unique(
        np.concatenate([steps for steps, _ in curves] or [np.zeros(0, dtype=np.int64)])
    )
    values = np.full((len(curves), len(steps)), np.nan)
    for row, (seed_steps, points) in zip(values, curves, strict=True):
        row[np.searchsorted(steps, seed_steps)] = points
    seeds = np.sum(~np.isnan(values), axis=0)
    mean = np.nansum(values, axis=0) / seeds
    deviation = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.maximum(seeds - 1, 1))
    return Band(steps, mean, deviation)
