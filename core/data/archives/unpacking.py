"""Unpacks gzip, bzip2, xz, zstd and raw deflate in pieces, losing no byte before a truncation.

The libraries raise at a truncation or damage and may drop what the same call had unpacked.
`Unpacker` returns every byte first and raises on the next call.
"""

import zlib
from typing import Protocol

from core.data.archives.decoders import (
    DECODER_ERRORS,
    MEMORY_LIMIT,
    Codec,
    DamageError,
    MemoryLimitError,
)

PIECE_BYTES = 2**17
"""Packed bytes read per call."""
MAX_GARBAGE = 4096
"""Bytes after the packed data that are ignored, as gzip does. More may be rows and is refused."""


class ByteSource(Protocol):
    """A stream of packed bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, none at the end."""


class Unpacker:
    """The unpacked bytes of `source`.

    Several streams end to end count as one, and zero padding after them is ignored. What is
    returned before a truncation is correct. What is returned before damage may not be, because most
    formats check their bytes only at the end of the stream.

    Args:
        source: the packed bytes.
        codec: their format.
        keep_truncated: for truncated data also recover the last bytes, which takes a second pass by
            zlib.

    Attributes:
        remark: a sentence about data that was skipped after the packed data; usually empty.
    """

    def __init__(self, source: ByteSource, codec: Codec, keep_truncated: bool = False) -> None:
        self._source = source
        self._codec = codec
        self._keep_truncated = keep_truncated
        self._decoder = codec.new_decoder()
        self._begin = _tell_or_none(source)
        self._produced = 0
        self._input = b""
        self._ready = b""
        self._fault: Exception | None = None
        self._done = False
        self.remark = ""

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes (all with -1); fewer only before the end, a truncation or damage.

        Raises:
            EOFError: the packed data is truncated; all bytes before have been returned.
            DamageError: it is damaged; all bytes before have been returned.
        """
        pieces, remaining = [], size if size >= 0 else 2**62
        while remaining:
            if not self._ready:
                self._fill(min(remaining, 2**20))
            if not self._ready:
                break
            piece, self._ready = self._ready[:remaining], self._ready[remaining:]
            pieces.append(piece)
            remaining -= len(piece)
        if not pieces and remaining and self._fault:
            raise self._fault
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _fill(self, size: int) -> None:
        """Fill `_ready`, unless everything has been returned or an error was met."""
        while not (self._ready or self._done or self._fault):
            try:
                self._step(size)
            except EOFError as error:
                self._fault = error
                self._ready = self._recover_tail()
            except DamageError as error:
                self._fault = error
            except DECODER_ERRORS as error:
                self._fault = _to_damage_error(error)
        self._produced += len(self._ready)

    def _step(self, size: int) -> None:
        decoder = self._decoder
        if decoder.eof:
            self._next_stream()
            return
        data, self._input = self._input, b""
        if not data and decoder.needs_input:
            data = self._source.read(PIECE_BYTES)
            # bz2 asks for input even while it still has output.
            self._ready = decoder.decompress(data, size)
            if not (data or self._ready or decoder.eof):
                raise EOFError("the packed data is truncated")
        else:
            self._ready = decoder.decompress(data, size)

    def _next_stream(self) -> None:
        """Start the next stream, if there is one."""
        if not self._codec.magic:
            self._done = True
            return
        rest = self._decoder.unused_data
        has_padding = False
        while True:
            data = rest.lstrip(b"\x00")
            has_padding = has_padding or len(data) < len(rest)
            if len(data) >= max(map(len, self._codec.magic)):
                break
            more = self._source.read(PIECE_BYTES)
            rest = data + more
            if not more:
                break
        rest = rest.lstrip(b"\x00")
        if rest.startswith(self._codec.magic):
            self._begin = _tell_or_none(self._source, -len(rest))
            self._produced = 0
            self._decoder = self._codec.new_decoder()
            self._input = rest
        elif rest and any(magic.startswith(rest) for magic in self._codec.magic):
            raise EOFError("the packed data is truncated")
        else:
            self._done = True
            self._skip_garbage(rest)

    def _skip_garbage(self, garbage: bytes) -> None:
        while len(garbage) <= MAX_GARBAGE and (more := self._source.read(PIECE_BYTES)):
            garbage += more
        garbage = garbage.strip(b"\x00")
        if len(garbage) > MAX_GARBAGE:
            raise DamageError("something else follows its packed data")
        if garbage:
            self.remark = (
                f"{len(garbage):,} bytes after the packed data are something else and were ignored."
            )

    def _recover_tail(self) -> bytes:
        """Return the last bytes before a truncation.

        isal returns up to two bytes fewer than zlib, and those could be the end of a row.
        """
        if not (self._keep_truncated and self._codec.window_bits) or self._begin is None:
            return b""
        source, decoder = self._source, zlib.decompressobj(self._codec.window_bits)
        source.seek(self._begin)  # type: ignore[attr-defined]
        skip, tail = self._produced, b""
        try:
            while data := source.read(PIECE_BYTES):
                while data:
                    piece = decoder.decompress(data, 2**20)
                    data = decoder.unconsumed_tail
                    tail += piece[skip:]
                    skip = max(0, skip - len(piece))
            return tail + decoder.flush()[skip:]
        except zlib.error:
            return tail


def _tell_or_none(source: ByteSource, offset: int = 0) -> int | None:
    """Return the position of a seekable source plus `offset`; None if it is not seekable."""
    tell = getattr(source, "tell", None)
    return None if tell is None else tell() + offset


def _to_damage_error(error: Exception) -> DamageError:
    text = str(error)
    if "Memory usage limit" in text or "too much memory" in text:
        return MemoryLimitError(f"it takes more than {MEMORY_LIMIT >> 20} MB")
    return DamageError(text or type(error).__name__)
