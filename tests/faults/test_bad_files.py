"""Bad files beyond those of tests/core/data/reading/test_bad_input.py give a message and change
nothing."""

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.archives import bounded_reader
from core.data.reading.ingest import ingest
from core.data.samples import read_sample_rows
from core.errors import BadInput
from core.workspace import Workspace
from tests.core.data.helpers import CSV_HEADER, PACK, fingerprint, rows, text, write
from tests.faults.mutations import parquet_columns, parquet_file

GOOD = rows(12)
PACKED = ("gzip", "zip", "tar.gz", "zstd", "bz2", "xz", "tar")
NOT_UTF8 = pa.Array.from_buffers(
    pa.string(),
    12,
    [None, pa.array(range(13), pa.int32()).buffers()[1], pa.py_buffer(b"\xff" * 12)],
)


def damaged_lzma() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("train.txt", text(rows(500)))
    data = bytearray(stream.getvalue())
    data[200:260] = b"\xaa" * 60
    return bytes(data)


def csv_of(lines: list[list[str]]) -> bytes:
    return CSV_HEADER + b"\n" + b"".join(",".join(line).encode() + b"\n" for line in lines)


CASES: dict[str, tuple[bytes, str]] = {
    "200 KB of prose without a tab": (
        b"a" * 200_000 + b"\n",
        r"Row 1 of 'file' has 1 tab-separated columns",
    ),
    "an open quote and 200 KB": (
        b'"' + b"a" * 200_000 + b"\n",
        r"Row 1 of 'file' has 1 tab-separated columns",
    ),
    "a million columns": (
        b"\t" * 1_000_000 + b"\n",
        r"Row 1 of 'file' has 1,000,001 columns; at most 1,000 are read",
    ),
    "100,000 more columns in a header": (
        CSV_HEADER + b"".join(b",x%d" % i for i in range(100_000)) + b"\n1" + b"," * 100_039,
        r"header of 'file' names 100,040 columns; at most 1,000 are read",
    ),
    "2,000 more columns in Parquet": (
        parquet_file(parquet_columns(GOOD) | {f"x{i}": pa.nulls(12) for i in range(2000)}),
        r"header of 'file' names 2,040 columns; at most 1,000 are read",
    ),
    "a row of 8 MB behind 200 good ones": (
        text(rows(200)) + b"a" * 8_000_000,
        r"'file' has a row longer than 7,340,032 bytes near row 201",
    ),
    "a row of 8 MB behind 200 good ones, gzipped": (
        gzip.compress(text(rows(200)) + b"a" * 8_000_000),
        r"'file' has a row longer than 7,340,032 bytes near row 201",
    ),
    "a header and nothing else": (CSV_HEADER, r"'file' holds no good row"),
    "a damaged zip of the LZMA kind": (damaged_lzma(), r"is damaged after [\d,]+ unpacked bytes"),
    "a NUL byte behind the first megabyte": (
        text(rows(9000)) + text([[*GOOD[0][:-1], "a\x00b"]]),
        r"'file' holds a NUL byte at byte [\d,]+",
    ),
    "text in Parquet that is not UTF-8": (
        parquet_file(parquet_columns(GOOD) | {"C3": NOT_UTF8}),
        r"Column C3 of 'file' holds text that is not UTF-8 in rows 1 to 12",
    ),
    "a label in Parquet that is not UTF-8": (
        parquet_file(parquet_columns(GOOD) | {"label": NOT_UTF8}),
        r"Column label of 'file' holds text that is not UTF-8",
    ),
}


@pytest.mark.parametrize("on_bad_rows", ["reject", "skip"])
@pytest.mark.parametrize("kind", CASES)
def test_bad_files_give_a_message_and_change_nothing(
    kind: str, on_bad_rows: str, workspace: Workspace, tmp_path: Path
) -> None:
    data, sentence = CASES[kind]
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match=sentence):
        ingest(workspace, write(tmp_path, data), "sample", on_bad_rows)
    assert fingerprint(workspace) == before


def test_a_blank_line_above_a_header(workspace: Workspace, tmp_path: Path) -> None:
    """The header is the first line that is not blank, and rows keep the numbers of their lines."""
    data = b"\n\n" + csv_of(GOOD)
    assert ingest(workspace, write(tmp_path, data), "sample").rows == 12
    with pytest.raises(BadInput, match=r"Row 16 of 'file': label is '7'"):
        ingest(workspace, write(tmp_path, data + b"7" + b",1" * 39), "another")


def test_labels_of_other_spellings(workspace: Workspace, tmp_path: Path) -> None:
    """1.0 is a label, and so is a Parquet file's True; as text True is not."""
    spelt = [[f"{line[0]}.0", *line[1:]] for line in GOOD]
    labels = [int(line[0]) for line in GOOD]
    truths = parquet_file(
        parquet_columns(GOOD) | {"label": pa.array([label == 1 for label in labels])}
    )
    for name, data in {"text": text(spelt), "parquet": truths}.items():
        sample = ingest(workspace, write(tmp_path, data), name)
        assert read_sample_rows(sample)["label"].to_pylist() == labels


@pytest.mark.parametrize("path", ["/" + "x" * 300, "a\0b", "/proc/self/environ"])
def test_paths_that_are_not_files_of_rows_are_refused(path: str, workspace: Workspace) -> None:
    """The system's own files have no size and may never end (/proc/kmsg), so a file of no size is
    an empty one."""
    with pytest.raises(BadInput, match=r"There is no file|cannot be read|is empty"):
        ingest(workspace, Path(path), "sample")


@pytest.mark.usefixtures("read_in_process")
def test_a_file_one_may_not_read(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, text(GOOD))
    opened = Path.open

    def refuse(self: Path, *arguments: Any, **named: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadInput, match=r"'file' cannot be read \(Permission denied\)"):
        ingest(workspace, path, "sample")


@pytest.mark.usefixtures("read_in_process")
def test_a_parquet_bomb_is_refused(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run-length encoding makes rows for nothing, and sizes in the footer do not show it."""
    monkeypatch.setattr(bounded_reader, "RATIO_MIN_BYTES", 2**20)
    count = 400_000
    columns = {"label": pa.array(np.arange(count) % 2, pa.int8())}
    columns |= {f"I{i}": pa.nulls(count, pa.float64()) for i in range(1, 14)}
    columns |= {f"C{i}": pa.nulls(count, pa.string()) for i in range(1, 26)}
    columns["C26"] = pa.array(["a" * 200]).take(pa.array(np.zeros(count, dtype=np.int32)))
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match="decompression bomb"):
        ingest(workspace, write(tmp_path, parquet_file(columns)), "sample")
    assert fingerprint(workspace) == before


def test_a_parquet_row_group_of_far_more_bytes_than_the_file(
    workspace: Workspace, tmp_path: Path
) -> None:
    """100 MB in one value of a file of some kilobytes: refused by the footer, before the value is
    unpacked."""
    columns = parquet_columns(GOOD) | {"C5": pa.array(["a" * 100_000_000, *["b"] * 11])}
    path = tmp_path / "file"
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 500_000
    with pytest.raises(BadInput, match="decompression bomb"):
        ingest(workspace, path, "sample")


@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip"])
def test_a_parquet_page_that_claims_more_than_the_footer(
    codec: str, workspace: Workspace, tmp_path: Path
) -> None:
    """Arrow makes room for what the header of a page says; here 134 MB, and the footer says nothing
    of it."""
    columns = parquet_columns(rows(300)) | {
        "C26": pa.array([f"{number:08x}" + "a" * 4000 for number in range(300)])
    }
    path = tmp_path / "file"
    pq.write_table(
        pa.table(columns), path, compression=codec, use_dictionary=False, data_page_size=2**22
    )
    assert ingest(workspace, path, "sample").rows == 300
    start = (
        pq.ParquetFile(path).metadata.row_group(0).column([*columns].index("C26")).data_page_offset
    )
    data = bytearray(path.read_bytes())
    # The kind of page, and its sizes unpacked and packed, each behind the mark of a field of 32
    # bits.
    assert data[start : start + 3] == b"\x15\x00\x15" and data[start + 7] == 0x15
    data[start + 3 : start + 7] = b"\xfe\xff\xff\x7f"
    path.write_bytes(data)
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match="decompression bomb"):
        ingest(workspace, path, "bomb")
    assert fingerprint(workspace) == before


def test_a_parquet_page_whose_header_is_damaged(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "file"
    pq.write_table(pa.table(parquet_columns(GOOD)), path, use_dictionary=False)
    start = pq.ParquetFile(path).metadata.row_group(0).column(5).data_page_offset
    whole = path.read_bytes()
    for damage in (b"\x1f" * 8, b"\x1c" * 40, b"\xff" * 12, b"\x15\x01\x15\x01\x15\x01\x00"):
        path.write_bytes(whole[:start] + damage + whole[start + len(damage) :])
        with pytest.raises(BadInput, match="cannot be read as Parquet"):
            ingest(workspace, path, "sample")


def varint(number: int) -> bytes:
    """A whole number as Thrift's compact protocol writes it: zigzag, seven bits a byte."""
    number, out = number << 1, bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def claims(path: Path, of: str, truth: int, claim: int) -> None:
    """Has the footer of a file claim another number, in its first field that holds this one, or in
    its last.

    Both stand behind the mark of a field that comes one after the field before and holds 64 bits.
    """
    data, mark = path.read_bytes(), b"\x16"
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    find = data.index if of == "file" else data.rindex
    place = find(mark + varint(truth), start)
    footer = data[start:place] + mark + varint(claim) + data[place + len(mark + varint(truth)) : -8]
    path.write_bytes(data[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


@pytest.mark.parametrize(
    ("of", "field", "claim", "sentence"),
    [
        (
            "row group",
            "total_byte_size",
            5 * 2**30,
            r"has a row group of 5,368,709,120 bytes; write it with row",
        ),
        (
            "row group",
            "total_byte_size",
            2**62,
            r"has a row group of 4,611,686,018,427,387,904 bytes",
        ),
        ("row group", "num_rows", 5, r"holds 5 rows where its footer counts 12"),
        (
            "row group",
            "num_rows",
            2**40,
            r"holds 1,099,511,627,776 rows where its footer counts 12",
        ),
        ("file", "num_rows", 5, r"holds 12 rows where its footer counts 5"),
    ],
)
def test_a_false_parquet_footer_is_refused(
    of: str, field: str, claim: int, sentence: str, workspace: Workspace, tmp_path: Path
) -> None:
    """Arrow believes it: it would read 5 of 12 rows and say nothing."""
    path = write(tmp_path, parquet_file(parquet_columns(GOOD)))
    claims(path, of, getattr(pq.ParquetFile(path).metadata.row_group(0), field), claim)
    metadata = pq.ParquetFile(path).metadata
    assert getattr(metadata if of == "file" else metadata.row_group(0), field) == claim
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match=f"'file' {sentence}"):
        ingest(workspace, path, "sample")
    assert fingerprint(workspace) == before


def test_a_parquet_file_with_one_row_group_per_row(workspace: Workspace, tmp_path: Path) -> None:
    """Slow to read, and no worse."""
    lines, path = rows(300), tmp_path / "file"
    pq.write_table(pa.table(parquet_columns(lines)), path, row_group_size=1)
    assert pq.ParquetFile(path).num_row_groups == 300
    assert read_sample_rows(ingest(workspace, path, "sample"))["C1"].to_pylist() == [
        line[14] or None for line in lines
    ]


@pytest.mark.parametrize("outer", PACKED)
@pytest.mark.parametrize("inner", PACKED)
def test_nested_bombs(inner: str, outer: str, workspace: Workspace, tmp_path: Path) -> None:
    """One layer is unpacked, two for a compressed member of an archive. Further layers are named,
    however large they would be."""
    bomb = PACK[inner](PACK[inner](text([GOOD[0]]) * 6_000))
    before = fingerprint(workspace)
    for packed in (PACK[outer](bomb), PACK[outer](PACK[outer](bomb))):
        with pytest.raises(BadInput, match="compressed twice"):
            ingest(workspace, write(tmp_path, packed), "sample")
    assert fingerprint(workspace) == before
