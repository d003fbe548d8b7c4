"""Compressed files are read completely, or up to a truncation if allowed, within the limits."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from core.data.archives import bounded_reader
from core.data.archives.containers import choose_member, detect_container, list_members, open_rows
from core.errors import BadInput
from tests.core.data.archives.archive_files import TRAIN, tar_of, zip_of
from tests.core.data.helpers import rows, text, write

DATA = text(rows(700))


def zstd(data: bytes) -> bytes:
    """A frame with a checksum, as the zstd command writes it."""
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data)


def zstd_streamed(data: bytes) -> bytes:
    """A frame without its content size, in several blocks."""
    packer = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compressobj()
    pieces = [
        packer.compress(data[start : start + 5000])
        + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        for start in range(0, len(data), 5000)
    ]
    return b"".join([*pieces, packer.flush()])


def gzip_with_fields(data: bytes) -> bytes:
    """A header with every optional field."""
    head = (
        b"\x1f\x8b\x08"
        + bytes([2 | 4 | 8 | 16])
        + bytes(6)
        + b"\x03\x00abc"
        + b"train.txt\x00"
        + b"why\x00"
    )
    return head + (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") + gzip.compress(data)[10:]


CHECK = bounded_reader.check_unpacked_size
SKIPPABLE = b"\x5a\x2a\x4d\x18" + (300).to_bytes(4, "little") + bytes(300)
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}
FORMS: dict[str, tuple[str, bytes]] = {
    "gzip": ("gzip", gzip.compress(DATA)),
    "gzip, stored": ("gzip", gzip.compress(DATA, 0)),
    "gzip, every field": ("gzip", gzip_with_fields(DATA)),
    "gzip, members": (
        "gzip",
        b"".join(gzip.compress(DATA[at : at + 9999]) for at in range(0, len(DATA), 9999)),
    ),
    "gzip, an empty member last": ("gzip", gzip.compress(DATA) + gzip.compress(b"")),
    "gzip, padded": ("gzip", gzip.compress(DATA) + bytes(200_000)),
    "gzip, members and padding": (
        "gzip",
        gzip.compress(DATA[:500]) + bytes(512) + gzip.compress(DATA[500:]),
    ),
    "bz2": ("bz2", bz2.compress(DATA)),
    "bz2, streams": (
        "bz2",
        bz2.compress(DATA[:70_000]) + bz2.compress(b"") + bz2.compress(DATA[70_000:]),
    ),
    "bz2, padded": ("bz2", bz2.compress(DATA) + bytes(100)),
    "xz": ("xz", lzma.compress(DATA)),
    "xz, streams and padding": (
        "xz",
        lzma.compress(DATA[:70_000]) + bytes(8) + lzma.compress(DATA[70_000:]) + bytes(4),
    ),
    "zstd": ("zstd", zstd(DATA)),
    "zstd, streamed": ("zstd", zstd_streamed(DATA)),
    "zstd, frames": (
        "zstd",
        SKIPPABLE + zstd(DATA[:70_000]) + SKIPPABLE + zstd_streamed(DATA[70_000:]) + SKIPPABLE,
    ),
    "tar.gz": ("tar.gz", tar_of({"train.txt": DATA}, "gz")),
    "tar.bz2": ("tar.bz2", tar_of({"train.txt": DATA}, "bz2")),
    "tar.xz": ("tar.xz", tar_of({"train.txt": DATA}, "xz")),
    "tar.zst": ("tar.zst", zstd(tar_of({"train.txt": DATA}))),
    "tar": ("tar", tar_of({"train.txt": DATA})),
    "zip": ("zip", zip_of({"train.txt": DATA})),
    "plain": ("plain", DATA),
}


def read(path: Path, keep_truncated: bool = False, size: int = 10_007) -> tuple[bytes, bool]:
    """(all bytes, whether the file is reported as truncated)."""
    member = choose_member(path, "", keep_truncated=keep_truncated).member
    with open_rows(path, member, keep_truncated) as stream:
        found = b"".join(iter(lambda: stream.read(size), b""))
        assert stream.unpacked == len(found) and stream.read(1) == b""
        return found, stream.truncated


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1013, 2**20, -1])
def test_whole_files_are_read(form: str, size: int, tmp_path: Path) -> None:
    container, data = FORMS[form]
    path = write(tmp_path, data, "any.name")
    assert detect_container(path) == container
    assert read(path, size=size) == (DATA, False)
    assert read(path, keep_truncated=True, size=size) == (DATA, False)


@pytest.mark.parametrize("pack", PACK)
def test_a_few_bytes_after_the_packed_data_are_skipped_and_reported(
    pack: str, tmp_path: Path
) -> None:
    """As gzip does. More could be rows and is refused."""
    with open_rows(write(tmp_path, PACK[pack](DATA) + b"\x00\x00a signature")) as stream:
        assert stream.read() == DATA
        assert (
            stream.unpack_note
            == "11 bytes after the packed data are something else and were ignored."
        )
    with pytest.raises(
        BadInput,
        match=r"is damaged after [\d,]+ unpacked bytes \(something else follows its packed",
    ):
        read(write(tmp_path, PACK[pack](DATA) + b"\x01" * 5000))


def decodable(container: str, data: bytes) -> tuple[bytes, bool]:
    """What Python's own libraries unpack from data that may be truncated, and whether it is."""
    if container == "zstd":
        found = (
            zstandard.ZstdDecompressor()
            .stream_reader(io.BytesIO(data), read_across_frames=True)
            .read()
        )
        return found, found != DATA
    fresh: Any = {
        "gzip": lambda: zlib.decompressobj(31),
        "bz2": bz2.BZ2Decompressor,
        "xz": lzma.LZMADecompressor,
    }
    found, ended = b"", False
    while data:
        decoder, piece = fresh[container](), data
        while more := decoder.decompress(piece):
            found, piece = found + more, b""
            if decoder.eof:
                break
        ended, data = decoder.eof, decoder.unused_data.lstrip(b"\x00")
    return found, not ended


@pytest.mark.parametrize("form", [form for form in FORMS if FORMS[form][0] in PACK])
def test_a_break_loses_no_byte_that_can_be_unpacked(form: str, tmp_path: Path) -> None:
    container, data = FORMS[form]
    dice = np.random.default_rng(0)
    ends = range(len(data) - 12, len(data))
    for size in sorted({*range(400, 440), *dice.integers(12, len(data), 40).tolist(), *ends}):
        path = write(tmp_path, data[:size])
        wanted, truncated = decodable(container, data[:size])
        if container == "zstd" and wanted == DATA:
            # The library does not say whether a frame's checksum, or a frame without rows, is
            # missing.
            truncated = read(path, keep_truncated=True)[1]
        assert read(path, keep_truncated=True) == (wanted, truncated), size
        if truncated:
            with pytest.raises(
                BadInput,
                match=r"'file' ends after [\d,]+ unpacked bytes: the file is truncated; ",
            ):
                read(path)


@pytest.mark.parametrize("pack", [*PACK, "tar.gz", "zip"])
def test_damage_is_refused_even_where_a_break_is_kept(pack: str, tmp_path: Path) -> None:
    """Which bytes before the damage are correct cannot be known."""
    data = bytearray(FORMS[pack][1])
    place = len(data) // 2
    data[place : place + 40] = b"\xaa" * 40
    with pytest.raises(BadInput, match="damaged|cannot be unpacked"):
        read(write(tmp_path, bytes(data)), keep_truncated=True)


@pytest.mark.parametrize("pack", ["gzip", "xz", "zstd", "bz2"])
def test_a_wrong_checksum_is_damage(pack: str, tmp_path: Path) -> None:
    data = bytearray(PACK[pack](DATA))
    # Of gzip and zstd the checksum stands last, of bzip2 nearly; xz's is within.
    place = {"gzip": -6, "zstd": -2, "bz2": -3, "xz": -40}[pack]
    data[place] ^= 0x10
    with pytest.raises(BadInput, match=r"'file' is damaged after [\d,]+ unpacked bytes"):
        read(write(tmp_path, bytes(data)))


def test_where_the_reading_stands(tmp_path: Path) -> None:
    lines = text(rows(4000))
    for data in (gzip.compress(lines), zip_of({"test.txt": lines, "train.txt": lines})):
        path = write(tmp_path, data)
        with open_rows(path, choose_member(path, "").member) as stream:
            shares = []
            while stream.read(2**16):
                shares.append(stream.progress)
        assert shares == sorted(shares) and shares[0] < 0.9 and shares[-1] == 1.0


def packed_lines(pack: str) -> bytes:
    """100 MB of blank lines."""
    packers: Any = {
        "bz2": bz2.BZ2Compressor,
        "xz": lambda: lzma.LZMACompressor(preset=0),
        "gzip": lambda: zlib.compressobj(wbits=31),
        "zstd": lambda: zstandard.ZstdCompressor().compressobj(),
    }
    packer, lines = packers[pack](), b"\n" * 2**20
    return b"".join([*(packer.compress(lines) for _ in range(100)), packer.flush()])


def unpack(path: Path, member: str = "") -> int:
    """Number of bytes."""
    with open_rows(path, member) as stream:
        return sum(map(len, iter(lambda: stream.read(2**16), b"")))


@pytest.mark.parametrize("pack", PACK)
def test_bombs_are_stopped_soon(pack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before they are unpacked completely, alone and as the member of an archive."""
    monkeypatch.setattr(bounded_reader, "RATIO_MIN_BYTES", 2**20)
    bomb = packed_lines(pack)
    assert len(bomb) < 2**18
    largest = 0

    def measured(unpacked: int, packed: int, name: str) -> None:
        nonlocal largest
        largest = max(largest, unpacked)
        CHECK(unpacked, packed, name)

    monkeypatch.setattr(bounded_reader, "check_unpacked_size", measured)
    alone = write(tmp_path, bomb)
    takes: list[tuple[int, Callable[[], object]]] = [(len(bomb), lambda: unpack(alone))]
    members = {"train.txt": bomb}
    for place, data in enumerate((zip_of(members), tar_of(members), tar_of(members, "gz"))):
        path = write(tmp_path, data, str(place))
        takes.append((len(data), partial(list_members, path)))
        takes.append((len(data), partial(unpack, path, "train.txt")))
    for packed, take in takes:
        largest = 0
        with pytest.raises(BadInput, match="decompression bomb"):
            take()
        assert 2**20 < largest <= max(200 * packed, 2**20) + 2**20


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst"])
def test_an_archive_without_a_wanted_member_can_be_a_bomb_too(
    packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skipping a member unpacks it."""
    monkeypatch.setattr(bounded_reader, "RATIO_MIN_BYTES", 2**20)
    members = {"._zeros": bytes(2**25), "train.txt": TRAIN}
    data = zstd(tar_of(members)) if packing == "zst" else tar_of(members, packing)
    path = write(tmp_path, data)
    with pytest.raises(BadInput, match="decompression bomb"):
        choose_member(path, "")
    with pytest.raises(BadInput, match="decompression bomb"):
        unpack(path, "train.txt")


def test_many_small_bombs_in_one_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit applies to all members together."""
    monkeypatch.setattr(bounded_reader, "RATIO_MIN_BYTES", 2**20)
    for data in (
        zip_of({f"{i}.txt": TRAIN[:300] + b"\n" * 2**18 for i in range(40)}),
        zip_of({f"{i}.gz": gzip.compress(TRAIN[:300] + b"\n" * 2**18) for i in range(40)}),
        tar_of({f"{i}.gz": gzip.compress(b"\n" * 2**20) for i in range(40)}, "xz"),
    ):
        with pytest.raises(BadInput, match="decompression bomb"):
            list_members(write(tmp_path, data))


def test_a_dictionary_that_takes_more_memory_than_it_may(tmp_path: Path) -> None:
    """The header of xz and of zstd's frame can ask for gigabytes."""
    # An xz header is 12 bytes, then that of its block: its size, flags, the filter and, as an
    # exponent, the dictionary.
    data = bytearray(lzma.compress(DATA, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}]))
    assert data[12:16] == b"\x02\x00\x21\x01"
    data[16] = 36
    data[20:24] = zlib.crc32(data[12:20]).to_bytes(4, "little")
    frame = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=29, enable_ldm=True)
    ).compressobj()
    long = frame.compress(DATA) + frame.flush()
    for packed in (bytes(data), long):
        with pytest.raises(
            BadInput,
            match="takes more than 256 MB of memory to unpack; pack it again with an ordinary",
        ):
            read(write(tmp_path, packed))
