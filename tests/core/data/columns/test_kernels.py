"""The helpers of the compiled loops, and what happens where no compiled code can be cached."""

from typing import Any

import numba
import numpy as np
import pytest

from core.data.columns.kernels import (
    add_masked_counts,
    as_uint64_view,
    cached_njit,
    count_nonzero_bytes,
    gather_values,
)


def test_a_function_is_compiled_again_without_a_cache_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    njit = numba.njit

    def without_a_folder(**options: Any) -> object:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", without_a_folder)

    @cached_njit
    def double(number: int) -> int:
        return 2 * number

    assert double(21) == 42 and hasattr(double, "py_func")


@pytest.mark.parametrize("text", [b"", b"a", b"seven77", b"eight888"])
def test_the_length_of_a_word(text: bytes) -> None:
    assert count_nonzero_bytes(np.uint64(int.from_bytes(text, "little"))) == len(text)


def test_uint64_views_at_every_byte_offset() -> None:
    data = np.arange(20, dtype=np.uint8)
    assert as_uint64_view(data).tolist() == [
        int.from_bytes(bytes(data[start : start + 8]), "little") for start in range(13)
    ]
    assert len(as_uint64_view(data[:7])) == 0


def test_counting_and_looking_up_equal_numpy() -> None:
    dice = np.random.default_rng(0)
    places = dice.integers(0, 5, (3, 100)).astype(np.int16)
    chosen = dice.random(100) < 0.5
    counts = np.zeros(5, np.int64)
    add_masked_counts(places[0], chosen, counts)
    np.testing.assert_array_equal(counts, np.bincount(places[0][chosen], minlength=5))
    found = dice.random(15).astype(np.float32)
    out = np.empty((100, 2), np.float32)
    gather_values(places, np.array([0, 5, 10]), found, out)
    np.testing.assert_array_equal(out, np.stack([found[places[0]], found[5 + places[1]]], axis=1))
