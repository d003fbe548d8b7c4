"""Unpacks gzip, bzip2, xz, zstd and raw deflate piece by piece: no more than asked for, and nothing
lost at a break.

The libraries raise at a file's break or damage and may drop what the same call had unpacked.
`Unpacker` hands out every byte first and raises on the next call.
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
"""Packed bytes read at once."""
MAX_GARBAGE = 4096
"""Bytes behind the packed data that are passed over, as gzip does; a longer rest may be rows, and
is refused."""


class ByteSource(Protocol):
    """Where packed bytes come from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, none at the end."""


class Unpacker:
    """What `source` holds, unpacked. Several streams end to end are one, zero padding behind them
    is passed over.

    read raises EOFError where the packed data breaks off, and DamageError where it is not sound, in
    both cases only after every byte before has been handed out. What was unpacked before a break is
    what was packed; before damage it need not be, since most packings check their bytes at the end
    alone.

    keep_truncated: go to the length of unpacking once more, by zlib, what breaks off, for its very
    last bytes. remark: what was passed over, a sentence; empty as a rule.
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

    def _fill(self, size: int) -> None:
        """Puts more bytes into `_ready`; none once everything has been given or a fault was met."""
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
            # bz2 asks for input while it still has something to give.
            self._ready = decoder.decompress(data, size)
            if not (data or self._ready or decoder.eof):
                raise EOFError("the packed data breaks off")
        else:
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
            self._begin = _tell_or_none(self._source, -len(rest))
            self._produced = 0
            self._decoder = self._codec.new_decoder()
            self._input = rest
        elif rest and any(magic.startswith(rest) for magic in self._codec.magic):
            raise EOFError("the packed data breaks off")
        else:
            self._done = True
            self._skip_garbage(rest)

    def _skip_garbage(self, garbage: bytes) -> None:
        while len(garbage) <= MAX_GARBAGE and (more := self._source.read(PIECE_BYTES)):
            garbage += more
        garbage = garbage.strip(b"\x00")
        if len(garbage) > MAX_GARBAGE:
            raise DamageError("behind its packed data lies something else")
        if garbage:
            self.remark = (
                f"{len(garbage):,} bytes behind the packed data are something else and were passed"
                " over."
            )

    def _recover_tail(self) -> bytes:
        """The last bytes before a break: isal gives up to two fewer than zlib, which could be the
        end of a row."""
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


def _tell_or_none(source: ByteSource, offset: int = 0) -> int | None:
    """Where a source that can go back stands; None for one that cannot."""
    tell = getattr(source, "tell", None)
    return None if tell is None else tell() + offset


def _to_damage_error(error: Exception) -> DamageError:
    text = str(error)
    if "Memory usage limit" in text or "too much memory" in text:
        return MemoryLimitError(f"it takes more than {MEMORY_LIMIT >> 20} MB")
    return DamageError(text or type(error).__name__)
