"""Chosen arms put to a decision: the threshold that costs least in each, and where they differ,
slice by slice."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.evaluation.decision_cost import DecisionCosts
from core.evaluation.format_metrics import format_bounds, format_metric, format_p
from core.evaluation.paired_comparison import MeanEstimate, mean_over_rows
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
from pages.components.shared.chart import chart
from pages.components.shared.choosers import choose_text
from pages.components.shared.common import (
    catch_errors,
    escape_markdown,
    format_interval_text,
    format_percent,
    workspace,
)
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.decision_fields import column_slices, cost_fields, slice_columns

MAX_DIFFERENCES = 30


def arm_costs(arms: Sequence[ArmResult], reference: str) -> None:
    """For every arm the threshold that costs least on validation rows, and what it costs on target
    test rows."""
    with catch_errors():
        costs = cost_fields()
        found = {one.title: _cached_cost(_cache_key([one]), costs, one) for one in arms}
        against = found.get(reference)
        st.dataframe(
            pd.DataFrame(
                [
                    _cost_row(title, one, None if title == reference else against)
                    for title, one in found.items()
                ]
            ),
            hide_index=True,
            width="stretch",
            height="content",
            alt="The threshold that costs least and its cost, by arm",
            column_config={
                "Arm": st.column_config.TextColumn(pinned=True),
                "Threshold": st.column_config.TextColumn(
                    help="Chosen on validation rows; the range over seeds"
                ),
                "Cost a test row": st.column_config.NumberColumn(format="%.4f"),
                "At the highest F1": st.column_config.NumberColumn(
                    format="%.4f", help="Cost a row at the threshold that the runs came with"
                ),
            },
        )
        st.caption(
            "Chosen on validation rows, reported on target test rows; means over seeds, intervals"
            f" for other test rows and seeds. Differences are to {escape_markdown(reference)} over"
            " common seeds on the same rows, each with its own 95 % interval: not adjusted for how"
            " many arms there are."
        )
        curves = {title: (one.curve, one.thresholds[0]) for title, one in found.items()}
        chart(
            cost_curve_figure(THRESHOLD_GRID, curves),
            "compare-cost",
            360,
            "Cost a row by threshold, of the first seed of each arm",
        )


@st.cache_data(max_entries=64, show_spinner="Weighing the costs")
def _cached_cost(identity: tuple[str, ...], costs: DecisionCosts, _arm: ArmResult) -> ArmCost:
    with compute_slot():
        return arm_cost(workspace(), _arm, costs)


def _cost_row(title: str, one: ArmCost, reference: ArmCost | None) -> dict[str, object]:
    mean = mean_over_rows(one.row_costs)
    low, high = min(one.thresholds), max(one.thresholds)
    return {
        "Arm": title,
        "Threshold": f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}",
        "Cost a test row": mean.value,
        "95 % interval": _format_interval(mean),
        "Less the reference's": _difference(one, reference) if reference else "–",
        "At the highest F1": one.cost_at_f1,
        "Rows acted on": format_percent(one.acted_share),
    }


def _difference(one: ArmCost, other: ArmCost) -> str:
    difference = cost_difference(one, other)
    if isinstance(difference, str):
        return difference
    return format_interval_text(difference.value, difference.low, difference.high, signed=True)


def arm_slices(arms: Sequence[ArmResult], reference: str) -> None:
    """Metrics of every arm by the values of a column, and the slices where arms differ most from
    the reference."""
    options = [BY_DOMAIN, *slice_columns(arms[0].runs[0].dataset)] + [BY_EVERY_COLUMN] * (
        len(arms) > 1
    )
    if any("source_test" not in one.auc for one in arms):
        options.remove(BY_DOMAIN)
    with st.columns([2, 3])[0]:
        about = (
            "By whose values the test rows are sliced. It changes no score, only how they are"
            " summed up."
        )
        column = choose_text("Column", options, "column", about)
    reference = reference if any(one.title == reference for one in arms) else arms[0].title
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
    tall = 100 + len(slices) * (18 + 10 * len(metrics))
    chart(slice_figure(metrics, arm_colors([*metrics])), "compare-slices", tall, alt)
    rows = [
        {
            "Slice": one.name,
            "Arm": title,
            "Rows": one.rows,
            "Click rate": one.click_rate,
            "AUC": one.auc.value,
            "AUC, 95 %": _format_interval(one.auc),
            "Log loss": one.log_loss.value,
            "Log loss, 95 %": _format_interval(one.log_loss),
            "Predicted / actual": one.predicted_over_actual,
        }
        for of_slice in zip(
            *([(title, one) for one in found] for title, found in metrics.items()), strict=True
        )
        for title, one in of_slice
    ]
    st.dataframe(
        pd.DataFrame(rows).round(4),
        hide_index=True,
        width="stretch",
        height=min(35 * (len(rows) + 1) + 3, 422),
        placeholder="–",
        alt=f"Metrics of every arm by slice: {column}",
    )


def _show_differences(column: str, found: Sequence[SliceDifference], reference: str) -> None:
    real = [one for one in found if one.outcome != "not distinguishable"]
    rows = found[0].difference.seeds if found else 0
    named = escape_markdown(reference)
    st.markdown(f"**Where arms differ most from {named}** :gray[· AUC, distinguishable ones first]")
    if not found:
        st.markdown(f"No slice can be compared: {AUC_REQUIREMENT}.")
        return
    if not real:
        st.markdown(f"In no slice is an arm's AUC distinguishable from that of {named}.")
    table = [
        {
            "Slice": one.name,
            "Arm": one.arm,
            "Verdict": (
                one.outcome
                + (f" at n = {one.rows:,}" if one.outcome == "not distinguishable" else "")
            ),
            "ΔAUC": format_metric(one.difference.delta, signed=True),
            "95 % interval": format_bounds(one.difference.low, one.difference.high, signed=True),
            "Adjusted p": format_p(one.adjusted_p),
            "Rows": one.rows,
        }
        for one in found[:MAX_DIFFERENCES]
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
        f"DeLong's test on each slice's rows over {rows} seed{'s' if rows != 1 else ''}; p-values"
        f" adjusted by Holm over {len(found):,} comparisons of slice and arm, of which"
        f" {min(len(found), MAX_DIFFERENCES)} are shown."
    )


def _cache_key(arms: Sequence[ArmResult]) -> tuple[str, ...]:
    return tuple(f"{one.title} {run.id} {run.finished}" for one in arms for run in one.runs)


def _format_interval(mean: MeanEstimate) -> str:
    return format_bounds(mean.low, mean.high)
