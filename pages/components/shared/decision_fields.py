"""What decisions are put to: fields for costs, and the slices of a column; for one run and for
several."""

import streamlit as st

from core.evaluation.decision_cost import DecisionCosts, impression_costs
from core.evaluation.slices import Slice
from core.report.decisions import column_slices as slices_by
from core.report.decisions import slice_columns as columns_by
from pages.components.shared.common import workspace

COST_MODES = {
    "errors": "Costs of errors",
    "impressions": "Value of a click, price of an impression",
}

HELP = {
    "fp": "Acting on a row without a click. The dearer, the higher the threshold that costs least.",
    "fn": "Missing a click. The dearer, the lower the threshold that costs least.",
    "value": "The more a click is worth, the lower the threshold that costs least.",
    "price": "The more an impression costs, the higher the threshold that costs least.",
}


def cost_fields(run_id: str = "") -> DecisionCosts:
    """Fields for the costs: of one run, or without one of all chosen runs, and then in the address.

    BadInput when the costs make no sense.
    """
    after, bind = (f"-{run_id}", None) if run_id else ("", "query-params")

    def number(place: int, label: str, name: str, value: float) -> float:
        field = columns[place].number_input(
            label,
            0.0,
            value=value,
            key=f"{name}{after}",
            bind=bind,  # type: ignore[arg-type]
            help=HELP[name],
        )
        return float(field or 0.0)

    way = st.segmented_control(
        "Counted in",
        [*COST_MODES],
        format_func=COST_MODES.__getitem__,
        default="errors",
        required=True,
        key=f"way{after}",
        bind=bind,  # type: ignore[arg-type]
        help=(
            "How costs are put: what each kind of error costs, or what a click is worth and an"
            " impression costs."
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
def column_slices(dataset_id: str, column: str) -> list[Slice]:
    """See core.report.decisions.column_slices."""
    return slices_by(workspace(), dataset_id, column)
