"""Figures of a sweep: arms, freeze depth, adaptation against forgetting, cost, target sizes.

Wherever a point has two intervals, the thin one is for other test rows (mean of DeLong's 95 %
intervals over seeds), the thick one for other seeds (mean ± one standard deviation). A metric or an
arm may have only one of them; see `core.report.arm_traces`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go

from core.evaluation.format_metrics import is_missing
from core.evaluation.metric_registry import HEADLINE_METRIC, METRICS
from core.freezing.strategies import has_own_model, is_control, is_trained
from core.report.arm_styles import arm_styles
from core.report.arm_traces import (
    add_arm_points,
    add_intervals,
    add_level_line,
    defined_spreads,
    empty_text,
    is_freeze_depth,
)
from core.report.figure_base import NAME_WIDTH, Trace, axis, make_figure, scatter, wrap_text
from core.report.palette import NEUTRAL, SOURCE, TARGET
from core.runs.sweep_result import ArmResult, change_from_backbone

TEST_PARTS = {
    "target_test": ("target", TARGET, "circle"),
    "source_test": ("source", SOURCE, "diamond"),
}
COST_AXES: dict[str, tuple[str, Callable[[ArmResult], float], str]] = {
    "parameters": (
        "Trained parameters",
        lambda arm: float(arm.trained_parameters),
        "%{x:,.0f} parameters",
    ),
    "seconds": ("Seconds per run", lambda arm: arm.seconds, "%{x:,.1f} s"),
    "memory": ("Peak memory (MB)", lambda arm: arm.peak_memory / 1e6, "%{x:,.0f} MB"),
}
"""What an arm costs, by key: title, number, and its format on hover."""
LOG_SCALE_RATIO = 20
"""The largest cost over the smallest from which the axis is logarithmic."""
DODGE = 0.05
"""Distance of target and source test rows to the left and right of their freeze depth."""


TITLE_WIDTH = 28
"""Characters of a line of an arm's title beside its row."""
LINE_HEIGHT = 17
"""Pixels of a line of a title or legend."""
ENTRY_HEIGHT = 28
"""Pixels of an entry of a legend, where each has a line of its own, as on a phone."""


def arms_height(titles: Sequence[str]) -> int:
    """Return the pixels that `arms_figure` needs for its rows, all as high as the longest title.

    >>> arms_height(["zero-shot"] * 2), arms_height(["zero-shot", "a + " * 20])
    (178, 220)
    """
    lines = max((wrap_text(title, TITLE_WIDTH).count("<br>") + 1 for title in titles), default=1)
    return 110 + max(34, 4 + LINE_HEIGHT * lines) * len(titles)


def depth_height(results: Sequence[ArmResult], height: int = 380) -> int:
    """Return the pixels that `depth_figure` needs: more where many controls are in its legend."""
    lines = [
        wrap_text(f"{arm.title}, target", NAME_WIDTH).count("<br>") + 1
        for arm in results
        if is_control(arm.strategy)
    ]
    more = sum(ENTRY_HEIGHT + LINE_HEIGHT * (one - 1) for one in lines)
    return height + max(0, more - 2 * ENTRY_HEIGHT)


def arms_figure(
    titles: Sequence[str], results: Sequence[ArmResult], metric: str = HEADLINE_METRIC
) -> go.Figure:
    """Return a row for each title, the first on top, with target and source test rows.

    Args:
        titles: of all arms, also of those without a finished run, whose rows stay empty.
        results: of arms that have a finished run.
        metric: a key of METRICS, see `core.evaluation.metric_registry`.
    """
    row_by_title = {title: index for index, title in enumerate(titles)}
    traces: list[Trace] = []
    for shift, (part, (name, color, symbol)) in zip((-0.16, 0.16), TEST_PARTS.items(), strict=True):
        arms = [
            arm
            for arm in results
            if part in defined_spreads(arm, metric) and arm.title in row_by_title
        ]
        positions = np.array([row_by_title[arm.title] + shift for arm in arms])
        spreads = [defined_spreads(arm, metric)[part] for arm in arms]
        add_intervals(
            traces, spreads, positions, arms, f"{name} test rows", color, symbol, value_axis="x"
        )
    names = {
        "tickvals": np.arange(len(titles)),
        "ticktext": [wrap_text(title, TITLE_WIDTH) for title in titles],
        "range": [len(titles) - 0.5, -0.5],
        "automargin": True,
    }
    x = axis(METRICS[metric].axis_title, nticks=6)
    return make_figure(
        traces, x, names, f"arms-{metric}", empty_text(results, metric), showlegend=True
    )


def depth_figure(results: Sequence[ArmResult], metric: str = HEADLINE_METRIC) -> go.Figure:
    """Return a figure of a metric by freeze depth on target and source test rows.

    Controls are horizontal lines.
    """
    traces: list[Trace] = []
    depth_arms = sorted((arm for arm in results if is_freeze_depth(arm)), key=lambda arm: arm.depth)
    for part, (name, color, symbol) in TEST_PARTS.items():
        arms = [arm for arm in depth_arms if part in defined_spreads(arm, metric)]
        spreads = [defined_spreads(arm, metric)[part] for arm in arms]
        # Side by side, so that the intervals of one depth do not cover one another.
        depths = np.array(
            [arm.depth + (-DODGE if part == "target_test" else DODGE) for arm in arms]
        )
        add_intervals(
            traces,
            spreads,
            depths,
            arms,
            f"{name} test rows",
            color,
            symbol,
            value_axis="y",
            dash="solid",
        )
    ends = (-4 * DODGE, max((arm.depth for arm in depth_arms), default=0) + 4 * DODGE)
    controls = [
        arm
        for arm in results
        if is_control(arm.strategy) and "target_test" in defined_spreads(arm, metric)
    ]
    styles = arm_styles([arm.title for arm in controls])
    for arm in controls:
        level = defined_spreads(arm, metric)["target_test"].mean
        add_level_line(traces, ends, level, f"{arm.title}, target", styles[arm.title])
    x, y = (
        axis("Freeze depth (stages frozen from the input)", dtick=1),
        axis(METRICS[metric].axis_title, nticks=6),
    )
    return make_figure(
        traces, x, y, f"depth-{metric}", empty_text(results, metric), showlegend=True
    )


def forgetting_figure(results: Sequence[ArmResult]) -> go.Figure:
    """Return a figure of adaptation against forgetting, one point per arm.

    Adaptation is the change in AUC on target test rows, forgetting the change on source test rows.
    Both changes are from the backbone, which lies at the origin; up and right is better. From
    scratch, which has nothing to forget, is left out, as is an arm whose backbone has no AUC.
    """
    traces: list[Trace] = []
    trained = [arm for arm in results if not is_control(arm.strategy)]
    arms = [
        arm
        for arm in trained
        if all(change_from_backbone(arm, part) is not None for part in TEST_PARTS)
    ]
    source_change = np.array(
        [change_from_backbone(arm, "source_test") for arm in arms], dtype=float
    )
    target_change = np.array(
        [change_from_backbone(arm, "target_test") for arm in arms], dtype=float
    )
    # Named are those that no other beats in both.
    add_arm_points(
        traces,
        source_change,
        target_change,
        arms,
        "source %{x:+.4f}, target %{y:+.4f}",
        set(pareto_frontier(-source_change, target_change).tolist()),
    )
    crossing = {"zeroline": True, "zerolinewidth": 2, "tickformat": "+.2~r", "nticks": 6}
    x, y = (
        axis(f"Change in AUC on {domain} test rows", **crossing) for domain in ("source", "target")
    )
    nothing = (
        "No arm has an AUC before and after, on both parts"
        if trained
        else "No fine-tuned arm is finished"
        if results
        else ""
    )
    return make_figure(traces, x, y, "forgetting", nothing, showlegend=True)


def auc_by_cost_figure(results: Sequence[ArmResult], cost: str) -> go.Figure:
    """Return AUC on target test rows by cost, with the Pareto frontier.

    An arm that costs nothing, as zero-shot trains no parameters, is a horizontal line.

    Args:
        results: of the arms.
        cost: a key of COST_AXES.
    """
    title, cost_of, unit = COST_AXES[cost]
    arms = [
        arm
        for arm in results
        if "target_test" in defined_spreads(arm, "auc") and not is_missing(cost_of(arm))
    ]
    costs = np.array([cost_of(arm) for arm in arms])
    quality = np.array([arm.auc["target_test"].mean for arm in arms])
    frontier = [index for index in pareto_frontier(costs, quality) if costs[index] > 0]
    traces = [
        scatter(
            x=costs[frontier],
            y=quality[frontier],
            mode="lines",
            name="frontier",
            # Solid, because the line of zero-shot in the same figure is dashed.
            line={"color": NEUTRAL, "width": 1.5, "dash": "solid", "shape": "hv"},
            hoverinfo="skip",
        )
    ]
    costing = np.flatnonzero(costs > 0)
    costing_arms = [arms[index] for index in costing]
    named = {int(np.flatnonzero(costing == index)[0]) for index in frontier}
    is_log = len(costing) > 0 and costs[costing].max() > LOG_SCALE_RATIO * costs[costing].min()
    add_arm_points(
        traces,
        costs[costing],
        quality[costing],
        costing_arms,
        f"{unit}, AUC %{{y:.4f}}",
        named,
        bool(is_log),
    )
    for index in np.flatnonzero(costs == 0) if len(costing) else ():
        ends = (float(costs[costing].min()), float(costs[costing].max()))
        add_level_line(
            traces,
            ends,
            float(quality[index]),
            f"{arms[index].title}: none",
            arm_styles([arms[index].title])[arms[index].title],
        )
    x = axis(title, nticks=6, **({"type": "log", "dtick": 1} if is_log else {}))
    y = axis("AUC on target test rows", nticks=6)
    has_auc = any("target_test" in defined_spreads(arm, "auc") for arm in results)
    nothing = "No arm has a known cost" if has_auc else empty_text(results)
    return make_figure(traces, x, y, f"cost-{cost}", nothing, showlegend=True)


def target_sizes_figure(
    results: Sequence[ArmResult], titles: Sequence[str], metric: str = HEADLINE_METRIC
) -> go.Figure:
    """Return a figure of a metric on target test rows by the number of target training rows.

    There is one line per title.
    """
    traces: list[Trace] = []
    # A control may train on source rows too, and a blend trains on none: they stand where arms on
    # the target alone do.
    alone = [arm for arm in results if _trains_on_target_alone(arm.strategy)]
    by_size = {arm.target_rows: _train_rows(arm) for arm in alone}

    def target_rows(arm: ArmResult) -> float:
        if _trains_on_target_alone(arm.strategy):
            return _train_rows(arm)
        return by_size.get(arm.target_rows, _train_rows(arm))

    sizes = [target_rows(arm) for arm in results if is_trained(arm.strategy)]
    styles = arm_styles(titles)
    for title in titles:
        candidates = (
            arm
            for arm in results
            if arm.title == title and "target_test" in defined_spreads(arm, metric)
        )
        arms = sorted(candidates, key=target_rows)
        spreads = [defined_spreads(arm, metric)["target_test"] for arm in arms]
        if arms and not is_trained(arms[0].strategy) and sizes:
            add_level_line(traces, (min(sizes), max(sizes)), spreads[0].mean, title, styles[title])
            continue
        rows = np.array([target_rows(arm) for arm in arms])
        color, dash = styles[title]
        add_intervals(
            traces, spreads, rows, arms, title, color, "circle", value_axis="y", dash=dash
        )
    ticks = sorted({round(size) for size in sizes})
    texts = [f"{size:,}" for size in ticks]
    x = axis("Target rows that trained", type="log", tickvals=ticks, ticktext=texts)
    y = axis(f"{METRICS[metric].axis_title} on target test rows", nticks=6)
    return make_figure(
        traces, x, y, f"sizes-{metric}", empty_text(results, metric), showlegend=True
    )


def pareto_frontier(costs: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """Return the indices of the points on the Pareto frontier, by rising cost.

    No other point reaches their quality at the same or a lower cost.

    Args:
        costs: shape ``(n,)``.
        quality: higher is better, shape ``(n,)``.

    >>> pareto_frontier(np.array([1.0, 2.0, 3.0]), np.array([0.7, 0.6, 0.8])).tolist()
    [0, 2]
    """
    frontier: list[int] = []
    for index in np.lexsort((-quality, costs)):
        if not frontier or quality[index] > quality[frontier[-1]]:
            frontier.append(int(index))
    return np.array(frontier, dtype=np.int64)


def _trains_on_target_alone(strategy: str) -> bool:
    other = strategy == "blend" or has_own_model(strategy)
    return is_trained(strategy) and (not other or strategy == "scratch")


def _train_rows(result: ArmResult) -> float:
    return float(np.mean([run.result.train_rows for run in result.runs if run.result]))
