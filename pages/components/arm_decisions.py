"""Chosen arms put to a decision: the threshold that costs least in each, and where they differ, slice by slice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from core.evaluation.costs import Costs, cheapest_threshold
from core.evaluation.curves import threshold_table
from core.evaluation.seeds import Mean, mean_of_rows
from core.evaluation.slices import Slice, SliceDifference, SliceMetrics, slice_differences, slice_metrics
from core.report.arm_styles import arm_colors
from core.report.arms import comparable_seeds, scores_of
from core.report.decision_figures import cost_figure, slice_figure
from core.runs.sweep_result import ArmResult
from pages.components.chart import chart
from pages.components.choice import choose_text
from pages.components.common import errors_shown, escape_markdown, percent, workspace
from pages.components.decision_fields import column_slices, cost_fields, slice_columns

DOMAIN, EVERY_COLUMN = "source against target", "every column"
MOST_DIFFERENCES = 30


def arm_costs(arms: Sequence[ArmResult], reference: str) -> None:
    """For every arm the threshold that costs least on validation rows, and what it costs on target test rows."""
    with errors_shown():
        costs = cost_fields()
        found = {one.title: _paid(_identity([one]), costs, one) for one in arms}
        against = found.get(reference)
        st.dataframe(
            pd.DataFrame(
                [_cost_row(title, one, None if title == reference else against) for title, one in found.items()]
            ),
            hide_index=True,
            width="stretch",
            height="content",
            alt="The threshold that costs least and its cost, by arm",
            column_config={
                "Arm": st.column_config.TextColumn(pinned=True),
                "Threshold": st.column_config.TextColumn(help="Chosen on validation rows; the range over seeds"),
                "Cost a test row": st.column_config.NumberColumn(format="%.4f"),
                "At the highest F1": st.column_config.NumberColumn(
                    format="%.4f", help="Cost a row at the threshold that the runs came with"
                ),
            },
        )
        st.caption(
            f"Chosen on validation rows, reported on target test rows; means over seeds, intervals for other test rows "
            f"and seeds. Differences are to {escape_markdown(reference)} over common seeds on the same rows, each with "
            "its own 95 % interval: not adjusted for how many arms there are."
        )
        curves = {title: (one.curve, one.thresholds[0]) for title, one in found.items()}
        chart(cost_figure(_GRID, curves), "compare-cost", 360, "Cost a row by threshold, of the first seed of each arm")


_GRID = np.linspace(0, 1, 201)


@dataclass(frozen=True)
class Paid:
    """What one arm pays. thresholds: by seed. rows: cost of every test row, (seeds, rows). curve: of the first seed."""

    seeds: tuple[int, ...]
    thresholds: tuple[float, ...]
    rows: np.ndarray
    at_f1: float
    acted: float
    curve: np.ndarray


@st.cache_data(max_entries=64, show_spinner="Weighing the costs")
def _paid(identity: tuple[str, ...], costs: Costs, _arm: ArmResult) -> Paid:
    seeds = tuple(int(run.request["train"]["seed"]) for run in _arm.runs)
    read = {
        name: scores_of(workspace(), _arm, name, seeds)
        for name in ("target_validation_label", "target_validation_score", "target_test_label", "target_test_score")
    }
    labels, scores = read["target_test_label"][0], read["target_test_score"]
    validation = zip(read["target_validation_label"], read["target_validation_score"], strict=True)
    thresholds = tuple(cheapest_threshold(*one, costs) for one in validation)
    rows = np.stack([costs.of_rows(labels, own, at) for own, at in zip(scores, thresholds, strict=True)])
    f1 = [run.result["threshold"] for run in _arm.runs if run.result]
    at_f1 = float(np.mean([costs.of_rows(labels, own, at).mean() for own, at in zip(scores, f1, strict=True)]))
    acted = float(np.mean([(own >= at).mean() for own, at in zip(scores, thresholds, strict=True)]))
    table = threshold_table(labels, scores[0])
    curve = np.array([costs.of(table.at(one)) for one in _GRID]) / len(labels)
    return Paid(seeds, thresholds, rows, at_f1, acted, curve)


def _cost_row(title: str, one: Paid, reference: Paid | None) -> dict[str, object]:
    mean = mean_of_rows(one.rows)
    low, high = min(one.thresholds), max(one.thresholds)
    return {
        "Arm": title,
        "Threshold": f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}",
        "Cost a test row": mean.value,
        "95 % interval": _range(mean),
        "Less the reference's": _difference(one, reference) if reference else "–",
        "At the highest F1": one.at_f1,
        "Rows acted on": percent(one.acted),
    }


def _difference(one: Paid, other: Paid) -> str:
    """Mean difference in cost a row over common seeds; a single run stands beside every seed."""
    if one.rows.shape[1] != other.rows.shape[1]:
        return "other rows"
    common = [seed for seed in one.seeds if seed in other.seeds]
    if len(one.seeds) == 1 or len(other.seeds) == 1:
        difference = mean_of_rows(one.rows - other.rows)
    elif common:
        a, b = (paid.rows[[paid.seeds.index(seed) for seed in common]] for paid in (one, other))
        difference = mean_of_rows(a - b)
    else:
        return "no common seed"
    return f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"


def arm_slices(arms: Sequence[ArmResult], reference: str) -> None:
    """Metrics of every arm by the values of a column, and the slices where arms differ most from the reference."""
    options = [DOMAIN, *slice_columns(arms[0].runs[0].dataset)] + [EVERY_COLUMN] * (len(arms) > 1)
    if any("source_test" not in one.auc for one in arms):
        options.remove(DOMAIN)
    with st.columns([2, 3])[0]:
        about = "By whose values the test rows are sliced. It changes no score, only how they are summed up."
        column = choose_text("Column", options, "column", about)
    reference = reference if any(one.title == reference for one in arms) else arms[0].title
    with errors_shown():
        metrics, differences = _sliced(_identity(arms), column, reference, arms)
        if column != EVERY_COLUMN:
            _metrics(column, metrics)
        if len(arms) > 1:
            _differences(column, differences, reference)


@st.cache_data(max_entries=64, show_spinner="Slicing the test rows")
def _sliced(
    identity: tuple[str, ...], column: str, reference: str, _arms: Sequence[ArmResult]
) -> tuple[dict[str, list[SliceMetrics]], list[SliceDifference]]:
    seeds = comparable_seeds(_arms)
    parts = ("target_test", "source_test") if column == DOMAIN else ("target_test",)
    first = [scores_of(workspace(), _arms[0], f"{part}_label", seeds[:1])[0] for part in parts]
    labels = np.concatenate(first)
    scores = {
        one.title: np.concatenate([scores_of(workspace(), one, f"{part}_score", seeds) for part in parts], axis=1)
        for one in _arms
    }
    dataset = _arms[0].runs[0].dataset
    if column == DOMAIN:
        slices = [Slice("target", np.arange(len(first[0]))), Slice("source", len(first[0]) + np.arange(len(first[1])))]
    elif column == EVERY_COLUMN:
        slices = [
            Slice(f"{name} = {one.name}", one.rows)
            for name in slice_columns(dataset)
            for one in column_slices(dataset, name)
        ]
    else:
        slices = column_slices(dataset, column)
    metrics = {} if column == EVERY_COLUMN else {one: slice_metrics(labels, own, slices) for one, own in scores.items()}
    return metrics, slice_differences(labels, scores, reference, slices) if len(scores) > 1 else []


def _metrics(column: str, metrics: dict[str, list[SliceMetrics]]) -> None:
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
            "AUC, 95 %": _range(one.auc),
            "Log loss": one.log_loss.value,
            "Log loss, 95 %": _range(one.log_loss),
            "Predicted / actual": one.predicted_over_actual,
        }
        for of_slice in zip(*([(title, one) for one in found] for title, found in metrics.items()), strict=True)
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


def _differences(column: str, found: Sequence[SliceDifference], reference: str) -> None:
    real = [one for one in found if one.word != "not distinguishable"]
    rows = found[0].difference.seeds if found else 0
    named = escape_markdown(reference)
    st.markdown(f"**Where arms differ most from {named}** :gray[· AUC, distinguishable ones first]")
    if not real:
        st.markdown(f"In no slice is an arm's AUC distinguishable from that of {named}.")
    table = [
        {
            "Slice": one.name,
            "Arm": one.arm,
            "Verdict": one.word + (f" at n = {one.rows:,}" if one.word == "not distinguishable" else ""),
            "ΔAUC": f"{one.difference.delta:+.4f}",
            "95 % interval": f"{one.difference.low:+.4f} to {one.difference.high:+.4f}",
            "Adjusted p": "< 0.0001" if one.adjusted_p < 1e-4 else f"{one.adjusted_p:.4f}",
            "Rows": one.rows,
        }
        for one in found[:MOST_DIFFERENCES]
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
        f"DeLong's test on each slice's rows over {rows} seed{'s' if rows != 1 else ''}; p-values adjusted by Holm "
        f"over {len(found):,} comparisons of slice and arm, of which {min(len(found), MOST_DIFFERENCES)} are shown."
    )


def _identity(arms: Sequence[ArmResult]) -> tuple[str, ...]:
    return tuple(f"{one.title} {run.id} {run.finished}" for one in arms for run in one.runs)


def _range(mean: Mean) -> str:
    return "–" if mean.low != mean.low else f"{mean.low:.4f} to {mean.high:.4f}"
