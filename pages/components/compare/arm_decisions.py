"""Costs and slices of several arms.

The module shows the cheapest threshold of each arm, and the slices where the arms differ.
"""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.evaluation.decision_cost import DecisionCosts
from core.evaluation.format_metrics import (
    format_bounds,
    format_metric,
    format_p,
    format_with_bounds,
)
from core.evaluation.paired_comparison import MeanEstimate, mean_over_rows
from core.evaluation.significance import NOT_DISTINGUISHABLE, SLICES_NOT_EQUAL
from core.evaluation.slices import AUC_REQUIREMENT, SliceDifference, SliceMetrics
from core.report.arm_styles import arm_colors
from core.report.decision_figures import cost_curve_figure, slice_figure
from core.report.decisions import (
    BY_DOMAIN,
    BY_EVERY_COLUMN,
    THRESHOLD_GRID,
    ArmCost,
    arm_cost,
    cost_difference,
)
from core.report.decisions import arm_slices as sliced
from core.runs.sweep_result import ArmResult
from pages.components.shared.arm_column import arm_column
from pages.components.shared.chart import chart
from pages.components.shared.choosers import choose_text
from pages.components.shared.common import workspace
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.decision_fields import column_slices, cost_fields, slice_columns
from pages.components.shared.errors import catch_errors
from pages.components.shared.formatting import escape_markdown, format_percent

MAX_DIFFERENCES = 30


def arm_costs(arms: Sequence[ArmResult], reference: str) -> None:
    """Show the cheapest threshold of every arm and its cost.

    The threshold is chosen on validation rows, and the cost is that on target test rows.
    """
    with catch_errors():
        costs = cost_fields()
        cost_by_arm = {arm.title: _cached_cost(_cache_key([arm]), costs, arm) for arm in arms}
        baseline_cost = cost_by_arm.get(reference)
        st.dataframe(
            pd.DataFrame(
                [
                    _cost_row(title, cost, None if title == reference else baseline_cost)
                    for title, cost in cost_by_arm.items()
                ]
            ),
            hide_index=True,
            width="stretch",
            height="content",
            alt="The cheapest threshold and its cost, by arm",
            column_config={
                "Arm": arm_column(cost_by_arm),
                "Threshold": st.column_config.TextColumn(
                    help="Chosen on validation rows; the range over seeds"
                ),
                "Cost per test row": st.column_config.NumberColumn(format="%.4f"),
                "At the highest F1": st.column_config.NumberColumn(
                    format="%.4f", help="Cost per row at each run's own threshold"
                ),
            },
        )
        st.caption(
            "Thresholds are chosen on validation rows, costs are measured on target test "
            "rows. Means over seeds; intervals cover test-row and seed noise. Differences "
            f"are from {escape_markdown(reference)}, over common seeds and on the same rows, "
            "each with its own 95 % interval, not adjusted for the number of arms."
        )
        curves = {title: (cost.curve, cost.thresholds[0]) for title, cost in cost_by_arm.items()}
        chart(
            cost_curve_figure(THRESHOLD_GRID, curves),
            "compare-cost",
            360,
            "Cost per row by threshold, first seed of each arm",
        )


@st.cache_data(max_entries=64, show_spinner="Computing the costs")
def _cached_cost(identity: tuple[str, ...], costs: DecisionCosts, _arm: ArmResult) -> ArmCost:
    with compute_slot():
        return arm_cost(workspace(), _arm, costs)


def _cost_row(title: str, cost: ArmCost, reference: ArmCost | None) -> dict[str, object]:
    mean = mean_over_rows(cost.row_costs)
    low, high = min(cost.thresholds), max(cost.thresholds)
    return {
        "Arm": title,
        "Threshold": f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}",
        "Cost per test row": mean.value,
        "95 % interval": _format_interval(mean),
        "Minus the baseline's": _difference(cost, reference) if reference else "–",
        "At the highest F1": cost.cost_at_f1,
        "Rows acted on": format_percent(cost.acted_share),
    }


def _difference(cost: ArmCost, other: ArmCost) -> str:
    difference = cost_difference(cost, other)
    if isinstance(difference, str):
        return difference
    return format_with_bounds(difference.value, difference.low, difference.high, signed=True)


def arm_slices(arms: Sequence[ArmResult], reference: str) -> None:
    """Show every arm's metrics by the values of a column.

    Also show the largest differences from the baseline.
    """
    options = [BY_DOMAIN, *slice_columns(arms[0].runs[0].dataset)] + [BY_EVERY_COLUMN] * (
        len(arms) > 1
    )
    if any("source_test" not in arm.auc for arm in arms):
        options.remove(BY_DOMAIN)
    with st.columns([2, 3])[0]:
        help_text = (
            "The column whose values define the slices. It changes no score, only how "
            "scores are grouped."
        )
        column = choose_text("Column", options, "column", help_text)
    reference = reference if any(arm.title == reference for arm in arms) else arms[0].title
    with catch_errors():
        metrics, differences = _cached_slices(_cache_key(arms), column, reference, arms)
        if column != BY_EVERY_COLUMN:
            _show_metrics(column, metrics)
        if len(arms) > 1:
            _show_differences(column, differences, reference)


@st.cache_data(max_entries=64, show_spinner="Slicing the test rows")
def _cached_slices(
    identity: tuple[str, ...], column: str, reference: str, _arms: Sequence[ArmResult]
) -> tuple[dict[str, list[SliceMetrics]], list[SliceDifference]]:
    with compute_slot():
        return sliced(workspace(), _arms, column, reference, column_slices)


def _show_metrics(column: str, metrics: dict[str, list[SliceMetrics]]) -> None:
    alt = f"AUC by slice: {column}"
    slices = next(iter(metrics.values()))
    height = 100 + len(slices) * (18 + 10 * len(metrics))
    chart(slice_figure(metrics, arm_colors([*metrics])), "compare-slices", height, alt)
    rows = [
        {
            "Slice": slice_metrics.name,
            "Arm": title,
            "Rows": slice_metrics.rows,
            "Click rate": slice_metrics.click_rate,
            "AUC": slice_metrics.auc.value,
            "AUC, 95 %": _format_interval(slice_metrics.auc),
            "Log loss": slice_metrics.log_loss.value,
            "Log loss, 95 %": _format_interval(slice_metrics.log_loss),
            "Predicted / actual": slice_metrics.predicted_over_actual,
        }
        for arms_of_slice in zip(
            *(
                [(title, slice_metrics) for slice_metrics in slices_of_arm]
                for title, slices_of_arm in metrics.items()
            ),
            strict=True,
        )
        for title, slice_metrics in arms_of_slice
    ]
    st.dataframe(
        pd.DataFrame(rows).round(4),
        hide_index=True,
        width="stretch",
        height=min(35 * (len(rows) + 1) + 3, 422),
        placeholder="–",
        alt=f"Metrics of every arm by slice: {column}",
    )


def _show_differences(column: str, differences: Sequence[SliceDifference], reference: str) -> None:
    distinguishable = [
        difference for difference in differences if difference.outcome != NOT_DISTINGUISHABLE
    ]
    n_seeds = differences[0].difference.seeds if differences else 0
    baseline = escape_markdown(reference)
    st.markdown(f"**Largest differences from {baseline}** :gray[· AUC, distinguishable ones first]")
    if not differences:
        st.markdown(f"No slice can be compared: {AUC_REQUIREMENT}.")
        return
    if not distinguishable:
        st.markdown(
            f"In no slice is an arm's AUC distinguishable from that of {baseline}."
            f" {SLICES_NOT_EQUAL}"
        )
    table = [
        {
            "Slice": difference.name,
            "Arm": difference.arm,
            "Verdict": (
                difference.outcome
                + (
                    f" at n = {difference.rows:,}"
                    if difference.outcome == NOT_DISTINGUISHABLE
                    else ""
                )
            ),
            "ΔAUC": format_metric(difference.difference.delta, signed=True),
            "95 % interval": format_bounds(
                difference.difference.low, difference.difference.high, signed=True
            ),
            "Adjusted p": format_p(difference.adjusted_p),
            "Rows": difference.rows,
        }
        for difference in differences[:MAX_DIFFERENCES]
    ]
    st.dataframe(
        pd.DataFrame(table),
        hide_index=True,
        width="stretch",
        height=min(35 * (len(table) + 1) + 3, 422),
        alt=f"Differences in AUC by slice: {column}",
        column_config={"Verdict": st.column_config.TextColumn(width=240)},
    )
    st.caption(
        f"DeLong's test on each slice's rows over {n_seeds} "
        f"seed{'s' if n_seeds != 1 else ''}; p-values adjusted by Holm over "
        f"{len(differences):,} comparisons of slice and arm, of which "
        f"{min(len(differences), MAX_DIFFERENCES)} are shown."
    )


def _cache_key(arms: Sequence[ArmResult]) -> tuple[str, ...]:
    return tuple(f"{arm.title} {run.id} {run.finished}" for arm in arms for run in arm.runs)


def _format_interval(mean: MeanEstimate) -> str:
    return format_bounds(mean.low, mean.high)
