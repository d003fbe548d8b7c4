"""Pairs of strategies compared, each pair once: a sweep that trains asks for all of them with every
run that ends."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import numpy as np

from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.paired_comparison import (
    PairedDifference,
    PlacementValues,
    compare_log_losses,
    compare_placement_values,
    placement_values_by_seed,
)

MAX_CACHED = 2**14
"""Comparisons kept, about 30 MB."""
BLOCK_BYTES = 2**27
"""Losses of so many scorings at a time, and DeLong's components of as many beside them."""
MIN_SCORINGS_AT_ONCE = 256
"""Scorings at a time however many rows there are: drawing the rows anew takes as long as summing
over so many."""

Comparison = tuple[PairedDifference, PairedDifference]
"""AUC and log loss of one strategy less those of another."""
_cache: dict[Hashable, Comparison] = {}
_lock = Lock()


class Scores(Protocol):
    """Scores (rows,) of several seeds, which may be read only when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, seed: int, /) -> np.ndarray: ...


@dataclass(frozen=True)
class SeedScores:
    """Some seeds of a strategy. seed_indices: which of `scores`.

    keys: of each of `scores`, what no other scoring of any rows has; none where there is no such
    thing.
    """

    scores: Scores
    seed_indices: tuple[int, ...]
    keys: tuple[Hashable, ...] = ()

    @property
    def scorings(self) -> list[tuple[Scores, int]]:
        """One for each seed."""
        return [(self.scores, place) for place in self.seed_indices]


Pair = tuple[SeedScores, SeedScores]


def compare_pairs(y_true: np.ndarray, pairs: Sequence[Pair]) -> list[Comparison]:
    """Every pair's comparison. labels: (rows,), of the rows that all scores are of. The two of a
    pair have the same seeds in the same order.

    A pair with keys is remembered. What is said of a pair hangs on nothing but its two sides, so
    that it is the same bits whether it is remembered or not, and whatever it is asked for with.
    """
    keys = [_key(pair) for pair in pairs]
    found = {key: kept for key in keys if (kept := _cache.get(key))}
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
    """The comparisons that were asked for longest ago make room."""
    with _lock:
        for key, comparison in found.items():
            _cache.pop(key, None)
            _cache[key] = comparison
        for key in [*_cache][: max(0, len(_cache) - MAX_CACHED)]:
            del _cache[key]


def _key(pair: Pair) -> Hashable:
    return tuple(
        tuple(side.keys[place] for place in side.seed_indices)
        if side.keys
        else (id(side.scores), side.seed_indices)
        for side in pair
    )


def _blocks(pairs: Sequence[Pair], most: int) -> Iterator[list[Pair]]:
    """The pairs in their order, in lists whose sides stand on no more than `most` scorings, or of a
    single pair."""
    block: list[Pair] = []
    seen: set[tuple[int, int]] = set()
    for pair in pairs:
        own = {(id(scores), place) for side in pair for scores, place in side.scorings}
        if block and len(seen | own) > most:
            yield block
            block, seen = [], set()
        block.append(pair)
        seen |= own
    if block:
        yield block


def _compare(labels: np.ndarray, pairs: Sequence[Pair]) -> list[Comparison]:
    numbers: dict[tuple[int, int], int] = {}
    losses: list[np.ndarray] = []
    parts: list[PlacementValues] = []
    places = []
    for pair in pairs:
        for side in pair:
            for scores, place in side.scorings:
                if (id(scores), place) not in numbers:
                    numbers[id(scores), place] = len(numbers)
                    own = np.asarray(scores[place], dtype=np.float64)
                    losses.append(log_loss_per_row(labels, own))
                    parts += placement_values_by_seed(labels, own[None])
        a, b = ([numbers[id(scores), place] for scores, place in side.scorings] for side in pair)
        places.append((a, b))
    of_losses = compare_log_losses(losses, places)
    of_auc = [
        compare_placement_values([parts[i] for i in a], [parts[i] for i in b], len(labels))
        for a, b in places
    ]
    return [*zip(of_auc, of_losses, strict=True)]
