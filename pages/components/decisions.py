"""A finished run put to a decision: the threshold that costs least, and who it serves well, slice
by slice."""

import numpy as np
import pandas as pd
import streamlit as st

from core.evaluation.costs import cheapest_threshold
from core.evaluation.curves import threshold_table
from core.evaluation.format_metrics import format_metric
from core.evaluation.slices import NEEDED, SliceDifference
from core.report.decision_figures import cost_figure, slice_figure
from core.report.decisions import run_slices
from core.report.palette import FROZEN, TRAINED
from core.runs.store import Run
from pages.components.chart import chart
from pages.components.common import decimals, errors_shown, explained, number_columns, percent
from pages.components.decision_fields import column_slices, cost_fields, slice_columns
from pages.components.result import predictions_of


def decisions_view(run: Run) -> None:
    """Both sections, for a run that has scores."""
    st.subheader("The threshold that costs least")
    st.fragment(explained(_costs))(run)
    st.subheader("Slice by slice")
    st.fragment(explained(_slices))(run)


def _costs(run: Run) -> None:
    arrays = predictions_of(run)
    with errors_shown():
        costs = cost_fields(run.id)
        threshold = cheapest_threshold(
            arrays["target_validation_label"].astype(float),
            arrays["target_validation_score"].astype(float),
            costs,
        )
        labels = arrays["target_test_label"].astype(float)
        table = threshold_table(labels, arrays["target_test_score"].astype(float))
        grid = np.linspace(0, 1, 201)
        curve = np.array([costs.of(table.at(one)) for one in grid]) / len(labels)
        here = costs.of(table.at(threshold)) / len(labels)
        f1 = (
            costs.of(table.at(run.result["threshold"])) / len(labels)
            if run.result
            else float("nan")
        )
        at = table.at(threshold)
        with st.container(horizontal=True):
            st.metric(
                "Threshold", decimals(threshold), help="Chosen on validation rows.", width="content"
            )
            st.metric("Cost a test row", decimals(here), width="content")
            st.metric(
                "At the highest F1",
                decimals(f1),
                help="The threshold the run came with.",
                width="content",
            )
            st.metric("Rows acted on", percent((at.tp + at.fp) / len(labels)), width="content")
        figure = cost_figure(grid, {"cost": (curve, threshold)})
        chart(
            figure,
            f"cost-{run.id}",
            300,
            f"Cost a row; {decimals(here)} at {decimals(threshold, 3)}",
        )


def _slices(run: Run) -> None:
    arrays = predictions_of(run)
    column = st.selectbox(
        "Column",
        slice_columns(run.dataset),
        key=f"slice-{run.id}",
        width=220,
        help=(
            "By whose values the test rows are sliced. It changes no score, only how they are"
            " summed up."
        ),
    )
    with errors_shown():
        slices = column_slices(run.dataset, column)
        labels = arrays["target_test_label"].astype(float)
        metrics, differences = run_slices(arrays, slices)
        colors = (FROZEN, TRAINED)[-len(metrics) :]
        chart(
            slice_figure(metrics, colors),
            f"slices-{run.id}",
            80 + 34 * len(slices),
            f"AUC by the values of {column} on target test rows",
        )
        columns: dict[str, list[object]] = {column: [one.name for one in slices]}
        columns["Rows"] = [len(one.rows) for one in slices]
        columns["Click rate"] = [float(labels[one.rows].mean()) for one in slices]
        for title, found in metrics.items():
            columns[f"AUC {title}"] = [one.auc.value for one in found]
            columns[f"Predicted / actual {title}"] = [one.predicted_over_actual for one in found]
        st.dataframe(
            pd.DataFrame(columns),
            hide_index=True,
            width="stretch",
            height="content",
            placeholder="–",
            alt=f"Metrics by the values of {column}",
            column_config=number_columns(
                {name: values[0] for name, values in columns.items() if name != column}
            ),
        )
        if len(metrics) == 2:
            st.caption(_most_different(differences, column))


def _most_different(found: list[SliceDifference], column: str) -> str:
    real = [one for one in found if one.word != "not distinguishable"]
    if not found:
        return f"No slice of {column} can be compared: {NEEDED}."
    if not real:
        return (
            f"In no slice of {column} is AUC before and after distinguishable (Holm over"
            f" {len(found)} slices)."
        )
    named = "; ".join(
        f"{one.name} ({format_metric(one.difference.delta, signed=True)}, adjusted p"
        f" {one.adjusted_p:.3g}, n = {one.rows:,})"
        for one in real
    )
    return f"AUC changed most in: {named}. Holm-adjusted over {len(found)} slices."
