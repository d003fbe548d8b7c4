"""Duplicate rows: how many rows of one part, or of one file, also occur in another one.

Rows are compared by a 64-bit hash of the label and all 39 fields. With a million rows the chance
that any two different rows share a hash is below one in ten million.
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
"""Bytes of the longest text that is hashed as a number."""
_SALTS = np.arange(1, len(FIELDS) + 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
"""Added to the values of a column, so that equal values of two columns have different hashes."""
_MISSING_HASH = np.uint64(0x5851F42D4C957F2D)


@dataclass(frozen=True)
class Duplicates:
    """`rows` of the `total` rows of `part` also occur, label and all 39 fields alike, in `other`.

    part, other: names in PARTS; or, if files is true, roles of files.
    """

    part: str
    other: str
    rows: int
    total: int
    files: bool = False


def count_duplicates(
    table: pa.Table, parts: np.ndarray, files: Sequence[tuple[str, int]]
) -> tuple[Duplicates, ...]:
    """Duplicates of validation and test parts in training parts, and of each file in every file
    before it.

    table: labelled rows, as `core.data.samples.read_dictionary_table` has them. parts: code into PARTS of
    every row, int8. files: (role, rows) in the order the files follow each other. Pairs without a
    duplicate row are left out.
    """
    hashes = hash_rows(table)
    by_part = {part: np.sort(hashes[parts == code]) for code, part in enumerate(SPLIT_PARTS)}
    trained = [part for part in SPLIT_PARTS if part.endswith("_train")]
    found = [
        Duplicates(part, other, _count_in_both(by_part[part], by_part[other]), len(by_part[part]))
        for part in SPLIT_PARTS
        for other in trained
        if part not in trained
    ]
    ends = np.cumsum([rows for _, rows in files])
    by_file = [np.sort(one) for one in np.split(hashes, ends[:-1])]
    for later, (role, rows) in enumerate(files):
        for earlier, (other, _) in enumerate(files[:later]):
            found.append(
                Duplicates(
                    role, other, _count_in_both(by_file[later], by_file[earlier]), rows, True
                )
            )
    return tuple(one for one in found if one.rows)


def hash_rows(table: pa.Table) -> np.ndarray:
    """A hash of label and fields for every row, uint64 (rows,); a missing value is like an empty
    text."""
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
            places, values = indices_and_dictionary(column)
            hashes += _splitmix64(_to_uint64(values) + salt)[places]
    return hashes


def _to_uint64(values: pa.Array) -> np.ndarray:
    """A number for every value, uint64 (values,), the same for equal values whatever array they are
    in."""
    from core.data.columns.vocabulary_index import to_uint64

    words = to_uint64(values)
    if words is None:
        words = np.zeros(len(values), np.uint64)
        short = pc.and_(
            pc.less_equal(pc.binary_length(values), _MAX_PACKED_BYTES),
            pc.invert(pc.match_substring(values, "\0")),
        ).fill_null(True)
        chosen = short.to_numpy(zero_copy_only=False)
        few = to_uint64(values.filter(short).fill_null(""))
        assert few is not None
        words[chosen] = few
        words[~chosen] = pd.util.hash_array(
            values.filter(pc.invert(short)).to_numpy(zero_copy_only=False)
        )
    words[missing_mask(values)] = _MISSING_HASH
    return words


def _splitmix64(words: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input changes half of
    the output's."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _count_in_both(these: np.ndarray, others: np.ndarray) -> int:
    """How many of the sorted hashes `these` are among the sorted `others`."""
    if not len(others):
        return 0
    places = np.minimum(np.searchsorted(others, these), len(others) - 1)
    return int(np.count_nonzero(others[places] == these))
