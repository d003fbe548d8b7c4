"""Pairs of strategies compared, each pair once: a sweep that trains asks for all of them with every
run that ends."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import numpy as np

from core.evaluation.seeds import (
    Components,
    SeedDifference,
    auc_components,
    compare_components,
    compare_losses,
    row_losses,
)

MOST = 2**14
"""Comparisons kept, about 30 MB."""
BLOCK_BYTES = 2**27
"""Losses of so many scorings at a time, and DeLong's components of as many beside them."""
LEAST_AT_ONCE = 256
"""Scorings at a time however many rows there are: drawing the rows anew takes as long as summing
over so many."""

Compared = tuple[SeedDifference, SeedDifference]
"""AUC and log loss of one strategy less those of another."""
_kept: dict[Hashable, Compared] = {}
_lock = Lock()


class Scores(Protocol):
    """Scores (rows,) of several seeds, which may be read only when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, seed: int, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Side:
    """Some seeds of a strategy. places: which of `scores`.

    keys: of each of `scores`, what no other scoring of any rows has; none where there is no such
    thing.
    """

    scores: Scores
    places: tuple[int, ...]
    keys: tuple[Hashable, ...] = ()

    @property
    def scorings(self) -> list[tuple[Scores, int]]:
        """One for each seed."""
        return [(self.scores, place) for place in self.places]


Pair = tuple[Side, Side]


def compared(labels: np.ndarray, pairs: Sequence[Pair]) -> list[Compared]:
    """Every pair's comparison. labels: (rows,), of the rows that all scores are of. The two of a
    pair have the same seeds in the same order.

    A pair with keys is remembered. What is said of a pair hangs on nothing but its two sides, so
    that it is the same bits whether it is remembered or not, and whatever it is asked for with.
    """
    keys = [_key(pair) for pair in pairs]
    found = {key: kept for key in keys if (kept := _kept.get(key))}
    new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in found}
    for block in _blocks(
        [*new.values()], max(LEAST_AT_ONCE, BLOCK_BYTES // (8 * max(1, len(labels))))
    ):
        for pair, comparison in zip(block, _compare(labels, block), strict=True):
            found[_key(pair)] = comparison
    _keep(
        {
            key: found[key]
            for key, pair in zip(keys, pairs, strict=True)
            if all(side.keys for side in pair)
        }
    )
    return [found[key] for key in keys]


def _keep(found: dict[Hashable, Compared]) -> None:
    """The comparisons that were asked for longest ago make room."""
    with _lock:
        for key, comparison in found.items():
            _kept.pop(key, None)
            _kept[key] = comparison
        for key in [*_kept][: max(0, len(_kept) - MOST)]:
            del _kept[key]


def _key(pair: Pair) -> Hashable:
    return tuple(
        tuple(side.keys[place] for place in side.places)
        if side.keys
        else (id(side.scores), side.places)
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


def _compare(labels: np.ndarray, pairs: Sequence[Pair]) -> list[Compared]:
    numbers: dict[tuple[int, int], int] = {}
    losses: list[np.ndarray] = []
    parts: list[Components] = []
    places = []
    for pair in pairs:
        for side in pair:
            for scores, place in side.scorings:
                if (id(scores), place) not in numbers:
                    numbers[id(scores), place] = len(numbers)
                    own = np.asarray(scores[place], dtype=np.float64)
                    losses.append(row_losses(labels, own))
                    parts += auc_components(labels, own[None])
        a, b = ([numbers[id(scores), place] for scores, place in side.scorings] for side in pair)
        places.append((a, b))
    of_losses = compare_losses(losses, places)
    of_auc = [
        compare_components([parts[i] for i in a], [parts[i] for i in b], len(labels))
        for a, b in places
    ]
    return [*zip(of_auc, of_losses, strict=True)]
