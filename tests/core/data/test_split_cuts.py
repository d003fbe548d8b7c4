"""Cuts compared with every possible one, and distributions with their definition."""

import itertools

import numpy as np
import pytest

from core.data.split_cuts import apportion, place_cuts


def by_trying_all(labels: np.ndarray, sizes: list[int], least: list[int], need: int) -> int | None:
    """The least movement of the cuts; None if there are none."""
    rows, wanted, found = len(labels), np.cumsum(sizes), []
    for inner in itertools.combinations(range(1, rows), len(sizes) - 1):
        ends = [0, *inner, rows]
        parts = [labels[begin:end] for begin, end in itertools.pairwise(ends)]
        fits = all(len(part) >= few for part, few in zip(parts, least, strict=True))
        if fits and all((part == label).sum() >= need for part in parts for label in (0, 1)):
            found.append(int(np.abs(np.array(ends[1:]) - wanted).sum()))
    return min(found, default=None)


@pytest.mark.parametrize("seed", range(60))
def test_cuts_move_as_little_as_possible(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = (generator.random(int(generator.integers(6, 14))) < 0.4).astype(np.int8)
    inner = np.sort(generator.integers(0, len(labels) + 1, 2))
    sizes = [int(size) for size in np.diff([0, *inner, len(labels)])]
    least, need = [int(few) for few in generator.integers(0, 4, 3)], int(generator.integers(1, 3))
    wanted = by_trying_all(labels, sizes, least, need)
    got = place_cuts(labels, sizes, least, need)
    assert (got is None) == (wanted is None)
    if got is not None:
        assert sum(got) == len(labels) and all(
            size >= few for size, few in zip(got, least, strict=True)
        )
        assert int(np.abs(np.cumsum(got) - np.cumsum(sizes)).sum()) == wanted
        for part in np.split(labels, np.cumsum(got)[:-1]):
            assert min((part == 0).sum(), (part == 1).sum()) >= need


def test_many_rows_move_by_several_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.split_cuts._MAX_CUT_POSITIONS", 50)
    labels = np.zeros(1000, np.int8)
    labels[[100, 450, 700]] = 1
    sizes = place_cuts(labels, [600, 100, 300], [0, 0, 0], 1)
    assert sizes is not None
    assert [part.sum() for part in np.split(labels, np.cumsum(sizes)[:-1])] == [1, 1, 1]


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_distributed_in_proportion(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sizes = [int(size) for size in generator.integers(0, 50, 6)]
    rows = int(generator.integers(12, 200))
    counts = apportion(rows, sizes, 2)
    assert sum(counts) == rows and min(counts) >= 2
    exact = np.array(sizes) * rows / max(sum(sizes), 1)
    if exact.min() >= 3:
        assert np.abs(np.array(counts) - exact).max() < 1
