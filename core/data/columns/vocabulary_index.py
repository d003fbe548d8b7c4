"""Values as 64-bit words, counted and found in a vocabulary: texts of at most eight bytes, and
numbers.

Criteo's categories have eight letters. Where one has more, or holds a NUL byte, the callers go by
Arrow's own texts.
"""

import secrets

import numpy as np
import pyarrow as pa

from core.data.columns.kernels import (
    add_key_counts,
    as_uint64_view,
    fill_hash_table,
    look_up_keys,
    pack_strings,
)

HASH_MULTIPLIER = np.uint64(secrets.randbits(64) | 1)
"""Of the hash; random, so that nobody can write a file whose values all meet in one place."""
_MIN_TABLE_SIZE = 2**10


class ValueCounter:
    """Adds up how often words occur."""

    def __init__(self) -> None:
        self._count = 0
        self._words, self._totals = (
            np.empty(_MIN_TABLE_SIZE // 2, np.uint64),
            np.zeros(_MIN_TABLE_SIZE // 2, np.int64),
        )
        self._table = np.full(_MIN_TABLE_SIZE, -1, np.int32)

    @property
    def keys(self) -> np.ndarray:
        """Those that occurred, uint64, in order of appearance."""
        return self._words[: self._count]

    @property
    def counts(self) -> np.ndarray:
        """How often each of `words` did, int64."""
        return self._totals[: self._count]

    def add(self, keys: np.ndarray, counts: np.ndarray) -> None:
        """Adds counts, int64 (words,); a word whose count is 0 did not occur."""
        while self._count + len(keys) > len(self._words):
            self._grow()
        self._count = add_key_counts(
            keys, counts, self._table, self._words, self._totals, self._count, HASH_MULTIPLIER
        )

    def _grow(self) -> None:
        self._words = np.concatenate([self._words, np.empty_like(self._words)])
        self._totals = np.concatenate([self._totals, np.zeros_like(self._totals)])
        self._table = _build_hash_table(self.keys, 2 * len(self._words))


class VocabularyIndex:
    """Finds values among known ones."""

    def __init__(self, vocabulary: pa.Array) -> None:
        words = to_uint64(vocabulary)
        self._words = np.empty(0, np.uint64) if words is None else words
        self.is_usable = words is not None and not vocabulary.null_count
        self._table = _build_hash_table(
            self._words, max(_MIN_TABLE_SIZE, 1 << (2 * len(self._words)).bit_length())
        )

    def indices(self, values: pa.Array) -> np.ndarray | None:
        """Where each value stands among the known ones, int32 (values,), -1 for nowhere; None where
        one is no word.

        What is said of a missing value means nothing.
        """
        words = to_uint64(values) if self.is_usable else None
        if words is None:
            return None
        found = np.empty(len(words), np.int32)
        look_up_keys(words, self._table, self._words, HASH_MULTIPLIER, found)
        return found


def to_uint64(values: pa.Array) -> np.ndarray | None:
    """The values as words, uint64 (values,); None where one is no word.

    Of a text its bytes, the first lowest, filled up with 0; of a float64 its bits, -0 as 0.
    """
    if values.type == pa.float64():
        return (values.to_numpy(zero_copy_only=False) + 0.0).view(np.uint64)
    if values.type != pa.string():
        return None
    _, offsets, letters = values.buffers()
    words = np.empty(len(values), np.uint64)
    if not len(values):
        return words
    data = np.frombuffer(letters if letters is not None and letters.size else bytes(8), np.uint8)
    begins = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    # Arrow's memory can be written to or not, and each would have compiled loops of its own.
    data.flags.writeable = begins.flags.writeable = False
    return words if pack_strings(data, as_uint64_view(data), begins, words) else None


def to_strings(words: np.ndarray) -> pa.Array:
    """The texts that `to_uint64` made these words of."""
    letters = words.view(np.uint8).reshape(-1, 8)
    ends = np.cumsum((letters != 0).sum(axis=1), dtype=np.int32)
    offsets = np.concatenate([np.zeros(1, np.int32), ends])
    return pa.StringArray.from_buffers(
        len(words), pa.py_buffer(offsets), pa.py_buffer(letters[letters != 0])
    )


def _build_hash_table(words: np.ndarray, size: int) -> np.ndarray:
    table = np.full(size, -1, np.int32)
    fill_hash_table(words, table, HASH_MULTIPLIER)
    return table


# The compiled loops are loaded with the module, not in the middle of the first vocabulary.
ValueCounter().add(np.zeros(1, np.uint64), np.ones(1, np.int64))
VocabularyIndex(pa.array(["a"])).indices(pa.array(["b"]))
