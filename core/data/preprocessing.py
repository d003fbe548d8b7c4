"""From raw columns to ids and numbers: vocabularies and numeric statistics, fitted on training rows
only.

Each of the 39 fields becomes an id for an embedding: a categorical field by its value, a numeric
field by its bucket (missing; values up to 2 as they are; above, the whole part of ln(x)^2, the
buckets of the Criteo competition's winners, Juan et al. 2014). The 13 numeric fields are
standardised as well: sign(x) ln(1 + |x|), less its mean, over its standard deviation, a missing one
at the mean.
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
from core.data.parallel import map_ordered
from core.data.schema import FIELDS, NUMERIC
from core.errors import BadInput, caused_by_system
from core.workspace import hash_json, read_json, write_atomic, write_json

if TYPE_CHECKING:
    from core.data.columns.vocabulary_index import VocabularyIndex

MISSING, UNSEEN, FIRST_VALUE_ID = 0, 1, 2
"""Ids of a missing value, of a value not in the vocabulary, and of the first value that is."""
DEFAULT_MIN_COUNT = 10
"""Of a vocabulary fitted on 5,000 rows or more; see `default_min_count`."""
_SMALL_MIN_COUNTS = ((2_000, 2), (5_000, 5))
"""(rows, minimum count for fewer rows than that): of few rows, a minimum of 10 would leave nearly
no value known."""
_MAX_OWN_BUCKET = 2.0


@dataclass(frozen=True)
class Encoded:
    """ids int32 (rows, 39) into each field's own vocabulary; numerics float32 (rows, 13),
    standardised."""

    ids: np.ndarray
    numerics: np.ndarray


@dataclass(frozen=True)
class Preprocessing:
    """Fitted preprocessing. vocabularies: per field the known values, the value of id FIRST + k at
    place k.

    Numeric fields' values are buckets as float64, categorical ones' strings. mean, std: float64
    (13,).
    """

    mean: np.ndarray
    std: np.ndarray
    vocabularies: dict[str, pa.Array]
    min_count: int
    fitted_rows: int

    @property
    def field_sizes(self) -> tuple[int, ...]:
        """Ids per field, MISSING and UNSEEN among them."""
        return tuple(len(self.vocabularies[field]) + FIRST_VALUE_ID for field in FIELDS)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of everything that decides an encoding."""
        digest = hashlib.sha256(hash_json([self.mean.tolist(), self.std.tolist()]).encode())
        for field in FIELDS:
            digest.update(hash_json([field, self.vocabularies[field].to_pylist()]).encode())
        return digest.hexdigest()

    def encode(self, table: pa.Table) -> Encoded:
        """Encodes rows of columns I1..I13 (float64) and C1..C26 (string), coded or plain; other
        columns are ignored."""
        from core.data.columns.kernels import gather_values

        ids = np.empty((table.num_rows, len(FIELDS)), dtype=np.int32)
        numerics = np.empty((table.num_rows, len(NUMERIC)), dtype=np.float32)
        done = 0
        for batch in table.select(FIELDS).to_batches():
            coded = [indices_and_dictionary(column) for column in batch.columns]
            places = np.stack([places for places, _ in coded])
            begins = np.cumsum([0, *(len(values) for _, values in coded)])
            found = [
                self._look_up_ids(field, values)
                for field, (_, values) in zip(FIELDS, coded, strict=True)
            ]
            scaled = [
                self._standardise(place, values)
                for place, (_, values) in enumerate(coded[: len(NUMERIC)])
            ]
            rows = slice(done, done + batch.num_rows)
            gather_values(places, begins, np.concatenate(found), ids[rows])
            gather_values(places, begins, np.concatenate(scaled), numerics[rows])
            done += batch.num_rows
        return Encoded(ids, numerics)

    def in_vocabulary(self, field: str, values: pa.Array) -> np.ndarray:
        """bool (values,): which values, strings or float64 as the field has, are in its
        vocabulary."""
        return self._look_up_ids(field, values) >= FIRST_VALUE_ID

    def _look_up_ids(self, field: str, values: pa.Array) -> np.ndarray:
        if field in NUMERIC:
            values = pa.array(bucketize(_to_numpy(values)))
        found = self._indexes[field].indices(values)
        if found is None:
            found = pc.fill_null(
                pc.index_in(values, value_set=self.vocabularies[field]), -1
            ).to_numpy()
        # Nowhere, -1, becomes UNSEEN.
        ids = found + np.int32(FIRST_VALUE_ID)
        ids[missing_mask(values)] = MISSING
        return ids

    def _standardise(self, place: int, values: pa.Array) -> np.ndarray:
        scaled = (log_transform(_to_numpy(values)) - self.mean[place]) / self.std[place]
        return np.nan_to_num(scaled).astype(np.float32)

    @cached_property
    def _indexes(self) -> dict[str, "VocabularyIndex"]:
        from core.data.columns.vocabulary_index import VocabularyIndex

        return {field: VocabularyIndex(self.vocabularies[field]) for field in FIELDS}

    def save(self, folder: Path) -> None:
        """Writes preprocessing.json and vocabulary.parquet into `folder`."""
        names = np.concatenate([np.full(len(self.vocabularies[field]), field) for field in FIELDS])
        values = pa.concat_arrays([self.vocabularies[field].cast(pa.string()) for field in FIELDS])
        vocabulary = pa.table({"field": pa.array(names.tolist(), pa.string()), "value": values})
        write_atomic(
            folder / "vocabulary.parquet",
            lambda part: pq.write_table(vocabulary, part, compression="zstd"),
        )
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
            np.array(values["mean"]),
            np.array(values["std"]),
            vocabularies,
            values["min_count"],
            values["fitted_rows"],
        )
        if result.hash != values["hash"]:
            raise ValueError("its content does not fit its hash")
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        if caused_by_system(error):
            raise
        raise BadInput(
            f"The preprocessing in {str(folder)!r} cannot be read: {error}. Prepare it again."
        ) from error
    return result


def default_min_count(rows: int) -> int:
    """The minimum count of a vocabulary fitted on so many training rows, if the user names none.

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
    """Fits on the `chosen` rows of `table` (bool (rows,); all by default), which may be coded or
    plain.

    Values seen fewer than `min_count` times share the id UNSEEN. progress: called with 0..1, field
    by field.
    """
    if min_count < 1:
        raise BadInput(f"The minimum count is {min_count!r}; it must be at least 1.")
    report = progress or (lambda share: None)

    def fit_field(field: str) -> tuple[pa.Array, float, float]:
        counts = count_column(table[field], mask)
        return (
            _fit_numeric(counts, min_count)
            if field in NUMERIC
            else (counts.values_with_min_count(min_count)[0], 0.0, 1.0)
        )

    fitted = []
    for one in map_ordered(fit_field, FIELDS):
        fitted.append(one)
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


def log_transform(values: np.ndarray) -> np.ndarray:
    """sign(x) ln(1 + |x|); NaN stays NaN."""
    return np.sign(values) * np.log1p(np.abs(values))


def bucketize(values: np.ndarray) -> np.ndarray:
    """The bucket of each value as float64: itself up to 2, above that the whole part of ln(x)^2;
    NaN stays NaN.

    Buckets of values above 2 are moved up by 2, so that they never meet a value of its own.
    """
    high = values > _MAX_OWN_BUCKET
    logs = np.floor(np.log(np.where(high, values, 3.0)) ** 2) + _MAX_OWN_BUCKET
    return np.where(high, logs, np.floor(values))


def _fit_numeric(counts: ValueCounts, min_count: int) -> tuple[pa.Array, float, float]:
    """(vocabulary of buckets, mean, deviation)."""
    values, totals = sort_by_value(counts)
    if not len(values):
        return pa.array([], pa.float64()), 0.0, 1.0
    buckets, places = np.unique(bucketize(values), return_inverse=True)
    rows = np.bincount(places, totals)
    # Falling count, then value: the same rows give the same ids in whatever order they come.
    order = np.lexsort((buckets, -rows))
    logs = log_transform(values)
    mean = np.average(logs, weights=totals)
    std = float(np.sqrt(np.average((logs - mean) ** 2, weights=totals)))
    # A constant column has a deviation of rounding errors, by which nothing must be divided.
    return (
        pa.array(buckets[order][rows[order] >= min_count]),
        float(mean),
        1.0 if std < 1e-9 else std,
    )


def _to_numpy(column: pa.Array) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
