"""From raw columns to ids and numbers: vocabularies and numeric statistics, fitted on training rows only.

Each of the 39 fields becomes an id for an embedding: a categorical field by its value, a numeric field by its bucket
(missing; values up to 2 as they are; above, the whole part of ln(x)^2, the buckets of the Criteo competition's winners,
Juan et al. 2014). The 13 numeric fields are standardised as well: sign(x) ln(1 + |x|), less its mean, over its standard
deviation, a missing one at the mean.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.errors import BadInput
from core.workspace import hash_json, read_json, write_atomic, write_json

MISSING, UNSEEN, FIRST = 0, 1, 2
"""Ids of a missing value, of a value not in the vocabulary, and of the first value that is."""
DEFAULT_MIN_COUNT = 10
_HIGHEST_BUCKET = 2.0


@dataclass(frozen=True)
class Encoded:
    """ids int32 (rows, 39) into each field's own vocabulary; numerics float32 (rows, 13), standardised."""

    ids: np.ndarray
    numerics: np.ndarray


@dataclass(frozen=True)
class Preprocessing:
    """Fitted preprocessing. vocabularies: per field the known values, the value of id FIRST + k at place k.

    Numeric fields' values are buckets as float64, categorical ones' strings. mean, std: float64 (13,).
    """

    mean: np.ndarray
    std: np.ndarray
    vocabularies: dict[str, pa.Array]
    min_count: int
    fitted_rows: int

    @property
    def field_sizes(self) -> tuple[int, ...]:
        """Ids per field, MISSING and UNSEEN among them."""
        return tuple(len(self.vocabularies[field]) + FIRST for field in FIELDS)

    @property
    def hash(self) -> str:
        """SHA-256 of everything that decides an encoding."""
        digest = hashlib.sha256(hash_json([self.mean.tolist(), self.std.tolist()]).encode())
        for field in FIELDS:
            digest.update(hash_json([field, self.vocabularies[field].to_pylist()]).encode())
        return digest.hexdigest()

    def encode(self, table: pa.Table) -> Encoded:
        """Encodes rows of columns I1..I13 (float64) and C1..C26 (string); any other column is ignored."""
        ids = np.empty((table.num_rows, len(FIELDS)), dtype=np.int32)
        numerics = np.empty((table.num_rows, len(NUMERIC)), dtype=np.float32)
        for column, field in enumerate(NUMERIC):
            values = _to_numpy(table.column(field))
            ids[:, column] = _bucket_ids(values, self.vocabularies[field].to_numpy())
            scaled = (log_transform(values) - self.mean[column]) / self.std[column]
            numerics[:, column] = np.where(np.isnan(scaled), 0.0, scaled)
        for column, field in enumerate(CATEGORICAL, start=len(NUMERIC)):
            ids[:, column] = _value_ids(table.column(field), self.vocabularies[field])
        return Encoded(ids, numerics)

    def save(self, folder: Path) -> None:
        """Writes preprocessing.json and vocabulary.parquet into `folder`."""
        names = np.concatenate([np.full(len(self.vocabularies[field]), field) for field in FIELDS])
        values = pa.concat_arrays([self.vocabularies[field].cast(pa.string()) for field in FIELDS])
        vocabulary = pa.table({"field": pa.array(names.tolist(), pa.string()), "value": values})
        write_atomic(folder / "vocabulary.parquet", lambda part: pq.write_table(vocabulary, part, compression="zstd"))
        write_json(
            folder / "preprocessing.json",
            {
                "mean": self.mean.tolist(),
                "std": self.std.tolist(),
                "min_count": self.min_count,
                "fitted_rows": self.fitted_rows,
                "hash": self.hash,
            },
        )


def load_preprocessing(folder: Path) -> Preprocessing:
    """Reads what `save` wrote; BadInput when it is damaged or its hash no longer fits."""
    try:
        values = read_json(folder / "preprocessing.json")
        table = pq.read_table(folder / "vocabulary.parquet")
        vocabularies = {}
        for field in FIELDS:
            known = table.filter(pc.equal(table["field"], field))["value"].combine_chunks()
            vocabularies[field] = known.cast(pa.float64()) if field in NUMERIC else known
        result = Preprocessing(
            np.array(values["mean"]), np.array(values["std"]), vocabularies, values["min_count"], values["fitted_rows"]
        )
        if result.hash != values["hash"]:
            raise ValueError("its content does not fit its hash")
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise BadInput(f"The preprocessing in {str(folder)!r} cannot be read: {error}. Prepare it again.") from error
    return result


def fit(table: pa.Table, min_count: int = DEFAULT_MIN_COUNT) -> Preprocessing:
    """Fits on all rows of `table`; values seen fewer than `min_count` times share the id UNSEEN."""
    if min_count < 1:
        raise BadInput(f"The minimum count is {min_count!r}; it must be at least 1.")
    logs = [log_transform(_to_numpy(table.column(field))) for field in NUMERIC]
    means = np.array([np.nanmean(values) if (~np.isnan(values)).any() else 0.0 for values in logs])
    stds = np.array([np.nanstd(values) if (~np.isnan(values)).any() else 1.0 for values in logs])
    # A constant column has a deviation of rounding errors, by which nothing must be divided.
    stds[stds < 1e-9] = 1.0
    vocabularies = {}
    for field in FIELDS:
        column = table.column(field)
        if field in NUMERIC:
            column = pa.chunked_array([pa.array(bucket(_to_numpy(column)), from_pandas=True)])
        vocabularies[field] = _vocabulary(column, min_count)
    return Preprocessing(means, stds, vocabularies, min_count, table.num_rows)


def log_transform(values: np.ndarray) -> np.ndarray:
    """sign(x) ln(1 + |x|); NaN stays NaN."""
    return np.sign(values) * np.log1p(np.abs(values))


def bucket(values: np.ndarray) -> np.ndarray:
    """The bucket of each value as float64: itself up to 2, above that the whole part of ln(x)^2; NaN stays NaN.

    Buckets of values above 2 are moved up by 2, so that they never meet a value of its own.
    """
    high = values > _HIGHEST_BUCKET
    logs = np.floor(np.log(np.where(high, values, 3.0)) ** 2) + _HIGHEST_BUCKET
    return np.where(high, logs, np.floor(values))


def batches(path: Path, rows: int = 131_072) -> Iterator[pa.Table]:
    """The feature columns of a sample's Parquet file, some rows at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(rows, columns=list(FIELDS)):
            yield pa.Table.from_batches([batch])


def _vocabulary(column: pa.ChunkedArray, min_count: int) -> pa.Array:
    counted = pa.table(
        dict(zip(("value", "count"), pc.value_counts(column.drop_null().combine_chunks()).flatten(), strict=True))
    )
    frequent = counted.filter(pc.greater_equal(counted["count"], min_count))
    # Falling count, then value: the same rows give the same ids in whatever order they come.
    return frequent.sort_by([("count", "descending"), ("value", "ascending")])["value"].combine_chunks()


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _bucket_ids(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    buckets = bucket(values)
    sorter = np.argsort(known)
    if not len(known):
        return np.where(np.isnan(buckets), MISSING, UNSEEN)
    places = np.minimum(np.searchsorted(known, buckets, sorter=sorter), len(known) - 1)
    found = sorter[places]
    return np.where(np.isnan(buckets), MISSING, np.where(known[found] == buckets, found + FIRST, UNSEEN))


def _value_ids(column: pa.ChunkedArray, known: pa.Array) -> np.ndarray:
    found = pc.fill_null(pc.index_in(column, value_set=known), -1).to_numpy()
    ids = np.where(found >= 0, found + FIRST, UNSEEN)
    return np.where(column.is_null().to_numpy(), MISSING, ids)
