"""Traces that figures of arms share: points with intervals, named points, horizontal lines."""

import textwrap
from collections.abc import Sequence

import numpy as np

from core.evaluation.format_metrics import format_bounds, format_metric, is_missing
from core.evaluation.metric_registry import HEADLINE_METRIC, METRICS
from core.freezing.strategies import is_control
from core.report.arm_styles import Style, arm_colors
from core.report.figure_base import Trace, scatter
from core.report.label_positions import label_positions
from core.report.palette import with_alpha
from core.runs.sweep_result import ArmResult, SeedSummary

LABEL_WIDTH = 34
"""Characters of a point's label; longer ones would leave a phone's screen."""


def is_freeze_depth(result: ArmResult) -> bool:
    """Return whether the arm freezes by depth.

    The strategies "full", "linear-probe" and "all-but-embeddings" do so too.
    """
    return result.strategy in ("depth", "full", "linear-probe", "all-but-embeddings")


def defined_spreads(result: ArmResult, metric: str) -> dict[str, SeedSummary]:
    """Return, by part, the arm's summary of a metric over seeds.

    Parts on which the metric is undefined are left out.
    """
    spreads = result.metrics.get(metric, {})
    return {part: spread for part, spread in spreads.items() if not is_missing(spread.mean)}


def empty_text(results: Sequence[ArmResult], metric: str = HEADLINE_METRIC) -> str:
    """Return what a figure of these arms says if it has no point; "" before there is any result."""
    return f"No arm has {METRICS[metric].with_article} on these rows" if results else ""


def add_intervals(
    traces: list[Trace],
    spreads: Sequence[SeedSummary],
    positions: np.ndarray,
    arms: Sequence[ArmResult],
    name: str,
    color: str,
    symbol: str,
    value_axis: str,
    dash: str = "",
) -> None:
    """Append a trace of means with intervals of test rows and of seeds.

    The intervals of the test rows are thin. They are drawn over a second trace with the thick
    intervals of the seeds.

    Args:
        traces: to append to.
        spreads: one per arm.
        positions: of the arms on the other axis, shape ``(n_arms,)``.
        arms: for the text on hover.
        name: of the trace.
        color: of both kinds of interval.
        symbol: of the means.
        value_axis: "x" or "y", the axis of the metric.
        dash: of the line that joins the means; "" joins none.
    """
    if not spreads:
        return
    means = np.array([spread.mean for spread in spreads])
    deviation = np.nan_to_num(np.array([spread.deviation for spread in spreads]))
    thin = {
        "type": "data",
        "array": np.nan_to_num(np.array([spread.high for spread in spreads]) - means),
        "arrayminus": np.nan_to_num(means - np.array([spread.low for spread in spreads])),
        "thickness": 1.5,
        "width": 4,
        "color": color,
    }
    thick = {
        "type": "data",
        "array": deviation,
        "thickness": 6,
        "width": 0,
        "color": with_alpha(color, 0.4),
    }
    where = {"x": means, "y": positions} if value_axis == "x" else {"x": positions, "y": means}
    texts = [
        f"{arm.title}: {_describe_spread(spread, len(arm.runs))}"
        for arm, spread in zip(arms, spreads, strict=True)
    ]
    if deviation.any():
        traces.append(
            scatter(
                **where,
                mode="markers",
                marker={"size": 1, "color": color},
                hoverinfo="skip",
                showlegend=False,
                legendgroup=name,
                **{f"error_{value_axis}": thick},
            )
        )
    traces.append(
        scatter(
            **where,
            mode="lines+markers" if dash else "markers",
            name=name,
            legendgroup=name,
            line={"color": color, "width": 2, "dash": dash or None},
            marker={"size": 9, "symbol": symbol, "color": color},
            text=texts,
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
            **{f"error_{value_axis}": thin},
        )
    )


def _describe_spread(spread: SeedSummary, seeds: int) -> str:
    """Return mean, deviation over seeds and interval, whichever there are."""
    text = format_metric(spread.mean)
    if not is_missing(spread.deviation):
        text += f" ± {format_metric(spread.deviation)} over {seeds} seeds"
    return (
        text if is_missing(spread.low) else f"{text}, 95 % {format_bounds(spread.low, spread.high)}"
    )


def add_arm_points(
    traces: list[Trace],
    x: np.ndarray,
    y: np.ndarray,
    arms: Sequence[ArmResult],
    hover: str,
    labelled: set[int],
    log_x: bool = False,
) -> None:
    """Add one point per arm in its own colour, with a symbol for its kind.

    Args:
        traces: to append to.
        x: shape ``(n_arms,)``.
        y: shape ``(n_arms,)``.
        arms: of the points.
        hover: plotly's template for the two values.
        labelled: indices of the arms whose titles are shown, if there is room.
        log_x: whether the x axis is logarithmic.
    """
    kinds = {"freeze depths": "circle", "other strategies": "square", "controls": "x"}
    colors = arm_colors([arm.title for arm in arms])
    positions = label_positions(np.log10(x) if log_x else x, y, labelled)
    for kind, symbol in kinds.items():
        indices = [index for index, arm in enumerate(arms) if _arm_kind(arm) == kind]
        if indices:
            traces.append(
                scatter(
                    x=x[indices],
                    y=y[indices],
                    mode="markers+text",
                    name=kind,
                    marker={
                        "size": 10,
                        "color": [colors[index] for index in indices],
                        "symbol": symbol,
                    },
                    text=[
                        _point_label(arms[index].title) if index in positions else ""
                        for index in indices
                    ],
                    customdata=[arms[index].title for index in indices],
                    textposition=[positions.get(index, "top center") for index in indices],
                    cliponaxis=False,
                    hovertemplate=f"%{{customdata}}: {hover}<extra></extra>",
                )
            )


def _point_label(title: str) -> str:
    """Return a title as it stands beside a point: one short line, all of it is in the hover.

    >>> _point_label("freeze depth 3"), _point_label("blend of freeze depth 3 + gradient boosting")
    ('depth 3', 'blend of freeze depth 3 +…')
    """
    return textwrap.shorten(title.removeprefix("freeze "), LABEL_WIDTH, placeholder="…")


def add_level_line(
    traces: list[Trace], ends: tuple[float, float], value: float, name: str, style: Style
) -> None:
    """Add a horizontal line in an arm's style."""
    color, dash = style
    traces.append(
        scatter(
            x=np.array(ends),
            y=np.array([value, value]),
            mode="lines",
            name=name,
            line={"color": color, "width": 1.5, "dash": dash},
            hovertemplate="%{y:.4f}<extra>%{fullData.name}</extra>",
        )
    )


def _arm_kind(arm: ArmResult) -> str:
    if is_control(arm.strategy):
        return "controls"
    return "freeze depths" if is_freeze_depth(arm) else "other strategies"
