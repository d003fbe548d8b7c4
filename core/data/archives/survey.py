"""Lists the files of an archive and judges each by its first bytes: rows, a document, or something
that is not read."""

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
from core.data.archives.zips import ZipMember, open_member
from core.data.reading.unreadable import describe_unreadable
from core.errors import BadInput, UnreadableRow

_HEAD_BYTES = 2**16
"""Bytes by which a member is judged."""
_MAX_CHECKED_BYTES = 64 * 2**20
"""Bytes of a member that looks like none of rows, within which its checksum is looked for."""
_CHUNK_BYTES = 2**20


def list_archive_members(
    archive: Archive, count_lines_before_rows: CountLinesBeforeRows
) -> tuple[list[Member], bool]:
    """(the files of an archive but those that systems put there, whether it breaks off).

    A tar is read once, and the rows of what looks like rows are counted on the way; those of a zip
    by `count_member_rows`. BadInput where the archive is damaged, a member leads outside, or it breaks off
    and that is not to be kept.
    """
    look = _list_zip if archive.kind == "zip" else _list_tar
    members: list[Member] = []
    truncated = look(archive, count_lines_before_rows, members)
    if truncated and not archive.keep_truncated:
        where = (
            f"in or behind its member {members[-1].name[:80]!r}"
            if members
            else "before its first file"
        )
        raise UnreadableRow(describe_truncation(archive.name, where))
    return members, truncated


def count_member_rows(
    archive: Archive, members: list[Member], count_lines_before_rows: CountLinesBeforeRows
) -> list[Member]:
    """The members, those that look like rows with the number of their rows."""
    if archive.kind != "zip":
        return members
    found, _ = zip_members(archive)
    counted, unpacked = [], 0
    for one in members:
        if one.may_hold_rows and one.rows is None and one.readable:
            one, unpacked = _classify_zip_member(
                archive, one.name, found[one.name], count_lines_before_rows, unpacked, count=True
            )
        counted.append(one)
    return counted


def _list_zip(
    archive: Archive, lines_before_rows: CountLinesBeforeRows, members: list[Member]
) -> bool:
    found, truncated = zip_members(archive)
    unpacked = 0
    for name, one in found.items():
        if _is_listed(archive, name, one.kind):
            member, unpacked = _classify_zip_member(
                archive, name, one, lines_before_rows, unpacked, count=False
            )
            members.append(member)
    return truncated


def _classify_zip_member(
    archive: Archive,
    name: str,
    one: ZipMember,
    lines_before_rows: CountLinesBeforeRows,
    unpacked: int,
    count: bool,
) -> tuple[Member, int]:
    """(the member, unpacked bytes of the archive so far)."""
    size = one.size or 0
    if one.kind != "file":
        return _unreadable_member(name, size, one.kind), unpacked
    try:
        stream = open_member(archive.raw, one).stream
    except DAMAGE_ERRORS as error:
        return _unclassified_member(name, size, f"cannot be unpacked: {error}"), unpacked
    judged = _classify(archive, name, size, stream, lines_before_rows, unpacked, count)
    return judged.member, judged.unpacked


def _list_tar(
    archive: Archive, lines_before_rows: CountLinesBeforeRows, members: list[Member]
) -> bool:
    unpacked = 0
    try:
        for name, one, stream in walk_members(archive):
            if not _is_listed(archive, name, one.kind):
                continue
            if one.kind != "file":
                members.append(_unreadable_member(name, one.size, one.kind))
                continue
            judged = _classify(
                archive, name, one.size, stream, lines_before_rows, unpacked, count=True
            )
            unpacked = judged.unpacked
            members.append(judged.member)
            if judged.truncated:
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
    """A member, unpacked bytes of the archive so far, and whether the member breaks off."""

    member: Member
    unpacked: int
    truncated: bool


def _classify(
    archive: Archive,
    name: str,
    size: int,
    stream: ByteSource,
    lines_before_rows: CountLinesBeforeRows,
    unpacked: int,
    count: bool,
) -> _Classified:
    layers = NestedReader(archive, stream, unpacked)
    try:
        head, truncated = _read_head(layers)
        what = describe_unreadable(head)
        before = lines_before_rows(head) if head and not what else None
        looks, rows, broken = before is not None, None, False
        if before is not None and count:
            lines, broken = _count_lines(head, layers)
            rows = max(0, lines - before)
        elif not (looks or what):
            # Rows that are damaged may look like none, which shows in a checksum behind them.
            broken = _drain(layers)
    except DAMAGE_ERRORS as error:
        return _Classified(
            _unclassified_member(name, size, f"cannot be unpacked: {error}"), layers.unpacked, False
        )
    if truncated and not looks and not what:
        return _Classified(
            _unclassified_member(name, size, "breaks off too soon to tell what it is"),
            layers.unpacked,
            True,
        )
    why = what or (
        member_choice.LOOKS_LIKE_ROWS
        if looks
        else "does not look like Criteo rows"
        if head
        else "is empty"
    )
    # A `train.parquet` is what is wanted, although it cannot be read here.
    may_be = looks or (what is not None and member_choice.is_train(name))
    return _Classified(
        Member(name, size, rows, may_be, why, readable=not what),
        layers.unpacked,
        truncated or broken,
    )


def _unreadable_member(name: str, size: int, kind: str) -> Member:
    """A member that is no plain file; a link or a device holds no rows, one that is encrypted and
    so on may."""
    may_be = kind not in ("link", "device") and not member_choice.is_document(name)
    return Member(name, size, None, may_be, UNREADABLE_KINDS[kind], readable=False)


def _unclassified_member(name: str, size: int, why: str) -> Member:
    """A member that may well be the one with the rows, so that no other is taken in its place
    without a word."""
    return Member(name, size, None, not member_choice.is_document(name), why)


def _read_head(layers: NestedReader) -> tuple[bytes, bool]:
    """(the first bytes, whether the member breaks off within them)."""
    head = b""
    try:
        while len(head) < _HEAD_BYTES and (data := layers.read(_HEAD_BYTES - len(head))):
            head += data
    except EOFError:
        return head, True
    return head, False


def _drain(layers: NestedReader) -> bool:
    """Whether the member breaks off within the bytes by which it is checked."""
    passed = 0
    try:
        while passed < _MAX_CHECKED_BYTES and (data := layers.read(_CHUNK_BYTES)):
            passed += len(data)
    except EOFError:
        return True
    return False


def _count_lines(head: bytes, layers: NestedReader) -> tuple[int, bool]:
    """(line ends, and what follows the last of them; whether the member breaks off)."""
    mark = b"\n" if b"\n" in head else b"\r"
    rows, last, truncated = head.count(mark), head[-1:], False
    try:
        while data := layers.read(_CHUNK_BYTES):
            rows += data.count(mark)
            last = data[-1:]
    except EOFError:
        truncated = True
    return rows + (last != mark), truncated


def _is_listed(archive: Archive, name: str, kind: str) -> bool:
    """Whether a member is a file that somebody put there; BadInput where its name leads outside."""
    check_member(name, True, archive.name)
    return kind not in ("folder", "label") and not member_choice.is_junk(name)
