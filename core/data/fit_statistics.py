"""Fit target statistics on training rows, and give those rows their out-of-fold values."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from core.data.columns.value_counts import count_column
from core.data.fitted_statistics import (
    FIRST_ID,
    MIN_STATISTICS_ROWS,
    FittedStatistics,
    pair_columns,
    raw_training_columns,
)
from core.data.pair_mining import choose_pairs
from core.data.parallel import map_ordered
from core.data.preprocessing import Preprocessing
from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.data.target_statistics import KeyCounts, click_rate, count_keys, pair_keys

_MIN_STD = 1e-6


@dataclass(frozen=True)
class StatisticsRows:
    """Training rows that statistics are fitted on.

    Attributes:
        table: all rows of the dataset.
        mask: bool, shape ``(table.num_rows,)``: which of them are training rows.
        ids: of the training rows by the vocabulary, int32, shape ``(n_rows, 39)``.
        labels: of the training rows, 0 or 1, shape ``(n_rows,)``.
    """

    table: pa.Table
    mask: np.ndarray
    ids: np.ndarray
    labels: np.ndarray


def fit_statistics(
    preprocessing: Preprocessing, rows: StatisticsRows, n_pairs: int
) -> Preprocessing:
    """Return a preprocessing with target statistics of training rows.

    Args:
        preprocessing: without statistics.
        rows: training rows.
        n_pairs: number of pairs, 0 for none.
    """
    values = {
        field: count_column(rows.table[field], rows.mask).values_with_min_count(
            MIN_STATISTICS_ROWS
        )[0]
        for field in CATEGORICAL
    }
    # Pairs are chosen by the vocabulary: on finer ids, noise grows faster than what they say.
    pairs = tuple(
        (FIELDS[first], FIELDS[second])
        for first, second in (choose_pairs(rows.ids, rows.labels, n_pairs) if n_pairs else ())
    )
    # Without tables, statistics know the ids of values, and tables are counted by these.
    no_numbers = np.empty(0)
    draft = FittedStatistics(click_rate(rows.labels), values, (), pairs, (), no_numbers, no_numbers)
    ids = statistic_ids(dataclasses.replace(preprocessing, statistics=draft), rows)
    columns = raw_training_columns(ids, rows.labels, pairs, draft.base_rate)
    mean, std = zip(*((column.mean(), column.std()) for column in columns), strict=True)
    statistics = dataclasses.replace(
        draft,
        fields=tuple(
            count_ids(ids[:, len(NUMERIC) + k], rows.labels, len(values[field]) + FIRST_ID)
            for k, field in enumerate(CATEGORICAL)
        ),
        pair_counts=tuple(
            count_keys(pair_keys(ids, *pair_columns(pair)), rows.labels, MIN_STATISTICS_ROWS)
            for pair in pairs
        ),
        mean=np.array(mean),
        # The deviation of a constant column consists of rounding errors; do not divide by it.
        std=np.where(np.array(std) < _MIN_STD, 1.0, std),
    )
    return dataclasses.replace(preprocessing, statistics=statistics)


def out_of_fold_columns(
    preprocessing: Preprocessing, rows: StatisticsRows, others: FittedStatistics | None = None
) -> np.ndarray:
    """Return the statistics of the rows that they were fitted on, out of fold, standardised.

    Args:
        preprocessing: what `fit_statistics` returned for these rows.
        rows: training rows.
        others: see `FittedStatistics.training_columns`.

    Returns:
        float32, shape ``(n_rows, n_columns)``.
    """
    statistics = preprocessing.statistics
    assert statistics is not None
    ids = statistic_ids(preprocessing, rows)
    columns = np.empty((len(ids), statistics.n_columns), dtype=np.float32)
    for k, column in enumerate(statistics.training_columns(ids, rows.labels, others)):
        columns[:, k] = column
    return columns


def statistic_ids(preprocessing: Preprocessing, rows: StatisticsRows) -> np.ndarray:
    """Return the ids of training rows that statistics are counted by, int32 ``(n_rows, 39)``."""
    batches, starts = [], np.cumsum([0, *(len(batch) for batch in rows.table.to_batches())])
    for batch, start in zip(rows.table.select(CATEGORICAL).to_batches(), starts, strict=False):
        mask = pa.array(rows.mask[start : start + batch.num_rows])
        batches.append(pa.Table.from_batches([batch]).filter(mask))
    found = map_ordered(preprocessing.categorical_statistic_ids, batches)
    return np.column_stack([rows.ids[:, : len(NUMERIC)], np.concatenate([*found])])


def count_ids(ids: np.ndarray, labels: np.ndarray, n_ids: int) -> KeyCounts:
    """Count clicks and rows of the ids 0, 1, ..., n_ids - 1, of which some may have no rows."""
    clicks = np.bincount(ids, labels, n_ids).round().astype(np.int64)
    return KeyCounts(np.arange(n_ids), clicks, np.bincount(ids, minlength=n_ids))
