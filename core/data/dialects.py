"""Which form a file is in, from its first bytes; said with the reason, never guessed silently."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data.columnar import COLUMNAR, read_head
from core.data.columns import (
    Columns,
    ColumnsNeeded,
    criteo_order,
    match_header,
    match_positions,
)
from core.data.containers import Member, choose_member, container_of, open_rows
from core.data.head import (
    DELIMITERS,
    FEW_COLUMNS,
    HEAD_BYTES,
    common_width,
    counted_order,
    counts_columns,
    find_delimiter,
    find_header,
    head_lines,
    names_for,
    preamble_rows,
    rows_before,
    split_cells,
    split_rows,
)
from core.data.headerless import headerless_dialect, headerless_order, is_padded
from core.data.members import is_archive
from core.data.options import DEFAULT_OPTIONS, ReadOptions
from core.data.schema import FIELDS, LABEL
from core.data.values import NO_LABEL, label_of
from core.errors import BadInput

_LOOKED_AT = 200
"""Rows of the head that are cut into cells."""
_EXAMPLES = 8


@dataclass(frozen=True)
class Inspection:
    """A file's form.

    columns: for every column of the file the name it is stored under, None where it is left out.
    reason: why this dialect. header_row: how many rows stand before those of data, the last of
    which mostly names the columns; one with a line break in quotation marks is one row. quoted:
    whether cells may stand in quotation marks. padded: whether they stand behind spaces, to be
    removed. member: of an archive, the file that is read. id_column, kept, absent, renamed: as
    core.data.columns.Columns has them. unknown_labels: whether every label at the beginning is a
    placeholder. names, examples: what the file calls its columns, and some cells of each. notes:
    sentences on what was decided. others: members of the archive that hold rows too.
    """

    dialect: str
    reason: str
    container: str
    delimiter: str
    columns: tuple[str | None, ...]
    header_row: int
    bytes: int
    quoted: bool = False
    member: str = ""
    id_column: str = ""
    kept: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    unknown_labels: bool = False
    names: tuple[str, ...] = ()
    examples: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    padded: bool = False
    others: tuple[Member, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether there is a label column."""
        return LABEL in self.columns

    @property
    def extra(self) -> tuple[str, ...]:
        """Names of the columns stored beside label and features, in file order."""
        wanted = {self.id_column, *self.kept}
        return tuple(column for column in self.columns if column and column in wanted)

    @property
    def stored(self) -> tuple[str, ...]:
        """Label, features and extra columns that the file has, in the order in which faults are
        looked for."""
        features = tuple(field for field in FIELDS if field not in self.absent)
        return ((LABEL,) if self.labelled else ()) + features + self.extra


def inspect(
    path: Path, options: ReadOptions = DEFAULT_OPTIONS, need_label: bool = True
) -> Inspection:
    """Reads the beginning of the file; BadInput when it is no form of Criteo rows.

    need_label: ask (ColumnsNeeded) where a column that was not recognised may be the label.
    """
    container = container_of(path)
    size = path.stat().st_size
    if container in COLUMNAR:
        names, rows, nested = read_head(path, container, _LOOKED_AT)
        if counts_columns(names) and (counted := counted_order(names)):
            columns = match_positions(rows, criteo_order(*counted), options, path.name, names)
        else:
            columns = match_header(names, rows, options, path.name, need_label, nested)
        dialect, mark = COLUMNAR[container]
        return _inspection(
            dialect, f"It begins with {mark}.", container, "", columns, 0, size, rows, names
        )
    member, notes, others = "", tuple[str, ...](), tuple[Member, ...]()
    if is_archive(container):
        choice = choose_member(path, options.member, lines_before_rows, keep_truncated=True)
        member, others = choice.member, choice.others
        notes = (choice.reason,) if choice.reason else ()
        if choice.truncated:
            notes += ("The archive is truncated, so members of it may be missing.",)
    elif options.member:
        raise BadInput(
            f"{path.name!r} is no archive, so it has no member {options.member[:80]!r}; leave"
            " --member out."
        )
    with open_rows(path, member, keep_truncated=True) as stream:
        head = b""
        while len(head) < HEAD_BYTES and (block := stream.read(HEAD_BYTES - len(head))):
            head += block
        if not head and stream.truncated:
            raise BadInput(
                f"{path.name!r} breaks off before its first row: the file is truncated; fetch it"
                " again."
            )
    form = _inspect_head(head, path.name, options, need_label, container, size)
    return dataclasses.replace(form, member=member, notes=(*notes, *form.notes), others=others)


def lines_before_rows(head: bytes) -> int | None:
    """How many lines stand before the rows of a file that begins so, mostly its header; None where
    there are no rows.

    A table whose columns have to be mapped first is one of rows.
    """
    try:
        return _inspect_head(
            head[:HEAD_BYTES], "file", ReadOptions(), False, "plain", len(head)
        ).header_row
    except ColumnsNeeded as error:
        return 1 if len(error.names) >= FEW_COLUMNS else None
    except BadInput:
        return None


def _inspection(
    dialect: str,
    reason: str,
    container: str,
    delimiter: str,
    columns: Columns,
    header_row: int,
    size: int,
    rows: Sequence[Sequence[str]],
    names: Sequence[str],
    quoted: bool = False,
) -> Inspection:
    labels = [row[columns.used.index(LABEL)] for row in rows] if columns.labelled else []
    return Inspection(
        dialect,
        reason,
        container,
        delimiter,
        columns.used,
        header_row,
        size,
        quoted,
        id_column=columns.id_column,
        kept=columns.kept,
        absent=columns.absent,
        renamed=columns.renamed,
        unknown_labels=bool(labels) and all(label_of(label) == NO_LABEL for label in labels),
        names=tuple(names),
        examples=tuple(
            tuple(row[place] for row in rows[:_EXAMPLES]) for place in range(len(names))
        ),
        notes=columns.notes,
    )


def _inspect_head(
    head: bytes, name: str, options: ReadOptions, need_label: bool, container: str, size: int
) -> Inspection:
    """The form of a text file that begins with `head`."""
    lines, numbers = head_lines(head, name)
    delimiter, quoted = find_delimiter(lines)
    whole = split_rows(lines, quoted)
    table = [split_cells(row, delimiter, quoted) for row in whole[:_LOOKED_AT]]
    width, between = common_width(table), DELIMITERS[delimiter]
    header = find_header(table, width, options)
    before = preamble_rows(table, width) if header is None else header + 1
    rows = [row for row in table[before:] if len(row) == width]
    last = rows_before(whole, numbers, before)
    passed = before if header is None else header
    if header is None:
        names = [f"column {place + 1}" for place in range(width)]
        start = headerless_order(rows, names, options, name, lines[before], between)
        columns = match_positions(rows, start, options, name, names)
        in_order = bool(start) and not columns.renamed
        dialect, reason = headerless_dialect(
            lines, delimiter, quoted, columns.labelled, width, in_order
        )
    else:
        dialect, quoted = "csv", True
        names = names_for([cell.strip() for cell in table[header]], rows, width)
        if counts_columns(names):
            counted = counted_order(names)
            start = (
                criteo_order(*counted)
                if counted
                else headerless_order(rows, names, options, name, lines[0], between)
            )
            columns = match_positions(rows, start, options, name, names)
            shown = [cell for cell in names if cell]
            reason = f"The first line only numbers the columns ({shown[0]} to {shown[-1]}): no row."
        else:
            columns = match_header(names, rows, options, name, need_label)
            reason = f"The first line names columns, separated by {between}."
    padded = is_padded(rows, delimiter)
    form = _inspection(
        dialect, reason, container, delimiter, columns, last, size, rows, names, quoted
    )
    return dataclasses.replace(
        form, padded=padded, notes=(*form.notes, *_head_notes(lines[:passed], padded))
    )


def _head_notes(passed: Sequence[str], padded: bool) -> list[str]:
    notes = []
    if passed:
        lines = "The first line is" if len(passed) == 1 else f"The first {len(passed)} lines are"
        notes.append(f"{lines} passed over ({passed[0][:60]!r}): no header, and no row.")
    if padded:
        notes.append("Cells stand behind spaces, which are removed.")
    return notes
