"""Comparisons of pairs of arms, each computed once.

The page of a sweep asks for all pairs whenever a run ends, and most of them have not changed.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np

from core.evaluation.metric_functions import calibration_error_per_row, log_loss_per_row
from core.evaluation.paired_comparison import (
    RECIPE,
    PairedDifference,
    PlacementValues,
    compare_placement_values,
    compare_row_means,
    placement_values_by_seed,
)

MAX_CACHED = 2**14
"""Comparisons in the cache, about 30 MB."""
BLOCK_BYTES = 2**27
"""Bytes of row losses in memory at a time; placement values and calibration errors take as many
again, each.
"""
MIN_SCORINGS_AT_ONCE = 16
"""Fewest scorings at a time, whatever their number of rows, as arms share many of them."""


class Comparison(NamedTuple):
    """AUC, log loss and calibration error (ECE) of one arm minus those of another."""

    auc: PairedDifference
    log_loss: PairedDifference
    ece: PairedDifference


_cache: dict[Hashable, Comparison] = {}
_lock = Lock()


class Scores(Protocol):
    """Scores of several seeds, ``(n_rows,)`` each; may be read from disk only when indexed."""

    def __len__(self) -> int: ...

    def __getitem__(self, seed: int, /) -> np.ndarray: ...


@dataclass(frozen=True)
class SeedScores:
    """Some seeds of an arm.

    Args:
        scores: of all seeds of the arm.
        seed_indices: which of `scores` are compared.
        keys: a key for each of `scores` that no other scoring of any rows has; empty where there is
            none, so that nothing is cached.
    """

    scores: Scores
    seed_indices: tuple[int, ...]
    keys: tuple[Hashable, ...] = ()

    @property
    def scorings(self) -> list[tuple[Scores, int]]:
        """(scores, index) of each seed."""
        return [(self.scores, index) for index in self.seed_indices]


Pair = tuple[SeedScores, SeedScores]


def compare_pairs(y_true: np.ndarray, pairs: Sequence[Pair]) -> list[Comparison]:
    """Compare every pair; pairs with keys come from the cache where they are in it.

    A comparison depends on its pair alone: it has the same bits whether it is cached or not, and
    whatever else is compared with it.

    Args:
        y_true: labels 0 or 1 of the rows of all scores, shape ``(n_rows,)``.
        pairs: the same seeds in the same order on both sides.
    """
    keys = [_key(pair) for pair in pairs]
    found = {key: cached for key in keys if (cached := _cache.get(key))}
    new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in found}
    for block in _blocks(
        [*new.values()], max(MIN_SCORINGS_AT_ONCE, BLOCK_BYTES // (8 * max(1, len(y_true))))
    ):
        for pair, comparison in zip(block, _compare(y_true, block), strict=True):
            found[_key(pair)] = comparison
    _remember(
        {
            key: found[key]
            for key, pair in zip(keys, pairs, strict=True)
            if all(side.keys for side in pair)
        }
    )
    return [found[key] for key in keys]


def _remember(found: dict[Hashable, Comparison]) -> None:
    """Put comparisons into the cache; those used longest ago make room."""
    with _lock:
        for key, comparison in found.items():
            _cache.pop(key, None)
            _cache[key] = comparison
        for key in [*_cache][: max(0, len(_cache) - MAX_CACHED)]:
            del _cache[key]


def _key(pair: Pair) -> Hashable:
    """What a comparison depends on: the scorings, and the recipe by which they are compared."""
    sides = tuple(
        tuple(side.keys[index] for index in side.seed_indices)
        if side.keys
        else (id(side.scores), side.seed_indices)
        for side in pair
    )
    return RECIPE, *sides


def _blocks(pairs: Sequence[Pair], max_scorings: int) -> Iterator[list[Pair]]:
    """The pairs in their order, in blocks that need at most `max_scorings` scorings each.

    A single pair that needs more is a block of its own.
    """
    block: list[Pair] = []
    needed: set[tuple[int, int]] = set()
    for pair in pairs:
        of_pair = {(id(scores), index) for side in pair for scores, index in side.scorings}
        if block and len(needed | of_pair) > max_scorings:
            yield block
            block, needed = [], set()
        block.append(pair)
        needed |= of_pair
    if block:
        yield block


def _compare(y_true: np.ndarray, pairs: Sequence[Pair]) -> list[Comparison]:
    """Compare pairs, what the rows of each scoring contribute computed once."""
    numbers: dict[tuple[int, int], int] = {}
    losses: list[np.ndarray] = []
    calibration_errors: list[np.ndarray] = []
    placements: list[PlacementValues] = []
    indices = []
    for pair in pairs:
        for side in pair:
            for scores, index in side.scorings:
                if (id(scores), index) not in numbers:
                    numbers[id(scores), index] = len(numbers)
                    y_score = np.asarray(scores[index], dtype=np.float64)
                    losses.append(log_loss_per_row(y_true, y_score))
                    calibration_errors.append(calibration_error_per_row(y_true, y_score))
                    placements += placement_values_by_seed(y_true, y_score[None])
        a, b = ([numbers[id(scores), index] for scores, index in side.scorings] for side in pair)
        indices.append((a, b))
    return [
        Comparison(
            compare_placement_values(
                [placements[i] for i in a], [placements[i] for i in b], len(y_true)
            ),
            compare_row_means([losses[i] for i in a], [losses[i] for i in b]),
            compare_row_means(
                [calibration_errors[i] for i in a], [calibration_errors[i] for i in b]
            ),
        )
        for a, b in indices
    ]
