"""Unpacks gzip, bzip2, xz, zstd and raw deflate piece by piece: no more than asked for, and nothing lost at a break.

The libraries raise at a file's break or damage and may drop what the same call had unpacked. `Unpacker` hands out every
byte first and raises on the next call.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import zstandard
from isal import igzip_lib

PIECE_BYTES = 2**17
"""Packed bytes read at once."""
MEMORY_LIMIT = 256 * 2**20
"""Bytes that a packing's dictionary may take; xz -9 takes 65 MB, and a header can claim 4 GB."""
MAX_WINDOW = 2**27
"""Bytes of zstd's window; `zstd --long` has as many, and what needs more asks for it on the command line."""
MAX_GARBAGE = 4096
"""Bytes behind the packed data that are passed over, as gzip does; a longer rest may be rows, and is refused."""


class Source(Protocol):
    """Where packed bytes come from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, none at the end."""


class Decoder(Protocol):
    """What `bz2.BZ2Decompressor` and its like have in common."""

    @property
    def eof(self) -> bool:
        """Whether the packed stream has come to its end."""

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing more to give without further input."""

    @property
    def unused_data(self) -> bytes:
        """Input behind the end."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """About `max_length` bytes unpacked from what has been given so far."""


class DamageError(Exception):
    """Packed data that does not hold what it should; its text stands in brackets in a sentence."""


@dataclass(frozen=True)
class Codec:
    """A packing. magic: what each of its streams begins with; none where a file holds one stream alone.

    window_bits: as zlib numbers them, where zlib unpacks it too.
    """

    fresh: Callable[[], Decoder]
    magic: tuple[bytes, ...] = ()
    window_bits: int = 0


class ZstdDecoder:
    """A zstd frame, block by block: a call gives one block (128 KB at most), where the library knows no limit.

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
        """Whether the frame has come to its end."""
        return self._stage == "end"

    @property
    def unused_data(self) -> bytes:
        """Input behind the frame."""
        return bytes(self._input) if self.eof else b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """The next block, or nothing where it is not there as a whole yet."""
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
        """Bytes of the next part of the frame; None where too few are there to tell."""
        head = self._input
        if self._stage == "magic":
            return 8 if _is_skippable(head) else 4
        if self._stage == "skip":
            return min(self._skip, max(len(head), 1))
        if self._stage == "header":
            if not head:
                return None
            # Bits of the descriptor: size of the content's length, single segment, checksum, size of a dictionary's id.
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


class LzmaInZip:
    """LZMA as zip archives have it: a header of nine bytes, then a raw stream."""

    def __init__(self) -> None:
        self._head = b""
        self._raw: lzma.LZMADecompressor | None = None

    @property
    def eof(self) -> bool:
        """Whether the stream has come to its end."""
        return self._raw is not None and self._raw.eof

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without further input."""
        return self._raw is None or self._raw.needs_input

    @property
    def unused_data(self) -> bytes:
        """Input behind the end."""
        return self._raw.unused_data if self._raw else b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most `max_length` bytes."""
        if self._raw is None:
            self._head += data
            if len(self._head) < 9:
                return b""
            properties, dictionary = self._head[4], int.from_bytes(self._head[5:9], "little")
            if self._head[2:4] != b"\x05\x00" or properties >= 9 * 5 * 5:
                raise DamageError("its LZMA header is damaged")
            if dictionary > MEMORY_LIMIT:
                raise DamageError(f"its dictionary of {dictionary:,} bytes is too large; pack it again")
            rest, lc = divmod(properties, 9)
            pb, lp = divmod(rest, 5)
            kind = {"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096), "lc": lc, "lp": lp, "pb": pb}
            self._raw = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[kind])
            data, self._head = self._head[9:], b""
        return self._raw.decompress(data, max_length)


def _is_skippable(head: bytes | bytearray) -> bool:
    return len(head) >= 4 and head[0] & 0xF0 == 0x50 and bytes(head[1:4]) == b"\x2a\x4d\x18"


def _igzip(kind: int) -> Callable[[], Decoder]:
    return lambda: cast(Decoder, igzip_lib.IgzipDecompressor(flag=kind))


GZIP = Codec(_igzip(igzip_lib.DECOMP_GZIP), (b"\x1f\x8b",), 31)
BZ2 = Codec(bz2.BZ2Decompressor, tuple(b"BZh%d" % level for level in range(1, 10)))
XZ = Codec(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT), (b"\xfd7zXZ\x00",))
ZSTD = Codec(ZstdDecoder, (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + i, 0x2A, 0x4D, 0x18)) for i in range(16))))
CODECS: dict[str, Codec] = {"gzip": GZIP, "bz2": BZ2, "xz": XZ, "zstd": ZSTD}
"""Packings of a whole file, which may be several streams end to end."""
ZIP_METHODS: dict[int, Codec] = {
    8: Codec(_igzip(igzip_lib.DECOMP_DEFLATE), window_bits=-15),
    12: Codec(bz2.BZ2Decompressor),
    14: Codec(LzmaInZip),
    93: Codec(ZstdDecoder),
    95: Codec(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT)),
}
"""Packings of a zip archive's member by their number; 0 is none."""


def packing_of(head: bytes) -> str | None:
    """gzip, bz2, xz or zstd, by the first bytes; None for anything else."""
    for kind, codec in CODECS.items():
        if head.startswith(codec.magic) and (kind != "bz2" or head[4:10] in _BZ2_BLOCKS):
            return kind
    return None


_BZ2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
"""A block, or the end of a stream that holds none."""


class Unpacker:
    """What `source` holds, unpacked. Several streams end to end are one, zero padding behind them is passed over.

    read raises EOFError where the packed data breaks off, and DamageError where it is not sound, in both cases only
    after every byte before has been handed out. What was unpacked before a break is what was packed; before damage it
    need not be, since most packings check their bytes at the end alone.

    keep_truncated: go to the length of unpacking once more, by zlib, what breaks off, for its very last bytes.
    remark: what was passed over, a sentence; empty as a rule.
    """

    def __init__(self, source: Source, codec: Codec, keep_truncated: bool = False) -> None:
        self._source = source
        self._codec = codec
        self._keep_truncated = keep_truncated
        self._decoder = codec.fresh()
        self._begin = _tell(source)
        self._produced = 0
        self._input = b""
        self._ready = b""
        self._fault: Exception | None = None
        self._done = False
        self.remark = ""

    def read(self, size: int = -1) -> bytes:
        """`size` bytes (all with -1), fewer only before the end, a break or damage."""
        pieces, left = [], size if size >= 0 else 2**62
        while left:
            if not self._ready:
                self._fill(min(left, 2**20))
            if not self._ready:
                break
            piece, self._ready = self._ready[:left], self._ready[left:]
            pieces.append(piece)
            left -= len(piece)
        if not pieces and left and self._fault:
            raise self._fault
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def rest(self) -> bytes:
        """What was read from the source beyond the end of a single stream."""
        return self._decoder.unused_data

    def _fill(self, size: int) -> None:
        """Puts more bytes into `_ready`; none once everything has been given or a fault was met."""
        while not (self._ready or self._done or self._fault):
            try:
                self._step(size)
            except EOFError as error:
                self._fault = error
                self._ready = self._left_behind()
            except DamageError as error:
                self._fault = error
            except Exception as error:
                # Each library has its own; a BadInput of the source below passes through.
                if type(error).__module__.startswith("core."):
                    raise
                self._fault = DamageError(_said(error))
        self._produced += len(self._ready)

    def _step(self, size: int) -> None:
        decoder = self._decoder
        if decoder.eof:
            self._next_stream()
            return
        data, self._input = self._input, b""
        if not data and decoder.needs_input:
            data = self._source.read(PIECE_BYTES)
            if not data:
                raise EOFError("the packed data breaks off")
        self._ready = decoder.decompress(data, size)

    def _next_stream(self) -> None:
        """Begins the stream that follows, if there is one."""
        if not self._codec.magic:
            self._done = True
            return
        rest = self._decoder.unused_data
        padding = False
        while True:
            kept = rest.lstrip(b"\x00")
            padding = padding or len(kept) < len(rest)
            if len(kept) >= max(map(len, self._codec.magic)):
                break
            more = self._source.read(PIECE_BYTES)
            rest = kept + more
            if not more:
                break
        rest = rest.lstrip(b"\x00")
        if rest.startswith(self._codec.magic):
            self._begin = _tell(self._source, -len(rest))
            self._produced = 0
            self._decoder = self._codec.fresh()
            self._input = rest
        elif rest and any(magic.startswith(rest) for magic in self._codec.magic):
            raise EOFError("the packed data breaks off")
        else:
            self._done = True
            self._pass_over(rest)

    def _pass_over(self, garbage: bytes) -> None:
        while len(garbage) <= MAX_GARBAGE and (more := self._source.read(PIECE_BYTES)):
            garbage += more
        garbage = garbage.strip(b"\x00")
        if len(garbage) > MAX_GARBAGE:
            raise DamageError("behind its packed data lies something else")
        if garbage:
            self.remark = f"{len(garbage):,} bytes behind the packed data are something else and were passed over."

    def _left_behind(self) -> bytes:
        """The last bytes before a break: isal gives up to two fewer than zlib, which could be the end of a row."""
        if not (self._keep_truncated and self._codec.window_bits) or self._begin is None:
            return b""
        source, careful = self._source, zlib.decompressobj(self._codec.window_bits)
        source.seek(self._begin)  # type: ignore[attr-defined]
        skip, found = self._produced, b""
        try:
            while data := source.read(PIECE_BYTES):
                while data:
                    out = careful.decompress(data, 2**20)
                    data = careful.unconsumed_tail
                    found += out[skip:]
                    skip = max(0, skip - len(out))
            return found + careful.flush()[skip:]
        except zlib.error:
            return found


def _tell(source: Source, offset: int = 0) -> int | None:
    """Where a source that can go back stands; None for one that cannot."""
    tell = getattr(source, "tell", None)
    return None if tell is None else tell() + offset


def _said(error: Exception) -> str:
    text = str(error)
    if "Memory usage limit" in text or "too much memory" in text:
        return f"its packer used more than {MEMORY_LIMIT >> 20} MB of memory; pack it again with an ordinary level"
    return text or type(error).__name__
