"""Reliability diagram: click rate by mean score, as trained and calibrated."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from core.evaluation.curves import CalibrationBins
from core.report.figure_base import axis, make_figure, scatter
from core.report.palette import FROZEN, NEUTRAL, TRAINED

NO_BINS = "No diagram: there are no rows"
_COLORS = (FROZEN, TRAINED)
_Z = 1.96


def reliability_figure(bins: Mapping[str, CalibrationBins]) -> go.Figure:
    """Return click rate by mean score in bins of equally many rows, with 95 % intervals.

    On the diagonal, a score is the click rate of the rows that have it. The intervals are Wilson's,
    which hold for rare clicks too.

    Args:
        bins: of one or two scorings of the same rows, by name.
    """
    limit = max(
        (
            float(max(one.predicted.max(), one.actual.max()))
            for one in bins.values()
            if len(one.rows)
        ),
        default=1.0,
    )
    diagonal = scatter(
        x=[0, limit],
        y=[0, limit],
        mode="lines",
        line={"color": NEUTRAL, "dash": "dash", "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    traces = [diagonal]
    for color, dash, (name, one) in zip(_COLORS, ("dot", "solid"), bins.items(), strict=False):
        low, high = wilson_interval(one.actual, one.rows)
        traces.append(
            scatter(
                x=one.predicted,
                y=one.actual,
                error_y={
                    "type": "data",
                    "array": high - one.actual,
                    "arrayminus": one.actual - low,
                    "thickness": 1,
                    "width": 0,
                },
                mode="lines+markers",
                name=name,
                line={"color": color, "dash": dash, "width": 2},
                marker={"size": 6},
                hovertemplate=(
                    "mean score %{x:.3f}, click rate %{y:.3f}<extra>%{fullData.name}</extra>"
                ),
            )
        )
    return make_figure(
        traces,
        axis("Mean predicted click probability"),
        axis("Click rate"),
        "reliability",
        NO_BINS,
    )


def wilson_interval(rate: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's 95 % interval of click rates (Wilson 1927), which holds for few clicks too.

    Args:
        rate: share of rows with a click, shape ``(n_bins,)``.
        rows: number of rows, shape ``(n_bins,)``.

    >>> low, high = wilson_interval(np.array([0.0]), np.array([100]))
    >>> low.round(4).tolist(), high.round(4).tolist()
    ([0.0], [0.037])
    """
    n = np.maximum(rows, 1)
    centre = (rate + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(rate * (1 - rate) / n + _Z**2 / (4 * n**2))
    return np.minimum(np.maximum(centre - half, 0), rate), np.maximum(centre + half, rate)
