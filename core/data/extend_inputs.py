"""Extend a fitted preprocessing by further training rows; what it knew keeps its ids and its scale.

New values are appended to the vocabularies, and the rows are added to the tables of target
statistics. Means and deviations stay, so that a stage that was trained on the old inputs sees the
new ones on the same scale.
"""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.data.columns.value_counts import count_column
from core.data.fit_statistics import StatisticsRows, count_ids, statistic_ids
from core.data.fitted_statistics import FIRST_ID, MIN_STATISTICS_ROWS, pair_columns
from core.data.parallel import map_ordered
from core.data.preprocessing import Preprocessing, default_min_count, fit_field
from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.data.target_statistics import KeyCounts, count_keys, pair_keys


def extend_vocabulary(
    preprocessing: Preprocessing, table: pa.Table, mask: np.ndarray
) -> Preprocessing:
    """Return the preprocessing with the frequent values of further rows appended.

    Its statistics, if it has any, are as they were; see `add_counts`.

    Args:
        preprocessing: fitted on other rows.
        table: the columns I1..I13 and C1..C26.
        mask: bool, shape ``(table.num_rows,)``: the further training rows. A new value is added
            where `default_min_count` of these rows have it.
    """
    rows = int(np.count_nonzero(mask))
    min_count = default_min_count(rows)

    def extend_field(field: str) -> pa.Array:
        frequent = fit_field(field, table[field], mask, min_count)[0]
        return _append(preprocessing.vocabularies[field], frequent)

    return dataclasses.replace(
        preprocessing,
        vocabularies=dict(zip(FIELDS, map_ordered(extend_field, FIELDS), strict=True)),
        min_count=min(preprocessing.min_count, min_count),
        fitted_rows=preprocessing.fitted_rows + rows,
    )


def add_counts(preprocessing: Preprocessing, rows: StatisticsRows) -> Preprocessing:
    """Return the preprocessing with further training rows counted in its target statistics.

    A value or a pair of which the fitted rows had a single row was not listed, so that this row is
    not counted for it.

    Args:
        preprocessing: with statistics, and what `extend_vocabulary` returned for these rows.
        rows: the further training rows, with their ids by the extended vocabulary.
    """
    before = preprocessing.statistics
    assert before is not None
    values = {
        field: _append(
            before.values[field],
            count_column(rows.table[field], rows.mask).values_with_min_count(MIN_STATISTICS_ROWS)[
                0
            ],
        )
        for field in CATEGORICAL
    }
    draft = dataclasses.replace(before, values=values)
    ids = statistic_ids(dataclasses.replace(preprocessing, statistics=draft), rows)
    fields = tuple(
        counts.plus(
            count_ids(ids[:, len(NUMERIC) + k], rows.labels, len(values[field]) + FIRST_ID), 0
        )
        for k, (field, counts) in enumerate(zip(CATEGORICAL, before.fields, strict=True))
    )
    pair_counts = tuple(
        counts.plus(
            count_keys(pair_keys(ids, *pair_columns(pair)), rows.labels), MIN_STATISTICS_ROWS
        )
        for pair, counts in zip(before.pairs, before.pair_counts, strict=True)
    )
    statistics = dataclasses.replace(
        draft, base_rate=_click_rate(fields[0]), fields=fields, pair_counts=pair_counts
    )
    return dataclasses.replace(preprocessing, statistics=statistics)


def _append(known: pa.Array, found: pa.Array) -> pa.Array:
    """Return the known values, then those of `found` that are not among them, in its order."""
    new = found.filter(pc.invert(pc.is_in(found, value_set=known.cast(found.type))))
    return pa.concat_arrays([known, new.cast(known.type)])


def _click_rate(counts: KeyCounts) -> float:
    """Return the click rate of all rows, of which each has one key; see `click_rate`."""
    rows = max(int(counts.rows.sum()), 1)
    return float(np.clip(counts.clicks.sum() / rows, 0.5 / rows, 1 - 0.5 / rows))
