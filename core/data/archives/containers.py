"""Opens a file of rows as one stream of bytes, whether plain, compressed or in an archive.

The container is recognised by content, never by name. Formats that are not read are described in
`unreadable`; decompression is in `unpacking`; archives in `tars`, `zips` and `members`; what an
archive contains in `survey`, and which member is read in `member_choice`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from core.data.archives import member_choice
from core.data.archives.bounded_reader import (
    DAMAGE_ERRORS,
    BoundedReader,
    first_error_line,
)
from core.data.archives.decoders import CODECS, DamageError, detect_packing
from core.data.archives.member_choice import (
    CountLinesBeforeRows,
    Member,
    MemberChoice,
    count_lines_before_wide_rows,
)
from core.data.archives.members import TAR_PACKINGS, Archive, is_archive, open_archive_member
from core.data.archives.survey import count_member_rows, list_archive_members
from core.data.archives.tars import BLOCK_BYTES, is_tar
from core.data.archives.unpacking import Unpacker
from core.data.archives.unreadable import HEAD_BYTES, describe_unreadable, describe_zip
from core.data.archives.zips import NoDirectoryError, read_directory
from core.data.paths import format_path
from core.errors import BadInput

PARQUET = "parquet"
PLAIN = "plain"
ARROW = "arrow"
ARROW_STREAM = "arrow-stream"


def detect_container(path: Path) -> str:
    """Return how the rows of a file are stored, by its first bytes.

    Returns:
        plain, gzip, bz2, xz, zstd, zip, tar, tar.gz, tar.bz2, tar.xz, tar.zst, parquet, arrow (an
        Arrow IPC file, such as Feather) or arrow-stream.

    Raises:
        BadInput: there is no such file, or its format is not read; the message names the format and
            says what to do.
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
    if unreadable := describe_unreadable(head):
        raise BadInput(f"{path.name!r} {unreadable}.")
    return PLAIN


@contextmanager
def open_rows(
    path: Path, member: str = "", keep_truncated: bool = False
) -> Iterator[BoundedReader]:
    """Open the unpacked bytes of a text file.

    Damage within the file (a wrong checksum, a block that cannot be unpacked) is refused even with
    `keep_truncated`: most formats check their bytes only at the end, so bytes before damage may be
    wrong, while bytes before a truncation are right.

    Args:
        path: the file.
        member: the archive member to read, by the name that `choose_member` returns. By default the
            only one that is not named like a document.
        keep_truncated: for a truncated file return all bytes before the truncation and set
            `truncated`, instead of raising BadInput.
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
    path: Path, count_lines_before_rows: CountLinesBeforeRows = count_lines_before_wide_rows
) -> list[Member]:
    """Return the files of an archive with their numbers of rows; [] if `path` is not an archive.

    Files that operating systems put there are left out; a truncated archive is listed up to its
    end.
    """
    kind = detect_container(path)
    if not is_archive(kind):
        return []
    with path.open("rb") as raw:
        archive = Archive(raw, path.name, path.stat().st_size, kind, keep_truncated=True)
        members, _ = list_archive_members(archive, count_lines_before_rows)
        return count_member_rows(archive, members, count_lines_before_rows)


def choose_member(
    path: Path,
    member: str,
    count_lines_before_rows: CountLinesBeforeRows = count_lines_before_wide_rows,
    keep_truncated: bool = False,
) -> MemberChoice:
    """Choose the member of an archive that holds the rows; an empty choice for other files.

    A member whose name points outside the archive makes the whole archive unacceptable. A link or
    device is ignored if another member holds the rows, since nothing is ever extracted. A member
    that may hold the rows but cannot be read (damaged, encrypted) is never passed over for another.

    Args:
        path: the file.
        member: the name to read, with its folder where the name alone is ambiguous; "" to choose.
        count_lines_before_rows: classifies a member by its first bytes.
        keep_truncated: accept a truncated archive.

    Raises:
        MemberNeeded: several members may be meant.
        BadInput: no member holds rows, or the archive is damaged.
    """
    kind = detect_container(path)
    _check_has_members(path, kind, member)
    if not is_archive(kind):
        return MemberChoice("", (), "")
    with path.open("rb") as raw:
        archive = Archive(raw, path.name, path.stat().st_size, kind, keep_truncated)
        members, truncated = list_archive_members(archive, count_lines_before_rows)
        if member:
            named_member = member_choice.find_member(member, members, path.name)
            return member_choice.choose_named_member(named_member, members, path.name, truncated)
        if len(members) == 1:
            # Reading it gives the best message if something is wrong with it.
            return member_choice.choose_only_member(members[0], path.name, truncated)
        if sum(each.may_hold_rows for each in members) > 1:
            # The numbers of rows help the user to choose.
            proposed = member_choice.propose_member(members)
            others = [each for each in members if each is not proposed]
            members = [
                *([proposed] if proposed else []),
                *count_member_rows(archive, others, count_lines_before_rows),
            ]
        return member_choice.choose_by_content(members, path.name, truncated)


def _only_member(path: Path, kind: str, keep_truncated: bool) -> str:
    """Return the only member that may be meant, judged by names alone."""
    with path.open("rb") as raw:
        archive = Archive(raw, path.name, path.stat().st_size, kind, keep_truncated)
        members, truncated = list_archive_members(archive, lambda head: True)
    if len(members) == 1:
        return member_choice.choose_only_member(members[0], path.name, truncated).member
    files = [
        member
        for member in members
        if member.may_hold_rows and not member_choice.is_document(member.name)
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
        # Some special files, such as those in /proc, have size 0 and never end.
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
    """Return the first block of compressed data, b"" if it cannot be unpacked."""
    with path.open("rb") as raw:
        try:
            return Unpacker(raw, CODECS[kind]).read(BLOCK_BYTES)
        except DAMAGE_ERRORS:
            return b""


def _check_zip_kind(path: Path) -> None:
    with path.open("rb") as raw:
        try:
            names = [member.name for member in read_directory(raw) if member.kind != "folder"]
        except (NoDirectoryError, DamageError):
            return
    if unreadable := describe_zip(names):
        raise BadInput(f"{path.name!r} {unreadable}.")


def _check_stream_schema(path: Path) -> None:
    try:
        with pa.memory_map(str(path)) as file:
            pa.ipc.open_stream(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadInput(
            f"{path.name!r} begins like an Arrow stream but cannot be read"
            f" ({first_error_line(error)}); write it again."
        ) from error
