"""The fast parser compared with the careful one: the same rows and the same messages from the same
bytes."""

import random
import re
from pathlib import Path

import pyarrow as pa
import pytest

from core.data.archives.containers import open_rows
from core.data.columns.dictionary_file import dictionary_decode
from core.data.reading import textblocks
from core.data.reading.bad_rows import BadRowHandler
from core.data.reading.dialects import detect_format
from core.data.reading.parse import parse_text
from core.data.reading.textblocks import read_blocks
from core.errors import BadInput
from tests.core.data.helpers import rows, text, write


def cell(place: int, column: int, value: str) -> bytes:
    lines = rows(200, seed=5)
    lines[place][column] = value
    return text(lines)


LINES = rows(200, seed=5)


def quoted(lines: list[list[str]]) -> list[list[str]]:
    return [
        [f'"{cell}"' if place % 3 else cell for place, cell in enumerate(line)] for line in lines
    ]


HEADER = (
    "\t".join(
        ["label", *[f"I{i}" for i in range(1, 14)], *[f"C{i}" for i in range(1, 27)]]
    ).encode()
    + b"\n"
)
FILES: dict[str, bytes] = {
    "plain": text(LINES),
    "carriage returns": text(LINES, "\r\n"),
    "carriage returns alone": text(LINES, "\r"),
    "no end of the last line": text(LINES)[:-1],
    "blank lines": text(LINES).replace(b"\n", b"\n\n", 50),
    "header": HEADER + text(LINES),
    "without labels": text([line[1:] for line in LINES]),
    "without labels, blank lines": text([line[1:] for line in LINES]).replace(b"\n", b"\n\n", 50),
    "decimals": cell(150, 3, "1.5"),
    "a plus and an exponent": cell(150, 3, "+7").replace(b"\t7\t", b"\t1e3\t"),
    "large numbers": cell(150, 3, "123456789012345678901234567890"),
    "past 53 bits": cell(150, 3, "9007199254740993"),
    "a space in a category": cell(150, 20, " a b "),
    "an umlaut": cell(150, 20, "é"),
    "label 1.0": cell(150, 0, "1.0"),
    "label 1.000000": cell(150, 0, "1.000000"),
    "label True": cell(150, 0, "True"),
    "a space before a number": cell(150, 3, " 5"),
    "missing numbers": text([[*line[:3], "NaN", *line[4:]] for line in LINES]),
    "missing categories": text([[*line[:20], "null", *line[21:]] for line in LINES]),
    "a category of twelve letters": cell(150, 20, "twelve chars"),
    "minus zero and zero": cell(150, 3, "-0").replace(b"\t7\t", b"\t0\t"),
    "commas": (HEADER + text(LINES)).replace(b"\t", b","),
    "commas and quotation marks": (HEADER + text(quoted(LINES))).replace(b"\t", b","),
    "a column more": (
        b"Id,Id2," + HEADER + b"".join(b"17,long identifier," + text([line]) for line in LINES)
    ).replace(b"\t", b","),
    "a byte order mark": b"\xef\xbb\xbf" + text(LINES),
}
JUDGED = {
    "a comma in quotation marks": '"a,b"',
    "a quotation mark in quotation marks": '"a""b"',
    "a quotation mark within": 'a"b',
    "a tab": "a\tb",
    "another control character": "a\x0bb",
}
"""Cells of a CSV that only the careful reader takes."""
FAULTS: dict[str, bytes] = {
    "letters": cell(150, 3, "many"),
    "hexadecimal": cell(150, 3, "0x1f"),
    "infinite": cell(150, 3, "1e999"),
    "label 01": cell(150, 0, "01"),
    "a placeholder label": cell(150, 0, "?"),
    "label missing": cell(150, 0, ""),
    "a column too many": cell(150, 3, "1\t1"),
    "a long category": cell(150, 20, "a" * 5000),
}


def read(path: Path, skip: bool = False) -> tuple[pa.Table, BadRowHandler]:
    bad = BadRowHandler(skip)
    with open_rows(path) as stream:
        blocks = list(read_blocks(stream, detect_format(path), path.name, bad))
    return dictionary_decode(
        pa.Table.from_batches([rows.batch for block in blocks for rows in block])
    ), bad


def read_at_once(path: Path, skip: bool = False) -> tuple[pa.Table, BadRowHandler]:
    bad = BadRowHandler(skip)
    with open_rows(path) as stream:
        found = parse_text(stream.read(), detect_format(path), path.name, bad)
        return dictionary_decode(pa.Table.from_batches([rows.batch for rows in found])), bad


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the fast path took each of the (small) blocks."""
    took: list[bool] = []
    one = textblocks._fast_path

    def watched(*arguments: object) -> list[pa.RecordBatch] | None:
        found = one(*arguments)  # type: ignore[arg-type]
        took.append(found is not None)
        return found

    monkeypatch.setattr(textblocks, "BLOCK_BYTES", 8192)
    monkeypatch.setattr(textblocks, "_fast_path", watched)
    return took


@pytest.mark.parametrize("kind", FILES)
def test_the_same_rows(kind: str, tmp_path: Path, quick: list[bool]) -> None:
    path = write(tmp_path, FILES[kind])
    got, _ = read(path)
    wanted, _ = read_at_once(path)
    assert got.num_rows == 200 and got.equals(wanted)
    assert len(quick) > 4 and any(quick)


@pytest.mark.parametrize("kind", FAULTS)
def test_the_same_sentences(kind: str, tmp_path: Path, quick: list[bool]) -> None:
    path = write(tmp_path, FAULTS[kind])
    with pytest.raises(BadInput, match="Row 151 of 'file'") as got:
        read(path)
    with pytest.raises(BadInput) as wanted:
        read_at_once(path)
    assert str(got.value) == str(wanted.value)
    rest, bad = read(path, skip=True)
    assert (rest.num_rows, bad.count) == (199, 1) and rest.equals(read_at_once(path, skip=True)[0])
    assert quick.count(False) >= 1 and any(quick)


@pytest.mark.parametrize("kind", JUDGED)
def test_only_the_careful_reader_reads_it(kind: str, tmp_path: Path, quick: list[bool]) -> None:
    lines = [list(line) for line in LINES]
    lines[150][20] = JUDGED[kind]
    path = write(tmp_path, HEADER.replace(b"\t", b",") + text([[",".join(line)] for line in lines]))
    got, _ = read(path)
    assert got.equals(read_at_once(path)[0]) and quick.count(False) == 1


def test_whatever_is_in_the_file_both_readers_say_the_same(
    tmp_path: Path, quick: list[bool]
) -> None:
    """Bytes inserted, removed and changed at random; the same seed gives the same files."""
    dice = random.Random(7)
    kinds = [
        FILES[kind]
        for kind in ("plain", "header", "commas", "commas and quotation marks", "without labels")
    ]
    pieces = [
        b"\t",
        b",",
        b"\n",
        b"\r",
        b"\r\n",
        b'"',
        b"",
        b" ",
        b"0",
        b"-",
        b"\x00",
        b"\x0c",
        b"\xff",
        b"\xc3\xa9",
    ]
    refused = 0

    def named(sentences: list[str]) -> list[str]:
        # A quotation mark that nothing ends swallows line ends, which one reader counts and the
        # other does not.
        return [
            re.sub(r"^Row \d+", "Row", sentence) if b'"' in data else sentence
            for sentence in sentences
        ]

    for _ in range(150):
        data = dice.choice(kinds)
        for _ in range(dice.choice((1, 1, 5))):
            place = dice.randrange(3000, len(data))
            data = data[:place] + dice.choice(pieces) + data[place + dice.randrange(3) :]
        path = write(tmp_path, data)
        answers: list[object] = []
        for reader in (read, read_at_once):
            try:
                table, bad = reader(path, skip=True)
                answers.append((table.to_pydict(), bad.count, named(bad.examples)))
            except BadInput as error:
                answers.append(str(error))
        assert answers[0] == answers[1], data
        refused += isinstance(answers[0], str)
    assert refused < 75 and quick.count(True) > quick.count(False)


def test_faults_of_several_blocks_are_numbered_by_line(tmp_path: Path, quick: list[bool]) -> None:
    lines = [list(line) for line in LINES]
    for place in (20, 21, 120, 199):
        lines[place][0] = "7"
    data = HEADER + text(lines).replace(b"\n", b"\n\n", 100)
    _, bad = read(write(tmp_path, data), skip=True)
    named = [int(sentence.split()[1]) for sentence in bad.examples]
    assert named == [2 + place + min(place, 100) for place in (20, 21, 120, 199)]
