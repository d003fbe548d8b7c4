"""Reads a tar archive as a stream, member by member; nothing is extracted.

Python's tarfile silently loses members in two cases: it takes a damaged header for the end of the
archive, and it stops at the first of several archives put end to end.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from core.data.archives.decoders import DamageError
from core.data.archives.unpacking import MAX_GARBAGE, ByteSource

BLOCK_BYTES = 512
_MAX_HEADER_BYTES = 2**20
"""Bytes of a member's long name or of its pax records."""
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
"""Kind of a member by the type flag in its header; any other type is a file, as POSIX says."""
_WITHOUT_DATA = ("folder", "link", "device", "label")


@dataclass(frozen=True)
class TarMember:
    """A member of a tar archive.

    Attributes:
        name: path within the archive.
        kind: file, folder, link, device, sparse, part (of a multi-volume archive) or label.
        size: in bytes.
    """

    name: str
    kind: str
    size: int


class MemberStream:
    """The bytes of the current member. Reading raises EOFError where the archive is truncated."""

    def __init__(self, source: ByteSource, size: int) -> None:
        self._source = source
        self.remaining = size

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes (all with -1); fewer only at the end of the member."""
        n_bytes = self.remaining if size < 0 else min(size, self.remaining)
        pieces: list[bytes] = []
        while n_bytes:
            data = self._source.read(min(n_bytes, _CHUNK_BYTES))
            if not data:
                if pieces:
                    break
                raise EOFError("the archive is truncated")
            pieces.append(data)
            n_bytes -= len(data)
            self.remaining -= len(data)
        return b"".join(pieces)

    def skip_rest(self) -> None:
        """Read or seek past the remaining bytes."""
        remaining, self.remaining = self.remaining, 0
        _skip(self._source, remaining)


def is_tar(block: bytes) -> bool:
    """Return whether these 512 bytes are the header of a member."""
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
    """Yield every member and its bytes, also of several archives put end to end.

    Bytes that the caller has not read are skipped, by seeking where `source` can.

    Args:
        source: the unpacked archive.
        needs_end: whether an archive without the zero blocks at its end counts as truncated. The
            ``tar`` command accepts it.

    Raises:
        EOFError: the archive is truncated.
        DamageError: the header of a member is damaged.
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
            records = _parse_pax_records(_read_payload(source, header.size))
            name = records.get("GNU.sparse.name") or records.get("path") or name
            size = _parse_size(records["size"]) if "size" in records else size
            sparse = any(key.startswith("GNU.sparse.") for key in records)
        elif header.type == tarfile.XGLTYPE:
            _read_payload(source, header.size)
        else:
            yield from _yield_member(source, block, header, name, size, sparse)
            name, size, sparse = "", None, False
    if needs_end and not ended:
        raise EOFError("the archive is truncated")


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
        # The map of its holes continues in further blocks; each has a flag for one more.
        has_more = bool(block[482])
        while has_more:
            has_more = bool(_require_block(source)[504])
    kind = "sparse" if sparse and kind == "file" else kind
    length = 0 if kind in _WITHOUT_DATA else header.size if size is None else size
    stream = MemberStream(source, length)
    yield TarMember((name or header.name).rstrip("/"), kind, length), stream
    stream.skip_rest()
    _skip(source, -length % BLOCK_BYTES)


def _read_block(source: ByteSource) -> bytes:
    """Return the next block, b"" at the end.

    Raises:
        EOFError: the file ends within a block.
    """
    block = b""
    while len(block) < BLOCK_BYTES and (data := source.read(BLOCK_BYTES - len(block))):
        block += data
    if 0 < len(block) < BLOCK_BYTES and block.strip(b"\x00"):
        raise EOFError("the archive is truncated")
    return block if len(block) == BLOCK_BYTES else b""


def _require_block(source: ByteSource) -> bytes:
    block = _read_block(source)
    if not block:
        raise EOFError("the archive is truncated")
    return block


def _read_payload(source: ByteSource, size: int) -> bytes:
    if size > _MAX_HEADER_BYTES:
        raise DamageError(f"a member of its tar archive has a header of {size:,} bytes")
    data = b""
    while len(data) < size + -size % BLOCK_BYTES:
        data += _require_block(source)
    return data[:size]


def _parse_pax_records(data: bytes) -> dict[str, str]:
    """Parse a pax header: records of ``length key=value``, each with a line end."""
    records, position = {}, 0
    while position < len(data) and data[position]:
        record = re.compile(rb"(\d{1,20}) ([^=]+)=").match(data, position)
        length = int(record[1]) if record else 0
        if (
            not record
            or length < 5
            or position + length > len(data)
            or data[position + length - 1 : position + length] != b"\n"
        ):
            raise DamageError("the header of a member of its tar archive is damaged")
        records[record[2].decode("utf-8", "replace")] = data[
            record.end() : position + length - 1
        ].decode("utf-8", "replace")
        position += length
    return records


def _parse_size(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise DamageError(f"a member of its tar archive has the size {text[:30]!r}")
    return int(text)


def _skip(source: ByteSource, size: int) -> None:
    """Skip `size` bytes; raise EOFError if there are fewer."""
    seek = getattr(source, "seek", None)
    if seek and size > _CHUNK_BYTES:
        seek(size - 1, 1)
        size = 1
    while size > 0:
        data = source.read(min(size, _CHUNK_BYTES))
        if not data:
            raise EOFError("the archive is truncated")
        size -= len(data)


def _is_short_tail(source: ByteSource, rest: bytes) -> bool:
    """Return whether little follows the end of the archive, as on tapes; more may be rows."""
    while len(rest) <= MAX_GARBAGE and (data := source.read(_CHUNK_BYTES)):
        rest += data
    return len(rest) <= MAX_GARBAGE
