"""Text files of rows, damaged or not, each by a number; and a reader that shares no code with Thaw.

The reader is as simple as possible: Python's csv module if cells may be quoted, splitting
otherwise, one row after the other. Its rules are those of the guide, written down again.
"""

import csv
import io
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.torture_binaries import COMPRESSIONS, cells

OURS = ["label", *(f"I{place}" for place in range(1, 14)), *(f"C{place}" for place in range(1, 27))]
MARKERS = {
    *(
        "",
        "-",
        "--",
        ".",
        "?",
        "nan",
        "-nan",
        "+nan",
        "na",
        "n/a",
        "#n/a",
        "#na",
        "#n/a n/a",
        "<na>",
        "null",
    ),
    *("(null)", "nil", "none", "nat", "\\n", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
}
LABELS = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LABEL = re.compile(r"[+-]?(0|1)(\.0*)?([eE][+-]?0+)?", re.ASCII)
LONGEST = 4096
DIFFICULT_TEXTS = (
    *(
        " ",
        "-",
        "--1",
        "+",
        "+1",
        "1.",
        ".5",
        "1e5",
        "1e308",
        "-1e308",
        "1e999",
        "inf",
        "-inf",
        "nan",
        "NaN",
        "0x1f",
    ),
    *(
        "NULL",
        "None",
        "null",
        "True",
        "-1",
        "2",
        "1.0",
        "0.0",
        "01",
        "9" * 400,
        "-0",
        "1_000",
        "٣",
        "é",
        "9007199254740993",
    ),
    *(
        "\x01",
        "\x1a",
        "\x7f",
        "\ufeff",
        "\ufeffa",
        "\u202e",
        "\u2028",
        "\x85",
        "\xa0",
        "\x0b",
        "\x0c",
        "\x1c",
        " 5",
        "5 ",
    ),
    *(
        "'",
        "\\",
        "\\N",
        "a" * 5000,
        "b" * 4096,
        "日" * 3000,
        "label",
        "I1",
        "C26",
        "Id",
        "#",
        "😀",
        "abcdefgh",
        "abcdefghi",
    ),
    *(
        "4.9e-324",
        "2.2250738585072011e-308",
        "1e-400",
        "123456789012345678901234567890",
        "0" * 30 + "1",
        "1e+05",
        "1E5",
    ),
    *(
        "68FD1E64",
        "68fd1e64",
        "?",
        "n/a",
        "#N/A",
        "(NULL)",
        "1.#IND",
        "nil",
        "NaT",
        "TRUE",
        "yes",
        "N",
        "f",
        "1e0",
    ),
)
"""Cells that readers have failed on, without line ends, delimiters and quotation marks."""
QUOTED = (
    'a"b',
    '"',
    '""',
    "two\nlines",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "end\n",
    "\nstart",
    "a\r\nb",
    '"\n"',
    'x""y',
    'é"😀\n',
)
"""Cells that need quotation marks; a delimiter is inserted into some of them."""


@dataclass(frozen=True)
class MadeFile:
    """A generated file.

    Attributes:
        sound: whether nothing in it was damaged.
        skip: whether bad rows are skipped.
        block: bytes of a block.
    """

    data: bytes
    delimiter: str
    quoted: bool
    header: bool
    sound: bool
    skip: bool
    block: int
    container: str


@dataclass(frozen=True)
class Expected:
    """What the independent reader finds in a file: values of good rows, and numbers of bad ones."""

    rows: list[list[object]]
    bad: list[int]


def make_file(seed: int) -> MadeFile:
    """Return the file with this number."""
    dice = random.Random(seed)
    header = dice.random() < 0.6
    delimiter = dice.choice(",,;|\t") if header else "\t"
    quoted = header and delimiter != "\t"
    rows = cells(dice)
    sound = dice.random() < 0.3
    if not sound:
        _damage_rows(dice, rows, delimiter, quoted)
    elif quoted:
        _insert_quoted_texts(dice, rows, delimiter)
    table = [[*OURS], *rows] if header else rows
    if header and dice.random() < 0.5:
        order = dice.sample(range(40), 40)
        table = [[row[index] for index in order] if len(row) == 40 else row for row in table]
    line_ends = dice.choice((["\n"], ["\r\n"], ["\r"], ["\n", "\r\n"]))
    style = dice.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
    parts = []
    for index, row in enumerate(table):
        text = _write_row(row, delimiter, style) if quoted else delimiter.join(row)
        last = index == len(table) - 1 and dice.random() < 0.3
        parts.append(text + ("" if last else dice.choice(line_ends)))
        if not sound and index > 30 and dice.random() < 0.02:
            parts.append(dice.choice(line_ends))
    data = "".join(parts).encode()
    if dice.random() < 0.2:
        data = b"\xef\xbb\xbf" + data
    longest = max(len(part.encode()) for part in parts)
    block = dice.choice((7 * 2**20, longest + dice.randrange(3, 3000)))
    container = dice.choice(("plain", "plain", "plain", *COMPRESSIONS))
    packed = data if container == "plain" else COMPRESSIONS[container](data)
    return MadeFile(packed, delimiter, quoted, header, sound, dice.random() < 0.5, block, container)


def _damage_rows(dice: random.Random, rows: list[list[str]], delimiter: str, quoted: bool) -> None:
    # The beginning, by which a form is recognised, mostly stays as it is.
    low = 0 if dice.random() < 0.1 else 30
    for _ in range(dice.randint(1, 6)):
        row = dice.choice(rows[low:])
        kind = dice.randrange(10)
        if kind == 0:
            row.append(dice.choice(DIFFICULT_TEXTS))
        elif kind == 1 and row:
            row.pop()
        elif kind == 2 and not quoted:
            row[:] = [""] * len(row)
        elif row:
            row[dice.randrange(len(row))] = dice.choice(DIFFICULT_TEXTS).replace(delimiter, "_")
    if quoted and dice.random() < 0.7:
        _insert_quoted_texts(dice, rows, delimiter)


def _insert_quoted_texts(dice: random.Random, rows: list[list[str]], delimiter: str) -> None:
    """Replace some categories by texts that need quotation marks."""
    for _ in range(dice.randint(1, 80)):
        row = dice.choice(rows)
        if len(row) == 40:
            text = dice.choice(QUOTED)
            row[dice.randrange(14, 40)] = dice.choice(
                (text, text + delimiter, delimiter + text, f"a{text}{delimiter}b")
            )


def _write_row(row: Sequence[str], delimiter: str, style: int) -> str:
    out = io.StringIO(newline="")
    # Its own line end is one that the module quotes cells for, whatever follows the row in
    # the end.
    csv.writer(out, delimiter=delimiter, lineterminator="\r\n", quoting=style).writerow(row)  # type: ignore[arg-type]
    return out.getvalue().removesuffix("\r\n")


def read_independently(file: MadeFile, data: bytes) -> Expected:
    """Return what is in the decompressed `data` by the rules of the guide."""
    text = data.decode().removeprefix("\ufeff")
    if file.quoted or file.header:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=file.delimiter))
    else:
        table = [
            line.split(file.delimiter) if line else [] for line in re.split("\r\n|\r|\n", text)
        ]
    names = table.pop(0) if file.header else OURS
    first = 2 if file.header else 1
    good, bad = [], []
    for number, row in enumerate(table, first):
        if not row:
            continue
        values = _values(dict(zip(names, row, strict=True))) if len(row) == len(names) else None
        if values is None:
            bad.append(number)
        else:
            good.append(values)
    return Expected(good, bad)


def _values(row: dict[str, str]) -> list[object] | None:
    """Return the row's values in our order, or None if the row is bad."""
    values: list[object] = []
    for name in OURS:
        cell = row[name]
        bare = cell.strip().lower()
        if name == "label":
            label = int(float(bare)) if LABEL.fullmatch(bare) else LABELS.get(bare)
            if label not in (0, 1):
                return None
            values.append(label)
        elif bare in MARKERS:
            values.append(None)
        elif name.startswith("I"):
            number = float(bare) if NUMBER.fullmatch(bare) else float("inf")
            if number in (float("inf"), float("-inf")):
                return None
            values.append(number)
        else:
            if len(cell) > LONGEST:
                return None
            values.append(cell)
    return values
