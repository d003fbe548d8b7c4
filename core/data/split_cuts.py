"""How many rows each part of a split gets so that every part has rows of both classes."""

from collections.abc import Sequence

import numpy as np

_MAX_CUT_POSITIONS = 200_000
"""Places that a cut may move to; in more rows than this it moves by several rows at a time."""


def place_cuts(
    labels: np.ndarray, sizes: Sequence[int], min_rows: Sequence[int], min_per_class: int
) -> list[int] | None:
    """Sizes of consecutive parts of `labels` whose cuts lie as near as possible to those of
    `sizes`.

    The sum of the distances (rows) by which the cuts move is the smallest possible, found by
    dynamic programming over the cuts.

    Args:
        labels: 0 or 1, in the order the rows are cut in, shape ``(rows,)``.
        sizes: rows of each part before, which add up to the number of rows.
        least: rows that each part must have.
        need: rows of each class that each part must have, at least 1.

    Returns:
        Rows of each part, or None if there are no such cuts.

    >>> place_cuts(np.array([0, 1, 0, 0, 0, 1]), [4, 2], [0, 0], 1)
    [4, 2]
    >>> place_cuts(np.array([0, 1, 0, 0, 0, 1]), [5, 1], [0, 0], 1)
    [4, 2]
    """
    rows, wanted = len(labels), np.cumsum(sizes)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    if not _is_feasible(classes, rows, min_rows, min_per_class):
        return None
    step = max(1, -(-rows // _MAX_CUT_POSITIONS))
    # Row numbers where a part may begin or end, rising.
    cuts = np.unique(np.concatenate([np.arange(0, rows, step), wanted, [0, rows]]))
    begins = cuts
    for places in classes:
        # A part that ends at a cut has `need` rows of the class if it begins at or before this row
        # (-1: nowhere).
        first = np.searchsorted(places, cuts) - min_per_class
        begins = np.minimum(begins, np.where(first >= 0, places[np.maximum(first, 0)], -1))
    chosen: list[np.ndarray] = []
    # cost[i]: least movement of the cuts so far if the last part ends at cuts[i].
    cost = np.where(cuts == 0, 0.0, np.inf)
    for part, end in enumerate(wanted):
        latest = (
            np.searchsorted(cuts, np.minimum(begins, cuts - max(1, min_rows[part])), side="right")
            - 1
        )
        best, at = _running_minimum(cost)
        cost = np.where(latest >= 0, best[latest], np.inf) + np.abs(cuts - end)
        chosen.append(at[latest])
    if not np.isfinite(cost[-1]):
        return None
    ends, place = [rows], len(cuts) - 1
    for starts in reversed(chosen):
        place = int(starts[place])
        ends.append(int(cuts[place]))
    return [int(size) for size in -np.diff(ends)][::-1]


def _is_feasible(classes: Sequence[np.ndarray], rows: int, least: Sequence[int], need: int) -> bool:
    """Whether there are such cuts: each part, from the first on, takes as few rows as it may.

    classes: row numbers of each class, rising.
    """
    end = 0
    for most in least:
        begin, end = end, end + max(1, most)
        for places in classes:
            last = np.searchsorted(places, begin) + need - 1
            if last >= len(places):
                return False
            end = max(end, int(places[last]) + 1)
    return end <= rows


def apportion(rows: int, sizes: Sequence[int], minimum: int) -> list[int]:
    """`rows` distributed in proportion to `sizes` (largest remainders), at least `least` to each.

    rows must be at least ``least * len(sizes)``.

    >>> distribute(10, [70, 20, 10], 2)
    [6, 2, 2]
    """
    shares = np.asarray(sizes, dtype=np.float64) * rows / max(1, sum(sizes))
    counts = np.floor(shares).astype(np.int64)
    counts[np.argsort(counts - shares, kind="stable")[: rows - counts.sum()]] += 1
    counts = np.maximum(counts, minimum)
    while counts.sum() > rows:
        counts[np.argmax(counts)] -= 1
    return [int(count) for count in counts]


def _running_minimum(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the smallest value so far, where it last stood), each of shape ``(values,)``."""
    best = np.minimum.accumulate(values)
    return best, np.maximum.accumulate(np.where(values == best, np.arange(len(values)), 0))
