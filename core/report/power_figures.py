"""The power of a comparison by test rows, and by seeds."""

import math
from typing import Literal

import plotly.graph_objects as go

from core.evaluation.power import POWER, Power
from core.report.figure_base import Trace, axis, make_figure, scatter
from core.report.palette import FROZEN, NEUTRAL, TRAINED

ONE_SEED = "A single seed does not tell how much seeds differ"


def power_figure(power: Power, by: Literal["rows", "seeds"]) -> go.Figure:
    """Return the power by the number of test rows, or of seeds, with where it stands and is enough.

    Args:
        power: of the comparison.
        by: what varies; the other one stays as it is.
    """
    curve = power.by_rows if by == "rows" else power.by_seeds
    now = power.rows if by == "rows" else power.seeds
    more = power.more_rows if by == "rows" else power.more_seeds
    numbers, values = [one for one, _ in curve], [value for _, value in curve]
    unit = "test rows" if by == "rows" else "seeds"
    traces: list[Trace] = []
    if curve:
        traces = [
            scatter(
                x=[numbers[0], numbers[-1]],
                y=[POWER, POWER],
                mode="lines",
                line={"color": NEUTRAL, "dash": "dot", "width": 1},
                hoverinfo="skip",
                showlegend=False,
            ),
            scatter(
                x=numbers,
                y=values,
                mode="lines" if by == "rows" else "lines+markers",
                line={"color": FROZEN, "width": 2},
                marker={"size": 5},
                name="power",
                showlegend=False,
                hovertemplate=f"%{{x:,}} {unit}: power %{{y:.0%}}<extra></extra>",
            ),
            _point(now, power.now, NEUTRAL, "now", unit),
        ]
        if more:
            traces.append(
                _point(now + more, _power_at(numbers, values, now + more), TRAINED, "enough", unit)
            )
    x = axis(unit.capitalize(), nticks=8)
    if by == "rows" and curve:
        # Plotly's own ticks of a short logarithmic axis repeat the decades.
        ticks = _ticks(numbers[0], numbers[-1])
        x = axis(unit.capitalize(), type="log", tickvals=ticks, ticktext=[f"{t:,}" for t in ticks])
    y = axis("Power", range=[0, 1.04], tickformat=".0%", nticks=6)
    return make_figure(traces, x, y, f"power-{by}", ONE_SEED, showlegend=bool(curve))


def _point(number: int, value: float, color: str, name: str, unit: str) -> Trace:
    return scatter(
        x=[number],
        y=[value],
        mode="markers",
        marker={"color": color, "size": 11, "symbol": "diamond"},
        name=f"{name}: {number:,}",
        hovertemplate=f"{name}: %{{x:,}} {unit}, power %{{y:.0%}}<extra></extra>",
    )


def _power_at(numbers: list[int], values: list[float], wanted: int) -> float:
    """The power at a number, which the curve may have no point for."""
    for (low, before), (high, after) in zip(
        zip(numbers, values, strict=True),
        zip(numbers[1:], values[1:], strict=True),
        strict=False,
    ):
        if low <= wanted <= high:
            return before + (after - before) * (wanted - low) / (high - low)
    return POWER


def _ticks(low: int, high: int) -> list[int]:
    """Round numbers for a logarithmic axis, at most about seven."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) < 4 else (1, 3) if len(decades) < 5 else (1,)
    found = [step * 10**decade for decade in decades for step in steps]
    return [one for one in found if low <= one <= high]
