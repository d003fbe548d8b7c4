"""Words against Python's own counting and finding."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from core.data import words
from core.data.words import Finder, Tally, words_of

TEXTS = ["", "a", "ab", "b", "deadbeef", "é", "0"]


def many(count: int, seed: int) -> list[str]:
    dice = random.Random(seed)
    return [f"{dice.randrange(3000):x}" for _ in range(count)]


@pytest.fixture(params=["random factor", "every hash alike"])
def factor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "every hash alike":
        monkeypatch.setattr(words, "_FACTOR", np.uint64(0))


def test_a_word_is_the_bytes_of_a_text() -> None:
    array = pa.array(["left out", *TEXTS])[1:]
    found = words_of(array)
    assert found is not None
    assert found.tolist() == [int.from_bytes(text.encode(), "little") for text in TEXTS]
    assert words_of(array[:0]) is not None and words_of(pa.array([None, None], pa.string())) is not None


@pytest.mark.parametrize("text", ["ninechars", "a\x00", "\x00", "a\x00b", "seven77\x00"])
def test_what_is_no_word(text: str) -> None:
    assert words_of(pa.array([*TEXTS, text])) is None and words_of(pa.array([text, *TEXTS])) is None
    assert not Tally().add(pa.array([text]), np.ones(1, np.int64))
    assert Finder(pa.array(["a"])).places(pa.array([text])) is None
    assert Finder(pa.array([text])).places(pa.array(["a"])) is None


def test_a_tally_equals_counting_by_hand(factor: None) -> None:
    tally, counted = Tally(), Counter[str]()
    for seed in range(8):
        texts = [*many(700, seed), *TEXTS, None]
        counts = np.random.default_rng(seed).integers(0, 5, len(texts))
        assert tally.add(pa.array(texts), counts)
        for text, count in zip(texts, counts, strict=True):
            if text is not None:
                counted[text] += int(count)
    for least in (1, 10, 10**6):
        enough = [text for text, count in counted.items() if count >= least]
        assert tally.frequent(least).to_pylist() == sorted(enough, key=lambda text: (-counted[text], text.encode()))
    assert len(counted) > 1024


def test_a_finder_equals_a_dict(factor: None) -> None:
    known = sorted({*many(900, 1), *TEXTS})
    texts = [*many(900, 2), *TEXTS]
    found = Finder(pa.array(known)).places(pa.array(texts))
    places = {text: place for place, text in enumerate(known)}
    assert found is not None and found.tolist() == [places.get(text, -1) for text in texts]
    nothing = Finder(pa.array([], pa.string())).places(pa.array(texts))
    assert nothing is not None and (nothing == -1).all()
