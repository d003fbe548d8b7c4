"""Opens a sample's file, plain, packed or in an archive, as one stream of bytes; recognised by
content, never by name.

What a format is, and what to do about one that is not read, stands in `unreadable`; the packings in
`unpacking`; the archives in `tars`, `zips` and `members`; what is in an archive in `survey`, and
which of it is read in `archives`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from core.data.archives import member_choice
from core.data.archives.bounded_reader import (
    DAMAGE_ERRORS,
    BoundedReader,
    check_member,
    check_unpacked_size,
    first_error_line,
)
from core.data.archives.decoders import CODECS, DamageError, detect_packing
from core.data.archives.member_choice import (
    CountLinesBeforeRows,
    Member,
    MemberChoice,
    MemberNeeded,
    count_lines_before_wide_rows,
)
from core.data.archives.members import TAR_PACKINGS, Archive, is_archive, open_archive_member
from core.data.archives.survey import count_member_rows, list_archive_members
from core.data.archives.tars import BLOCK_BYTES, is_tar
from core.data.archives.unpacking import Unpacker
from core.data.archives.zips import NoDirectoryError, read_directory
from core.data.paths import format_path
from core.data.reading.unreadable import HEAD_BYTES, describe_unreadable, describe_zip
from core.errors import BadInput

__all__ = [
    "BoundedReader",
    "Member",
    "MemberChoice",
    "MemberNeeded",
    "check_member",
    "check_unpacked_size",
    "choose_member",
    "describe_unreadable",
    "detect_container",
    "list_members",
    "open_rows",
]

PARQUET = "parquet"
PLAIN = "plain"
ARROW = "arrow"
ARROW_STREAM = "arrow-stream"


def detect_container(path: Path) -> str:
    """How the rows of a file are held, by its first bytes.

    plain, gzip, bz2, xz, zstd, zip, tar, tar.gz, tar.bz2, tar.xz, tar.zst, parquet, arrow (a file
    of Arrow IPC, which Feather is) or arrow-stream. BadInput when there is no such file or it is of
    a format that is not read; the sentence names it and says what to do.
    """
    head = _read_head(path)
    if head.startswith(b"PAR1"):
        return PARQUET
    if head.startswith(b"ARROW1\x00"):
        return ARROW
    if head.startswith(b"\xff\xff\xff\xff"):
        _check_stream_schema(path)
        return ARROW_STREAM
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        _check_zip_kind(path)
        return "zip"
    if packing := detect_packing(head):
        tar = next(kind for kind, packed_by in TAR_PACKINGS.items() if packed_by == packing)
        return tar if is_tar(_unpacked_head(path, packing)) else packing
    if is_tar(head[:BLOCK_BYTES]):
        return "tar"
    if what := describe_unreadable(head):
        raise BadInput(f"{path.name!r} {what}.")
    return PLAIN


@contextmanager
def open_rows(
    path: Path, member: str = "", keep_truncated: bool = False
) -> Iterator[BoundedReader]:
    """The unpacked bytes of a file of text.

    member: which one of an archive, by the name that `choose_member` gives; by default the only one
    whose name is not that of a document. keep_truncated: where the file breaks off, all bytes
    before are given, and `truncated` is set in place of BadInput. Damage within the file (a
    checksum that is wrong, a block that cannot be unpacked) is refused either way: most packings
    check their bytes at the end alone, so that those before damage need not be what was packed,
    while those before a break are.
    """
    kind = detect_container(path)
    if kind in (PARQUET, ARROW, ARROW_STREAM):
        raise BadInput(f"{path.name!r} is a table in {kind.capitalize()} form, where text is read.")
    _check_has_members(path, kind, member)
    if is_archive(kind) and not member:
        member = _only_member(path, kind, keep_truncated)
    with path.open("rb") as raw:
        packed = path.stat().st_size
        if is_archive(kind):
            yield open_archive_member(Archive(raw, path.name, packed, kind, keep_truncated), member)
        else:
            codec = CODECS.get(kind)
            stream = Unpacker(raw, codec, keep_truncated) if codec else raw
            yield BoundedReader(stream, packed, path.name, raw, keep_truncated=keep_truncated)


def list_members(
    path: Path, lines_before_rows: CountLinesBeforeRows = count_lines_before_wide_rows
) -> list[Member]:
    """The files of an archive but those that systems put there, with the rows of those that look
    like rows; none where `path` is no archive. What breaks off is listed up to there."""
    kind = detect_container(path)
    if not is_archive(kind):
        return []
    with path.open("rb") as raw:
        archive = Archive(raw, path.name, path.stat().st_size, kind, keep_truncated=True)
        members, _ = list_archive_members(archive, lines_before_rows)
        return count_member_rows(archive, members, lines_before_rows)


def choose_member(
    path: Path,
    member: str,
    lines_before_rows: CountLinesBeforeRows = count_lines_before_wide_rows,
    keep_truncated: bool = False,
) -> MemberChoice:
    """The member of an archive that holds the rows; a Choice of no member where `path` is no
    archive.

    member: the one to take, by its name or by its name without folder where no other has that;
    empty to look for it. lines_before_rows: the test of a member's first bytes. Raises MemberNeeded
    where several may be meant, BadInput where none is or where the archive is not sound. A member
    whose name leads outside the archive refuses all of it; a link or a device is passed over where
    another one holds the rows, since no member is ever extracted. One that may be the rows but
    cannot be read (damaged, encrypted) is not passed over for another.
    """
    kind = detect_container(path)
    _check_has_members(path, kind, member)
    if not is_archive(kind):
        return MemberChoice("", (), "")
    with path.open("rb") as raw:
        archive = Archive(raw, path.name, path.stat().st_size, kind, keep_truncated)
        members, truncated = list_archive_members(archive, lines_before_rows)
        if member:
            found = member_choice.find_member(member, members, path.name)
            return member_choice.choose_named_member(found, members, path.name, truncated)
        if len(members) == 1:
            # Whoever reads it says best what may be wrong with it.
            return member_choice.choose_only_member(members[0], path.name, truncated)
        if sum(one.may_hold_rows for one in members) > 1:
            # How many rows the others have is what tells them apart.
            proposed = member_choice.propose_member(members)
            others = [one for one in members if one is not proposed]
            members = [
                *([proposed] if proposed else []),
                *count_member_rows(archive, others, lines_before_rows),
            ]
        return member_choice.choose_by_content(members, path.name, truncated)


def _only_member(path: Path, kind: str, keep_truncated: bool) -> str:
    """The only member that may be meant, by the names alone; BadInput where there are several or
    none."""
    with path.open("rb") as raw:
        archive = Archive(raw, path.name, path.stat().st_size, kind, keep_truncated)
        members, truncated = list_archive_members(archive, lambda head: True)
    if len(members) == 1:
        return member_choice.choose_only_member(members[0], path.name, truncated).member
    files = [
        one for one in members if one.may_hold_rows and not member_choice.is_document(one.name)
    ]
    return member_choice.choose_by_content(files or members, path.name, truncated).member


def _check_has_members(path: Path, kind: str, member: str) -> None:
    if member and not is_archive(kind):
        raise BadInput(
            f"{path.name!r} is not an archive (it is {kind}); leave out the member {member[:80]!r}."
        )


def _read_head(path: Path) -> bytes:
    try:
        if not path.exists():
            raise BadInput(f"There is no file {format_path(path)} on this machine; check the path.")
        if not path.is_file():
            raise BadInput(f"{format_path(path)} is not a file; name one file of rows.")
        # Some of the system's own files, of no size, never end.
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES) if size else b""
    except OSError as error:
        raise BadInput(
            f"{path.name[:80]!r} cannot be read ({error.strerror}); check the path."
        ) from error
    if not head:
        raise BadInput(f"{path.name!r} is empty; it needs rows of 39 or 40 columns.")
    return head


def _unpacked_head(path: Path, kind: str) -> bytes:
    """The first block of what is packed; less where that cannot be unpacked."""
    with path.open("rb") as raw:
        try:
            return Unpacker(raw, CODECS[kind]).read(BLOCK_BYTES)
        except DAMAGE_ERRORS:
            return b""


def _check_zip_kind(path: Path) -> None:
    with path.open("rb") as raw:
        try:
            names = [one.name for one in read_directory(raw) if one.kind != "folder"]
        except (NoDirectoryError, DamageError):
            return
    if what := describe_zip(names):
        raise BadInput(f"{path.name!r} {what}.")


def _check_stream_schema(path: Path) -> None:
    try:
        with pa.memory_map(str(path)) as file:
            pa.ipc.open_stream(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadInput(
            f"{path.name!r} begins like an Arrow stream but cannot be read ({first_error_line(error)});"
            " write it again."
        ) from error
