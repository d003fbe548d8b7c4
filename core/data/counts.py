"""How often each value of a column occurs, asked once a distinct value of a batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.data.rowsfile import places_and_values


@dataclass(frozen=True)
class Counts:
    """A column's values and how often each occurs, int64 (values,), in no order. missing: rows
    without a value.

    values: uint64 words as core.data.words has them, or Arrow's texts where one is no word.
    numeric: of what the words are.
    """

    values: np.ndarray | pa.Array
    totals: np.ndarray
    missing: int
    numeric: bool

    def at_least(self, least: int) -> tuple[pa.Array, np.ndarray]:
        """(values, counts) of those that occur so often, by falling count, then by value (texts: by
        their bytes)."""
        from core.data.words import texts_of

        enough = self.totals >= least
        totals = self.totals[enough]
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
        return pa.array(words.view(np.float64)) if self.numeric else texts_of(words), totals[order]

    def most(self, number: int) -> tuple[pa.Array, np.ndarray]:
        """The first so many of `at_least(1)`."""
        few = len(self.totals) <= number
        values, totals = self.at_least(
            1 if few else int(np.partition(self.totals, -number)[-number])
        )
        return values.slice(0, number), totals[:number]


def count(column: pa.ChunkedArray, chosen: np.ndarray | None = None) -> Counts:
    """Counts a column's strings or float64, coded or plain, in its chosen rows, bool (rows,), all
    by default.

    NaN counts as missing, -0 as 0.
    """
    from core.data.words import Tally, words_of

    tally, missing, numeric = Tally(), 0, False
    for values, counts in _by_batch(column, chosen):
        words, missed = words_of(values), absent(values)
        if words is None:
            return _count_texts(column, chosen)
        numeric = values.type == pa.float64()
        missing += int(counts[missed].sum())
        counts[missed] = 0
        tally.add(words, counts)
    return Counts(tally.words, tally.totals, missing, numeric)


def by_value(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, rising, float64; how often each occurs): sums over them do not hang on how the rows
    are kept."""
    numbers = counts.values.view(np.float64)
    order = np.argsort(numbers)
    return numbers[order], counts.totals[order]


def _count_texts(column: pa.ChunkedArray, chosen: np.ndarray | None) -> Counts:
    values, counts = zip(*_by_batch(column, chosen), strict=True)
    table = pa.table({"value": pa.concat_arrays(values), "count": np.concatenate(counts)})
    present = table.filter(pc.field("value").is_valid() & (pc.field("count") > 0))
    distinct = present["value"].combine_chunks().dictionary_encode()
    totals = np.bincount(
        distinct.indices.to_numpy(), present["count"].to_numpy(), minlength=len(distinct.dictionary)
    )
    missing = pc.sum(table.filter(~pc.field("value").is_valid())["count"]).as_py() or 0
    return Counts(distinct.dictionary, totals.astype(np.int64), missing, numeric=False)


def _by_batch(
    column: pa.ChunkedArray, chosen: np.ndarray | None
) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """(distinct values, how often each is in the chosen rows), batch by batch."""
    from core.data.compiled import add_counts

    picked, start = np.ones(len(column), bool) if chosen is None else chosen, 0
    for chunk in column.chunks:
        places, values = places_and_values(chunk)
        counts = np.zeros(len(values), np.int64)
        add_counts(places, picked[start : start + len(places)], counts)
        start += len(places)
        yield values, counts


def absent(values: pa.Array) -> np.ndarray:
    """bool (values,): which are missing, NaN among them."""
    if values.type == pa.float64():
        return np.isnan(values.to_numpy(zero_copy_only=False))
    return values.is_null().to_numpy(zero_copy_only=False)
