"""Reads a zip archive's directory and members, and checks both against what the archive states.

Python's zipfile stops where the directory says a member ends, so a wrong size silently loses rows;
and it reads a directory of any size into memory.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from isal import isal_zlib

from core.data.archives.decoders import ZIP_METHODS, DamageError
from core.data.archives.unpacking import ByteSource, Unpacker

MAX_DIRECTORY_BYTES = 8 * 2**20
"""Largest directory of an archive in bytes, enough for 100,000 members."""
_LOCAL_MAGIC = b"PK\x03\x04"
_LOCAL_HEADER_BYTES = 30
_DEFLATE64 = 9
_ZIP64_SIZE = 0xFFFFFFFF
_MAX_GAP_BYTES = 1024
"""Bytes that may lie unused between two members."""


@dataclass(frozen=True)
class ZipMember:
    """A member of a zip archive.

    Attributes:
        name: path within the archive.
        kind: file, folder, link, device, encrypted, or deflate64 or method if it cannot be
            unpacked.
        method: number of the compression method.
        packed, size: bytes in the archive and unpacked; None where the archive does not say.
        crc: checksum of the unpacked bytes; None where the archive does not say.
        offset: position of the member's local header in the file.
        listed: whether the directory of the archive names it.
    """

    name: str
    kind: str
    method: int
    packed: int | None
    size: int | None
    crc: int | None
    offset: int
    listed: bool


@dataclass(frozen=True)
class OpenedMember:
    """The unpacked bytes of a member, and where its packed bytes are.

    Attributes:
        stream: the unpacked bytes.
        start: position of the packed bytes in the file.
        packed: number of packed bytes.
    """

    stream: ByteSource
    start: int
    packed: int


class NoDirectoryError(Exception):
    """The archive has no directory at its end: it is truncated, or not a zip archive."""


class FileWindow:
    """Bytes `start` to `end` of a file as a file; `end` None means the end of the file."""

    def __init__(self, raw: BinaryIO, start: int, end: int | None) -> None:
        self._raw = raw
        self._end = 2**63 - 1 if end is None else end
        self.bounded = end is not None
        raw.seek(start)

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes."""
        remaining = max(0, self._end - self._raw.tell())
        return self._raw.read(remaining if size < 0 else min(size, remaining))

    def tell(self) -> int:
        """Return the position in the file."""
        return self._raw.tell()

    def seek(self, position: int) -> None:
        """Move to a position in the file."""
        self._raw.seek(position)

    @property
    def is_truncated(self) -> bool:
        """Whether the file ends before the window."""
        return self._raw.seek(0, 2) < self._end


class ChecksumReader:
    """The unpacked bytes of a member, checked against the size and the CRC-32 in the archive."""

    def __init__(self, stream: ByteSource, member: ZipMember) -> None:
        self._stream = stream
        self._member = member
        self._count = self._crc = 0

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes; none at the end.

        Raises:
            DamageError: the size or the checksum is wrong.
        """
        data = self._stream.read(size)
        self._count += len(data)
        self._crc = isal_zlib.crc32(data, self._crc)
        expected = self._member.size
        if expected is not None and (
            self._count > expected or (not data and size and self._count < expected)
        ):
            more = "more" if self._count > expected else f"{self._count:,}"
            raise DamageError(
                f"the archive says that {self._member.name[:80]!r} has {expected:,} bytes, but it"
                f" has {more}"
            )
        if not data and size and self._member.crc not in (None, self._crc):
            raise DamageError(f"the checksum of {self._member.name[:80]!r} is wrong")
        return data


class _BoundedFile:
    """A file for zipfile that refuses to read a directory of more than MAX_DIRECTORY_BYTES."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.seek, self.tell, self.seekable = raw.seek, raw.tell, raw.seekable

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY_BYTES:
            raise DamageError(f"its directory has {size:,} bytes")
        return self._raw.read(size)


def read_directory(raw: BinaryIO) -> list[ZipMember]:
    """Return every member in the order of the directory.

    Raises:
        NoDirectoryError: there is no directory.
        DamageError: the directory is damaged or does not match the file.
    """
    try:
        with zipfile.ZipFile(_BoundedFile(raw)) as archive:
            entries, directory = archive.infolist(), archive.start_dir
    except zipfile.BadZipFile as error:
        if "not a zip file" in str(error):
            raise NoDirectoryError from error
        raise DamageError(str(error)) from error
    except (NotImplementedError, ValueError, OSError, OverflowError) as error:
        raise DamageError(str(error)) from error
    members = [
        ZipMember(
            entry.filename,
            _member_kind(entry),
            entry.compress_type,
            entry.compress_size,
            entry.file_size,
            entry.CRC,
            entry.header_offset,
            True,
        )
        for entry in entries
    ]
    if any(entry.offset < 0 for entry in members):
        raise DamageError("its directory names places before the file's beginning")
    _check_unlisted(raw, members, directory)
    return members


def read_local_headers(raw: BinaryIO, limit: int) -> list[ZipMember]:
    """Return at most `limit` members of an archive without a directory, from their local headers.

    A member whose header does not give its size (a streamed archive) is the last one found.
    """
    members: list[ZipMember] = []
    offset = 0
    while len(members) < limit and (member := _read_local_header(raw, offset)):
        members.append(member)
        if member.packed is None:
            break
        offset = _find_data_start(raw, member) + member.packed
    return members


def open_member(raw: BinaryIO, member: ZipMember, keep_truncated: bool = False) -> OpenedMember:
    """Open a member of kind file; read it before opening another one, they share `raw`.

    Raises:
        DamageError: the headers do not match the file.
    """
    start = _find_data_start(raw, member)
    size = raw.seek(0, 2)
    packed = size - start if member.packed is None else member.packed
    if member.listed and start + packed > size:
        raise DamageError(f"{member.name[:80]!r} would end after the archive itself")
    window = FileWindow(raw, start, None if member.packed is None else start + packed)
    if member.method == 0:
        if member.packed is None:
            raise DamageError(
                f"{member.name[:80]!r} is not packed, and nothing says how long it is"
            )
        return OpenedMember(ChecksumReader(_StoredReader(window, packed), member), start, packed)
    unpacker = Unpacker(window, ZIP_METHODS[member.method], keep_truncated)
    return OpenedMember(ChecksumReader(_PackedReader(unpacker, window), member), start, packed)


class _StoredReader:
    """A member that is not compressed; raises EOFError if the file ends before it does."""

    def __init__(self, window: FileWindow, size: int) -> None:
        self._window = window
        self._left = size

    def read(self, size: int = -1) -> bytes:
        data = self._window.read(size)
        self._left -= len(data)
        if not data and size and self._left:
            raise EOFError("the archive is truncated")
        return data


class _PackedReader:
    """A compressed member. If its data ends early although the file does not, that is damage."""

    def __init__(self, stream: Unpacker, window: FileWindow) -> None:
        self._stream = stream
        self._window = window

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except EOFError:
            if self._window.bounded and not self._window.is_truncated:
                raise DamageError("a member is longer than the archive says") from None
            raise


def _member_kind(entry: zipfile.ZipInfo) -> str:
    if kind := _kind_from_header(entry.filename, entry.flag_bits, entry.compress_type):
        return kind
    # The Unix file mode: 0 if the archive was made on another system, 1 if from a pipe.
    mode = entry.external_attr >> 28
    return {0: "file", 1: "file", 8: "file", 4: "folder", 10: "link"}.get(mode, "device")


def _kind_from_header(name: str, flags: int, method: int) -> str:
    """Return the kind that a member's header shows; "" for what may be a file."""
    # ZipInfo.is_dir fails for an empty name.
    if name.endswith("/"):
        return "folder"
    if flags & 1:
        return "encrypted"
    if method and method not in ZIP_METHODS:
        return "deflate64" if method == _DEFLATE64 else "method"
    return ""


def _read_local_header(raw: BinaryIO, offset: int) -> ZipMember | None:
    raw.seek(offset)
    head = raw.read(_LOCAL_HEADER_BYTES)
    if len(head) < _LOCAL_HEADER_BYTES or not head.startswith(_LOCAL_MAGIC):
        return None
    number = lambda start, length: int.from_bytes(head[start : start + length], "little")  # noqa: E731
    name = raw.read(number(26, 2))
    extra = raw.read(number(28, 2))
    flags, method = number(6, 2), number(8, 2)
    crc: int | None = number(14, 4)
    packed: int | None = number(18, 4)
    size: int | None = number(22, 4)
    if flags & 8 and not packed:
        packed = size = crc = None
    elif _ZIP64_SIZE in (packed, size):
        size, packed = _zip64_sizes(extra)
    text = name.decode("utf-8" if flags & 0x800 else "cp437", "replace")
    return ZipMember(
        text,
        _kind_from_header(text, flags, method) or "file",
        method,
        packed,
        size,
        crc,
        offset,
        listed=False,
    )


def _zip64_sizes(extra: bytes) -> tuple[int | None, int | None]:
    """Return (size, packed size) of a member of 4 GB or more, from its extra field."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = (
            int.from_bytes(extra[position + at : position + at + 2], "little") for at in (0, 2)
        )
        if kind == 1 and length >= 16:
            body = extra[position + 4 : position + 20]
            return int.from_bytes(body[:8], "little"), int.from_bytes(body[8:], "little")
        position += 4 + length
    return None, None


def _find_data_start(raw: BinaryIO, member: ZipMember) -> int:
    raw.seek(member.offset)
    head = raw.read(_LOCAL_HEADER_BYTES)
    if len(head) < _LOCAL_HEADER_BYTES or not head.startswith(_LOCAL_MAGIC):
        raise DamageError(
            f"the header of {member.name[:80]!r} is not where the archive's directory says"
        )
    return (
        member.offset
        + _LOCAL_HEADER_BYTES
        + int.from_bytes(head[26:28], "little")
        + int.from_bytes(head[28:30], "little")
    )


def _check_unlisted(raw: BinaryIO, members: list[ZipMember], directory: int) -> None:
    """Raise DamageError if the file has, or leaves room for, a member that the directory lacks.

    Two archives put end to end are found this way: only the second directory is read.
    """
    ends = [0, *sorted(_member_ends(raw, members))]
    starts = [*sorted(member.offset for member in members), directory]
    for end, start in zip(ends, starts, strict=True):
        if start <= end:
            continue
        raw.seek(end)
        # A data descriptor of at most 24 bytes may follow a member, and a program (a
        # self-extracting archive) may precede the first.
        if _LOCAL_MAGIC in raw.read(min(28, start - end)) or (end and start - end > _MAX_GAP_BYTES):
            raise DamageError(
                "it holds data that its directory does not name: two archives end to end?"
            )


def _member_ends(raw: BinaryIO, members: list[ZipMember]) -> Iterator[int]:
    for member in members:
        try:
            yield _find_data_start(raw, member) + (member.packed or 0)
        except DamageError:
            # Reported when the member is read.
            yield member.offset
