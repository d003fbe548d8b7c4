"""How a file is read: its format, the member of an archive, the role of each column."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from core.data.archives.member_choice import Member, MemberNeeded
from core.data.read_options import ColumnSource, ReadOptions
from core.data.reading.column_mapping import unique_names
from core.data.reading.columns_needed import ColumnsNeeded
from core.data.reading.dialects import FileFormat
from core.data.reading.read_rows import detect_file_format
from core.data.schema import DIALECTS, FIELDS, ID, LABEL
from core.errors import BadInput
from pages.components.shared.errors import show_error
from pages.components.shared.formatting import escape_markdown, format_int

KEEP, LEAVE = "keep as an extra column", "leave out"
ROLES = (LABEL, *FIELDS, ID, KEEP, LEAVE)
_USED_AS, _COLUMN, _EXAMPLES = "Used as", "Column in the file", "Examples"


@dataclass(frozen=True)
class SourceFile:
    """A file to be read.

    Attributes:
        original_name: the user's name for it; `path` may be a copy with a generated name.
        widget_key: of the file's widgets.
    """

    path: Path
    original_name: str
    widget_key: str


@dataclass(frozen=True)
class _Inspection:
    """What inspecting a file with some options found.

    This is its format, a question to the user, or an error.
    """

    file_format: FileFormat | None = None
    needed: ColumnsNeeded | MemberNeeded | None = None
    error: str = ""


def read_options_form(file: SourceFile, need_label: bool = True) -> ReadOptions | None:
    """Show the detected format and ask for what cannot be detected.

    Args:
        need_label: whether to ask for the label if no column was recognised as such.

    Returns:
        The options, or None as long as the file cannot be read.
    """
    member = st.session_state.get(f"member-{file.widget_key}") or ""
    look = _cached_inspection(file, ReadOptions(member=member), need_label)
    members = _members(file, look)
    if members:
        member = _choose_member(file, members, look)
        look = _cached_inspection(file, ReadOptions(member=member), need_label)
    if look.error:
        show_error(BadInput(look.error))
        return None
    if isinstance(look.needed, MemberNeeded):
        return None
    above = st.container()
    options = _choose_columns(file, member, look)
    if options is None:
        return None
    asked_for_columns = isinstance(look.needed, ColumnsNeeded)
    look = _cached_inspection(file, options, need_label)
    if look.file_format is None:
        above.error(escape_markdown(look.error or str(look.needed)), icon=":material/error:")
        return None
    title, reason = (
        DIALECTS[look.file_format.dialect].title,
        escape_markdown(look.file_format.reason),
    )
    if not asked_for_columns:
        above.markdown(f":material/check: **{title}**: {reason}")
    for note in look.file_format.notes:
        above.caption(escape_markdown(_without_cli_advice(note)))
    return options


def _cached_inspection(file: SourceFile, options: ReadOptions, need_label: bool) -> _Inspection:
    """Call `inspect_file` only once per file and options.

    Inspecting a large archive is slow, because it is unpacked to list its members.
    """
    looks = st.session_state.setdefault("looks", {})
    try:
        stat = file.path.stat()
        key = (str(file.path), stat.st_mtime_ns, stat.st_size, repr(options))
    except OSError:
        key = (str(file.path), 0, 0, repr(options))
    if key not in looks:
        with st.spinner("Inspecting the file"):
            inspection = _inspect(file, options, need_label)
        # Only one file at a time is added, so results for other files are no longer needed.
        for other in [other for other in looks if other[0] != key[0]]:
            del looks[other]
        looks[key] = inspection
    return looks[key]


def _inspect(file: SourceFile, options: ReadOptions, need_label: bool) -> _Inspection:
    try:
        return _Inspection(file_format=detect_file_format(file.path, options, need_label))
    except (ColumnsNeeded, MemberNeeded) as error:
        return _Inspection(needed=error)
    except BadInput as error:
        return _Inspection(error=str(error).replace(file.path.name, file.original_name))


def _members(file: SourceFile, look: _Inspection) -> dict[str, str]:
    """Return descriptions of an archive's members with rows, by name; {} if there is no choice."""
    described: dict[str, str] = {}
    if isinstance(look.needed, MemberNeeded):
        described = {
            member.name: _describe_member(member)
            for member in look.needed.members
            if member.may_hold_rows
        }
    elif look.file_format and look.file_format.member:
        described = {look.file_format.member: look.file_format.member} | {
            other.name: _describe_member(other) for other in look.file_format.other_members
        }
    # After a member was chosen, an inspection no longer lists the others: keep the longer list.
    kept = st.session_state.setdefault(f"members-{file.widget_key}", described)
    if len(described) > len(kept):
        kept = st.session_state[f"members-{file.widget_key}"] = described
    return kept if len(kept) > 1 else {}


def _describe_member(member: Member) -> str:
    return f"{member.name} · {format_int(member.rows)} rows"


def _choose_member(file: SourceFile, members: dict[str, str], look: _Inspection) -> str:
    start = look.file_format.member if look.file_format else ""
    chosen = st.selectbox(
        "File in the archive",
        [*members],
        [*members].index(start) if start in members else None,
        format_func=members.__getitem__,
        key=f"member-{file.widget_key}",
        placeholder="Choose the file that holds the rows",
        width=420,
        help=(
            "A sample is read from one file. To use another one, add the archive again, and "
            "combine the samples as a dataset."
        ),
    )
    return chosen or ""


def _choose_columns(file: SourceFile, member: str, look: _Inspection) -> ReadOptions | None:
    """Return the options given by the table of columns; None as long as a feature has no column."""
    needed = look.needed if isinstance(look.needed, ColumnsNeeded) else None
    if needed is not None:
        names, examples, roles = needed.names, needed.examples, _proposed_roles(needed)
        st.warning(
            escape_markdown(needed.reason.replace(file.path.name, file.original_name)),
            icon=":material/help:",
        )
        if not needed.usable:
            return None
        st.caption(
            "The columns proposed below are a guess: check the examples and change what is wrong."
        )
    else:
        assert look.file_format is not None
        names, examples, roles = (
            look.file_format.column_names,
            look.file_format.examples,
            _recognised_roles(look.file_format),
        )
    title = "Assign the columns" if needed else f"Columns: {_summary(roles)}"
    with st.expander(title, icon=":material/view_column:", expanded=needed is not None):
        chosen = _roles_table(file, member, names, examples, roles)
        changed = {index: role for index, role in enumerate(chosen) if role != roles[index]}
        if not changed and needed is None:
            return ReadOptions(member=member)
        if problem := _problem(chosen, needed is not None and not changed and not _complete(roles)):
            st.info(problem, icon=":material/arrow_upward:")
            return None
        options = _options(member, names, chosen)
        st.download_button(
            "Download the mapping",
            json.dumps(dict(options.columns or {}), indent=2, ensure_ascii=False),
            "map.json",
            "application/json",
            key=f"mapping-{file.widget_key}",
            icon=":material/download:",
            on_click="ignore",
            help="For the next file in this format, or for the command line: --columns map.json.",
        )
    return options


def _roles_table(
    file: SourceFile,
    member: str,
    names: tuple[str, ...],
    examples: tuple[tuple[str, ...], ...],
    roles: list[str],
) -> list[str]:
    shown = [
        ", ".join(cell or "(empty)" for cell in dict.fromkeys(cells[:8]))[:60] for cells in examples
    ]
    table = pd.DataFrame(
        {_COLUMN: [name or "(no name)" for name in names], _USED_AS: roles, _EXAMPLES: shown}
    )
    edited = st.data_editor(
        table,
        hide_index=True,
        height=min(430, 38 + 35 * len(table)),
        disabled=[_COLUMN, _EXAMPLES],
        column_config={_USED_AS: st.column_config.SelectboxColumn(options=ROLES, required=True)},
        key=f"columns-{file.widget_key}-{member}",
    )
    return list(edited[_USED_AS])


def _recognised_roles(form: FileFormat) -> list[str]:
    roles = []
    for column in form.columns:
        if column in (LABEL, *FIELDS):
            roles.append(str(column))
        else:
            roles.append(LEAVE if column is None else ID if column == form.id_column else KEEP)
    return roles


def _proposed_roles(needed: ColumnsNeeded) -> list[str]:
    role_of = {source: ours for ours, source in needed.proposal.items()}
    return [role_of.get(name, KEEP) for name in needed.names]


def _summary(roles: list[str]) -> str:
    features = sum(role in FIELDS for role in roles)
    label = "label and " if LABEL in roles else ""
    extra = sum(role in (ID, KEEP) for role in roles)
    return f"{label}{features} features" + (f", {extra} kept as extra columns" if extra else "")


def _complete(roles: list[str]) -> bool:
    return set(FIELDS) <= set(roles)


def _problem(roles: list[str], untouched: bool) -> str:
    """Return what is still wrong with the chosen roles, or ""."""
    for role in (LABEL, *FIELDS, ID):
        if roles.count(role) > 1:
            return f"{role} is chosen for {roles.count(role)} columns; choose it for one."
    missing = [field for field in FIELDS if field not in roles]
    if untouched and missing:
        listed = ", ".join(missing[:6]) + (" …" if len(missing) > 6 else "")
        return (
            f"Choose the columns of {listed}. A feature without a column is read as missing "
            "in every row."
        )
    if len(missing) > len(FIELDS) // 2:
        return f"{len(missing)} of the 39 features have no column; too few are left to train on."
    return ""


def _has_header_names(names: tuple[str, ...]) -> bool:
    return not all(
        name == f"column {index + 1}" or name == str(index + 1) for index, name in enumerate(names)
    )


def _options(member: str, names: tuple[str, ...], roles: list[str]) -> ReadOptions:
    by_name = _has_header_names(names)
    columns: dict[str, ColumnSource] = {}
    for ours in (LABEL, *FIELDS, ID):
        if ours in roles:
            index = roles.index(ours)
            columns[ours] = (
                names[index] if by_name and names.count(names[index]) == 1 else index + 1
            )
        elif ours != ID:
            columns[ours] = None
    taken = {index for index, role in enumerate(roles) if role not in (KEEP, LEAVE, ID)}
    stored = unique_names([index for index in range(len(names)) if index not in taken], names)
    keep = tuple(stored[index] for index, role in enumerate(roles) if role == KEEP)
    return ReadOptions(member, columns, keep)


def _without_cli_advice(note: str) -> str:
    """Return a note of the reader without its advice for the command line."""
    return re.sub(
        r" ((?:Take|Choose) another with|Name the ones to keep with) --\w+( NAME)?\.", "", note
    )
