"""How often each value of a column occurs, asked once a distinct value of a batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.data.columns.dictionary_file import indices_and_dictionary


@dataclass(frozen=True)
class ValueCounts:
    """A column's values and how often each occurs, int64 (values,), in no order. missing: rows
    without a value.

    values: uint64 words as core.data.columns.vocabulary_index has them, or Arrow's texts where one is no word.
    numeric: of what the words are.
    """

    values: np.ndarray | pa.Array
    counts: np.ndarray
    missing: int
    numeric: bool

    def values_with_min_count(self, min_count: int) -> tuple[pa.Array, np.ndarray]:
        """(values, counts) of those that occur so often, by falling count, then by value (texts: by
        their bytes)."""
        from core.data.columns.vocabulary_index import to_strings

        enough = self.counts >= min_count
        totals = self.counts[enough]
        if isinstance(self.values, pa.Array):
            values = self.values.filter(pa.array(enough))
            table = pa.table({"total": totals, "value": values})
            order = pc.sort_indices(
                table, [("total", "descending"), ("value", "ascending")]
            ).to_numpy()
            return values.take(pa.array(order)), totals[order]
        words = self.values[enough]
        # The first byte of a text is the lowest of its word, so the bytes are turned round to be
        # compared.
        order = np.lexsort((words.view(np.float64) if self.numeric else words.byteswap(), -totals))
        words = words[order]
        return pa.array(words.view(np.float64)) if self.numeric else to_strings(words), totals[
            order
        ]

    def most_common(self, limit: int) -> tuple[pa.Array, np.ndarray]:
        """The first so many of `at_least(1)`."""
        few = len(self.counts) <= limit
        values, totals = self.values_with_min_count(
            1 if few else int(np.partition(self.counts, -limit)[-limit])
        )
        return values.slice(0, limit), totals[:limit]


def count_column(column: pa.ChunkedArray, mask: np.ndarray | None = None) -> ValueCounts:
    """Counts a column's strings or float64, coded or plain, in its chosen rows, bool (rows,), all
    by default.

    NaN counts as missing, -0 as 0.
    """
    from core.data.columns.vocabulary_index import ValueCounter, to_uint64

    tally, missing, numeric = ValueCounter(), 0, False
    for values, counts in _count_batches(column, mask):
        words, missed = to_uint64(values), missing_mask(values)
        if words is None:
            return _count_strings(column, mask)
        numeric = values.type == pa.float64()
        missing += int(counts[missed].sum())
        counts[missed] = 0
        tally.add(words, counts)
    return ValueCounts(tally.keys, tally.counts, missing, numeric)


def sort_by_value(counts: ValueCounts) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, rising, float64; how often each occurs): sums over them do not hang on how the rows
    are kept."""
    numbers = counts.values.view(np.float64)
    order = np.argsort(numbers)
    return numbers[order], counts.counts[order]


def _count_strings(column: pa.ChunkedArray, chosen: np.ndarray | None) -> ValueCounts:
    values, counts = zip(*_count_batches(column, chosen), strict=True)
    table = pa.table({"value": pa.concat_arrays(values), "count": np.concatenate(counts)})
    present = table.filter(pc.field("value").is_valid() & (pc.field("count") > 0))
    distinct = present["value"].combine_chunks().dictionary_encode()
    totals = np.bincount(
        distinct.indices.to_numpy(), present["count"].to_numpy(), minlength=len(distinct.dictionary)
    )
    missing = pc.sum(table.filter(~pc.field("value").is_valid())["count"]).as_py() or 0
    return ValueCounts(distinct.dictionary, totals.astype(np.int64), missing, numeric=False)


def _count_batches(
    column: pa.ChunkedArray, chosen: np.ndarray | None
) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """(distinct values, how often each is in the chosen rows), batch by batch."""
    from core.data.columns.kernels import add_masked_counts

    picked, start = np.ones(len(column), bool) if chosen is None else chosen, 0
    for chunk in column.chunks:
        places, values = indices_and_dictionary(chunk)
        counts = np.zeros(len(values), np.int64)
        add_masked_counts(places, picked[start : start + len(places)], counts)
        start += len(places)
        yield values, counts


def missing_mask(values: pa.Array) -> np.ndarray:
    """bool (values,): which are missing, NaN among them."""
    if values.type == pa.float64():
        return np.isnan(values.to_numpy(zero_copy_only=False))
    return values.is_null().to_numpy(zero_copy_only=False)
