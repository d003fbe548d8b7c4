"""Counting and looking up 64-bit words compared with Python's own."""

import random
import struct
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from core.data.columns import vocabulary_index
from core.data.columns.vocabulary_index import ValueCounter, VocabularyIndex, to_strings, to_uint64

TEXTS = ["", "a", "ab", "b", "deadbeef", "é", "0"]


def many(count: int, seed: int) -> list[str]:
    dice = random.Random(seed)
    return [f"{dice.randrange(3000):x}" for _ in range(count)]


@pytest.fixture(params=["random factor", "every hash alike"])
def factor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "every hash alike":
        monkeypatch.setattr(vocabulary_index, "HASH_MULTIPLIER", np.uint64(0))


def test_a_word_is_the_bytes_of_a_text_and_leads_back_to_it() -> None:
    array = pa.array(["left out", *TEXTS])[1:]
    found = to_uint64(array)
    assert found is not None
    assert found.tolist() == [int.from_bytes(text.encode(), "little") for text in TEXTS]
    assert to_strings(found).equals(array) and to_strings(found[:0]).equals(array[:0])
    assert (
        to_uint64(array[:0]) is not None
        and to_uint64(pa.array([None, None], pa.string())) is not None
    )


def test_a_word_is_the_bits_of_a_number() -> None:
    found = to_uint64(pa.array([1.5, -0.0, 0.0]))
    assert found is not None
    assert found.tolist() == [
        int.from_bytes(struct.pack("<d", number), "little") for number in (1.5, 0.0, 0.0)
    ]


@pytest.mark.parametrize("text", ["ninechars", "a\x00", "\x00", "a\x00b", "seven77\x00"])
def test_texts_that_do_not_fit_into_a_word(text: str) -> None:
    assert (
        to_uint64(pa.array([*TEXTS, text])) is None and to_uint64(pa.array([text, *TEXTS])) is None
    )
    assert VocabularyIndex(pa.array(["a"])).indices(pa.array([text])) is None
    assert VocabularyIndex(pa.array([text])).indices(pa.array(["a"])) is None


def test_a_text_with_negative_length_is_not_a_word() -> None:
    offsets, letters = np.array([2, 0, 3], np.int32), np.zeros(12, np.uint8) + 97
    assert (
        to_uint64(pa.StringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(letters)))
        is None
    )


def test_a_value_counter_equals_counting_by_hand(factor: None) -> None:
    tally, counted = ValueCounter(), Counter[int]()
    dice = np.random.default_rng(0)
    for _ in range(8):
        vocabulary_index = np.unique(dice.integers(0, 3000, 700).astype(np.uint64) << np.uint64(40))
        counts = dice.integers(0, 5, len(vocabulary_index))
        tally.add(vocabulary_index, counts)
        for word, times in zip(vocabulary_index.tolist(), counts.tolist(), strict=True):
            counted[word] += times
    assert dict(zip(tally.keys.tolist(), tally.counts.tolist(), strict=True)) == {
        w: n for w, n in counted.items() if n
    }
    assert len(tally.keys) > 1024


def test_a_vocabulary_index_equals_a_dict(factor: None) -> None:
    known = sorted({*many(900, 1), *TEXTS})
    texts = [*many(900, 2), *TEXTS]
    found = VocabularyIndex(pa.array(known)).indices(pa.array(texts))
    places = {text: place for place, text in enumerate(known)}
    assert found is not None and found.tolist() == [places.get(text, -1) for text in texts]
    nothing = VocabularyIndex(pa.array([], pa.string())).indices(pa.array(texts))
    assert nothing is not None and (nothing == -1).all()
    numbers = np.arange(-500.0, 500.0)
    assert VocabularyIndex(pa.array(numbers[::2])).indices(pa.array(numbers)).tolist() == [  # type: ignore[union-attr]
        place // 2 if place % 2 == 0 else -1 for place in range(1000)
    ]
