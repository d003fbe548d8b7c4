"""How many rows each part of a split needs so that it has both classes."""

from collections.abc import Sequence

import numpy as np

_MAX_CUT_POSITIONS = 200_000
"""Number of positions a cut can have; with more rows it moves by several rows at a time."""


def place_cuts(
    labels: np.ndarray, sizes: Sequence[int], min_rows: Sequence[int], min_per_class: int
) -> list[int] | None:
    """Return sizes of consecutive parts that all have both classes, as near as possible to `sizes`.

    The sum of the distances (rows) by which the cuts move is minimal; it is found by dynamic
    programming over the cuts.

    Args:
        labels: 0 or 1, in the order in which the rows are cut, shape ``(n_rows,)``.
        sizes: number of rows of each part before; they add up to the number of rows.
        min_rows: least number of rows of each part.
        min_per_class: least number of rows of each class in each part, at least 1.

    Returns:
        Number of rows of each part, or None if there are no such cuts.

    >>> place_cuts(np.array([0, 1, 0, 0, 0, 1]), [4, 2], [0, 0], 1)
    [4, 2]
    >>> place_cuts(np.array([0, 1, 0, 0, 0, 1]), [5, 1], [0, 0], 1)
    [4, 2]
    """
    rows, ends_before = len(labels), np.cumsum(sizes)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    if not _is_feasible(classes, rows, min_rows, min_per_class):
        return None
    step = max(1, -(-rows // _MAX_CUT_POSITIONS))
    # Row numbers where a part may begin or end, rising.
    cuts = np.unique(np.concatenate([np.arange(0, rows, step), ends_before, [0, rows]]))
    latest_starts = cuts
    for class_rows in classes:
        # A part that ends at a cut has `need` rows of the class if it begins at or before this row
        # (-1: nowhere).
        first = np.searchsorted(class_rows, cuts) - min_per_class
        latest_starts = np.minimum(
            latest_starts, np.where(first >= 0, class_rows[np.maximum(first, 0)], -1)
        )
    predecessors: list[np.ndarray] = []
    # cost[i]: least movement of the cuts so far if the last part ends at cuts[i].
    cost = np.where(cuts == 0, 0.0, np.inf)
    for part, end in enumerate(ends_before):
        latest = (
            np.searchsorted(
                cuts, np.minimum(latest_starts, cuts - max(1, min_rows[part])), side="right"
            )
            - 1
        )
        best, best_index = _running_minimum(cost)
        cost = np.where(latest >= 0, best[latest], np.inf) + np.abs(cuts - end)
        predecessors.append(best_index[latest])
    if not np.isfinite(cost[-1]):
        return None
    ends, i = [rows], len(cuts) - 1
    for starts in reversed(predecessors):
        i = int(starts[i])
        ends.append(int(cuts[i]))
    return [int(size) for size in -np.diff(ends)][::-1]


def _is_feasible(
    classes: Sequence[np.ndarray], rows: int, min_rows: Sequence[int], min_per_class: int
) -> bool:
    """Return whether there are such cuts, by giving each part in turn as few rows as possible.

    `classes` holds the row numbers of each class, rising.
    """
    end = 0
    for min_size in min_rows:
        start, end = end, end + max(1, min_size)
        for class_rows in classes:
            last = np.searchsorted(class_rows, start) + min_per_class - 1
            if last >= len(class_rows):
                return False
            end = max(end, int(class_rows[last]) + 1)
    return end <= rows


def apportion(rows: int, sizes: Sequence[int], minimum: int) -> list[int]:
    """Distribute `rows` in proportion to `sizes` (largest remainders), at least `minimum` to each.

    `rows` must be at least ``minimum * len(sizes)``.

    >>> apportion(10, [70, 20, 10], 2)
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
    """Return (running minimum of the values, index at which it last occurred)."""
    best = np.minimum.accumulate(values)
    return best, np.maximum.accumulate(np.where(values == best, np.arange(len(values)), 0))
