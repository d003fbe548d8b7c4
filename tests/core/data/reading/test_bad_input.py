"""Every kind of bad input gives a message with the row and the value, and leaves the workspace
unchanged."""

import gzip
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.archives import bounded_reader
from core.data.reading import textblocks
from core.data.reading.ingest import ingest
from core.errors import BadInput
from core.workspace import Workspace
from tests.core.data.helpers import (
    CSV_HEADER,
    PACK,
    fingerprint,
    packed_tar,
    packed_zip,
    rows,
    text,
    write,
)

GOOD = rows(12)


def changed(row: int, column: int, value: str) -> bytes:
    lines = [list(line) for line in GOOD]
    lines[row][column] = value
    return text(lines)


def encrypted_zip() -> bytes:
    data = bytearray(packed_zip(text(GOOD)))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def two_members() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", text(GOOD))
        archive.writestr("b.txt", text(GOOD))
    return stream.getvalue()


FORTY = [f"x{i}" for i in range(40)]

CASES: dict[str, tuple[bytes, str]] = {
    "too few columns": (
        text([*GOOD[:4], GOOD[4][:-1], *GOOD[5:]]),
        r"Row 5 of 'file' has 39 columns instead of 40",
    ),
    "too many columns": (
        text([*GOOD[:2], [*GOOD[2], "x"], *GOOD[3:]]),
        r"Row 3 of 'file' has 41 columns instead of 40",
    ),
    "label 2": (changed(6, 0, "2"), r"Row 7 of 'file': label is '2', not 0 or 1"),
    "label -1": (changed(0, 0, "-1"), r"Row 1 of 'file': label is '-1', not 0 or 1"),
    "label maybe": (changed(3, 0, "maybe"), r"Row 4 of 'file': label is 'maybe', not 0 or 1"),
    "label empty": (changed(3, 0, ""), r"Row 4 of 'file': label is empty, not 0 or 1"),
    "letters in I5": (changed(8, 5, "many"), r"Row 9 of 'file': I5 is 'many', not a number"),
    "infinite I1": (changed(8, 1, "inf"), r"Row 9 of 'file': I1 is 'inf', not a"),
    "infinity in I1": (
        changed(8, 1, "-Infinity"),
        r"Row 9 of 'file': I1 is '-Infinity', not a finite number",
    ),
    "header in the middle": (
        text(
            [
                *GOOD[:5],
                ["label", *[f"I{i}" for i in range(1, 14)], *[f"C{i}" for i in range(1, 27)]],
                *GOOD[5:],
            ]
        ),
        (
            r"Row 6 of 'file': label is 'label', not 0 or 1 \(a header line in the middle of the"
            r" file\?\)"
        ),
    ),
    "one class": (
        text([["0", *line[1:]] for line in GOOD]),
        r"All 12 rows of 'file' have the label 0 \(no click\)",
    ),
    "empty": (b"", r"'file' is empty"),
    "blank lines": (b"\n\n\n", r"only blank lines"),
    "gzip of nothing": (gzip.compress(b""), r"holds an empty file"),
    "one line of prose": (b"hello world\n", r"Row 1 of 'file' has 2 columns \('hello world'\)"),
    "utf-16": (
        "\n".join("\t".join(line) for line in GOOD).encode("utf-16"),
        r"is in UTF-16; save it as UTF-8",
    ),
    "NUL bytes": (b"\x01\x02\x00\x03" * 50, r"NUL byte at byte 3"),
    "binary junk": (bytes(range(128, 256)) * 20, r"not text in UTF-8"),
    "lone carriage return": (changed(4, 20, "ab\rcd"), r"has \d+ columns instead of 40"),
    "absurdly long field": (
        changed(4, 20, "a" * 5000),
        r"Row 5 of 'file': C7 is 'a+\.\.\.', longer than 4,096",
    ),
    "path leads out of a zip": (
        packed_zip(text(GOOD), "../evil.txt"),
        r"'\.\./evil\.txt', which points outside",
    ),
    "absolute path in a tar": (
        packed_tar(("/etc/x", text(GOOD))),
        r"'/etc/x', which points outside",
    ),
    "link in a tar": (packed_tar(("link", None)), r"'link' in 'file' is a link, not a file"),
    "two members": (
        two_members(),
        r"holds 2 files of rows: a\.txt \(12 rows\) and b\.txt \(12 rows\); name the one",
    ),
    "two members in a tar": (
        packed_tar(("a", text(GOOD)), ("b", text(GOOD))),
        r"holds 2 files of rows: a \(12 rows\) and b",
    ),
    "encrypted zip": (encrypted_zip(), r"is encrypted"),
    "csv without C3": (
        CSV_HEADER.replace(b",C3,", b",") + b"\n1" + b",1" * 38,
        r"lacks the columns C3",
    ),
    "csv naming C3 twice": (
        CSV_HEADER.replace(b",C4,", b",C3,") + b"\n1" + b",1" * 39,
        r"names the column C3 2 times",
    ),
    "csv with letters in I2": (
        CSV_HEADER + b"\n1" + b",1" * 39 + b"\n0,1,two" + b",1" * 37,
        r"Row 3 of 'file': I2 is 'two', not a number",
    ),
    "parquet junk": (b"PAR1" + b"x" * 100 + b"PAR1", r"begins like Parquet but cannot be read"),
}


@pytest.mark.parametrize("kind", CASES)
def test_rejected_with_a_message_and_nothing_changed(
    kind: str, workspace: Workspace, tmp_path: Path
) -> None:
    data, sentence = CASES[kind]
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match=sentence):
        ingest(workspace, write(tmp_path, data), "sample")
    assert fingerprint(workspace) == before


@pytest.mark.parametrize("container", [name for name in PACK if name != "plain"])
def test_truncated_archives(container: str, workspace: Workspace, tmp_path: Path) -> None:
    data = PACK[container](text(rows(3000)))
    before = fingerprint(workspace)
    for share in (0.3, 0.9):
        with pytest.raises(BadInput, match="truncated|damaged|cannot be unpacked"):
            ingest(workspace, write(tmp_path, data[: int(len(data) * share)]), "sample")
    assert fingerprint(workspace) == before


@pytest.mark.parametrize("container", [name for name in PACK if name not in ("plain", "tar")])
@pytest.mark.usefixtures("read_in_process")
def test_decompression_bombs(
    container: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_reader, "RATIO_MIN_BYTES", 2**20)
    monkeypatch.setattr(bounded_reader, "MAX_RATIO", 100)
    line = text([GOOD[0]])
    bomb = PACK[container](line * 20_000)
    assert len(bomb) * 100 < len(line) * 20_000
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match="decompression bomb"):
        ingest(workspace, write(tmp_path, bomb), "sample")
    assert fingerprint(workspace) == before


@pytest.mark.usefixtures("read_in_process")
def test_absurdly_long_line(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(textblocks, "BLOCK_BYTES", 2**16)
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match=r"a row longer than 65,536 bytes near row"):
        ingest(workspace, write(tmp_path, changed(10, 20, "a" * 200_000)), "sample")
    with pytest.raises(BadInput, match=r"first line of 'file' is longer than"):
        ingest(workspace, write(tmp_path, b"a" * 3_000_000), "sample")
    assert fingerprint(workspace) == before


def test_no_such_file_and_a_folder(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no file"):
        ingest(workspace, tmp_path / "absent", "sample")
    with pytest.raises(BadInput, match="is not a file"):
        ingest(workspace, tmp_path, "sample")


def test_parquet_of_another_kind(workspace: Workspace, tmp_path: Path) -> None:
    columns = {
        "label": [0, 1],
        **{f"I{i}": [1, 2] for i in range(1, 14)},
        **{f"C{i}": ["a", "b"] for i in range(1, 27)},
    }
    for name, values, sentence in (
        ("I3", [[1], [2]], r"Column I3 of 'file' has the type list"),
        ("I3", ["1", "x"], r"Row 2 of 'file': I3 is 'x', not a number"),
        ("label", [0.5, 1.0], r"Row 1 of 'file': label is '0.5', not 0 or 1"),
    ):
        pq.write_table(pa.table({**columns, name: values}), tmp_path / "file")
        with pytest.raises(BadInput, match=sentence):
            ingest(workspace, tmp_path / "file", "sample")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "file")
    with pytest.raises(BadInput, match="lacks the columns"):
        ingest(workspace, tmp_path / "file", "sample")


@pytest.mark.parametrize("name", ["", "../x", "/etc", "a/b", ".hidden", "x" * 65, "a\nb"])
def test_names_that_cannot_be_used(name: str, workspace: Workspace, tmp_path: Path) -> None:
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match="name .* cannot be used"):
        ingest(workspace, write(tmp_path, text(GOOD)), name)
    assert fingerprint(workspace) == before


@pytest.mark.usefixtures("read_in_process")
def test_skipping_counts_bad_rows_and_names_them(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several blocks with blank lines between, row numbers are those of the lines in the
    file."""
    monkeypatch.setattr(textblocks, "BLOCK_BYTES", 4096)
    lines = [list(line) for line in rows(200)]
    expected = []
    for place in range(5, 200, 17):
        if place % 2:
            lines[place][0] = "maybe"
        else:
            lines[place] = lines[place][:7]
    blank = {50, 120}
    out, number = [], 0
    for place, line in enumerate(lines):
        if place in blank:
            out.append("")
            number += 1
        out.append("\t".join(line))
        number += 1
        if place % 17 == 5:
            expected.append(number)
    path = write(tmp_path, "\n".join(out).encode())
    with pytest.raises(BadInput, match=rf"Row {expected[0]} of"):
        ingest(workspace, path, "sample")
    sample = ingest(workspace, path, "sample", on_bad_rows="skip")
    assert sample.bad_rows == len(expected)
    assert sample.rows == 200 - len(expected)
    named = sorted(int(sentence.split()[1].replace(",", "")) for sentence in sample.bad_examples)
    assert named == expected


def test_nothing_but_bad_rows(workspace: Workspace, tmp_path: Path) -> None:
    data = text([["7", *line[1:]] for line in GOOD])
    with pytest.raises(
        BadInput, match="holds no good row. 12 bad rows were skipped, the first: Row 1 of"
    ):
        ingest(workspace, write(tmp_path, data), "sample", on_bad_rows="skip")
