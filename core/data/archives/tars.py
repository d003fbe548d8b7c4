"""Walks a tar archive as a stream, one member after the other; nothing is extracted.

Python's tarfile takes a damaged header for the archive's end and says nothing, and stops at the
first of several archives put end to end: both lose members silently.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from core.data.archives.decoders import DamageError
from core.data.archives.unpacking import MAX_GARBAGE, ByteSource

BLOCK_BYTES = 512
_MAX_HEADER_BYTES = 2**20
"""Bytes of a member's long name or of its further attributes."""
_CHUNK_BYTES = 2**20
_MAX_SIZE = 2**60
_ZERO_BLOCK = bytes(BLOCK_BYTES)
_KINDS = {
    **dict.fromkeys((tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE), "file"),
    tarfile.DIRTYPE: "folder",
    tarfile.GNUTYPE_SPARSE: "sparse",
    tarfile.LNKTYPE: "link",
    tarfile.SYMTYPE: "link",
    **dict.fromkeys((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE), "device"),
    b"M": "part",
    b"V": "label",
    b"D": "folder",
}
"""Kinds of members by the type in their header; what is not here is a file, as the standard has
it."""
_WITHOUT_DATA = ("folder", "link", "device", "label")


@dataclass(frozen=True)
class TarMember:
    """A member. kind: file, folder, link, device, sparse, part (of an archive over several volumes)
    or label."""

    name: str
    kind: str
    size: int


class MemberStream:
    """The bytes of the member that the walk has come to; EOFError where the archive breaks off in
    it."""

    def __init__(self, source: ByteSource, size: int) -> None:
        self._source = source
        self.remaining = size

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes (all with -1); fewer at the member's end alone."""
        wanted = self.remaining if size < 0 else min(size, self.remaining)
        pieces: list[bytes] = []
        while wanted:
            data = self._source.read(min(wanted, _CHUNK_BYTES))
            if not data:
                if pieces:
                    break
                raise EOFError("the archive breaks off")
            pieces.append(data)
            wanted -= len(data)
            self.remaining -= len(data)
        return b"".join(pieces)

    def skip_rest(self) -> None:
        """Reads or skips what is left."""
        left, self.remaining = self.remaining, 0
        _skip(self._source, left)


def is_tar(block: bytes) -> bool:
    """Whether these 512 bytes are the header of a member."""
    if len(block) < BLOCK_BYTES or block == _ZERO_BLOCK:
        return False
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except (tarfile.TarError, ValueError):
        return False
    return True


def walk_tar(
    source: ByteSource, needs_end: bool = False
) -> Iterator[tuple[TarMember, MemberStream]]:
    """Every member and its bytes, of several archives end to end as well.

    What a consumer leaves of a member is passed over; where `source` can go on without reading
    (seek), so it does. Raises EOFError where the archive breaks off, DamageError at a header that
    is none. needs_end: whether an archive breaks off that ends with a member, without the zero
    block that marks its end; otherwise it is whole, as for tar.
    """
    name, size, sparse, ended = "", None, False, False
    while block := _read_block(source):
        if block == _ZERO_BLOCK:
            ended = True
            continue
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except (tarfile.TarError, ValueError) as error:
            if ended and _is_short_tail(source, block):
                return
            raise DamageError("the header of a member of its tar archive is damaged") from error
        if not 0 <= header.size < _MAX_SIZE:
            raise DamageError(f"a member of its tar archive has the size {header.size}")
        ended = False
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            text = _read_payload(source, header.size).split(b"\x00")[0].decode("utf-8", "replace")
            name = text if header.type == tarfile.GNUTYPE_LONGNAME else name
        elif header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            further = _parse_pax_records(_read_payload(source, header.size))
            name = further.get("GNU.sparse.name") or further.get("path") or name
            size = _parse_size(further["size"]) if "size" in further else size
            sparse = any(key.startswith("GNU.sparse.") for key in further)
        elif header.type == tarfile.XGLTYPE:
            _read_payload(source, header.size)
        else:
            yield from _yield_member(source, block, header, name, size, sparse)
            name, size, sparse = "", None, False
    if needs_end and not ended:
        raise EOFError("the archive breaks off")


def _yield_member(
    source: ByteSource,
    block: bytes,
    header: tarfile.TarInfo,
    name: str,
    size: int | None,
    sparse: bool,
) -> Iterator[tuple[TarMember, MemberStream]]:
    kind = _KINDS.get(header.type, "file")
    if kind == "file" and (name or header.name).endswith("/"):
        kind = "folder"
    if kind == "sparse":
        # Its map goes on in blocks of their own, the last of which says that it is.
        more = bool(block[482])
        while more:
            more = bool(_require_block(source)[504])
    kind = "sparse" if sparse and kind == "file" else kind
    length = 0 if kind in _WITHOUT_DATA else header.size if size is None else size
    stream = MemberStream(source, length)
    yield TarMember((name or header.name).rstrip("/"), kind, length), stream
    stream.skip_rest()
    _skip(source, -length % BLOCK_BYTES)


def _read_block(source: ByteSource) -> bytes:
    """The next block; nothing at the end, EOFError where the file ends within a block."""
    block = b""
    while len(block) < BLOCK_BYTES and (data := source.read(BLOCK_BYTES - len(block))):
        block += data
    if 0 < len(block) < BLOCK_BYTES and block.strip(b"\x00"):
        raise EOFError("the archive breaks off")
    return block if len(block) == BLOCK_BYTES else b""


def _require_block(source: ByteSource) -> bytes:
    block = _read_block(source)
    if not block:
        raise EOFError("the archive breaks off")
    return block


def _read_payload(source: ByteSource, size: int) -> bytes:
    if size > _MAX_HEADER_BYTES:
        raise DamageError(f"a member of its tar archive has a header of {size:,} bytes")
    data = b""
    while len(data) < size + -size % BLOCK_BYTES:
        data += _require_block(source)
    return data[:size]


def _parse_pax_records(data: bytes) -> dict[str, str]:
    """What a pax header says: records of `length key=value` and a line end."""
    found, place = {}, 0
    while place < len(data) and data[place]:
        record = re.compile(rb"(\d{1,20}) ([^=]+)=").match(data, place)
        length = int(record[1]) if record else 0
        if (
            not record
            or length < 5
            or place + length > len(data)
            or data[place + length - 1 : place + length] != b"\n"
        ):
            raise DamageError("the header of a member of its tar archive is damaged")
        found[record[2].decode("utf-8", "replace")] = data[
            record.end() : place + length - 1
        ].decode("utf-8", "replace")
        place += length
    return found


def _parse_size(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise DamageError(f"a member of its tar archive has the size {text[:30]!r}")
    return int(text)


def _skip(source: ByteSource, size: int) -> None:
    """Goes on by `size` bytes; EOFError where there are fewer."""
    seek = getattr(source, "seek", None)
    if seek and size > _CHUNK_BYTES:
        seek(size - 1, 1)
        size = 1
    while size > 0:
        data = source.read(min(size, _CHUNK_BYTES))
        if not data:
            raise EOFError("the archive breaks off")
        size -= len(data)


def _is_short_tail(source: ByteSource, rest: bytes) -> bool:
    """Whether next to nothing follows behind an archive's end, as tapes had it; a longer rest may
    be rows."""
    while len(rest) <= MAX_GARBAGE and (data := source.read(_CHUNK_BYTES)):
        rest += data
    return len(rest) <= MAX_GARBAGE
