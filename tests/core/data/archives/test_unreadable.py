"""Unsupported formats are named with what to do; rows of text are never taken for one."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

from core.data.archives import unreadable
from core.data.archives.containers import detect_container
from core.data.archives.unreadable import PATTERNS, SIGNATURES, describe_unreadable
from core.errors import BadInput
from tests.core.data.archives.archive_files import TRAIN, zip_of
from tests.core.data.helpers import CSV_HEADER, packed_zstd, rows, text, write

ARRAY = np.arange(80.0).reshape(2, 40)
FRAME = pd.DataFrame(ARRAY)
NPZ, NPY = io.BytesIO(), io.BytesIO()
np.savez(NPZ, a=ARRAY, b=ARRAY)
np.save(NPY, ARRAY)
JOBLIB, PACKED_JOBLIB = io.BytesIO(), io.BytesIO()
joblib.dump(FRAME, JOBLIB)
joblib.dump(FRAME, PACKED_JOBLIB, compress=3)
BINARY = b"\x00\x01\x02\x03" * 64
XLSX = zip_of({"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<workbook/>"})
ODS = zip_of(
    {
        "mimetype": b"application/vnd.oasis.opendocument.spreadsheet",
        "META-INF/manifest.xml": b"<m/>",
    }
)

FILES: dict[str, tuple[bytes, str]] = {
    "7z": (
        b"7z\xbc\xaf\x27\x1c\x00\x04" + BINARY,
        "a 7z archive; unpack it and give the file of rows inside",
    ),
    "rar": (b"Rar!\x1a\x07\x01\x00" + BINARY, "a RAR archive; unpack it"),
    "lz4": (b"\x04\x22\x4d\x18\x64\x40\xa7" + BINARY, "compressed with LZ4; unpack it with lz4 -d"),
    "snappy": (b"\xff\x06\x00\x00sNaPpY" + BINARY, "compressed with Snappy; unpack it first"),
    "compress": (
        b"\x1f\x9d\x90" + BINARY,
        r"compressed with Unix compress \(.Z\); unpack it with uncompress",
    ),
    "lzip": (b"LZIP\x01\x14" + BINARY, "compressed with lzip; unpack it with lzip -d"),
    "lzma": (
        lzma.compress(TRAIN, lzma.FORMAT_ALONE),
        "compressed with LZMA's old format .*unpack it with xz -d",
    ),
    "xlsx": (XLSX, r"an Excel workbook \(.xlsx\); save the sheet as CSV"),
    "xls": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + BINARY,
        "an old Office file .*; save the sheet as CSV",
    ),
    "ods": (ODS, r"an OpenDocument file \(.ods\); save the sheet as CSV"),
    "npz": (NPZ.getvalue(), "a set of NumPy arrays"),
    "npy": (NPY.getvalue(), "a NumPy array"),
    "torch": (
        zip_of({"model/data.pkl": b"\x80\x02", "model/version": b"3"}),
        r"a torch file \(.pt\), a pickle inside",
    ),
    "joblib": (JOBLIB.getvalue(), "a Python pickle .*never unpickled"),
    "joblib, packed": (PACKED_JOBLIB.getvalue(), r"compressed with zlib \(as joblib does\)"),
    "feather 1": (
        b"FEA1" + BINARY,
        "a Feather file of version 1; write it again as version 2 or Parquet",
    ),
    "orc": (b"ORC" + BINARY, "an ORC file; convert it to CSV or Parquet first"),
    "avro": (b"Obj\x01\x04\x16avro.schema" + BINARY, "an Avro file; convert it"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + BINARY, "an HDF5 file; read it with pandas"),
    "sqlite": (b"SQLite format 3\x00" + BINARY, "an SQLite database; export its table as CSV"),
    "encrypted parquet": (
        b"PARE" + BINARY,
        "a Parquet file with an encrypted footer; write it again without encryp",
    ),
    "pdf": (b"%PDF-1.7\n" + BINARY, "a PDF;"),
    "png": (b"\x89PNG\r\n\x1a\n" + BINARY, r"a picture \(PNG\)"),
    "elf": (b"\x7fELF\x02\x01" + BINARY, r"a program \(ELF\)"),
    "exe": (b"MZ\x90\x00\x03" + BINARY, "a program for Windows"),
    "html": (
        b"<!DOCTYPE html>\n<html><head><title>Sign in</title>",
        r"an HTML page \('Sign in'\); that is not the data",
    ),
    "html without a title": (
        b"\xef\xbb\xbf\n <HTML lang='en'><p>Error",
        "an HTML page; that is not the data",
    ),
    "s3": (
        b'<?xml version="1.0"?>\n<Error><Code>NoSuchKey</Code><Message>No</Message></Error>',
        (
            r"an error page of a storage service in XML \('NoSuchKey'\); that is not the data;"
            r" download the file again"
        ),
    ),
    "azure": (
        b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>BlobNotFound</Code>",
        "an error page of a storage service in XML .'BlobNotFound'",
    ),
    "xml": (b"<?xml version='1.0'?><rows><row/></rows>", "an XML document; convert it"),
    "json": (json.dumps([{"label": 1}]).encode(), "JSON or JSON lines; read it with pandas"),
    "json lines": (
        b'{"label": 1, "I1": 2}\n{"label": 0}\n',
        "JSON or JSON lines; read it with pandas",
    ),
    "json arrays": (b"[[1, 2], [3, 4]]", "JSON or JSON lines"),
    "json error": (
        b'{"error": "Not authorised"}',
        r"an error in JSON \('Not authorised'\); that is not the data",
    ),
    "404": (
        b"404: Not Found",
        r"the error message of a server \('404: Not Found'\); that is not the data",
    ),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n",
        "a pointer of Git LFS, .*; run git lfs pull",
    ),
    "utf-16": ("1\t2\n".encode("utf-16"), "in UTF-16; save it as UTF-8"),
    "utf-16 without a mark": (TRAIN.decode().encode("utf-16-be"), "in UTF-16; save it as UTF-8"),
    "utf-32": (TRAIN.decode().encode("utf-32"), "in UTF-32; save it as UTF-8"),
    "utf-32 without a mark": (TRAIN.decode().encode("utf-32-le"), "in UTF-32; save it as UTF-8"),
    "appledouble": (b"\x00\x05\x16\x07\x00\x02\x00\x00" + BINARY, "macOS's companion"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_format_is_named_with_what_to_do(kind: str, tmp_path: Path) -> None:
    data, sentence = FILES[kind]
    with pytest.raises(BadInput, match=rf"^'file' is {sentence}"):
        detect_container(write(tmp_path, data))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", [FRAME, ARRAY, {"a": 1}, [1, 2], list("ab")])
def test_pickles_of_every_protocol(value: object, protocol: int, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'file' is a Python pickle .*never unpickled"):
        detect_container(write(tmp_path, pickle.dumps(value, protocol)))


def test_a_download_that_was_interrupted(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput,
        match="holds only NUL bytes at its beginning: its download was probably interrupted",
    ):
        detect_container(write(tmp_path, bytes(10_000)))


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, bz2.compress, lzma.compress, packed_zstd, lambda data: zip_of({"a": data})],
)
def test_packed_twice(pack: type) -> None:
    assert "is compressed twice, " in str(describe_unreadable(pack(TRAIN)))


LINES = rows(5)
CSV = CSV_HEADER + b"\n" + b"\n".join(",".join(line).encode() for line in LINES)


@pytest.mark.parametrize(
    "data",
    [
        text(LINES),
        text(rows(5, labelled=False)),
        CSV,
        b"\xef\xbb\xbf" + CSV,
        CSV.replace(b",", b";"),
        b'"label","I1"\n"0","1"\n',
        *(
            name + CSV.removeprefix(b"label")
            for name in (b"ORC", b"FEA1", b"BM", b"MZ", b"PARE", b"RIFF", b"ID3", b"DUCK")
        ),
        *(
            name + b"\t1\t2\n"
            for name in (b"BZh", b"LZIP", b"070701", b"x\x9c", b"GIF89a", b"Salted__", b"ORC")
        ),
        b"#label,I1\n0,1\n",
        b"[CLS] 0.1 0.2\n[SEP] 0.3 0.4\n",
        b"{ 0.1 0.2\n",
        b"<unk> 0.1 0.2\n<s> 0.3 0.4\n",
        b"click\nprice\n(1)\n",
        b"0\t1\t\x1b\tcafe\n",
        "naïve\t☃\n".encode(),
        "caf\xe9\tna\xefve\n".encode("latin-1"),
        b"",
    ],
)
def test_text_that_may_be_rows_is_left_to_the_reader(data: bytes) -> None:
    assert describe_unreadable(data) is None


def test_every_entry_of_the_tables_can_be_reached() -> None:
    """No magic number is preceded by a shorter prefix of itself."""
    for place, one in enumerate(SIGNATURES):
        head = bytes(one.offset) + one.magic + BINARY
        assert describe_unreadable(head) == f"is {one.name}; {one.advice}", place
    assert len({one.pattern.pattern for one in PATTERNS}) == len(PATTERNS)


def test_records_of_tensorflow(tmp_path: Path) -> None:
    """A record starts with its length and the checksum of the length, masked as TensorFlow
    documents it."""
    assert unreadable._crc32c(b"123456789") == 0xE3069283
    length = (200).to_bytes(8, "little")
    crc = unreadable._crc32c(length)
    mark = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    data = length + mark.to_bytes(4, "little") + b"\n\xc5\x01" + BINARY
    with pytest.raises(
        BadInput, match="'file' is a TFRecord file; convert it to CSV or Parquet first"
    ):
        detect_container(write(tmp_path, data))
    assert describe_unreadable(length + bytes(4) + data[12:]) is None


def test_an_archive_of_arrays_and_rows_is_an_archive(tmp_path: Path) -> None:
    stream = io.BytesIO(NPZ.getvalue())
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("train.txt", TRAIN)
    assert detect_container(write(tmp_path, stream.getvalue())) == "zip"
