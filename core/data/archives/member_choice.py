"""Chooses the member of an archive that holds the rows.

Files that operating systems put into archives are ignored by name; all others are judged by
content.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.errors import BadInput

LOOKS_LIKE_ROWS = "looks like Criteo rows"
MAX_MEMBERS = 10_000
"""Largest number of members; an archive with more is not one of Criteo files."""
_MAX_NAMED, _MAX_EXPLAINED = 8, 3
"""Number of members that a sentence names, and that it explains."""
_JUNK_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
_DOCUMENTS = frozenset(
    {"readme", "license", "licence", "copying", "notice", "authors", "changelog", "manifest"}
)
_DOCUMENT_ENDINGS = frozenset(
    {".md", ".rst", ".pdf", ".html", ".py", ".sh", ".json", ".xml", ".yaml", ".yml"}
)
_TRAIN = frozenset({"train", "training"})
_DAY = re.compile(r"day_?(\d+)")
_MIN_CELLS = 30

CountLinesBeforeRows = Callable[[bytes], int | None]
"""Takes a file's first bytes; returns the number of lines before its rows, None if it has none."""


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: path in the archive, with " (2)" appended for a second member of the same name.
        unpacked_bytes: unpacked size according to the archive.
        rows: number of lines if it looks like rows and they were counted, else None.
        may_hold_rows: whether it looks like rows, or is damaged, truncated or encrypted and may
            contain them; false for names of documents.
        reason: what it is, to follow its name in a sentence.
        readable: false for a link, an encrypted member and unsupported formats.
    """

    name: str
    unpacked_bytes: int
    rows: int | None
    may_hold_rows: bool
    reason: str
    readable: bool = True


@dataclass(frozen=True)
class MemberChoice:
    """The member that is read; an empty choice if the file is not an archive.

    Attributes:
        member: its name.
        other_members: the other members that look like rows.
        reason: a sentence to show.
        truncated: whether the archive is truncated, so that members may be missing.
    """

    member: str
    other_members: tuple[Member, ...]
    reason: str
    truncated: bool = False


class MemberNeeded(BadInput):
    """Several members may hold the rows: the user has to choose one of `members`."""

    def __init__(self, sentence: str, members: tuple[Member, ...]) -> None:
        super().__init__(sentence)
        self.members = members


def is_junk(name: str) -> bool:
    """Return whether a file of this name is hidden or added to archives by macOS or Windows."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return bool(parts) and (
        "__MACOSX" in parts
        or any(part.startswith(".") for part in parts)
        or parts[-1].lower() in _JUNK_NAMES
        or parts[-1].startswith("~$")
    )


def is_document(name: str) -> bool:
    """Return whether a file of this name describes the others (a README and the like)."""
    path = PurePosixPath(name.lower())
    return path.name.split(".")[0].strip("_-") in _DOCUMENTS or path.suffix in _DOCUMENT_ENDINGS


def is_train(name: str) -> bool:
    """Return whether a file of this name holds training rows, such as ``train.txt``."""
    return _stem(name) in _TRAIN


def count_lines_before_wide_rows(head: bytes) -> int | None:
    """Return 0 if the first line that is not blank has at least 30 cells, else None.

    The test of a member's content that is used where the caller has none.
    """
    line = next(
        (line for line in head.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()), b""
    )
    n_delimiters = max(line.count(delimiter) for delimiter in (b"\t", b",", b";", b"|"))
    return 0 if b"\x00" not in line and n_delimiters >= _MIN_CELLS - 1 else None


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names, with " (2)", " (3)" appended to the second and third of the same name.

    >>> unique_names(["a", "b", "a"])
    ['a', 'b', 'a (2)']
    """
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def find_member(name: str, members: Sequence[Member], archive: str) -> Member:
    """Return the member of this name, or the only one with this name in some folder.

    Raises:
        BadInput: there is none, or there are several.
    """
    found = [member for member in members if member.name == name] or [
        member for member in members if PurePosixPath(member.name).name == name
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(
            f"{archive!r} holds {name[:80]!r} in {format_members(found)}; name one of them with"
            " its folder."
        )
    raise BadInput(
        f"{archive!r} has no member {name[:80]!r}; it holds {format_members(members) or 'no file'}."
    )


def choose_by_content(
    members: Sequence[Member], archive: str, truncated: bool = False
) -> MemberChoice:
    """Choose the member that holds the rows.

    Args:
        members: the members of the archive.
        archive: its name, for messages.
        truncated: whether it is truncated.

    Raises:
        MemberNeeded: several members may hold rows and no name decides.
        BadInput: none holds rows, or the one that does cannot be read.
    """
    rows = [member for member in members if member.may_hold_rows]
    if not rows:
        raise BadInput(_explain_no_rows(members, archive) + _truncation_note(truncated))
    if len(rows) == 1:
        others = [member for member in members if member is not rows[0]]
        if not others:
            return choose_only_member(rows[0], archive, truncated)
        _check_readable(rows[0], archive)
        name = format_name(rows[0].name)
        reason = (
            f"The archive holds {name} beside {format_members(others, rows=False)}; {name} is read."
        )
        return MemberChoice(rows[0].name, (), reason + _truncation_note(truncated), truncated)
    proposed = propose_member(rows)
    if proposed is None:
        raise MemberNeeded(
            f"{archive!r} holds {_format_count(rows)}: {format_members(rows)}; name the one to read"
            " with --member NAME." + _truncation_note(truncated),
            tuple(rows),
        )
    _check_readable(proposed, archive)
    other_rows = tuple(member for member in rows if member is not proposed)
    reason = (
        f"The archive holds {_format_count(rows)}; {format_name(proposed.name)} is read, not"
        f" {format_members(other_rows)}. Choose another with --member NAME."
        f"{_truncation_note(truncated)}"
    )
    return MemberChoice(proposed.name, other_rows, reason, truncated)


def propose_member(members: Sequence[Member]) -> Member | None:
    """Return the member of rows whose name says that it is for training, if exactly one does."""
    rows = [member for member in members if member.may_hold_rows]
    bases = {member.name: PurePosixPath(member.name).name.lower() for member in rows}
    # `train.txt` comes before `train_small.txt`.
    for candidates in (
        [member for member in rows if is_train(member.name)],
        [
            member
            for member in rows
            if not _TRAIN.isdisjoint(re.split("[^a-z0-9]+", bases[member.name]))
        ],
    ):
        if candidates:
            return candidates[0] if len(candidates) == 1 else None
    days = {
        member.name: int(day[1]) for member in rows if (day := _DAY.fullmatch(_stem(member.name)))
    }
    if days and len(days) == len(rows):
        return min(rows, key=lambda member: days[member.name])
    return None


def choose_only_member(member: Member, archive: str, truncated: bool = False) -> MemberChoice:
    """Choose the only member; raise BadInput if it cannot be read."""
    _check_readable(member, archive)
    return MemberChoice(
        member.name,
        (),
        f"The archive holds {format_name(member.name)} alone.{_truncation_note(truncated)}",
        truncated,
    )


def choose_named_member(
    member: Member, members: Sequence[Member], archive: str, truncated: bool = False
) -> MemberChoice:
    """Choose the member that the user named; raise BadInput if it cannot be read."""
    _check_readable(member, archive)
    others = tuple(other for other in members if other.may_hold_rows and other is not member)
    beside = f", not {format_members(others)}" if others else ""
    reason = f"{format_name(member.name)} is read, as chosen{beside}.{_truncation_note(truncated)}"
    return MemberChoice(member.name, others, reason, truncated)


def _stem(name: str) -> str:
    return PurePosixPath(name.lower()).name.split(".")[0]


def _check_readable(member: Member, archive: str) -> None:
    if not member.readable:
        raise BadInput(f"{member.name[:80]!r} in {archive!r} {member.reason}.")


def _format_count(rows: Sequence[Member]) -> str:
    certain = all(member.reason == LOOKS_LIKE_ROWS for member in rows)
    return f"{len(rows):,} files {'of rows' if certain else 'that may hold the rows'}"


def _truncation_note(truncated: bool) -> str:
    return " The archive is truncated, so further files may be missing." if truncated else ""


def format_members(members: Sequence[Member], rows: bool = True) -> str:
    """Return the names of members for a sentence, with their numbers of rows."""

    def describe(member: Member) -> str:
        if not rows or (member.rows is None and member.reason == LOOKS_LIKE_ROWS):
            return format_name(member.name)
        return (
            f"{format_name(member.name)}"
            f" ({member.reason if member.rows is None else f'{member.rows:,} rows'})"
        )

    names = [describe(member) for member in members[:_MAX_NAMED]]
    if len(members) > _MAX_NAMED:
        return f"{', '.join(names)} and {len(members) - _MAX_NAMED:,} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def format_name(name: str) -> str:
    """Return a name from an archive as a sentence may contain it."""
    return name if name.isprintable() and len(name) <= 80 else repr(name[:80])


def _explain_no_rows(members: Sequence[Member], archive: str) -> str:
    if not members:
        return (
            f"{archive!r} holds no file of rows: only folders, or files added by the operating"
            " system."
        )
    explained = "; ".join(
        f"{format_name(member.name)} {member.reason}" for member in members[:_MAX_EXPLAINED]
    )
    more = f"; and {len(members) - _MAX_EXPLAINED:,} more" if len(members) > _MAX_EXPLAINED else ""
    return f"{archive!r} holds no file of Criteo rows: {explained}{more}."
