"""Decoders of gzip, bzip2, xz, zstd and raw deflate with one interface and bounded memory."""

import bz2
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import zstandard
from isal import igzip_lib

MEMORY_LIMIT = 256 * 2**20
"""Bytes that a decoder's dictionary may take. ``xz -9`` needs 65 MB; a header can ask for 4 GB."""
MAX_WINDOW = 2**27
"""Largest zstd window in bytes, that of ``zstd --long``."""


class Decoder(Protocol):
    """The interface of `bz2.BZ2Decompressor` and the other decoders."""

    @property
    def eof(self) -> bool:
        """Whether the end of the packed stream has been reached."""

    @property
    def needs_input(self) -> bool:
        """Whether no more output is available without further input."""

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the stream."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Return about `max_length` unpacked bytes of the input so far."""


class DamageError(Exception):
    """Packed data is damaged. The message is a fragment for use in brackets within a sentence."""


class MemoryLimitError(DamageError):
    """Unpacking would take more memory than MEMORY_LIMIT."""


@dataclass(frozen=True)
class Codec:
    """A compression format.

    Attributes:
        new_decoder: makes a decoder for one stream.
        magic: what each stream starts with; empty where a file holds only one stream.
        window_bits: zlib's number for the format, 0 where zlib cannot unpack it.
    """

    new_decoder: Callable[[], Decoder]
    magic: tuple[bytes, ...] = ()
    window_bits: int = 0


class ZstdDecoder:
    """Decodes a zstd frame block by block, so that a call returns at most one block (128 KB).

    The library itself has no limit on what one call returns. Format:
    https://github.com/facebook/zstd/blob/dev/doc/zstd_compression_format.md
    """

    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
        self._input = bytearray()
        self._stage = "magic"
        self._skip = 0
        self._checksum = False
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """Whether the end of the frame has been reached."""
        return self._stage == "end"

    @property
    def unused_data(self) -> bytes:
        """Input after the frame."""
        return bytes(self._input) if self.eof else b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Return the next block, or b"" until all of it has arrived."""
        self._input += data
        while not self.eof:
            size = self._next_size()
            self.needs_input = size is None or len(self._input) < size
            if size is None or len(self._input) < size:
                break
            piece = bytes(self._input[:size])
            del self._input[:size]
            if out := self._take(piece):
                return out
        return b""

    def _next_size(self) -> int | None:
        """Return the size of the next part of the frame, None if the input so far does not tell."""
        head = self._input
        if self._stage == "magic":
            return 8 if _is_skippable(head) else 4
        if self._stage == "skip":
            return min(self._skip, max(len(head), 1))
        if self._stage == "header":
            if not head:
                return None
            # The frame header descriptor: bits 7-6 size of the content size field, 5 single
            # segment, 2 checksum, 1-0 size of the dictionary id.
            single = head[0] >> 5 & 1
            content = (single, 2, 4, 8)[head[0] >> 6]
            return 1 + (1 - single) + (0, 1, 2, 4)[head[0] & 3] + content
        if self._stage == "checksum":
            return 4
        if len(head) < 3:
            return None
        block = int.from_bytes(head[:3], "little")
        return 3 + (1 if block >> 1 & 3 == 1 else block >> 3)

    def _take(self, piece: bytes) -> bytes:
        if self._stage == "magic" and len(piece) == 8:
            self._skip = int.from_bytes(piece[4:], "little")
            self._stage = "skip" if self._skip else "end"
            return b""
        if self._stage == "skip":
            self._skip -= len(piece)
            self._stage = "skip" if self._skip else "end"
            return b""
        if self._stage == "magic":
            self._stage = "header"
        elif self._stage == "header":
            self._checksum = bool(piece[0] & 4)
            self._stage = "block"
        elif self._stage == "checksum":
            self._stage = "end"
        elif piece[0] & 1:
            self._stage = "checksum" if self._checksum else "end"
        return self._frame.decompress(piece)


class ZipLzmaDecoder:
    """LZMA as zip archives store it: a header of nine bytes, then a raw stream."""

    def __init__(self) -> None:
        self._head = b""
        self._raw: lzma.LZMADecompressor | None = None

    @property
    def eof(self) -> bool:
        """Whether the end of the stream has been reached."""
        return self._raw is not None and self._raw.eof

    @property
    def needs_input(self) -> bool:
        """Whether no more output is available without further input."""
        return self._raw is None or self._raw.needs_input

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the stream."""
        return self._raw.unused_data if self._raw else b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Return at most `max_length` bytes."""
        if self._raw is None:
            self._head += data
            if len(self._head) < 9:
                return b""
            properties, dictionary = self._head[4], int.from_bytes(self._head[5:9], "little")
            if self._head[2:4] != b"\x05\x00" or properties >= 9 * 5 * 5:
                raise DamageError("its LZMA header is damaged")
            if dictionary > MEMORY_LIMIT:
                raise MemoryLimitError
            rest, lc = divmod(properties, 9)
            pb, lp = divmod(rest, 5)
            kind = {
                "id": lzma.FILTER_LZMA1,
                "dict_size": max(dictionary, 4096),
                "lc": lc,
                "lp": lp,
                "pb": pb,
            }
            self._raw = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[kind])
            data, self._head = self._head[9:], b""
        return self._raw.decompress(data, max_length)


def _is_skippable(head: bytes | bytearray) -> bool:
    return len(head) >= 4 and head[0] & 0xF0 == 0x50 and bytes(head[1:4]) == b"\x2a\x4d\x18"


def _igzip(kind: int) -> Callable[[], Decoder]:
    return lambda: cast(Decoder, igzip_lib.IgzipDecompressor(flag=kind))


DECODER_ERRORS = (
    OSError,
    ValueError,
    lzma.LZMAError,
    zstandard.ZstdError,
    cast(type[Exception], igzip_lib.error),
)
"""What the libraries raise for damaged data."""

GZIP = Codec(_igzip(igzip_lib.DECOMP_GZIP), (b"\x1f\x8b",), 31)
BZ2 = Codec(bz2.BZ2Decompressor, tuple(b"BZh%d" % level for level in range(1, 10)))
XZ = Codec(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT), (b"\xfd7zXZ\x00",))
ZSTD = Codec(
    ZstdDecoder, (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + i, 0x2A, 0x4D, 0x18)) for i in range(16)))
)
CODECS: dict[str, Codec] = {"gzip": GZIP, "bz2": BZ2, "xz": XZ, "zstd": ZSTD}
"""Formats of a whole file, which may hold several streams end to end."""
ZIP_METHODS: dict[int, Codec] = {
    8: Codec(_igzip(igzip_lib.DECOMP_DEFLATE), window_bits=-15),
    12: Codec(bz2.BZ2Decompressor),
    14: Codec(ZipLzmaDecoder),
    93: Codec(ZstdDecoder),
    95: Codec(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT)),
}
"""Formats of a zip member by compression method; 0 means not compressed."""


def detect_packing(head: bytes) -> str | None:
    """Return gzip, bz2, xz or zstd by the first bytes; None for anything else."""
    for kind, codec in CODECS.items():
        if head.startswith(codec.magic) and (kind != "bz2" or head[4:10] in _BZ2_BLOCKS):
            return kind
    return None


_BZ2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
"""Magic numbers of a block, and of the end of a stream without blocks."""
