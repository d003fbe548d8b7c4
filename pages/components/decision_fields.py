"""What decisions are put to: fields for costs, and the slices of a column; for one run and for several."""

import streamlit as st

from core.data.datasets import column_values, find_dataset, kept_columns, test_rows
from core.data.schema import CATEGORICAL, NUMERIC
from core.errors import BadInput
from core.evaluation.costs import Costs, of_impressions
from core.evaluation.slices import Slice, slices_of
from pages.components.common import workspace

WAYS = {"errors": "Costs of errors", "impressions": "Value of a click, price of an impression"}

HELP = {
    "fp": "Acting on a row without a click. The dearer, the higher the threshold that costs least.",
    "fn": "Missing a click. The dearer, the lower the threshold that costs least.",
    "value": "The more a click is worth, the lower the threshold that costs least.",
    "price": "The more an impression costs, the higher the threshold that costs least.",
}


def cost_fields(run_id: str = "") -> Costs:
    """Fields for the costs: of one run, or without one of all chosen runs, and then in the address.

    BadInput when the costs make no sense.
    """
    after, bind = (f"-{run_id}", None) if run_id else ("", "query-params")

    def number(place: int, label: str, name: str, value: float) -> float:
        field = columns[place].number_input(label, 0.0, value=value, key=f"{name}{after}", bind=bind, help=HELP[name])  # type: ignore[arg-type]
        return float(field or 0.0)

    way = st.segmented_control(
        "Counted in",
        [*WAYS],
        format_func=WAYS.__getitem__,
        default="errors",
        required=True,
        key=f"way{after}",
        bind=bind,  # type: ignore[arg-type]
        help="How costs are put: what each kind of error costs, or what a click is worth and an impression costs.",
    )
    columns = st.columns(2)
    if way == "errors":
        return Costs(number(0, "Cost of a false positive", "fp", 1.0), number(1, "Cost of a false negative", "fn", 4.0))
    return of_impressions(
        number(0, "Value of a click", "value", 5.0), number(1, "Price of an impression", "price", 1.0)
    )


def slice_columns(dataset_id: str) -> list[str]:
    """Columns that test rows can be sliced by: the segment columns that the files brought along, then the 39 fields."""
    try:
        kept = kept_columns(workspace(), find_dataset(workspace(), dataset_id))
    except BadInput:
        kept = ()
    return [*kept, *CATEGORICAL, *NUMERIC]


@st.cache_data(max_entries=64, show_spinner="Reading the column")
def column_slices(dataset_id: str, column: str) -> list[Slice]:
    """The most frequent values of a column among the target test rows."""
    dataset = find_dataset(workspace(), dataset_id)
    values = column_values(workspace(), dataset, column)
    chosen = values.take(test_rows(dataset, "target")).to_pylist()
    return slices_of([f"{value:g}" if isinstance(value, float) else value for value in chosen])
