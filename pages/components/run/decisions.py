"""Decisions with a finished run: the cheapest threshold, and metrics slice by slice."""

import numpy as np
import pandas as pd
import streamlit as st

from core.evaluation.curves import threshold_table
from core.evaluation.decision_cost import cheapest_threshold
from core.evaluation.format_metrics import format_metric, format_p
from core.evaluation.significance import NOT_DISTINGUISHABLE, SLICES_NOT_EQUAL
from core.evaluation.slices import AUC_REQUIREMENT, SliceDifference
from core.jobs.store import Run
from core.report.decision_figures import cost_curve_figure, slice_figure
from core.report.decisions import run_slices
from core.report.palette import FROZEN, TRAINED
from pages.components.shared.chart import chart
from pages.components.shared.common import number_column_config
from pages.components.shared.decision_fields import column_slices, cost_fields, slice_columns
from pages.components.shared.errors import catch_errors, catch_errors_in
from pages.components.shared.formatting import format_percent
from pages.components.shared.run_predictions import load_predictions


def decisions_section(run: Run) -> None:
    """Draw both sections, for a run with stored scores."""
    st.subheader("The cheapest threshold")
    st.fragment(catch_errors_in(_cost_view))(run)
    st.subheader("Results by slice")
    st.fragment(catch_errors_in(_slice_view))(run)


def _cost_view(run: Run) -> None:
    arrays = load_predictions(run)
    with catch_errors():
        costs = cost_fields(run.id)
        threshold = cheapest_threshold(
            arrays["target_validation_label"].astype(float),
            arrays["target_validation_score"].astype(float),
            costs,
        )
        labels = arrays["target_test_label"].astype(float)
        table = threshold_table(labels, arrays["target_test_score"].astype(float))
        grid = np.linspace(0, 1, 201)
        curve = np.array([costs.total(table.confusion_at(point)) for point in grid]) / len(labels)
        here = costs.total(table.confusion_at(threshold)) / len(labels)
        f1, f1_threshold = float("nan"), run.result.threshold if run.result else None
        if f1_threshold is not None:
            f1 = costs.total(table.confusion_at(f1_threshold)) / len(labels)
        at = table.confusion_at(threshold)
        with st.container(horizontal=True):
            st.metric(
                "Threshold",
                format_metric(threshold),
                help="Chosen on validation rows.",
                width="content",
            )
            st.metric("Cost per test row", format_metric(here), width="content")
            st.metric(
                "At the highest F1",
                format_metric(f1),
                help="The run's own threshold.",
                width="content",
            )
            st.metric(
                "Rows acted on", format_percent((at.tp + at.fp) / len(labels)), width="content"
            )
        figure = cost_curve_figure(grid, {"cost": (curve, threshold)})
        chart(
            figure,
            f"cost-{run.id}",
            300,
            f"Cost per row; {format_metric(here)} at {format_metric(threshold, 3)}",
        )


def _slice_view(run: Run) -> None:
    arrays = load_predictions(run)
    column = st.selectbox(
        "Column",
        slice_columns(run.dataset),
        key=f"slice-{run.id}",
        width=220,
        help=(
            "The column whose values define the slices. It changes no score, only how "
            "scores are grouped."
        ),
    )
    with catch_errors():
        slices = column_slices(run.dataset, column, run.window)
        labels = arrays["target_test_label"].astype(float)
        metrics, differences = run_slices(arrays, slices)
        colors = (FROZEN, TRAINED)[-len(metrics) :]
        chart(
            slice_figure(metrics, colors),
            f"slices-{run.id}",
            80 + 34 * len(slices),
            f"AUC by the values of {column} on target test rows",
        )
        columns: dict[str, list[object]] = {column: [part.name for part in slices]}
        columns["Rows"] = [len(part.rows) for part in slices]
        columns["Click rate"] = [float(labels[part.rows].mean()) for part in slices]
        for title, slice_metrics in metrics.items():
            columns[f"AUC {title}"] = [part.auc.value for part in slice_metrics]
            columns[f"Predicted / actual {title}"] = [
                part.predicted_over_actual for part in slice_metrics
            ]
        st.dataframe(
            pd.DataFrame(columns),
            hide_index=True,
            width="stretch",
            height="content",
            placeholder="–",
            alt=f"Metrics by the values of {column}",
            column_config=number_column_config(
                {name: values[0] for name, values in columns.items() if name != column}
            ),
        )
        if len(metrics) == 2:
            st.caption(_describe_differences(differences, column))


def _describe_differences(differences: list[SliceDifference], column: str) -> str:
    distinguishable = [
        difference for difference in differences if difference.outcome != NOT_DISTINGUISHABLE
    ]
    if not differences:
        return f"No slice of {column} can be compared: {AUC_REQUIREMENT}."
    if not distinguishable:
        return (
            f"In no slice of {column} is AUC before and after distinguishable (Holm over"
            f" {len(differences)} slices). {SLICES_NOT_EQUAL}"
        )
    listed = "; ".join(
        f"{difference.name} ({format_metric(difference.difference.delta, signed=True)}, adjusted p"
        f" {format_p(difference.adjusted_p)}, n = {difference.rows:,})"
        for difference in distinguishable
    )
    return f"AUC changed most in: {listed}. Holm-adjusted over {len(differences)} slices."
