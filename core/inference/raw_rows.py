"""Raw test rows as tables that can be edited: what-if rows, reference rows, one value for all."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.data.dataset_files import decode_column
from core.data.dataset_rows import read_dataset_rows
from core.data.datasets import Dataset
from core.data.schema import FIELDS, NUMERIC
from core.inference.explanation_files import Value
from core.workspace import Workspace

RowValues = dict[str, Value]
"""One row: the value of each of the 39 fields."""


def read_rows(workspace: Workspace, dataset: Dataset, numbers: np.ndarray) -> pa.Table:
    """Return these rows' 39 fields, decoded: float64 and strings, null where missing."""
    return take_rows(read_dataset_rows(workspace, dataset), numbers)


def take_rows(table: pa.Table, numbers: np.ndarray) -> pa.Table:
    """Return rows of a table by number, decoded, in the given order; a row may be asked for twice.

    Batch by batch: Arrow cannot take from several batches whose dictionaries hold nulls.
    """
    wanted, place = np.unique(numbers, return_inverse=True)
    parts, start = [], 0
    for batch in table.select(FIELDS).to_batches():
        low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
        if high > low:
            chosen = pa.Table.from_batches([batch]).take(wanted[low:high] - start)
            parts.append(pa.table({field: decode_column(chosen[field]) for field in FIELDS}))
        start += batch.num_rows
    if not parts:
        return make_table([])
    return pa.concat_tables(parts).combine_chunks().take(place)


def row_values(table: pa.Table, index: int = 0) -> RowValues:
    """Return one row of a table; a number that is NaN is missing."""
    row = table.slice(index, 1).to_pylist()[0]
    return {field: None if row[field] != row[field] else row[field] for field in FIELDS}


def make_table(rows: "list[RowValues]") -> pa.Table:
    """Return rows as a table that a preprocessing encodes."""
    return pa.table(
        {field: pa.array([row[field] for row in rows], field_type(field)) for field in FIELDS}
    )


def field_type(field: str) -> pa.DataType:
    """Return the Arrow type of a field's values."""
    return pa.float64() if field in NUMERIC else pa.string()


def with_value(table: pa.Table, field: str, value: Value) -> pa.Table:
    """Return the rows with one value in a field of all of them."""
    column = pa.array([value] * table.num_rows, field_type(field))
    return table.set_column(table.column_names.index(field), field, column)


def reference_row(table: pa.Table, reference: str) -> RowValues:
    """Return the reference row of some rows.

    Args:
        table: the rows.
        reference: "missing", or "typical": the median of a numeric field (the lower one, which a
            row has) and the most frequent value of a category, missing values counted as one.
    """
    if reference == "missing":
        return dict.fromkeys(FIELDS)
    return {field: _typical(table, field) for field in FIELDS}


def _typical(table: pa.Table, field: str) -> Value:
    if field in NUMERIC:
        known = known_numbers(table, field)
        return float(np.quantile(known, 0.5, method="lower")) if len(known) else None
    found = frequent_values(table, field, 1)
    return found[0][0] if found else None


def known_numbers(table: pa.Table, field: str) -> np.ndarray:
    """Return the values of a numeric field that are not missing, float64."""
    values = table[field].drop_null().to_numpy()
    return values[~np.isnan(values)]


def frequent_values(table: pa.Table, field: str, count: int) -> list[tuple[Value, int]]:
    """Return the most frequent values of a category with their rows; "" counts as missing."""
    column = table[field]
    empty = pc.equal(column, "")
    column = pc.if_else(pc.fill_null(empty, True), pa.scalar(None, pa.string()), column)
    pairs = [(one["values"], one["counts"]) for one in pc.value_counts(column).to_pylist()]
    return sorted(pairs, key=lambda one: (-one[1], one[0] or ""))[:count]


def edited(row: RowValues, values: Mapping[str, Value]) -> RowValues:
    """Return the row with some values replaced."""
    return {**row, **values}
