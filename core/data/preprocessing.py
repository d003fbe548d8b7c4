"""From raw columns to ids and numbers: vocabularies and numeric statistics, fitted on training rows only.

Each of the 39 fields becomes an id for an embedding: a categorical field by its value, a numeric field by its bucket
(missing; values up to 2 as they are; above, the whole part of ln(x)^2, the buckets of the Criteo competition's winners,
Juan et al. 2014). The 13 numeric fields are standardised as well: sign(x) ln(1 + |x|), less its mean, over its standard
deviation, a missing one at the mean.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.data.parallel import in_order
from core.data.rowsfile import codes_and_values
from core.data.schema import FIELDS, NUMERIC
from core.errors import BadInput
from core.workspace import hash_json, read_json, write_atomic, write_json

MISSING, UNSEEN, FIRST = 0, 1, 2
"""Ids of a missing value, of a value not in the vocabulary, and of the first value that is."""
DEFAULT_MIN_COUNT = 10
_HIGHEST_BUCKET = 2.0
_TURNED_AT_ONCE = 4096


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

    @cached_property
    def hash(self) -> str:
        """SHA-256 of everything that decides an encoding."""
        digest = hashlib.sha256(hash_json([self.mean.tolist(), self.std.tolist()]).encode())
        for field in FIELDS:
            digest.update(hash_json([field, self.vocabularies[field].to_pylist()]).encode())
        return digest.hexdigest()

    def encode(self, table: pa.Table) -> Encoded:
        """Encodes rows of columns I1..I13 (float64) and C1..C26 (string), coded or plain; other columns are ignored."""
        ids = np.empty((len(FIELDS), table.num_rows), dtype=np.int32)
        numerics = np.empty((len(NUMERIC), table.num_rows), dtype=np.float32)
        for place, field in enumerate(FIELDS if table.num_rows else ()):
            coded = codes_and_values(table[field])
            values = pa.concat_arrays([values for _, values in coded])
            if field in NUMERIC:
                numbers = _to_numpy(values)
                _spread(_bucket_ids(numbers, self.vocabularies[field].to_numpy()), coded, ids[place])
                scaled = (log_transform(numbers) - self.mean[place]) / self.std[place]
                _spread(np.where(np.isnan(scaled), 0.0, scaled), coded, numerics[place])
            else:
                _spread(_value_ids(values, self.vocabularies[field]), coded, ids[place])
        return Encoded(_as_rows(ids), _as_rows(numerics))

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


def fit(
    table: pa.Table,
    min_count: int = DEFAULT_MIN_COUNT,
    chosen: np.ndarray | None = None,
    progress: Callable[[float], None] | None = None,
) -> Preprocessing:
    """Fits on the `chosen` rows of `table` (bool (rows,); all by default), which may be coded or plain.

    Values seen fewer than `min_count` times share the id UNSEEN. progress: called with 0..1, field by field.
    """
    if min_count < 1:
        raise BadInput(f"The minimum count is {min_count!r}; it must be at least 1.")
    report = progress or (lambda share: None)
    fitted = []
    for one in in_order(lambda field: _fit_field(table[field], field in NUMERIC, min_count, chosen), FIELDS):
        fitted.append(one)
        report(len(fitted) / len(FIELDS))
    vocabularies, means, stds = zip(*fitted, strict=True)
    rows = table.num_rows if chosen is None else int(np.count_nonzero(chosen))
    numeric = slice(len(NUMERIC))
    return Preprocessing(
        np.array(means[numeric]), np.array(stds[numeric]), dict(zip(FIELDS, vocabularies, strict=True)), min_count, rows
    )


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


def _fit_field(
    column: pa.ChunkedArray, numeric: bool, min_count: int, chosen: np.ndarray | None
) -> tuple[pa.Array, float, float]:
    """(vocabulary, mean, deviation) of the chosen rows; a category's last two are 0 and 1."""
    seen, counts, logs, start = [], [], [np.empty(0)], 0
    for codes, values in codes_and_values(column):
        picked = codes if chosen is None else codes[chosen[start : start + len(codes)]]
        start += len(codes)
        counts.append(np.bincount(picked, minlength=len(values)))
        if numeric:
            numbers = _to_numpy(values)
            logs.append(log_transform(numbers)[picked])
            values = pa.array(bucket(numbers), from_pandas=True)
        seen.append(values)
    vocabulary = _vocabulary(pa.concat_arrays(seen), np.concatenate(counts), min_count)
    every = np.concatenate(logs)
    if np.isnan(every).all():
        return vocabulary, 0.0, 1.0
    std = float(np.nanstd(every))
    # A constant column has a deviation of rounding errors, by which nothing must be divided.
    return vocabulary, float(np.nanmean(every)), 1.0 if std < 1e-9 else std


def _vocabulary(values: pa.Array, counts: np.ndarray, min_count: int) -> pa.Array:
    """The values whose counts add up to enough."""
    table = pa.table({"value": values, "count": counts})
    table = table.filter((pc.field("count") > 0) & pc.field("value").is_valid())
    distinct = table["value"].combine_chunks().dictionary_encode()
    summed = np.bincount(distinct.indices.to_numpy(), table["count"].to_numpy(), minlength=len(distinct.dictionary))
    found = pa.table({"value": distinct.dictionary, "count": summed}).filter(pa.array(summed >= min_count))
    # Falling count, then value: the same rows give the same ids in whatever order they come.
    return found.sort_by([("count", "descending"), ("value", "ascending")])["value"].combine_chunks()


def _spread(found: np.ndarray, coded: list[tuple[np.ndarray, pa.Array]], out: np.ndarray) -> None:
    """Writes what was found for the values of all batches, one after another, to the rows that hold them."""
    row = value = 0
    found = found.astype(out.dtype)
    for codes, values in coded:
        out[row : row + len(codes)] = found[value : value + len(values)].take(codes)
        row += len(codes)
        value += len(values)


def _as_rows(columns: np.ndarray) -> np.ndarray:
    """The transposed array, some rows at a time: all at once would leave the processor's cache at every number."""
    rows = np.empty(columns.shape[::-1], columns.dtype)
    for start in range(0, len(rows), _TURNED_AT_ONCE):
        rows[start : start + _TURNED_AT_ONCE] = columns[:, start : start + _TURNED_AT_ONCE].T
    return rows


def _to_numpy(column: pa.Array) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _bucket_ids(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    buckets = bucket(values)
    sorter = np.argsort(known)
    if not len(known):
        return np.where(np.isnan(buckets), MISSING, UNSEEN)
    places = np.minimum(np.searchsorted(known, buckets, sorter=sorter), len(known) - 1)
    found = sorter[places]
    return np.where(np.isnan(buckets), MISSING, np.where(known[found] == buckets, found + FIRST, UNSEEN))


def _value_ids(column: pa.Array, known: pa.Array) -> np.ndarray:
    found = pc.fill_null(pc.index_in(column, value_set=known), -1).to_numpy()
    ids = np.where(found >= 0, found + FIRST, UNSEEN)
    return np.where(column.is_null().to_numpy(zero_copy_only=False), MISSING, ids)
