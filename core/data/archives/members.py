"""Opens the members of an archive, each as a stream; nothing is extracted.

A member that is packed itself (``train.txt.gz`` in a tar) is unpacked as well, one layer deep.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from core.data.archives import member_choice
from core.data.archives.bounded_reader import (
    DAMAGE_ERRORS,
    BoundedReader,
    check_member,
    describe_truncation,
)
from core.data.archives.decoders import CODECS, DamageError, detect_packing
from core.data.archives.member_choice import MAX_MEMBERS
from core.data.archives.tars import TarMember, walk_tar
from core.data.archives.unpacking import ByteSource, Unpacker
from core.data.archives.zips import (
    NoDirectoryError,
    ZipMember,
    open_member,
    read_directory,
    read_local_headers,
)
from core.errors import BadInput, UnreadableRow

TAR_PACKINGS = {"tar": None, "tar.gz": "gzip", "tar.bz2": "bz2", "tar.xz": "xz", "tar.zst": "zstd"}
"""How a tar archive is compressed, by container."""
_MAGIC_BYTES = 16
"""First bytes of a member by which its compression is recognised."""
UNREADABLE_KINDS = {
    "link": "is a link, not a file",
    "device": "is a device, not a file",
    "encrypted": "is encrypted; unpack the archive with its password first",
    "deflate64": (
        "is compressed with Deflate64 (as Windows does with large files), which is not read;"
        " compress it with gzip instead"
    ),
    "method": "is compressed with a method that is not read; compress it with gzip instead",
    "sparse": "is stored with holes (tar --sparse); pack it without",
    "part": "goes on in another volume of the archive; join the volumes first",
}
"""Why a member of this kind is not read, to follow its name in a sentence."""


@dataclass(frozen=True)
class Archive:
    """An open archive.

    Attributes:
        raw: the file.
        name: its name, for messages.
        packed_bytes: its size.
        kind: its container, such as "tar.gz".
        keep_truncated: as in `containers.open_rows`.
    """

    raw: BinaryIO
    name: str
    packed_bytes: int
    kind: str
    keep_truncated: bool

    def bounded(self, stream: ByteSource, unpacked: int = 0) -> BoundedReader:
        """Limit a stream by the size of the archive; `unpacked` bytes count already."""
        return BoundedReader(stream, self.packed_bytes, self.name, self.raw, unpacked=unpacked)


def is_archive(kind: str) -> bool:
    """Return whether a container of this kind has members."""
    return kind == "zip" or kind in TAR_PACKINGS


def open_archive_member(archive: Archive, member: str) -> BoundedReader:
    """Open a member by its unique name, as `survey.list_archive_members` returns it."""
    return (_open_zip if archive.kind == "zip" else _open_tar)(archive, member)


class NestedReader:
    """The bytes of a member, unpacked once more if they are packed themselves.

    Each layer is limited by the size of the archive. EOFError and damage are left to the caller.
    """

    def __init__(self, archive: Archive, stream: ByteSource, unpacked: int = 0) -> None:
        self._archive = archive
        self._before = unpacked
        self._outer = archive.bounded(stream, unpacked)
        self._first: bytes | None = None
        self._inner: BoundedReader | None = None

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes."""
        if self._first is None:
            self._first = self._outer.read_raising(_MAGIC_BYTES)
            if packing := detect_packing(self._first):
                self._inner = self._archive.bounded(
                    Unpacker(_OuterReader(self), CODECS[packing]), self._before
                )
        return self._inner.read_raising(size) if self._inner else self.read_outer(size)

    def read_outer(self, size: int) -> bytes:
        """Return at most `size` bytes as they are in the archive."""
        if self._first:
            data = self._first if size < 0 else self._first[:size]
            self._first = self._first[len(data) :]
            return data
        return self._outer.read_raising(size)

    @property
    def unpacked(self) -> int:
        """Unpacked bytes so far, of the layer that has more."""
        return max(self._outer.unpacked, self._inner.unpacked if self._inner else 0)


class _OuterReader:
    """The outer layer of a `NestedReader`, for its inner layer to read from."""

    def __init__(self, layers: NestedReader) -> None:
        self._layers = layers

    def read(self, size: int = -1) -> bytes:
        return self._layers.read_outer(size)


def zip_members(archive: Archive) -> tuple[dict[str, ZipMember], bool]:
    """Return (members by unique name, whether the archive is truncated before its directory)."""
    truncated = False
    try:
        members = read_directory(archive.raw)
    except NoDirectoryError as error:
        if not archive.keep_truncated:
            where = "before its directory, which a zip archive has at its end"
            raise UnreadableRow(describe_truncation(archive.name, where)) from error
        members, truncated = read_local_headers(archive.raw, MAX_MEMBERS + 1), True
    except DamageError as error:
        raise BadInput(
            f"{archive.name!r} cannot be unpacked ({error}); the archive is damaged."
        ) from error
    if len(members) > MAX_MEMBERS:
        raise _too_many_members(archive)
    names = member_choice.unique_names([_normalise_name(member.name) for member in members])
    return dict(zip(names, members, strict=True)), truncated


def walk_members(archive: Archive) -> Iterator[tuple[str, TarMember, ByteSource]]:
    """Yield (unique name, member, its bytes) for every member of a tar archive.

    Raises:
        EOFError: the archive is truncated.
    """
    packing = TAR_PACKINGS[archive.kind]
    source: ByteSource = archive.raw
    if packing:
        # The limit applies to the whole archive, because skipping a member unpacks it as well.
        # A truncation ends the stream here and is raised at the end of the walk.
        unpacker = Unpacker(archive.raw, CODECS[packing], archive.keep_truncated)
        source = BoundedReader(
            unpacker, archive.packed_bytes, archive.name, archive.raw, keep_truncated=True
        )
    seen: dict[str, int] = {}
    for count, (member, stream) in enumerate(walk_tar(source, needs_end=not packing)):
        if count >= MAX_MEMBERS:
            raise _too_many_members(archive)
        name = _normalise_name(member.name)
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})", member, stream
    if isinstance(source, BoundedReader) and source.truncated:
        raise EOFError("the archive is truncated")


def _too_many_members(archive: Archive) -> BadInput:
    return BadInput(
        f"{archive.name!r} holds more than {MAX_MEMBERS:,} members; give the file of rows alone."
    )


def _open_zip(archive: Archive, member: str) -> BoundedReader:
    members, _ = zip_members(archive)
    if member not in members:
        raise BadInput(f"{archive.name!r} has no member {member[:80]!r}.")
    entry = members[member]
    _check_readable(archive, entry.name, entry.kind)
    try:
        opened = open_member(archive.raw, entry, archive.keep_truncated)
    except DAMAGE_ERRORS as error:
        raise BadInput(
            f"{archive.name!r} cannot be unpacked ({error}); the archive is damaged."
        ) from error
    return BoundedReader(
        NestedReader(archive, opened.stream),
        archive.packed_bytes,
        archive.name,
        archive.raw,
        keep_truncated=archive.keep_truncated,
        member=member,
        span=(opened.start, opened.packed),
    )


def _open_tar(archive: Archive, member: str) -> BoundedReader:
    walk = walk_members(archive)
    try:
        for name, entry, stream in walk:
            if name == member:
                _check_readable(archive, entry.name, entry.kind)
                source = _DrainingReader(NestedReader(archive, stream), walk, archive)
                keep = archive.keep_truncated
                return BoundedReader(
                    source,
                    archive.packed_bytes,
                    archive.name,
                    archive.raw,
                    keep_truncated=keep,
                    member=member,
                )
    except EOFError as error:
        raise UnreadableRow(
            describe_truncation(archive.name, f"before its member {member[:80]!r}")
        ) from error
    except DAMAGE_ERRORS as error:
        raise BadInput(
            f"{archive.name!r} cannot be unpacked ({error}); the archive is damaged."
        ) from error
    raise BadInput(f"{archive.name!r} has no member {member[:80]!r}.")


def _check_readable(archive: Archive, name: str, kind: str) -> None:
    check_member(name, kind not in ("link", "device", "folder"), archive.name)
    if kind != "file":
        raise BadInput(f"{name[:80]!r} in {archive.name!r} {UNREADABLE_KINDS[kind]}.")


class _DrainingReader:
    """A member of a tar archive. At its end the rest of a compressed archive is read too.

    The checksum of the compression is at the end of the file.
    """

    def __init__(self, layers: NestedReader, walk: Iterator[object], archive: Archive) -> None:
        self._layers = layers
        self._walk = walk
        self._packed = TAR_PACKINGS[archive.kind] is not None
        self._keep_truncated = archive.keep_truncated

    def read(self, size: int = -1) -> bytes:
        data = self._layers.read(size)
        if not data and size and self._packed:
            try:
                for _ in self._walk:
                    pass
            except EOFError:
                # The member itself is complete.
                if not self._keep_truncated:
                    raise
        return data


def _normalise_name(name: str) -> str:
    """Return a member's name without ``./`` and with forward slashes."""
    return str(PurePosixPath(name.replace("\\", "/")))
