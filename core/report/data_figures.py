"""Figures of a sample and of a dataset: a column's distribution, the split, drift."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.data.drift import DRIFT_THRESHOLDS, FieldDrift
from core.data.preprocessing import log_transform
from core.data.profile import ColumnProfile
from core.data.split import PartSummary
from core.report.palette import FROZEN, NEUTRAL, SOURCE, TARGET, with_alpha

_TICK_VALUES = np.array([0, 1, 3, 10, 30, 100, 300, 1000, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9])
_OPACITY = {"train": 1.0, "validation": 0.65, "test": 0.35}
_Z95 = 1.96


def column_figure(profile: ColumnProfile, rows: int) -> go.Figure:
    """Return the distribution of one column.

    Args:
        profile: of the column. A numeric one becomes a histogram on a logarithmic axis, a
            categorical one the shares of its most frequent values.
        rows: of the sample.
    """
    figure = _histogram(profile) if profile.kind == "numeric" else _most_frequent(profile, rows)
    # A zoom belongs to one column, not to the next one chosen.
    return figure.update_layout(uirevision=profile.name)


def parts_figure(parts: Sequence[PartSummary]) -> go.Figure:
    """Return a figure of the rows and the click rate of each part of a split.

    Click rates have a 95 % interval (Wilson 1927). Without labels there are no click rates, and the
    rows take the whole width.
    """
    shown = [part for part in parts if part.rows]
    labelled = all(part.clicks is not None for part in shown)
    names = np.array([part_title(part.part) for part in shown])
    rows = np.array([part.rows for part in shown])
    rates = np.array([part.click_rate for part in shown])
    low, high = wilson_interval(rates, rows)
    colors = [_domain_color(part.part) for part in shown]
    fills = [
        with_alpha(_domain_color(part.part), _OPACITY[part.part.split("_")[1]]) for part in shown
    ]
    figure = make_subplots(
        rows=1, cols=2 if labelled else 1, shared_yaxes=True, horizontal_spacing=0.06
    )
    bars = go.Bar(
        x=rows,
        y=names,
        orientation="h",
        marker={"color": fills, "line": {"color": colors, "width": 1}},
        hovertemplate="%{y}: %{x:,} rows<extra></extra>",
    )
    figure.add_trace(bars, 1, 1)
    figure.update_xaxes(title_text="Rows", rangemode="tozero", nticks=4, tickangle=0, row=1, col=1)
    if labelled:
        dots = go.Scatter(
            x=rates,
            y=names,
            mode="markers",
            marker={"color": colors, "size": 9},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": high - rates,
                "arrayminus": rates - low,
                "color": NEUTRAL,
                "thickness": 1.5,
                "width": 4,
            },
            customdata=np.stack([low, high], axis=1),
            hovertemplate=(
                "%{y}: click rate %{x:.2%} (%{customdata[0]:.2%} to"
                " %{customdata[1]:.2%})<extra></extra>"
            ),
        )
        figure.add_trace(dots, 1, 2)
        figure.update_xaxes(
            title_text="Click rate", tickformat=".0%", nticks=4, tickangle=0, row=1, col=2
        )
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(
        showlegend=False, bargap=0.3, margin={"l": 8, "r": 12, "t": 8, "b": 48}
    )


def wilson_interval(rates: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (low, high), the 95 % intervals of shares.

    Unlike the normal approximation it stays within 0 and 1. Wilson: Probable inference, the law of
    succession, and statistical inference, JASA 1927.

    Args:
        rates: shares, 0 to 1, shape ``(n,)``.
        rows: number of rows behind each share, shape ``(n,)``.

    >>> low, high = wilson_interval(np.array([0.0]), np.array([100]))
    >>> round(float(low[0]), 4), round(float(high[0]), 4)
    (0.0, 0.037)
    """
    weight = _Z95**2 / rows
    middle = (rates + weight / 2) / (1 + weight)
    half = _Z95 * np.sqrt(rates * (1 - rates) / rows + weight / (4 * rows)) / (1 + weight)
    return middle - half, middle + half


def drift_figure(drifts: Sequence[FieldDrift], later_name: str, max_fields: int = 12) -> go.Figure:
    """Return the population stability index of the fields that moved most, with the usual limits.

    Args:
        drifts: of all fields.
        later_name: what the later rows are called on hover, as in "missing in the target".
        max_fields: number of fields to show.
    """
    moved = sorted(drifts, key=lambda drift: drift.psi, reverse=True)[:max_fields]
    names = np.array([drift.field for drift in moved])
    values = np.array([drift.psi for drift in moved])
    colors = {"little": NEUTRAL, "some": with_alpha(TARGET, 0.55), "strong": TARGET}
    figure = go.Figure(
        go.Bar(
            x=values,
            y=names,
            orientation="h",
            marker={"color": [colors[drift.level] for drift in moved]},
            customdata=np.array([[drift.unseen_target, drift.missing_target] for drift in moved]),
            hovertemplate=(
                f"%{{y}}: index %{{x:.3f}}<br>unseen in {later_name} %{{customdata[0]:.1%}}<br>"
                f"missing in {later_name} %{{customdata[1]:.1%}}<extra></extra>"
            ),
        )
    )
    # On a long axis the words of the limits would lie on each other.
    labelled = DRIFT_THRESHOLDS if max(values, default=0) < 2 else [max(DRIFT_THRESHOLDS)]
    for limit, word in DRIFT_THRESHOLDS.items():
        figure.add_vline(x=limit, line={"color": NEUTRAL, "dash": "dot", "width": 1})
        if limit not in labelled:
            continue
        figure.add_annotation(
            x=limit, y=1, yref="paper", yanchor="bottom", text=word, showarrow=False
        )
    # The limits stay in sight when nothing has moved.
    figure.update_xaxes(
        title_text="Population stability index", range=[0, 1.05 * max(*values, *DRIFT_THRESHOLDS)]
    )
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(
        showlegend=False, bargap=0.25, margin={"l": 8, "r": 12, "t": 28, "b": 48}
    )


def part_title(part: str) -> str:
    """Return the name of a part for a reader.

    >>> part_title("source_train")
    'Source train'
    """
    return part.replace("_", " ").capitalize()


def _domain_color(part: str) -> str:
    return SOURCE if part.startswith("source") else TARGET


def _histogram(profile: ColumnProfile) -> go.Figure:
    edges, counts = np.array(profile.edges), np.array(profile.counts)
    raw = np.sign(edges) * np.expm1(np.abs(edges))
    figure = go.Figure(
        go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            width=np.diff(edges),
            marker={"color": FROZEN},
            customdata=np.column_stack([raw[:-1], raw[1:]]) if len(edges) else None,
            hovertemplate=(
                "%{customdata[0]:,.1f} to %{customdata[1]:,.1f}: %{y:,} rows<extra></extra>"
            ),
        )
    )
    marks = np.concatenate([-_TICK_VALUES[:0:-1], _TICK_VALUES])
    positions = log_transform(marks)
    inside = (
        (positions >= edges[0] - 1e-9) & (positions <= edges[-1] + 1e-9)
        if len(edges)
        else positions == 0
    )
    figure.update_xaxes(
        title_text=f"{profile.name} (log scale)",
        tickvals=positions[inside],
        ticktext=[_format_si(mark) for mark in marks[inside]],
        showgrid=False,
    )
    figure.update_yaxes(title_text="Rows")
    return figure.update_layout(bargap=0, margin={"l": 8, "r": 12, "t": 12, "b": 48})


def _most_frequent(profile: ColumnProfile, rows: int) -> go.Figure:
    bars = [(_escape_label(value), count / rows, FROZEN) for value, count in profile.top_values]
    rest = 1 - profile.missing_share - sum(share for _, share, _ in bars)
    if profile.cardinality > len(bars):
        bars.append(
            (
                f"{profile.cardinality - len(bars):,} others",
                max(rest, 0.0),
                with_alpha(FROZEN, 0.45),
            )
        )
    if profile.missing_share:
        bars.append(("missing", profile.missing_share, NEUTRAL))
    names, shares, colors = (list(column) for column in zip(*bars, strict=True))
    positions = np.arange(len(bars))
    figure = go.Figure(
        go.Bar(
            x=np.array(shares),
            y=positions,
            orientation="h",
            marker={"color": colors},
            customdata=np.array(names, dtype=object),
            hovertemplate="%{customdata}: %{x:.2%} of rows<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="Share of rows", tickformat=".0%", rangemode="tozero")
    # Places, not names, on the axis: two long values may look alike once cut.
    figure.update_yaxes(
        title_text=profile.name,
        range=[len(bars) - 0.5, -0.5],
        tickvals=positions,
        ticktext=names,
        showgrid=False,
    )
    return figure.update_layout(bargap=0.25, margin={"l": 8, "r": 12, "t": 12, "b": 48})


def _escape_label(value: str) -> str:
    """Return a value as an axis label of at most 16 letters, with HTML escaped.

    plotly interprets some HTML in labels.
    """
    cut = value if len(value) <= 16 else value[:15] + "…"
    return cut.replace("&", "&amp;").replace("<", "&lt;") or "(empty)"


def _format_si(number: float) -> str:
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor:
            return f"{number / factor:g}{unit}"
    return f"{number:g}"
