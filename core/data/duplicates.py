"""Counts the rows of one part, or of one file, that also occur in another.

Rows are compared by a 64-bit hash of label and features. For a million rows the probability that
any two different rows share a hash is below one in ten million.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from core.data.columns.dictionary_file import indices_and_dictionary
from core.data.columns.value_counts import missing_mask
from core.data.parallel import map_ordered
from core.data.schema import FIELDS, LABEL
from core.data.split import SPLIT_PARTS

_MAX_PACKED_BYTES = 8
"""Longest string, in bytes, that is hashed as a number."""
_SALTS = np.arange(1, len(FIELDS) + 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
"""Added to the values of a column so that equal values in two columns have different hashes."""
_MISSING_HASH = np.uint64(0x5851F42D4C957F2D)


@dataclass(frozen=True)
class Duplicates:
    """`rows` of the `total` rows of `part` also occur in `other`, with the same label and features.

    `part` and `other` are parts (see SPLIT_PARTS), or roles of files if `files` is true.
    """

    part: str
    other: str
    rows: int
    total: int
    files: bool = False


def count_duplicates(
    table: pa.Table, parts: np.ndarray, files: Sequence[tuple[str, int]]
) -> tuple[Duplicates, ...]:
    """Count validation and test rows that are in training parts, and rows of files in earlier ones.

    Args:
        table: labelled rows, as `core.data.samples.read_dictionary_table` returns them.
        parts: index into SPLIT_PARTS of every row, int8.
        files: (role, number of rows) in the order of the rows.

    Returns:
        The pairs that share at least one row.
    """
    hashes = hash_rows(table)
    by_part = {part: np.sort(hashes[parts == index]) for index, part in enumerate(SPLIT_PARTS)}
    training_parts = [part for part in SPLIT_PARTS if part.endswith("_train")]
    pairs = [
        Duplicates(part, other, _count_in_both(by_part[part], by_part[other]), len(by_part[part]))
        for part in SPLIT_PARTS
        for other in training_parts
        if part not in training_parts
    ]
    ends = np.cumsum([rows for _, rows in files])
    by_file = [np.sort(file_hashes) for file_hashes in np.split(hashes, ends[:-1])]
    for later, (role, rows) in enumerate(files):
        for earlier, (other, _) in enumerate(files[:later]):
            pairs.append(
                Duplicates(
                    role, other, _count_in_both(by_file[later], by_file[earlier]), rows, True
                )
            )
    return tuple(pair for pair in pairs if pair.rows)


def hash_rows(table: pa.Table) -> np.ndarray:
    """Return a hash of label and features of every row, uint64; missing equals an empty string."""
    columns = [name for name in (LABEL, *FIELDS) if name in table.column_names]
    batches = table.select(columns).to_batches()
    return np.concatenate([np.empty(0, np.uint64), *_hash_batches(batches)])


def _hash_batches(batches: Sequence[pa.RecordBatch]) -> Iterator[np.ndarray]:
    return map_ordered(_hash_batch, batches)


def _hash_batch(batch: pa.RecordBatch) -> np.ndarray:
    hashes = np.zeros(batch.num_rows, np.uint64)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        salt = _SALTS[[LABEL, *FIELDS].index(name)]
        if name == LABEL:
            hashes += _splitmix64(column.to_numpy().astype(np.uint64) + salt)
        else:
            indices, values = indices_and_dictionary(column)
            hashes += _splitmix64(_to_uint64(values) + salt)[indices]
    return hashes


def _to_uint64(values: pa.Array) -> np.ndarray:
    """Return a number for every value, uint64, equal for equal values of any array."""
    from core.data.columns.vocabulary_index import to_uint64

    keys = to_uint64(values)
    if keys is None:
        keys = np.zeros(len(values), np.uint64)
        short = pc.and_(
            pc.less_equal(pc.binary_length(values), _MAX_PACKED_BYTES),
            pc.invert(pc.match_substring(values, "\0")),
        ).fill_null(True)
        is_short = short.to_numpy(zero_copy_only=False)
        short_keys = to_uint64(values.filter(short).fill_null(""))
        assert short_keys is not None
        keys[is_short] = short_keys
        keys[~is_short] = pd.util.hash_array(
            values.filter(pc.invert(short)).to_numpy(zero_copy_only=False)
        )
    keys[missing_mask(values)] = _MISSING_HASH
    return keys


def _splitmix64(keys: np.ndarray) -> np.ndarray:
    """Apply the finaliser of SplitMix64 (Steele, Lea, Flood 2014), which mixes all bits."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _count_in_both(these: np.ndarray, others: np.ndarray) -> int:
    """Return how many of the sorted hashes `these` are among the sorted `others`."""
    if not len(others):
        return 0
    positions = np.minimum(np.searchsorted(others, these), len(others) - 1)
    return int(np.count_nonzero(others[positions] == these))
