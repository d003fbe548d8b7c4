"""Vocabularies and numeric statistics, fitted on training rows only; they encode rows as ids.

Each of the 39 fields becomes the id of an embedding. A categorical field is looked up by its value,
a numeric field by its bucket: missing, values up to 2 as they are, above that the integer part of
ln(x)^2 (the buckets of the winners of the Criteo competition, Juan et al. 2014). The 13 numeric
fields are standardised as well: sign(x) ln(1 + |x|) minus its mean, divided by its standard
deviation; a missing value becomes the mean.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.data.columns.dictionary_file import indices_and_dictionary
from core.data.columns.value_counts import ValueCounts, count_column, missing_mask, sort_by_value
from core.data.fitted_statistics import FittedStatistics, load_statistics
from core.data.parallel import map_ordered
from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.errors import BadInput, caused_by_system
from core.workspace import hash_json, read_json, write_atomic, write_json

if TYPE_CHECKING:
    from core.data.columns.vocabulary_index import VocabularyIndex

MISSING, UNSEEN, FIRST_VALUE_ID = 0, 1, 2
"""Ids of a missing value, of a value not in the vocabulary, and of the first value in it."""
DEFAULT_MIN_COUNT = 10
"""Default minimum count for 5,000 or more training rows; see `default_min_count`."""
_SMALL_MIN_COUNTS = ((2_000, 2), (5_000, 5))
"""(rows, minimum count below that many rows): with few rows a minimum of 10 would leave the
vocabulary nearly empty."""
_MAX_OWN_BUCKET = 2.0


@dataclass(frozen=True)
class Encoded:
    """Encoded rows.

    Attributes:
        ids: int32, shape ``(n_rows, 39)``, into each field's own vocabulary.
        numerics: float32, shape ``(n_rows, n_dense)``: the 13 numeric fields, and the target
            statistics if there are any; all standardised.
    """

    ids: np.ndarray
    numerics: np.ndarray


@dataclass(frozen=True)
class Preprocessing:
    """Fitted preprocessing.

    Attributes:
        mean, std: float64, shape ``(13,)``, of the log-transformed numeric fields.
        vocabularies: by field the known values; the value at index k has the id FIRST_VALUE_ID + k.
            Buckets as float64 for numeric fields, strings for categorical ones.
        min_count: minimum count of a vocabulary entry.
        fitted_rows: number of training rows it was fitted on.
        statistics: target statistics and counts of the categorical fields, None without any.
    """

    mean: np.ndarray
    std: np.ndarray
    vocabularies: dict[str, pa.Array]
    min_count: int
    fitted_rows: int
    statistics: FittedStatistics | None = None

    @property
    def field_sizes(self) -> tuple[int, ...]:
        """Number of ids per field, including MISSING and UNSEEN."""
        return tuple(len(self.vocabularies[field]) + FIRST_VALUE_ID for field in FIELDS)

    @property
    def n_dense(self) -> int:
        """Floats of an encoded row: columns of `Encoded.numerics`."""
        return len(NUMERIC) + (self.statistics.n_columns if self.statistics else 0)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of everything that decides an encoding."""
        digest = hashlib.sha256(hash_json([self.mean.tolist(), self.std.tolist()]).encode())
        for field in FIELDS:
            digest.update(hash_json([field, self.vocabularies[field].to_pylist()]).encode())
        if self.statistics:
            digest.update(self.statistics.digest.encode())
        return digest.hexdigest()

    def encode(self, table: pa.Table) -> Encoded:
        """Encode rows with the columns I1..I13 (float64) and C1..C26 (string).

        The columns may be dictionary-encoded or not; other columns are ignored.
        """
        ids = np.empty((table.num_rows, len(FIELDS)), dtype=np.int32)
        numerics = np.empty((table.num_rows, self.n_dense), dtype=np.float32)
        done = 0
        for batch in table.select(FIELDS).to_batches():
            columns = [indices_and_dictionary(column) for column in batch.columns]
            rows = slice(done, done + batch.num_rows)
            ids[rows] = _gather(columns, self._ids_of_values(columns))
            scaled = [
                self._standardise(i, values)
                for i, (_, values) in enumerate(columns[: len(NUMERIC)])
            ]
            numerics[rows, : len(NUMERIC)] = _gather(columns[: len(NUMERIC)], scaled)
            if self.statistics:
                numerics[rows, len(NUMERIC) :] = self._encode_statistics(columns, ids[rows])
            done += batch.num_rows
        return Encoded(ids, numerics)

    def _encode_statistics(self, columns: "list[Column]", ids: np.ndarray) -> np.ndarray:
        """Return the columns of the statistics, float32, shape ``(n_rows, n_columns)``."""
        assert self.statistics is not None
        categorical = columns[len(NUMERIC) :]
        ids_of_values = self._statistic_ids_of_values(categorical)
        encoded = _gather(categorical * 2, self.statistics.encode_fields(ids_of_values))
        if not self.statistics.pairs:
            return encoded
        pair_ids = ids.copy()
        pair_ids[:, len(NUMERIC) :] = _gather(categorical, ids_of_values)
        return np.column_stack([encoded, *self.statistics.encode_pairs(pair_ids)])

    def categorical_statistic_ids(self, table: pa.Table) -> np.ndarray:
        """Return the ids that statistics are counted by, int32, shape ``(n_rows, 26)``.

        Args:
            table: rows with the columns C1..C26, as for `encode`.
        """
        found = []
        for batch in table.select(CATEGORICAL).to_batches():
            columns = [indices_and_dictionary(column) for column in batch.columns]
            found.append(_gather(columns, self._statistic_ids_of_values(columns)))
        return np.concatenate(found or [np.empty((0, len(CATEGORICAL)), np.int32)])

    def _ids_of_values(self, columns: "list[Column]") -> list[np.ndarray]:
        return [
            self._look_up_ids(field, values)
            for field, (_, values) in zip(FIELDS, columns, strict=True)
        ]

    def _statistic_ids_of_values(self, columns: "list[Column]") -> list[np.ndarray]:
        assert self.statistics is not None
        return [
            self.statistics.look_up_ids(field, values)
            for field, (_, values) in zip(CATEGORICAL, columns, strict=True)
        ]

    def in_vocabulary(self, field: str, values: pa.Array) -> np.ndarray:
        """Return which values of a field are in its vocabulary, bool, shape ``(n_values,)``."""
        return self._look_up_ids(field, values) >= FIRST_VALUE_ID

    def _look_up_ids(self, field: str, values: pa.Array) -> np.ndarray:
        if field in NUMERIC:
            values = pa.array(bucketize(_to_numpy(values)))
        indices = self._indexes[field].indices(values)
        if indices is None:
            indices = pc.fill_null(
                pc.index_in(values, value_set=self.vocabularies[field]), -1
            ).to_numpy()
        # -1 (not in the vocabulary) becomes UNSEEN.
        ids = indices + np.int32(FIRST_VALUE_ID)
        ids[missing_mask(values)] = MISSING
        return ids

    def _standardise(self, i: int, values: pa.Array) -> np.ndarray:
        scaled = (log_transform(_to_numpy(values)) - self.mean[i]) / self.std[i]
        return np.nan_to_num(scaled).astype(np.float32)

    @cached_property
    def _indexes(self) -> dict[str, "VocabularyIndex"]:
        from core.data.columns.vocabulary_index import VocabularyIndex

        return {field: VocabularyIndex(self.vocabularies[field]) for field in FIELDS}

    def save(self, folder: Path) -> None:
        """Write preprocessing.json, vocabulary.parquet and any statistics.parquet into `folder`."""
        names = np.concatenate([np.full(len(self.vocabularies[field]), field) for field in FIELDS])
        values = pa.concat_arrays([self.vocabularies[field].cast(pa.string()) for field in FIELDS])
        vocabulary = pa.table({"field": pa.array(names.tolist(), pa.string()), "value": values})
        write_atomic(
            folder / "vocabulary.parquet",
            lambda part: pq.write_table(vocabulary, part, compression="zstd"),
        )
        values = {
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "min_count": self.min_count,
            "fitted_rows": self.fitted_rows,
            "hash": self.hash,
        }
        if self.statistics:
            self.statistics.save(folder)
            values["statistics"] = self.statistics.as_json()
        write_json(folder / "preprocessing.json", values)


Column = tuple[np.ndarray, pa.Array]
"""Index of each row's value, and the distinct values."""


def _gather(columns: list[Column], values: list[np.ndarray]) -> np.ndarray:
    """Return, row by row, what `values` holds for each column's value, ``(n_rows, n_columns)``."""
    from core.data.columns.kernels import gather_values

    indices = np.stack([indices for indices, _ in columns])
    offsets = np.cumsum([0, *(len(of_column) for of_column in values)])
    everything = np.concatenate(values)
    gathered = np.empty(indices.T.shape, dtype=everything.dtype)
    gather_values(indices, offsets, everything, gathered)
    return gathered


def load_preprocessing(folder: Path) -> Preprocessing:
    """Load what `Preprocessing.save` wrote; raise BadInput if it is damaged or its hash differs."""
    try:
        values = read_json(folder / "preprocessing.json")
        table = pq.read_table(folder / "vocabulary.parquet")
        vocabularies = {}
        for field in FIELDS:
            vocabulary = table.filter(pc.equal(table["field"], field))["value"].combine_chunks()
            vocabularies[field] = vocabulary.cast(pa.float64()) if field in NUMERIC else vocabulary
        result = Preprocessing(
            np.array(values["mean"]),
            np.array(values["std"]),
            vocabularies,
            values["min_count"],
            values["fitted_rows"],
            load_statistics(folder, values["statistics"]) if "statistics" in values else None,
        )
        if result.hash != values["hash"]:
            raise ValueError("its content does not match its hash")
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        if caused_by_system(error):
            raise
        raise BadInput(
            f"The preprocessing in {str(folder)!r} cannot be read: {error}. Prepare it again."
        ) from error
    return result


def default_min_count(rows: int) -> int:
    """Return the default minimum count of a vocabulary fitted on this number of training rows.

    >>> [default_min_count(rows) for rows in (120, 3_000, 1_000_000)]
    [2, 5, 10]
    """
    return next((count for limit, count in _SMALL_MIN_COUNTS if rows < limit), DEFAULT_MIN_COUNT)


def fit_preprocessing(
    table: pa.Table,
    min_count: int = DEFAULT_MIN_COUNT,
    mask: np.ndarray | None = None,
    progress: Callable[[float], None] | None = None,
) -> Preprocessing:
    """Fit vocabularies and statistics.

    Args:
        table: the columns I1..I13 and C1..C26, dictionary-encoded or not.
        min_count: values that occur less often share the id UNSEEN.
        mask: bool, shape ``(n_rows,)``: the rows to fit on, all by default.
        progress: called with 0 to 1, field by field.
    """
    if min_count < 1:
        raise BadInput(f"The minimum count is {min_count!r}; it must be at least 1.")
    report = progress or (lambda share: None)

    fitted = []
    for field_fit in map_ordered(
        lambda field: fit_field(field, table[field], mask, min_count), FIELDS
    ):
        fitted.append(field_fit)
        report(len(fitted) / len(FIELDS))
    vocabularies, means, stds = zip(*fitted, strict=True)
    numeric = slice(len(NUMERIC))
    return Preprocessing(
        np.array(means[numeric]),
        np.array(stds[numeric]),
        dict(zip(FIELDS, vocabularies, strict=True)),
        min_count,
        table.num_rows if mask is None else int(np.count_nonzero(mask)),
    )


def fit_field(
    field: str, column: pa.ChunkedArray, mask: np.ndarray | None, min_count: int
) -> tuple[pa.Array, float, float]:
    """Return (vocabulary, mean, standard deviation) of a field; 0 and 1 of a categorical one.

    Args:
        field: one of FIELDS.
        column: its values.
        mask: bool, shape ``(n_rows,)``: the rows to fit on, None for all.
        min_count: values or buckets that occur less often are left out.
    """
    counts = count_column(column, mask)
    if field in NUMERIC:
        return _fit_numeric(counts, min_count)
    return counts.values_with_min_count(min_count)[0], 0.0, 1.0


def log_transform(values: np.ndarray) -> np.ndarray:
    """Return sign(x) ln(1 + |x|); NaN stays NaN.

    >>> log_transform(np.array([0.0, np.e - 1]))
    array([0., 1.])
    """
    return np.sign(values) * np.log1p(np.abs(values))


def bucketize(values: np.ndarray) -> np.ndarray:
    """Return the bucket of each value as float64; NaN stays NaN.

    A value up to 2 is its own bucket. Above 2 the bucket is the integer part of ln(x)^2, plus 2 so
    that it never equals a value of its own.

    >>> bucketize(np.array([1.0, 2.0, 3.0, 100.0]))
    array([ 1.,  2.,  3., 23.])
    """
    high = values > _MAX_OWN_BUCKET
    logs = np.floor(np.log(np.where(high, values, 3.0)) ** 2) + _MAX_OWN_BUCKET
    return np.where(high, logs, np.floor(values))


def _fit_numeric(counts: ValueCounts, min_count: int) -> tuple[pa.Array, float, float]:
    """Return (vocabulary of buckets, mean, standard deviation)."""
    values, counts_of_values = sort_by_value(counts)
    if not len(values):
        return pa.array([], pa.float64()), 0.0, 1.0
    buckets, bucket_of_value = np.unique(bucketize(values), return_inverse=True)
    n_rows = np.bincount(bucket_of_value, counts_of_values)
    # By falling count, then value: the ids do not depend on the order of the rows.
    order = np.lexsort((buckets, -n_rows))
    logs = log_transform(values)
    mean = np.average(logs, weights=counts_of_values)
    std = float(np.sqrt(np.average((logs - mean) ** 2, weights=counts_of_values)))
    # The deviation of a constant column consists of rounding errors; do not divide by it.
    return (
        pa.array(buckets[order][n_rows[order] >= min_count]),
        float(mean),
        1.0 if std < 1e-9 else std,
    )


def _to_numpy(column: pa.Array) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
