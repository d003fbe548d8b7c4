"""Target statistics and counts as a preprocessing holds them: tables, and what rows get from them.

What they are and how they are stored is in `core.data.target_statistics`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.data.columns.value_counts import missing_mask
from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.data.target_statistics import (
    KeyCounts,
    assign_folds,
    join_ids,
    log_counts_without_self,
    out_of_fold_statistics,
    pair_keys,
    smoothed_logit,
    split_keys,
)
from core.workspace import hash_json, write_atomic

if TYPE_CHECKING:
    from core.data.columns.vocabulary_index import VocabularyIndex

STATISTICS_FILE = "statistics.parquet"
MISSING_ID, REST_ID, FIRST_ID = 0, 1, 2
"""Ids of a missing value, of all values that are not listed, and of the first listed value."""
MIN_STATISTICS_ROWS = 2
"""Training rows from which a value or a pair has statistics of its own."""
FOLD_SEED = 0
"""Seed of the folds of training rows."""
SCHEMA = pa.schema(
    [
        ("first", pa.string()),
        ("second", pa.string()),
        ("first_id", pa.int32()),
        ("second_id", pa.int32()),
        ("value", pa.string()),
        ("clicks", pa.int64()),
        ("rows", pa.int64()),
    ]
)


@dataclass(frozen=True)
class FittedStatistics:
    """Tables of target statistics and counts.

    Attributes:
        base_rate: click rate of the training rows.
        values: by categorical field the listed values; the one at index k has the id FIRST_ID + k.
        fields: of each categorical field, clicks and rows of the ids 0, 1, ..., len(values) + 1.
        pairs: the two fields of each pair.
        pair_counts: of each pair; its keys are of two ids (`core.data.target_statistics.join_ids`):
            those above of a categorical field, those of the vocabulary of a numeric field.
        mean, std: float64, shape ``(n_columns,)``, of the columns of the training rows.
    """

    base_rate: float
    values: dict[str, pa.Array]
    fields: tuple[KeyCounts, ...]
    pairs: tuple[tuple[str, str], ...]
    pair_counts: tuple[KeyCounts, ...]
    mean: np.ndarray
    std: np.ndarray

    @property
    def n_columns(self) -> int:
        """Number of columns: statistic and count of every categorical field, then the pairs."""
        return 2 * len(CATEGORICAL) + len(self.pairs)

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the columns."""
        digest = hashlib.sha256(hash_json(self.as_json()).encode())
        for field in CATEGORICAL:
            digest.update(hash_json([field, self.values[field].to_pylist()]).encode())
        for counts in (*self.fields, *self.pair_counts):
            for array in (counts.keys, counts.clicks, counts.rows):
                digest.update(np.ascontiguousarray(array, "<i8").tobytes())
        return digest.hexdigest()

    def look_up_ids(self, field: str, values: pa.Array) -> np.ndarray:
        """Return the id of each value of a categorical field, int32."""
        indices = self._indexes[field].indices(values)
        if indices is None:
            found = pc.index_in(values, value_set=self.values[field])
            indices = pc.fill_null(found, -1).to_numpy()
        # -1, a value that is not listed, becomes REST_ID.
        ids = indices + np.int32(FIRST_ID)
        ids[missing_mask(values)] = MISSING_ID
        return ids

    def encode_fields(self, ids_of_values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the columns of the categorical fields, standardised, for ids of each field.

        Args:
            ids_of_values: one array for each categorical field.

        Returns:
            The target statistics of every field, then the counts of every field; float32.
        """
        statistics = [known[ids] for known, ids in zip(self._logits, ids_of_values, strict=True)]
        counts = [known[ids] for known, ids in zip(self._log_counts, ids_of_values, strict=True)]
        return [*statistics, *counts]

    def encode_pairs(self, ids: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the column of each pair, standardised, float32.

        Args:
            ids: int32, shape ``(n_rows, 39)``: of the vocabulary for numeric fields, of these
                statistics for categorical ones.
        """
        for k, (pair, counts) in enumerate(zip(self.pairs, self.pair_counts, strict=True)):
            keys = pair_keys(ids, *pair_columns(pair))
            column = counts.target_statistics(keys, self.base_rate)
            yield self._standardise(2 * len(CATEGORICAL) + k, column)

    def training_columns(
        self, ids: np.ndarray, labels: np.ndarray, others: "FittedStatistics | None" = None
    ) -> Iterator[np.ndarray]:
        """Yield every column of the rows that these tables were fitted on, standardised, float32.

        Args:
            ids: as for `encode_pairs`, of exactly these rows.
            labels: 0 or 1, shape ``(n_rows,)``.
            others: tables of further rows that these tables were fitted on as well, from which they
                were extended (`core.data.extend_inputs`).
        """
        columns = raw_training_columns(ids, labels, self.pairs, self.base_rate, others)
        for k, column in enumerate(columns):
            yield self._standardise(k, column)

    def _standardise(self, k: int, column: np.ndarray) -> np.ndarray:
        return ((column - self.mean[k]) / self.std[k]).astype(np.float32)

    @cached_property
    def _logits(self) -> list[np.ndarray]:
        return [
            self._standardise(k, smoothed_logit(counts.clicks, counts.rows, self.base_rate))
            for k, counts in enumerate(self.fields)
        ]

    @cached_property
    def _log_counts(self) -> list[np.ndarray]:
        return [
            self._standardise(len(CATEGORICAL) + k, np.log1p(counts.rows))
            for k, counts in enumerate(self.fields)
        ]

    @cached_property
    def _indexes(self) -> dict[str, "VocabularyIndex"]:
        from core.data.columns.vocabulary_index import VocabularyIndex

        return {field: VocabularyIndex(self.values[field]) for field in CATEGORICAL}

    def as_json(self) -> dict[str, Any]:
        """Return what preprocessing.json holds of them."""
        return {
            "base_rate": self.base_rate,
            "pairs": [list(pair) for pair in self.pairs],
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
        }

    def save(self, folder: Path) -> None:
        """Write statistics.parquet into `folder`."""
        parts = []
        for field, counts in zip(CATEGORICAL, self.fields, strict=True):
            values = pa.concat_arrays([pa.nulls(FIRST_ID, pa.string()), self.values[field]])
            parts.append(_as_table(field, "", counts, counts.keys, 0 * counts.keys, values))
        for (first, second), counts in zip(self.pairs, self.pair_counts, strict=True):
            values = pa.nulls(len(counts.keys), pa.string())
            parts.append(_as_table(first, second, counts, *split_keys(counts.keys), values))
        table = pa.concat_tables(parts).combine_chunks()
        write_atomic(
            folder / STATISTICS_FILE,
            lambda part: pq.write_table(table, part, compression="zstd"),
        )


def _as_table(
    first: str,
    second: str,
    counts: KeyCounts,
    first_ids: np.ndarray,
    second_ids: np.ndarray,
    values: pa.Array,
) -> pa.Table:
    n_keys = len(counts.keys)
    columns = [
        pa.repeat(first, n_keys),
        pa.repeat(second, n_keys),
        pa.array(first_ids.astype(np.int32)),
        pa.array(second_ids.astype(np.int32)),
        values,
        pa.array(counts.clicks),
        pa.array(counts.rows),
    ]
    return pa.table(columns, schema=SCHEMA)


def load_statistics(folder: Path, values: Mapping[str, Any]) -> FittedStatistics:
    """Load what `FittedStatistics.save` wrote.

    Args:
        folder: of the preprocessing.
        values: "statistics" of preprocessing.json.

    Raises:
        ValueError, KeyError, TypeError, OSError, pa.ArrowException: the file or `values` is
            damaged.
    """
    table = pq.read_table(folder / STATISTICS_FILE, schema=SCHEMA)
    names = pc.binary_join_element_wise(table["first"], table["second"], " ")
    known, fields = {}, []
    for field in CATEGORICAL:
        lines = table.filter(pc.equal(names, f"{field} "))
        counts = _read_counts(lines, field)
        if len(lines) < FIRST_ID or (counts.keys >> 32 != np.arange(len(lines))).any():
            raise ValueError(f"the statistics of {field} are not complete")
        known[field] = lines["value"].combine_chunks()[FIRST_ID:]
        fields.append(KeyCounts(counts.keys >> 32, counts.clicks, counts.rows))
        if known[field].null_count:
            raise ValueError(f"the statistics of {field} lack a value")
    pairs = tuple((first, second) for first, second in values["pairs"])
    if unknown := {field for pair in pairs for field in pair} - set(FIELDS):
        raise ValueError(f"the statistics name a field {str(min(unknown, key=str))[:40]!r}")
    pair_counts = tuple(
        _read_counts(table.filter(pc.equal(names, f"{first} {second}")), f"{first} and {second}")
        for first, second in pairs
    )
    mean, std = (np.array(values[name], np.float64) for name in ("mean", "std"))
    statistics = FittedStatistics(
        float(values["base_rate"]), known, tuple(fields), pairs, pair_counts, mean, std
    )
    shape = (statistics.n_columns,)
    if (
        mean.shape != shape
        or std.shape != shape
        or not (std > 0).all()
        or len({*pairs}) < len(pairs)
    ):
        raise ValueError(f"the statistics do not describe {shape[0]} columns")
    if not 0 < statistics.base_rate < 1 or not np.isfinite([mean, std]).all():
        raise ValueError("the statistics hold a number that is out of its range")
    return statistics


def _read_counts(lines: pa.Table, title: str) -> KeyCounts:
    first, second, clicks, rows = (
        lines[name].to_numpy() for name in ("first_id", "second_id", "clicks", "rows")
    )
    keys = join_ids(first, second)
    valid = (np.diff(keys) > 0).all() and ((clicks >= 0) & (clicks <= rows)).all()
    if not valid or min(first.min(initial=0), second.min(initial=0)) < 0:
        raise ValueError(f"the statistics of {title} are out of order or out of range")
    return KeyCounts(keys, clicks, rows)


def raw_training_columns(
    ids: np.ndarray,
    labels: np.ndarray,
    pairs: Sequence[tuple[str, str]],
    base_rate: float,
    others: FittedStatistics | None = None,
) -> Iterator[np.ndarray]:
    """Yield every column of training rows, out of fold and not standardised, float64.

    Args:
        ids: as for `FittedStatistics.encode_pairs`.
        labels: 0 or 1, shape ``(n_rows,)``.
        pairs: the two fields of each pair.
        base_rate: of clicks.
        others: tables of rows that are none of these; they count for every one of these.
    """
    labels = np.asarray(labels, np.float64)
    folds = assign_folds(len(ids), FOLD_SEED)
    tables = others.fields if others else (None,) * len(CATEGORICAL)
    columns = [ids[:, j].astype(np.int64) for j in range(len(NUMERIC), len(FIELDS))]
    for keys, counts in zip(columns, tables, strict=True):
        yield out_of_fold_statistics(keys, labels, folds, base_rate, counts)
    for keys, counts in zip(columns, tables, strict=True):
        yield log_counts_without_self(keys, counts)
    pair_tables = others.pair_counts if others else (None,) * len(pairs)
    for pair, counts in zip(pairs, pair_tables, strict=True):
        keys = pair_keys(ids, *pair_columns(pair))
        yield out_of_fold_statistics(keys, labels, folds, base_rate, counts)


def pair_columns(pair: tuple[str, str]) -> tuple[int, int]:
    """Return the columns of a pair's fields in ids of shape ``(n_rows, 39)``."""
    return FIELDS.index(pair[0]), FIELDS.index(pair[1])
