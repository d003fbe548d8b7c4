"""Lists the files of an archive and classifies each by its first bytes: rows, or something else."""

from dataclasses import dataclass

from core.data.archives import member_choice
from core.data.archives.bounded_reader import DAMAGE_ERRORS, check_member, describe_truncation
from core.data.archives.member_choice import CountLinesBeforeRows, Member
from core.data.archives.members import (
    UNREADABLE_KINDS,
    Archive,
    NestedReader,
    walk_members,
    zip_members,
)
from core.data.archives.unpacking import ByteSource
from core.data.archives.unreadable import describe_unreadable
from core.data.archives.zips import ZipMember, open_member
from core.errors import BadInput, UnreadableRow

_HEAD_BYTES = 2**16
"""First bytes of a member by which it is classified."""
_MAX_CHECKED_BYTES = 64 * 2**20
"""Bytes of a member that does not look like rows that are read to reach its checksum."""
_CHUNK_BYTES = 2**20


def list_archive_members(
    archive: Archive, count_lines_before_rows: CountLinesBeforeRows
) -> tuple[list[Member], bool]:
    """Return (files of an archive, whether it is truncated), without those that systems put there.

    A tar archive is read once, and the rows of what looks like rows are counted on the way; those
    of a zip archive are counted by `count_member_rows`.

    Raises:
        BadInput: the archive is damaged, a member's name points outside, or the archive is
            truncated and `archive.keep_truncated` is false.
    """
    add_members = _list_zip if archive.kind == "zip" else _list_tar
    members: list[Member] = []
    truncated = add_members(archive, count_lines_before_rows, members)
    if truncated and not archive.keep_truncated:
        where = (
            f"in or after its member {members[-1].name[:80]!r}"
            if members
            else "before its first file"
        )
        raise UnreadableRow(describe_truncation(archive.name, where))
    return members, truncated


def count_member_rows(
    archive: Archive, members: list[Member], count_lines_before_rows: CountLinesBeforeRows
) -> list[Member]:
    """Return the members, those that look like rows with their number of rows."""
    if archive.kind != "zip":
        return members
    entries, _ = zip_members(archive)
    counted, unpacked = [], 0
    for member in members:
        if member.may_hold_rows and member.rows is None and member.readable:
            member, unpacked = _classify_zip_member(
                archive,
                member.name,
                entries[member.name],
                count_lines_before_rows,
                unpacked,
                count=True,
            )
        counted.append(member)
    return counted


def _list_zip(
    archive: Archive, count_lines_before_rows: CountLinesBeforeRows, members: list[Member]
) -> bool:
    entries, truncated = zip_members(archive)
    unpacked = 0
    for name, entry in entries.items():
        if _is_listed(archive, name, entry.kind):
            member, unpacked = _classify_zip_member(
                archive, name, entry, count_lines_before_rows, unpacked, count=False
            )
            members.append(member)
    return truncated


def _classify_zip_member(
    archive: Archive,
    name: str,
    entry: ZipMember,
    count_lines_before_rows: CountLinesBeforeRows,
    unpacked: int,
    count: bool,
) -> tuple[Member, int]:
    """Return (the member, unpacked bytes of the archive so far)."""
    size = entry.size or 0
    if entry.kind != "file":
        return _unreadable_member(name, size, entry.kind), unpacked
    try:
        stream = open_member(archive.raw, entry).stream
    except DAMAGE_ERRORS as error:
        return _unclassified_member(name, size, f"cannot be unpacked: {error}"), unpacked
    classified = _classify(archive, name, size, stream, count_lines_before_rows, unpacked, count)
    return classified.member, classified.unpacked


def _list_tar(
    archive: Archive, count_lines_before_rows: CountLinesBeforeRows, members: list[Member]
) -> bool:
    unpacked = 0
    try:
        for name, entry, stream in walk_members(archive):
            if not _is_listed(archive, name, entry.kind):
                continue
            if entry.kind != "file":
                members.append(_unreadable_member(name, entry.size, entry.kind))
                continue
            classified = _classify(
                archive, name, entry.size, stream, count_lines_before_rows, unpacked, count=True
            )
            unpacked = classified.unpacked
            members.append(classified.member)
            if classified.truncated:
                return True
    except EOFError:
        return True
    except DAMAGE_ERRORS as error:
        raise BadInput(
            f"{archive.name!r} cannot be unpacked ({error}); the archive is damaged."
        ) from error
    return False


@dataclass(frozen=True)
class _Classified:
    """A classified member.

    Attributes:
        member: the member.
        unpacked: unpacked bytes of the archive so far.
        truncated: whether the archive is truncated within the member.
    """

    member: Member
    unpacked: int
    truncated: bool


def _classify(
    archive: Archive,
    name: str,
    size: int,
    stream: ByteSource,
    count_lines_before_rows: CountLinesBeforeRows,
    unpacked: int,
    count: bool,
) -> _Classified:
    reader = NestedReader(archive, stream, unpacked)
    try:
        head, truncated = _read_head(reader)
        unreadable = describe_unreadable(head)
        n_lines_before = count_lines_before_rows(head) if head and not unreadable else None
        looks_like_rows, rows, broken_later = n_lines_before is not None, None, False
        if n_lines_before is not None and count:
            lines, broken_later = _count_lines(head, reader)
            rows = max(0, lines - n_lines_before)
        elif not (looks_like_rows or unreadable):
            # Damaged rows may not look like rows, but the checksum after them tells.
            broken_later = _drain(reader)
    except DAMAGE_ERRORS as error:
        return _Classified(
            _unclassified_member(name, size, f"cannot be unpacked: {error}"), reader.unpacked, False
        )
    if truncated and not looks_like_rows and not unreadable:
        return _Classified(
            _unclassified_member(name, size, "ends too soon to tell what it is"),
            reader.unpacked,
            True,
        )
    reason = unreadable or (
        member_choice.LOOKS_LIKE_ROWS
        if looks_like_rows
        else "does not look like Criteo rows"
        if head
        else "is empty"
    )
    # A `train.parquet` is most likely what the user wants, although it cannot be read here.
    may_hold_rows = looks_like_rows or (unreadable is not None and member_choice.is_train(name))
    return _Classified(
        Member(name, size, rows, may_hold_rows, reason, readable=not unreadable),
        reader.unpacked,
        truncated or broken_later,
    )


def _unreadable_member(name: str, size: int, kind: str) -> Member:
    """Describe a member that is not a plain file; an encrypted one may hold the rows."""
    may_hold_rows = kind not in ("link", "device") and not member_choice.is_document(name)
    return Member(name, size, None, may_hold_rows, UNREADABLE_KINDS[kind], readable=False)


def _unclassified_member(name: str, size: int, reason: str) -> Member:
    """Describe a damaged member. It may hold the rows, so no other is taken without asking."""
    return Member(name, size, None, not member_choice.is_document(name), reason)


def _read_head(reader: NestedReader) -> tuple[bytes, bool]:
    """Return (the first bytes, whether the member is truncated within them)."""
    head = b""
    try:
        while len(head) < _HEAD_BYTES and (data := reader.read(_HEAD_BYTES - len(head))):
            head += data
    except EOFError:
        return head, True
    return head, False


def _drain(reader: NestedReader) -> bool:
    """Return whether the member is truncated within its first _MAX_CHECKED_BYTES."""
    n_read = 0
    try:
        while n_read < _MAX_CHECKED_BYTES and (data := reader.read(_CHUNK_BYTES)):
            n_read += len(data)
    except EOFError:
        return True
    return False


def _count_lines(head: bytes, reader: NestedReader) -> tuple[int, bool]:
    """Return (number of lines, whether the member is truncated)."""
    line_end = b"\n" if b"\n" in head else b"\r"
    n_lines, last, truncated = head.count(line_end), head[-1:], False
    try:
        while data := reader.read(_CHUNK_BYTES):
            n_lines += data.count(line_end)
            last = data[-1:]
    except EOFError:
        truncated = True
    return n_lines + (last != line_end), truncated


def _is_listed(archive: Archive, name: str, kind: str) -> bool:
    """Return whether a member is a file that a user put there.

    Raises:
        BadInput: its name points outside the archive.
    """
    check_member(name, True, archive.name)
    return kind not in ("folder", "label") and not member_choice.is_junk(name)
