"""Fields for misclassification costs and the slices of a column.

They are used for one run (Run) and for several (Compare).
"""

from typing import Literal

import streamlit as st

from core.evaluation.decision_cost import DecisionCosts, impression_costs
from core.evaluation.slices import Slice
from core.jobs.requests import Window
from core.report.decisions import column_slices as slices_by
from core.report.decisions import slice_columns as columns_by
from pages.components.shared import url_state
from pages.components.shared.common import workspace

COST_MODES = {
    "errors": "Costs of errors",
    "impressions": "Value of a click, price of an impression",
}

HELP = {
    "fp": (
        "Acting on a row without a click. The higher this cost, the higher the cheapest threshold."
    ),
    "fn": "Missing a click. The higher this cost, the lower the cheapest threshold.",
    "value": "The more a click is worth, the lower the cheapest threshold.",
    "price": "The more an impression costs, the higher the cheapest threshold.",
}


def cost_fields(run_id: str = "") -> DecisionCosts:
    """Draw the cost fields.

    Args:
        run_id: of the run whose costs these are; empty for all runs on Compare, where the URL keeps
            them.

    Raises:
        BadInput: the costs make no sense.
    """
    suffix = f"-{run_id}" if run_id else ""
    bind: Literal["query-params"] | None = None if run_id else url_state.BOUND

    def number(column: int, label: str, name: str, value: float) -> float:
        field = columns[column].number_input(
            label,
            0.0,
            value=value,
            key=f"{name}{suffix}",
            bind=bind,
            help=HELP[name],
        )
        return float(field or 0.0)

    way = st.segmented_control(
        "Costs given as",
        [*COST_MODES],
        format_func=COST_MODES.__getitem__,
        default="errors",
        required=True,
        key=f"way{suffix}",
        bind=bind,
        help=(
            "State either the cost of each kind of error, or the value of a click and the "
            "price of an impression."
        ),
    )
    columns = st.columns(2)
    if way == "errors":
        return DecisionCosts(
            number(0, "Cost of a false positive", "fp", 1.0),
            number(1, "Cost of a false negative", "fn", 4.0),
        )
    return impression_costs(
        number(0, "Value of a click", "value", 5.0),
        number(1, "Price of an impression", "price", 1.0),
    )


def slice_columns(dataset_id: str) -> list[str]:
    """See core.report.decisions.slice_columns."""
    return columns_by(workspace(), dataset_id)


@st.cache_data(max_entries=64, show_spinner="Reading the column")
def column_slices(dataset_id: str, column: str, window: Window | None = None) -> list[Slice]:
    """See core.report.decisions.column_slices."""
    return slices_by(workspace(), dataset_id, column, window)
