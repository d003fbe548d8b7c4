"""Which member of an archive holds the rows: junk is left out by name, everything else is judged by
its content."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.errors import BadInput

LOOKS_LIKE_ROWS = "looks like Criteo rows"
MAX_MEMBERS = 10_000
"""Members of an archive; more are no archive of Criteo files."""
_MAX_NAMED, _MAX_EXPLAINED = 8, 3
"""Members that a sentence names, and those of which it says what they are."""
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
"""From a file's first bytes, how many lines stand before its rows; None where they are not those of
rows."""


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    name: as the archive has it; a second one of the same name has " (2)" behind it. unpacked_bytes:
    unpacked, as the archive says. rows: its line ends, counted where it looks like rows; None
    otherwise. may_hold_rows: whether it may hold the rows, which one that is damaged, cut off or
    encrypted may too, unless its name is a document's. reason: why it is so. readable: False for a
    link, an encrypted member and formats that are not read.
    """

    name: str
    unpacked_bytes: int
    rows: int | None
    may_hold_rows: bool
    reason: str
    readable: bool = True


@dataclass(frozen=True)
class MemberChoice:
    """The member that is read. other_members: what else looks like rows. reason: a sentence to show; empty
    for no archive.

    truncated: whether the archive breaks off, so that members may be missing.
    """

    member: str
    other_members: tuple[Member, ...]
    reason: str
    truncated: bool = False


class MemberNeeded(BadInput):
    """Several members hold rows and none is proposed: the user has to name one of `members`."""

    def __init__(self, sentence: str, members: tuple[Member, ...]) -> None:
        super().__init__(sentence)
        self.members = members


def is_junk(name: str) -> bool:
    """Whether a file of this name is one that systems put into archives: macOS's and Windows's own,
    and hidden ones."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return bool(parts) and (
        "__MACOSX" in parts
        or any(part.startswith(".") for part in parts)
        or parts[-1].lower() in _JUNK_NAMES
        or parts[-1].startswith("~$")
    )


def is_document(name: str) -> bool:
    """Whether a file of this name tells about the others, where nothing else tells them apart."""
    path = PurePosixPath(name.lower())
    return path.name.split(".")[0].strip("_-") in _DOCUMENTS or path.suffix in _DOCUMENT_ENDINGS


def is_train(name: str) -> bool:
    """Whether a file of this name holds the rows to train on: `train.txt` and so on."""
    return _stem(name) in _TRAIN


def count_lines_before_wide_rows(head: bytes) -> int | None:
    """0 where the first line that is not blank has 30 cells or more; used where a caller has no
    test of its own."""
    line = next(
        (line for line in head.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()), b""
    )
    most = max(line.count(mark) for mark in (b"\t", b",", b";", b"|"))
    return 0 if b"\x00" not in line and most >= _MIN_CELLS - 1 else None


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with " (2)", " (3)" behind those that stand there for the second, the third
    time."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def find_member(name: str, members: Sequence[Member], archive: str) -> Member:
    """The member of this name, or the only one whose name without its folder it is; BadInput lists
    what there is."""
    found = [one for one in members if one.name == name] or [
        one for one in members if PurePosixPath(one.name).name == name
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(
            f"{archive!r} holds {name[:80]!r} in {format_members(found)}; name one of them with its folder."
        )
    raise BadInput(
        f"{archive!r} has no member {name[:80]!r}; it holds {format_members(members) or 'no file'}."
    )


def choose_by_content(
    members: Sequence[Member], archive: str, truncated: bool = False
) -> MemberChoice:
    """The member that holds the rows, as the module's docstring has it. MemberNeeded where several
    may, BadInput where none does."""
    rows = [one for one in members if one.may_hold_rows]
    if not rows:
        raise BadInput(_explain_no_rows(members, archive) + _truncation_note(truncated))
    if len(rows) == 1:
        beside = [one for one in members if one is not rows[0]]
        if not beside:
            return choose_only_member(rows[0], archive, truncated)
        _check_readable(rows[0], archive)
        name = format_name(rows[0].name)
        reason = (
            f"The archive holds {name} beside {format_members(beside, rows=False)}; {name} is read."
        )
        return MemberChoice(rows[0].name, (), reason + _truncation_note(truncated), truncated)
    taken = propose_member(rows)
    if taken is None:
        raise MemberNeeded(
            f"{archive!r} holds {_format_count(rows)}: {format_members(rows)}; name the one to read with"
            " --member NAME." + _truncation_note(truncated),
            tuple(rows),
        )
    _check_readable(taken, archive)
    others = tuple(one for one in rows if one is not taken)
    reason = (
        f"The archive holds {_format_count(rows)}; {format_name(taken.name)} is read, not {format_members(others)}."
        f" Take another with --member NAME.{_truncation_note(truncated)}"
    )
    return MemberChoice(taken.name, others, reason, truncated)


def propose_member(members: Sequence[Member]) -> Member | None:
    """The one of several members of rows that by its name is to train on; None where no name or
    several say so."""
    rows = [one for one in members if one.may_hold_rows]
    bases = {one.name: PurePosixPath(one.name).name.lower() for one in rows}
    # `train.txt` comes before `train_small.txt`.
    for fits in (
        [one for one in rows if is_train(one.name)],
        [one for one in rows if not _TRAIN.isdisjoint(re.split("[^a-z0-9]+", bases[one.name]))],
    ):
        if fits:
            return fits[0] if len(fits) == 1 else None
    days = {one.name: int(day[1]) for one in rows if (day := _DAY.fullmatch(_stem(one.name)))}
    if days and len(days) == len(rows):
        return min(rows, key=lambda one: days[one.name])
    return None


def choose_only_member(member: Member, archive: str, truncated: bool = False) -> MemberChoice:
    """The choice where there is but one; BadInput where it cannot be read."""
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
    """The choice of a member that the user has named; BadInput where it cannot be read."""
    _check_readable(member, archive)
    others = tuple(one for one in members if one.may_hold_rows and one is not member)
    beside = f", not {format_members(others)}" if others else ""
    reason = f"{format_name(member.name)} is read, as chosen{beside}.{_truncation_note(truncated)}"
    return MemberChoice(member.name, others, reason, truncated)


def _stem(name: str) -> str:
    return PurePosixPath(name.lower()).name.split(".")[0]


def _check_readable(member: Member, archive: str) -> None:
    if not member.readable:
        raise BadInput(f"{member.name[:80]!r} in {archive!r} {member.reason}.")


def _format_count(rows: Sequence[Member]) -> str:
    sure = all(one.reason == LOOKS_LIKE_ROWS for one in rows)
    return f"{len(rows):,} files {'of rows' if sure else 'that may hold the rows'}"


def _truncation_note(truncated: bool) -> str:
    return " The archive breaks off, so that further files may be missing." if truncated else ""


def format_members(members: Sequence[Member], rows: bool = True) -> str:
    """Names of members in a sentence, with their rows."""

    def one(member: Member) -> str:
        if not rows or (member.rows is None and member.reason == LOOKS_LIKE_ROWS):
            return format_name(member.name)
        return (
            f"{format_name(member.name)}"
            f" ({member.reason if member.rows is None else f'{member.rows:,} rows'})"
        )

    names = [one(member) for member in members[:_MAX_NAMED]]
    if len(members) > _MAX_NAMED:
        return f"{', '.join(names)} and {len(members) - _MAX_NAMED:,} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def format_name(name: str) -> str:
    """A name from an archive as a sentence may have it."""
    return name if name.isprintable() and len(name) <= 80 else repr(name[:80])


def _explain_no_rows(members: Sequence[Member], archive: str) -> str:
    if not members:
        return (
            f"{archive!r} holds no file of rows: nothing but folders, or files that systems put"
            " there."
        )
    told = "; ".join(f"{format_name(one.name)} {one.reason}" for one in members[:_MAX_EXPLAINED])
    more = f"; and {len(members) - _MAX_EXPLAINED:,} more" if len(members) > _MAX_EXPLAINED else ""
    return f"{archive!r} holds no file of Criteo rows: {told}{more}."
