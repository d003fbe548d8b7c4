"""Where rows end, compared with Python's csv module and str.splitlines, for any end of a block."""

import csv
import io
import random
from pathlib import Path

import pyarrow as pa
import pytest

from core.data.columns.dictionary_file import dictionary_decode, memory_map_rows
from core.data.reading import textblocks
from core.data.reading.dialects import detect_format
from core.data.reading.ingest import ingest
from core.data.reading.read_rows import read_file_rows as read_rows_into
from core.data.reading.row_ends import count_rows, find_blank_rows, find_row_ends, skip_rows
from core.data.samples import ROWS_FILE, file_row_numbers, read_sample_rows
from core.data.schema import FIELDS, LABEL
from core.workspace import Workspace
from tests.core.data.helpers import rows, write

OURS = [LABEL, *FIELDS]


def test_plain_rows_end_where_lines_do() -> None:
    dice = random.Random(1)
    for _ in range(300):
        text = "".join(
            dice.choice(["a", "b\t", "\n", "\r\n", "\r", '"', ","])
            for _ in range(dice.randrange(30))
        )
        # splitlines knows the same ends among these letters, and keeps them.
        lines = text.splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(("\n", "\r"))]
        ends = find_row_ends(text.encode(), "\t", quoted=False)
        assert ends.tolist() == [sum(map(len, whole[: place + 1])) for place in range(len(whole))]
        assert count_rows(text.encode(), ends) == len(lines)
        blank = [number for number, line in enumerate(whole, 1) if line.strip("\r\n") == ""]
        assert find_blank_rows(text.encode(), ends).tolist() == blank


def test_quoted_rows_end_where_the_csv_module_ends_them() -> None:
    dice = random.Random(2)
    for _ in range(300):
        table = [
            [
                "".join(
                    dice.choice(["x", '"', ",", "\n", "\r\n", " "])
                    for _ in range(dice.randrange(5))
                )
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
        assert find_row_ends(text.encode(), ",", quoted=True).tolist() == ends, text


@pytest.mark.parametrize("block", [600, 777, 2048])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.usefixtures("read_in_process")
def test_a_block_may_end_anywhere(
    block: int, end: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells that contain line ends, doubled quotation marks and delimiters, read in tiny blocks."""
    monkeypatch.setattr(textblocks, "BLOCK_BYTES", block)
    dice = random.Random(block)
    lines = rows(60, seed=block)
    for line in lines:
        for place in range(14, 40):
            if dice.random() < 0.1:
                line[place] = dice.choice(['a"b', "two\nlines", '"', "x,y", 'end"\n', "\n\n"])
    out = io.StringIO()
    # Of a line feed alone the module quotes only what ends its own lines.
    writer = csv.writer(
        out, lineterminator=end, quoting=csv.QUOTE_ALL if end == "\r" else csv.QUOTE_MINIMAL
    )
    writer.writerows([OURS, *lines])
    sample = ingest(workspace, write(tmp_path, out.getvalue().encode()), "x")
    table = read_sample_rows(sample, OURS)
    for place, name in enumerate(OURS):
        kind = int if name == LABEL else float if name in OURS[1:14] else str
        wanted = [kind(line[place]) if line[place].strip() else None for line in lines]
        assert table[name].to_pylist() == wanted, name
    assert file_row_numbers(sample).tolist() == list(range(2, 62))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.usefixtures("read_in_process")
def test_every_place_where_a_block_can_end(
    end: str, mark: bytes, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of all sizes up to a row's length, so that every kind of byte ends a block once."""
    texts = [
        'a"b',
        "two\nlines",
        "cr\rlf\r\n",
        '"',
        ",",
        'x","y',
        "\n",
        "é日😀",
        '""',
        "\ufeff",
        "\r",
        '\n"',
        "z",
    ]
    lines = rows(14, seed=4)
    for place, line in enumerate(lines):
        line[39], line[14], line[20] = (
            texts[place % 13],
            texts[(place + 5) % 13],
            texts[(place + 9) % 13],
        )
    out = io.StringIO()
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([OURS, *lines])
    path = write(tmp_path, mark + out.getvalue().encode())
    longest = max(sum(len(cell.encode()) + 8 for cell in line) for line in [OURS, *lines])
    for block in range(longest, longest + 320, 11):
        monkeypatch.setattr(textblocks, "BLOCK_BYTES", block)
        monkeypatch.setattr(textblocks, "PIECE_BYTES", block % 50 + 1)
        found = rows_apart(path, tmp_path)
        for place in (14, 20, 39):
            wanted = [line[place] if line[place].strip() else None for line in lines]
            assert found[OURS[place]].to_pylist() == wanted, (block, OURS[place])


def rows_apart(path: Path, folder: Path) -> pa.Table:
    """The rows of a file, without a sample."""
    reading = read_rows_into(
        path, detect_format(path), folder, False, "required", lambda share: None, lambda: False
    )
    assert reading is not None and reading.bad_rows == 0
    return dictionary_decode(memory_map_rows(folder / ROWS_FILE))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a\nnote", "\n", 'said "a\n\nb"', "last\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_name_in_the_header_may_have_a_line_break(
    end: str, name: str, mark: bytes, workspace: Workspace, tmp_path: Path
) -> None:
    """The header is one row, wherever the name with a line break is, and rows keep their
    numbers."""
    for place in (0, 20, 40):
        lines = rows(30, seed=place)
        table = [[*line[:place], "x", *line[place:]] for line in lines]
        table.insert(0, [*OURS[:place], name, *OURS[place:]])
        table[5][table[0].index("I3")] = "many"
        out = io.StringIO()
        csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(table)
        sample = ingest(
            workspace, write(tmp_path, mark + out.getvalue().encode()), f"at {place}", "skip"
        )
        assert (sample.rows, sample.bad_rows) == (29, 1)
        assert sample.bad_examples[0].startswith("Row 6 of 'file': I3 is 'many'")
        assert read_sample_rows(sample, ["C26"])["C26"].to_pylist() == [
            line[39] or None for number, line in enumerate(lines) if number != 4
        ]


@pytest.mark.usefixtures("read_in_process")
def test_a_byte_order_mark_within_a_file_is_a_letter(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a block happens to start with it, which Arrow would take for the start of a
    file."""
    columns = [*OURS[14:], *OURS[:14]]
    lines = rows(40, seed=2)
    for line in lines:
        line[14] = "\ufeff" + line[14]
    table = [columns, *([*line[14:], *line[:14]] for line in lines)]
    path = write(tmp_path, "".join(",".join(line) + "\n" for line in table).encode())
    for block in (1200, 1300, 1411):
        monkeypatch.setattr(textblocks, "BLOCK_BYTES", block)
        assert rows_apart(path, tmp_path)["C1"].to_pylist() == [line[14] for line in lines]


def test_where_the_rows_after_the_first_ones_begin() -> None:
    text = b'a,"b\nc"\nd\n\ne'
    assert [skip_rows(text, count, ",", True) for count in range(6)] == [0, 8, 10, 11, 12, 12]
    assert skip_rows(b"", 1, ",", True) == 0
