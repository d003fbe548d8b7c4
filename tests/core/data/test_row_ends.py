"""Where rows end, against Python's csv module and str.splitlines; and blocks that end anywhere in a file."""

import csv
import io
import random
from pathlib import Path

import pytest

from core.data import textblocks
from core.data.ingest import ingest
from core.data.row_ends import blank_rows, count_rows, row_ends
from core.data.samples import read_rows, row_numbers
from core.data.schema import FIELDS, LABEL
from core.workspace import Workspace
from tests.core.data.helpers import rows, write

OURS = [LABEL, *FIELDS]


def test_plain_rows_end_where_lines_do() -> None:
    dice = random.Random(1)
    for _ in range(300):
        text = "".join(dice.choice(["a", "b\t", "\n", "\r\n", "\r", '"', ","]) for _ in range(dice.randrange(30)))
        # splitlines knows the same ends among these letters, and keeps them.
        lines = text.splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(("\n", "\r"))]
        ends = row_ends(text.encode(), "\t", quoted=False)
        assert ends.tolist() == [sum(map(len, whole[: place + 1])) for place in range(len(whole))]
        assert count_rows(text.encode(), ends) == len(lines)
        blank = [number for number, line in enumerate(whole, 1) if line.strip("\r\n") == ""]
        assert blank_rows(text.encode(), ends).tolist() == blank


def test_quoted_rows_end_where_the_csv_module_ends_them() -> None:
    dice = random.Random(2)
    for _ in range(300):
        table = [
            [
                "".join(dice.choice(["x", '"', ",", "\n", "\r\n", " "]) for _ in range(dice.randrange(5)))
                for _ in range(3)
            ]
            for _ in range(dice.randrange(1, 6))
        ]
        out = io.StringIO()
        ends = []
        writer = csv.writer(out, lineterminator=dice.choice(["\n", "\r\n"]))
        for row in table:
            writer.writerow(row)
            ends.append(out.tell())
        text = out.getvalue()
        assert row_ends(text.encode(), ",", quoted=True).tolist() == ends, text


@pytest.mark.parametrize("block", [600, 777, 2048])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.usefixtures("read_here")
def test_a_block_may_end_anywhere(
    block: int, end: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells with line ends, doubled quotation marks and delimiters within, read in tiny blocks."""
    monkeypatch.setattr(textblocks, "BLOCK_BYTES", block)
    dice = random.Random(block)
    lines = rows(60, seed=block)
    for line in lines:
        for place in range(14, 40):
            if dice.random() < 0.1:
                line[place] = dice.choice(['a"b', "two\nlines", '"', "x,y", 'end"\n', "\n\n"])
    out = io.StringIO()
    # Of a line feed alone the module quotes only what ends its own lines.
    writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL if end == "\r" else csv.QUOTE_MINIMAL)
    writer.writerows([OURS, *lines])
    sample = ingest(workspace, write(tmp_path, out.getvalue().encode()), "x")
    table = read_rows(sample, OURS)
    for place, name in enumerate(OURS):
        kind = int if name == LABEL else float if name in OURS[1:14] else str
        wanted = [kind(line[place]) if line[place].strip() else None for line in lines]
        assert table[name].to_pylist() == wanted, name
    assert row_numbers(sample).tolist() == list(range(2, 62))
