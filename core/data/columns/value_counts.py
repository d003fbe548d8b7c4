"""How often each value of a column occurs, counted per distinct value of a batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.data.columns.dictionary_file import indices_and_dictionary


@dataclass(frozen=True)
class ValueCounts:
    """The distinct values of a column and how often each occurs, in no particular order.

    Attributes:
        values: keys as `vocabulary_index.to_uint64` returns them, or Arrow strings if one has no
            key.
        counts: int64, shape ``(n_values,)``.
        missing: number of rows without a value.
        numeric: whether the keys are those of float64 values.
    """

    values: np.ndarray | pa.Array
    counts: np.ndarray
    missing: int
    numeric: bool

    def values_with_min_count(self, min_count: int) -> tuple[pa.Array, np.ndarray]:
        """Return (values, counts) of the values that occur at least `min_count` times.

        They are sorted by falling count, then by value (strings by their bytes).
        """
        from core.data.columns.vocabulary_index import to_strings

        enough = self.counts >= min_count
        counts = self.counts[enough]
        if isinstance(self.values, pa.Array):
            values = self.values.filter(pa.array(enough))
            table = pa.table({"total": counts, "value": values})
            order = pc.sort_indices(
                table, [("total", "descending"), ("value", "ascending")]
            ).to_numpy()
            return values.take(pa.array(order)), counts[order]
        keys = self.values[enough]
        # A key holds the first byte of a string lowest; swapped, keys sort like the strings.
        order = np.lexsort((keys.view(np.float64) if self.numeric else keys.byteswap(), -counts))
        keys = keys[order]
        values = pa.array(keys.view(np.float64)) if self.numeric else to_strings(keys)
        return values, counts[order]

    def most_common(self, limit: int) -> tuple[pa.Array, np.ndarray]:
        """Return (values, counts) of the `limit` most frequent values, sorted as above."""
        few = len(self.counts) <= limit
        min_count = 1 if few else int(np.partition(self.counts, -limit)[-limit])
        values, counts = self.values_with_min_count(min_count)
        return values.slice(0, limit), counts[:limit]


def count_column(column: pa.ChunkedArray, mask: np.ndarray | None = None) -> ValueCounts:
    """Count the values of a column of strings or float64, dictionary-encoded or not.

    Args:
        column: shape ``(n_rows,)``; NaN counts as missing, -0 as 0.
        mask: bool, shape ``(n_rows,)``: the rows to count, all by default.
    """
    from core.data.columns.vocabulary_index import ValueCounter, to_uint64

    counter, missing, numeric = ValueCounter(), 0, False
    for values, counts in _count_batches(column, mask):
        keys, is_missing = to_uint64(values), missing_mask(values)
        if keys is None:
            return _count_strings(column, mask)
        numeric = values.type == pa.float64()
        missing += int(counts[is_missing].sum())
        counts[is_missing] = 0
        counter.add(keys, counts)
    return ValueCounts(counter.keys, counter.counts, missing, numeric)


def sort_by_value(counts: ValueCounts) -> tuple[np.ndarray, np.ndarray]:
    """Return (values, counts) of a numeric column, by rising value.

    In this order sums over the values do not depend on how the rows are stored.
    """
    numbers = counts.values.view(np.float64)
    order = np.argsort(numbers)
    return numbers[order], counts.counts[order]


def _count_strings(column: pa.ChunkedArray, mask: np.ndarray | None) -> ValueCounts:
    values, counts = zip(*_count_batches(column, mask), strict=True)
    table = pa.table({"value": pa.concat_arrays(values), "count": np.concatenate(counts)})
    present = table.filter(pc.field("value").is_valid() & (pc.field("count") > 0))
    distinct = present["value"].combine_chunks().dictionary_encode()
    totals = np.bincount(
        distinct.indices.to_numpy(), present["count"].to_numpy(), minlength=len(distinct.dictionary)
    )
    missing = pc.sum(table.filter(~pc.field("value").is_valid())["count"]).as_py() or 0
    return ValueCounts(distinct.dictionary, totals.astype(np.int64), missing, numeric=False)


def _count_batches(
    column: pa.ChunkedArray, mask: np.ndarray | None
) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """Yield (distinct values, their counts within `mask`) for every batch."""
    from core.data.columns.kernels import add_masked_counts

    selected, start = np.ones(len(column), bool) if mask is None else mask, 0
    for chunk in column.chunks:
        indices, values = indices_and_dictionary(chunk)
        counts = np.zeros(len(values), np.int64)
        add_masked_counts(indices, selected[start : start + len(indices)], counts)
        start += len(indices)
        yield values, counts


def missing_mask(values: pa.Array) -> np.ndarray:
    """Return which values are missing (null or NaN), bool, shape ``(n_values,)``."""
    if values.type == pa.float64():
        return np.isnan(values.to_numpy(zero_copy_only=False))
    return values.is_null().to_numpy(zero_copy_only=False)
