"""Loops over bytes and rows, compiled by numba once a machine; imported only where they run, for numba loads slowly."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np

ONES = np.uint64(0x0101010101010101)
HIGH = np.uint64(0x8080808080808080)

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """`function` in machine code, which leaves Python's lock to other threads."""
    try:
        return cast(F, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:
        # No folder to keep compiled code in: it is compiled anew in every process.
        return cast(F, numba.njit(nogil=True)(function))


def eights(data: np.ndarray) -> np.ndarray:
    """Eight bytes from every byte on, as one number each: uint64 (bytes - 7,); none where there are fewer."""
    return np.ndarray((max(0, len(data) - 7),), np.uint64, data, strides=(1,))


@compiled
def length(word: np.uint64) -> np.int64:
    """How many bytes of a word are not 0."""
    filled = (((word & ~HIGH) + ~HIGH) | word) & HIGH
    return np.int64(((filled >> np.uint64(7)) * ONES) >> np.uint64(56))


@compiled
def add_counts(codes: np.ndarray, chosen: np.ndarray, counts: np.ndarray) -> None:
    """Adds to counts, int64, how often each code occurs in the chosen rows, bool (rows,)."""
    for row in range(len(codes)):
        counts[codes[row]] += chosen[row]


@compiled
def look_up(codes: np.ndarray, begins: np.ndarray, found: np.ndarray, out: np.ndarray) -> None:
    """out[row, field] = found[begins[field] + codes[field, row]], row after row."""
    for row in range(out.shape[0]):
        for field in range(out.shape[1]):
            out[row, field] = found[begins[field] + codes[field, row]]
