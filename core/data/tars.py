"""Walks a tar archive as a stream, one member after the other; nothing is extracted.

Python's tarfile takes a damaged header for the archive's end and says nothing, and stops at the
first of several archives put end to end: both lose members silently.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from core.data.decoders import DamageError
from core.data.unpacking import MAX_GARBAGE, Source

BLOCK = 512
_MAX_HEADER = 2**20
"""Bytes of a member's long name or of its further attributes."""
_PIECE = 2**20
_MAX_SIZE = 2**60
_ZERO = bytes(BLOCK)
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

    def __init__(self, source: Source, size: int) -> None:
        self._source = source
        self.left = size

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes (all with -1); fewer at the member's end alone."""
        wanted = self.left if size < 0 else min(size, self.left)
        pieces: list[bytes] = []
        while wanted:
            data = self._source.read(min(wanted, _PIECE))
            if not data:
                if pieces:
                    break
                raise EOFError("the archive breaks off")
            pieces.append(data)
            wanted -= len(data)
            self.left -= len(data)
        return b"".join(pieces)

    def pass_over(self) -> None:
        """Reads or skips what is left."""
        left, self.left = self.left, 0
        _skip(self._source, left)


def is_tar(block: bytes) -> bool:
    """Whether these 512 bytes are the header of a member."""
    if len(block) < BLOCK or block == _ZERO:
        return False
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except (tarfile.TarError, ValueError):
        return False
    return True


def walk_tar(source: Source, needs_end: bool = False) -> Iterator[tuple[TarMember, MemberStream]]:
    """Every member and its bytes, of several archives end to end as well.

    What a consumer leaves of a member is passed over; where `source` can go on without reading
    (seek), so it does. Raises EOFError where the archive breaks off, DamageError at a header that
    is none. needs_end: whether an archive breaks off that ends with a member, without the zero
    block that marks its end; otherwise it is whole, as for tar.
    """
    name, size, sparse, ended = "", None, False, False
    while block := _read_block(source):
        if block == _ZERO:
            ended = True
            continue
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except (tarfile.TarError, ValueError) as error:
            if ended and _is_short(source, block):
                return
            raise DamageError("the header of a member of its tar archive is damaged") from error
        if not 0 <= header.size < _MAX_SIZE:
            raise DamageError(f"a member of its tar archive has the size {header.size}")
        ended = False
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            text = _payload(source, header.size).split(b"\x00")[0].decode("utf-8", "replace")
            name = text if header.type == tarfile.GNUTYPE_LONGNAME else name
        elif header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            further = _attributes(_payload(source, header.size))
            name = further.get("GNU.sparse.name") or further.get("path") or name
            size = _number(further["size"]) if "size" in further else size
            sparse = any(key.startswith("GNU.sparse.") for key in further)
        elif header.type == tarfile.XGLTYPE:
            _payload(source, header.size)
        else:
            yield from _member(source, block, header, name, size, sparse)
            name, size, sparse = "", None, False
    if needs_end and not ended:
        raise EOFError("the archive breaks off")


def _member(
    source: Source, block: bytes, header: tarfile.TarInfo, name: str, size: int | None, sparse: bool
) -> Iterator[tuple[TarMember, MemberStream]]:
    kind = _KINDS.get(header.type, "file")
    if kind == "file" and (name or header.name).endswith("/"):
        kind = "folder"
    if kind == "sparse":
        # Its map goes on in blocks of their own, the last of which says that it is.
        more = bool(block[482])
        while more:
            more = bool(_need_block(source)[504])
    kind = "sparse" if sparse and kind == "file" else kind
    length = 0 if kind in _WITHOUT_DATA else header.size if size is None else size
    stream = MemberStream(source, length)
    yield TarMember((name or header.name).rstrip("/"), kind, length), stream
    stream.pass_over()
    _skip(source, -length % BLOCK)


def _read_block(source: Source) -> bytes:
    """The next block; nothing at the end, EOFError where the file ends within a block."""
    block = b""
    while len(block) < BLOCK and (data := source.read(BLOCK - len(block))):
        block += data
    if 0 < len(block) < BLOCK and block.strip(b"\x00"):
        raise EOFError("the archive breaks off")
    return block if len(block) == BLOCK else b""


def _need_block(source: Source) -> bytes:
    block = _read_block(source)
    if not block:
        raise EOFError("the archive breaks off")
    return block


def _payload(source: Source, size: int) -> bytes:
    if size > _MAX_HEADER:
        raise DamageError(f"a member of its tar archive has a header of {size:,} bytes")
    data = b""
    while len(data) < size + -size % BLOCK:
        data += _need_block(source)
    return data[:size]


def _attributes(data: bytes) -> dict[str, str]:
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


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise DamageError(f"a member of its tar archive has the size {text[:30]!r}")
    return int(text)


def _skip(source: Source, size: int) -> None:
    """Goes on by `size` bytes; EOFError where there are fewer."""
    seek = getattr(source, "seek", None)
    if seek and size > _PIECE:
        seek(size - 1, 1)
        size = 1
    while size > 0:
        data = source.read(min(size, _PIECE))
        if not data:
            raise EOFError("the archive breaks off")
        size -= len(data)


def _is_short(source: Source, rest: bytes) -> bool:
    """Whether next to nothing follows behind an archive's end, as tapes had it; a longer rest may
    be rows."""
    while len(rest) <= MAX_GARBAGE and (data := source.read(_PIECE)):
        rest += data
    return len(rest) <= MAX_GARBAGE
