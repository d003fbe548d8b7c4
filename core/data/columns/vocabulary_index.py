"""Hash tables over 64-bit keys: count the values of a column, look values up in a vocabulary.

A string of at most eight bytes (Criteo's categories have eight) and every number fits into one
64-bit key. For other strings the callers fall back to Arrow's own functions, which are slower.
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
"""Multiplier of the hash, random so that nobody can craft a file whose values all collide."""
_MIN_TABLE_SIZE = 2**10
"""Slots of the smallest hash table, a power of two."""


class ValueCounter:
    """Counts how often each 64-bit key occurs."""

    def __init__(self) -> None:
        self._count = 0
        # At most half of the slots are used, so that probing stays short.
        self._keys = np.empty(_MIN_TABLE_SIZE // 2, np.uint64)
        self._counts = np.zeros(_MIN_TABLE_SIZE // 2, np.int64)
        self._table = np.full(_MIN_TABLE_SIZE, -1, np.int32)

    @property
    def keys(self) -> np.ndarray:
        """The distinct keys, uint64, in order of appearance."""
        return self._keys[: self._count]

    @property
    def counts(self) -> np.ndarray:
        """How often each of `keys` occurred, int64."""
        return self._counts[: self._count]

    def add(self, keys: np.ndarray, counts: np.ndarray) -> None:
        """Add the counts of distinct keys, int64, of the same shape as `keys`; 0 adds nothing."""
        while self._count + len(keys) > len(self._keys):
            self._grow()
        self._count = add_key_counts(
            keys, counts, self._table, self._keys, self._counts, self._count, HASH_MULTIPLIER
        )

    def _grow(self) -> None:
        self._keys = np.concatenate([self._keys, np.empty_like(self._keys)])
        self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        self._table = build_hash_table(self.keys, 2 * len(self._keys))


class VocabularyIndex:
    """Looks values up in a vocabulary.

    Args:
        vocabulary: distinct strings or float64. `is_usable` is False if one has no 64-bit key or is
            null; look values up with Arrow then.
    """

    def __init__(self, vocabulary: pa.Array) -> None:
        keys = to_uint64(vocabulary)
        self._keys = np.empty(0, np.uint64) if keys is None else keys
        self.is_usable = keys is not None and not vocabulary.null_count
        self._table = build_hash_table(self._keys)

    def indices(self, values: pa.Array) -> np.ndarray | None:
        """Return the index of each value in the vocabulary, int32, -1 for a value not in it.

        None if a value has no 64-bit key. The index of a missing value is undefined.
        """
        keys = to_uint64(values) if self.is_usable else None
        if keys is None:
            return None
        indices = np.empty(len(keys), np.int32)
        look_up_keys(keys, self._table, self._keys, HASH_MULTIPLIER, indices)
        return indices


def to_uint64(values: pa.Array) -> np.ndarray | None:
    """Return the 64-bit key of each value, uint64, shape ``(n_values,)``.

    The key of a string is its bytes, first byte lowest, padded with zeros; the key of a float64 is
    its bits, with -0 as 0.

    Returns:
        None if a value has no key: another type, a string of more than eight bytes, or a NUL byte.

    >>> to_uint64(pa.array(["a", "b"])).tolist()
    [97, 98]
    """
    if values.type == pa.float64():
        return (values.to_numpy(zero_copy_only=False) + 0.0).view(np.uint64)
    if values.type != pa.string():
        return None
    _, offsets, buffer = values.buffers()
    keys = np.empty(len(values), np.uint64)
    if not len(values):
        return keys
    data = np.frombuffer(buffer if buffer is not None and buffer.size else bytes(8), np.uint8)
    starts = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    # numba compiles a kernel once for writeable and once for read-only arrays; Arrow gives both.
    data.flags.writeable = starts.flags.writeable = False
    return keys if pack_strings(data, as_uint64_view(data), starts, keys) else None


def to_strings(keys: np.ndarray) -> pa.Array:
    """Return the strings whose keys `to_uint64` returned."""
    data = keys.view(np.uint8).reshape(-1, 8)
    ends = np.cumsum((data != 0).sum(axis=1), dtype=np.int32)
    offsets = np.concatenate([np.zeros(1, np.int32), ends])
    return pa.StringArray.from_buffers(
        len(keys), pa.py_buffer(offsets), pa.py_buffer(data[data != 0])
    )


def build_hash_table(keys: np.ndarray, size: int | None = None) -> np.ndarray:
    """Return a hash table over distinct uint64 keys, for `look_up_keys` with HASH_MULTIPLIER.

    Args:
        keys: distinct, uint64.
        size: slots, a power of two; by default at least two for each key.
    """
    size = size or max(_MIN_TABLE_SIZE, 1 << (2 * len(keys)).bit_length())
    table = np.full(size, -1, np.int32)
    fill_hash_table(keys, table, HASH_MULTIPLIER)
    return table


# Load the compiled kernels on import, not while the first vocabulary is being built.
ValueCounter().add(np.zeros(1, np.uint64), np.ones(1, np.int64))
VocabularyIndex(pa.array(["a"])).indices(pa.array(["b"]))
