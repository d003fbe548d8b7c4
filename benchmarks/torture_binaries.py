"""Files of every compressed or typed format that Thaw reads, and damaged copies of them.

Each file is made from a number.
"""

import bz2
import functools
import gzip
import io
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import zstandard

from core.data.schema import CATEGORICAL, FIELDS, LABEL, NUMERIC

ROWS = 60
CODECS = ("none", "snappy", "gzip", "brotli", "lz4", "zstd")
WORDS = (
    b"\xff" * 4,
    b"\x00" * 4,
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\x01",
    b"\x7f",
    b"PAR1",
    b"\xff" * 8,
)
"""Bytes that replace sizes, counts and offsets."""


def cells(dice: random.Random) -> list[list[str]]:
    """Rows of text: label, 13 numbers and 26 categories, some of them missing."""

    def row(number: int) -> list[str]:
        numbers = ["" if dice.random() < 0.2 else str(dice.randint(-2, 5000)) for _ in NUMERIC]
        values = [
            "" if dice.random() < 0.2 else f"{dice.randrange(40) * 104729:08x}" for _ in CATEGORICAL
        ]
        return [str(number % 3 // 2), *numbers, *values]

    return [row(number) for number in range(ROWS)]


def _text(dice: random.Random) -> bytes:
    return "".join("\t".join(row) + "\n" for row in cells(dice)).encode()


def _table(dice: random.Random, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    rows = cells(dice)
    columns = {LABEL: pa.array([int(row[0]) for row in rows]).cast(kinds.get(LABEL, pa.int64()))}
    for place, field in enumerate(FIELDS, start=1):
        kind = kinds.get(
            "I" if field in NUMERIC else "C", pa.int64() if field in NUMERIC else pa.string()
        )
        texts = pa.array([row[place] or None for row in rows])
        numbers = texts.cast(pa.int64()) if field in NUMERIC else texts
        columns[field] = (
            numbers.dictionary_encode() if pa.types.is_dictionary(kind) else numbers.cast(kind)
        )
    return pa.table(columns)


def _parquet(table: pa.Table, **options: object) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    return stream.getvalue()


def _arrow(table: pa.Table, stream_form: bool, codec: str | None) -> bytes:
    out, options = io.BytesIO(), pa.ipc.IpcWriteOptions(compression=codec)
    make = pa.ipc.new_stream if stream_form else pa.ipc.new_file
    with make(out, table.schema, options=options) as writer:
        writer.write_table(table, 25)
    return out.getvalue()


class _TestKmsClient(pe.KmsClient):
    """A key service for tests, which stores wrapped keys as they are."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return key_bytes.hex()

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return bytes.fromhex(wrapped_key)


def encrypted_parquet(table: pa.Table, columns: list[str], plain_footer: bool) -> bytes:
    """A Parquet file of which some columns, and perhaps the footer, are encrypted."""
    settings = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": columns}, plaintext_footer=plain_footer
    )
    factory = pe.CryptoFactory(lambda config: _TestKmsClient())
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), settings)
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    return stream.getvalue()


def _zip(method: int, *members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stream.getvalue()


def _tar(form: int, *members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


@functools.cache
def sound_files() -> dict[str, bytes]:
    """Return undamaged files by name."""
    dice = random.Random(20)
    plain, other = _table(dice, {}), _text(dice)
    text = _text(dice)
    floats = _table(dice, {"I": pa.float64(), LABEL: pa.int8()})
    coded = _table(dice, {"C": pa.dictionary(pa.int32(), pa.string())})
    files: dict[str, bytes] = {}
    for codec in CODECS:
        files[f"Parquet, {codec}"] = _parquet(plain, compression=codec)
        files[f"Parquet, {codec}, pages of version 2"] = _parquet(
            plain, compression=codec, data_page_version="2.0", row_group_size=20
        )
    delta = {"use_dictionary": False, "row_group_size": 30}
    files |= {
        "Parquet, no dictionaries": _parquet(plain, use_dictionary=False, compression="none"),
        "Parquet, delta lengths": _parquet(
            plain, column_encoding=dict.fromkeys(CATEGORICAL, "DELTA_LENGTH_BYTE_ARRAY"), **delta
        ),
        "Parquet, delta texts": _parquet(
            plain, column_encoding=dict.fromkeys(CATEGORICAL, "DELTA_BYTE_ARRAY"), **delta
        ),
        "Parquet, delta numbers": _parquet(
            plain, column_encoding=dict.fromkeys(NUMERIC, "DELTA_BINARY_PACKED"), **delta
        ),
        "Parquet, byte streams split": _parquet(
            floats, column_encoding=dict.fromkeys(NUMERIC, "BYTE_STREAM_SPLIT"), **delta
        ),
        "Parquet, checksums and an index of pages": _parquet(
            plain, write_page_checksum=True, write_page_index=True, data_page_size=200
        ),
        "Parquet, no statistics, version 1": _parquet(plain, write_statistics=False, version="1.0"),
        "Parquet, dictionaries of Arrow": _parquet(coded),
        "Parquet, large text and decimals": _parquet(
            _table(dice, {"C": pa.large_string(), "I": pa.decimal128(19, 0)}),
            store_decimal_as_integer=True,
        ),
        "Parquet, encrypted columns": encrypted_parquet(
            plain, ["C1", "C2", "I1"], plain_footer=True
        ),
        "Parquet, encrypted": encrypted_parquet(plain, ["C1", "C2", "I1"], plain_footer=False),
    }
    views = _table(dice, {"C": pa.string_view()})
    for packing in (None, "lz4", "zstd"):
        for form in (False, True):
            name = f"Arrow {'stream' if form else 'file'}, {packing or 'not packed'}"
            files[name] = _arrow(plain, form, packing)
            files[f"{name}, dictionaries"] = _arrow(coded, form, packing)
            files[f"{name}, views"] = _arrow(views, form, packing)
    for method in ("STORED", "DEFLATED", "BZIP2", "LZMA"):
        number = getattr(zipfile, f"ZIP_{method}")
        files[f"zip, {method.lower()}"] = _zip(
            number, ("train.txt", text), ("readme.md", b"# rows\n")
        )
    files["zip, a gzip in it"] = _zip(zipfile.ZIP_STORED, ("train.txt.gz", gzip.compress(text)))
    files["zip, two of rows"] = _zip(zipfile.ZIP_DEFLATED, ("train.txt", text), ("test.txt", other))
    long_name = "day/" + "x" * 120 + ".txt"
    files["tar, ustar"] = _tar(tarfile.USTAR_FORMAT, ("train.txt", text), ("readme", b"rows"))
    files["tar, gnu, a long name"] = _tar(tarfile.GNU_FORMAT, (long_name, text))
    files["tar, pax, a long name"] = _tar(tarfile.PAX_FORMAT, (long_name, text))
    tar = _tar(tarfile.GNU_FORMAT, ("train.txt", text), ("test.txt", other))
    for name, pack in COMPRESSIONS.items():
        files[name] = pack(text)
        files[f"{name}, two ends to end"] = pack(text[:3000]) + pack(text[3000:])
        files[f"{name}, a tar"] = pack(tar)
    return files


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=1),
    "zstd": _zstd,
}


def damaged_file(seed: int) -> tuple[str, bytes]:
    """Return (name of the original, its bytes after one to four kinds of damage)."""
    dice = random.Random(seed)
    files = sound_files()
    names = sorted(files)
    # Half of all are Parquet, where most can go wrong.
    names = [one for one in names if one.startswith("Parquet")] if dice.random() < 0.4 else names
    name = dice.choice(names)
    data = bytearray(files[name])
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        _damage(dice, data, files)
    return name, bytes(data)


def _damage(dice: random.Random, data: bytearray, files: dict[str, bytes]) -> None:
    position = _random_position(dice, data)
    kind = dice.randrange(9)
    if kind <= 2:
        if data:
            data[min(position, len(data) - 1)] ^= 1 << dice.randrange(8)
    elif kind == 3:
        word = dice.choice(WORDS)
        data[position : position + len(word)] = word
    elif kind == 4:
        data[position : position + 1] = bytes([dice.randrange(256)])
    elif kind == 5:
        data[position:position] = dice.randbytes(dice.randint(1, 40))
    elif kind == 6:
        del data[position : position + dice.randint(1, 300)]
    elif kind == 7:
        if dice.random() < 0.5:
            del data[position:]
        else:
            del data[len(data) - dice.randint(1, min(64, max(1, len(data)))) :]
    else:
        other = files[dice.choice(sorted(files))]
        start = dice.randrange(len(other))
        data[position : position + dice.choice((0, 200))] = other[
            start : start + dice.randint(1, 3000)
        ]


def _random_position(dice: random.Random, data: bytearray) -> int:
    """Return a random position, anywhere or where readers expect structure.

    Such places are the start, the end, and a Parquet footer.
    """
    size = len(data)
    footer = (
        int(np.frombuffer(bytes(data[-8:-4]), "<u4")[0])
        if size > 12 and data[-4:] == b"PAR1"
        else 256
    )
    low, high = dice.choice(
        ((0, size), (0, 128), (size - 64, size), (size - min(footer, size) - 8, size))
    )
    return min(max(0, dice.randint(min(low, high), high)), size)
