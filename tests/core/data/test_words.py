"""Words against Python's own counting and finding."""

import random
import struct
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from core.data import words
from core.data.words import Finder, Tally, texts_of, words_of

TEXTS = ["", "a", "ab", "b", "deadbeef", "é", "0"]


def many(count: int, seed: int) -> list[str]:
    dice = random.Random(seed)
    return [f"{dice.randrange(3000):x}" for _ in range(count)]


@pytest.fixture(params=["random factor", "every hash alike"])
def factor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "every hash alike":
        monkeypatch.setattr(words, "FACTOR", np.uint64(0))


def test_a_word_is_the_bytes_of_a_text_and_leads_back_to_it() -> None:
    array = pa.array(["left out", *TEXTS])[1:]
    found = words_of(array)
    assert found is not None
    assert found.tolist() == [int.from_bytes(text.encode(), "little") for text in TEXTS]
    assert texts_of(found).equals(array) and texts_of(found[:0]).equals(array[:0])
    assert (
        words_of(array[:0]) is not None
        and words_of(pa.array([None, None], pa.string())) is not None
    )


def test_a_word_is_the_bits_of_a_number() -> None:
    found = words_of(pa.array([1.5, -0.0, 0.0]))
    assert found is not None
    assert found.tolist() == [
        int.from_bytes(struct.pack("<d", number), "little") for number in (1.5, 0.0, 0.0)
    ]


@pytest.mark.parametrize("text", ["ninechars", "a\x00", "\x00", "a\x00b", "seven77\x00"])
def test_what_is_no_word(text: str) -> None:
    assert words_of(pa.array([*TEXTS, text])) is None and words_of(pa.array([text, *TEXTS])) is None
    assert Finder(pa.array(["a"])).places(pa.array([text])) is None
    assert Finder(pa.array([text])).places(pa.array(["a"])) is None


def test_a_text_that_ends_before_it_begins_is_no_word() -> None:
    offsets, letters = np.array([2, 0, 3], np.int32), np.zeros(12, np.uint8) + 97
    assert (
        words_of(pa.StringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(letters)))
        is None
    )


def test_a_tally_equals_counting_by_hand(factor: None) -> None:
    tally, counted = Tally(), Counter[int]()
    dice = np.random.default_rng(0)
    for _ in range(8):
        words = np.unique(dice.integers(0, 3000, 700).astype(np.uint64) << np.uint64(40))
        counts = dice.integers(0, 5, len(words))
        tally.add(words, counts)
        for word, times in zip(words.tolist(), counts.tolist(), strict=True):
            counted[word] += times
    assert dict(zip(tally.words.tolist(), tally.totals.tolist(), strict=True)) == {
        w: n for w, n in counted.items() if n
    }
    assert len(tally.words) > 1024


def test_a_finder_equals_a_dict(factor: None) -> None:
    known = sorted({*many(900, 1), *TEXTS})
    texts = [*many(900, 2), *TEXTS]
    found = Finder(pa.array(known)).places(pa.array(texts))
    places = {text: place for place, text in enumerate(known)}
    assert found is not None and found.tolist() == [places.get(text, -1) for text in texts]
    nothing = Finder(pa.array([], pa.string())).places(pa.array(texts))
    assert nothing is not None and (nothing == -1).all()
    numbers = np.arange(-500.0, 500.0)
    assert Finder(pa.array(numbers[::2])).places(pa.array(numbers)).tolist() == [  # type: ignore[union-attr]
        place // 2 if place % 2 == 0 else -1 for place in range(1000)
    ]
