"""Tokenized and encoded cells compared with Python's `split`."""

import random

import numpy as np
import pyarrow as pa
import pytest

from core.data.columns.dictionary_file import BATCH_ROWS
from core.data.reading import tokenizer
from core.data.reading.parse import NeedsSlowPath
from core.data.reading.tokenizer import tokenize

WORDS = [
    "",
    "0",
    "-17",
    "deadbeef",
    "eight888",
    "ninechars",
    "ninecharz",
    "a long cell of text",
    "é",
    "žluťoučký kůň",
]


def lines_of(count: int, columns: int, seed: int) -> list[list[str]]:
    dice = random.Random(seed)
    return [[dice.choice(WORDS) for _ in range(columns)] for _ in range(count)]


def read(
    text: bytes, delimiter: str, wanted: list[bool], quoted: bool = False
) -> list[list[str | None]]:
    """The wanted columns as whole arrays."""
    batches = list(tokenize((text[:30], b"", memoryview(text)[30:]), delimiter, wanted, quoted))
    for columns in batches:
        for column in columns:
            column.validate(full=True)
            assert len(column.dictionary.unique()) == len(column.dictionary)
    return [pa.chunked_array(parts).to_pylist() for parts in zip(*batches, strict=True)]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", ["\t", ","])
@pytest.mark.parametrize("whole", [True, False])
def test_cells_equal_split(delimiter: str, ends: str, whole: bool) -> None:
    lines = lines_of(300, 5, seed=1)
    text = ends.join(delimiter.join(line) for line in lines).encode() + ends.encode() * whole
    wanted = [True, False, True, True, True]
    columns = [[line[place] or None for line in lines] for place in (0, 2, 3, 4)]
    assert read(text, delimiter, wanted) == columns
    marked = ends.join(
        delimiter.join(f'"{cell}"' if len(cell) % 2 else cell for cell in line) for line in lines
    )
    assert read(marked.encode(), delimiter, wanted, quoted=True) == columns


def test_cells_whose_hashes_are_all_the_same_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "HASH_MULTIPLIER", np.uint64(0))
    lines = lines_of(200, 2, seed=2)
    text = "\n".join("\t".join(line) for line in lines).encode()
    assert read(text, "\t", [True, True]) == [
        [line[place] or None for line in lines] for place in (0, 1)
    ]


def test_places_follow_first_appearance_and_fit_sixteen_bits() -> None:
    lines = [f"{number}\tx" for number in range(BATCH_ROWS + 10)]
    batches = list(tokenize(["\n".join(lines).encode()], "\t", [True, True], False))
    assert [len(columns[0]) for columns in batches] == [BATCH_ROWS, 10]
    first = batches[0][0]
    assert first.indices.type == pa.int16() and first.indices.to_pylist() == list(range(BATCH_ROWS))
    assert first.dictionary.to_pylist() == [str(number) for number in range(BATCH_ROWS)]
    assert (
        batches[1][1].dictionary.to_pylist() == ["x"]
        and batches[1][1].indices.to_pylist() == [0] * 10
    )


@pytest.mark.parametrize(
    "text",
    [
        b"a\tb\n\nc\td\n",
        b"a\tb\tc\n",
        b"a\n",
        b"a\tb\x00\n",
        b"a\tb\x0bc\n",
        b"long enough cell\x00\tb\n",
    ],
)
def test_unusual_text_takes_the_slow_path(text: bytes) -> None:
    with pytest.raises(NeedsSlowPath):
        list(tokenize([b"a\tb\n", text], "\t", [True, True], False))


@pytest.mark.parametrize(
    "cell", [b'"a,b"', b'"a""b"', b'a"b', b'"a', b'a"', b'"a"b', b'"a\n"', b'"']
)
def test_quotation_marks_that_do_more_than_enclose_take_the_slow_path(cell: bytes) -> None:
    with pytest.raises(NeedsSlowPath):
        list(tokenize([b'"a","b"\n', cell, b",x\n"], ",", [True, True], True))
    if b"," not in cell and b"\n" not in cell:
        assert read(cell + b",x\n", ",", [True, True]) == [[cell.decode()], ["x"]]
