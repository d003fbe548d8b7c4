"""Which form a file is in, from its first bytes; said with the reason, never guessed silently."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data.archives.containers import Member, choose_member, detect_container, open_rows
from core.data.archives.members import is_archive
from core.data.read_options import DEFAULT_OPTIONS, ReadOptions
from core.data.reading.column_mapping import (
    ColumnMapping,
    ColumnsNeeded,
    criteo_order,
    match_header,
    match_positions,
)
from core.data.reading.columnar import COLUMNAR_FORMATS, read_first_rows
from core.data.reading.head import (
    DELIMITERS,
    HEAD_BYTES,
    MIN_HEADER_COLUMNS,
    align_names,
    count_file_rows,
    count_preamble_rows,
    decode_lines,
    find_delimiter,
    find_header,
    is_numbered_header,
    join_quoted_lines,
    most_common_width,
    numbered_layout,
    split_cells,
)
from core.data.reading.headerless import infer_column_order, infer_dialect, is_padded
from core.data.reading.values import NO_LABEL, parse_label
from core.data.schema import FIELDS, LABEL
from core.errors import BadInput

_EXAMINED_ROWS = 200
"""Rows of the head that are cut into cells."""
_MAX_EXAMPLES = 8


@dataclass(frozen=True)
class FileFormat:
    """A file's form.

    columns: for every column of the file the name it is stored under, None where it is left out.
    reason: why this dialect. rows_before_data: how many rows stand before those of data, the last of
    which mostly names the columns; one with a line break in quotation marks is one row. quoted:
    whether cells may stand in quotation marks. padded: whether they stand behind spaces, to be
    removed. member: of an archive, the file that is read. id_column, kept, absent, renamed: as
    core.data.reading.column_mapping.ColumnMapping has them. unknown_labels: whether every label at the beginning is a
    placeholder. names, examples: what the file calls its columns, and some cells of each. notes:
    sentences on what was decided. other_members: members of the archive that hold rows too.
    """

    dialect: str
    reason: str
    container: str
    delimiter: str
    columns: tuple[str | None, ...]
    rows_before_data: int
    file_bytes: int
    quoted: bool = False
    member: str = ""
    id_column: str = ""
    segment_columns: tuple[str, ...] = ()
    missing_fields: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    unknown_labels: bool = False
    column_names: tuple[str, ...] = ()
    examples: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    padded: bool = False
    other_members: tuple[Member, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether there is a label column."""
        return LABEL in self.columns

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """Names of the columns stored beside label and features, in file order."""
        wanted = {self.id_column, *self.segment_columns}
        return tuple(column for column in self.columns if column and column in wanted)

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """Label, features and extra columns that the file has, in the order in which faults are
        looked for."""
        features = tuple(field for field in FIELDS if field not in self.missing_fields)
        return ((LABEL,) if self.labelled else ()) + features + self.extra_columns


def detect_format(
    path: Path, options: ReadOptions = DEFAULT_OPTIONS, need_label: bool = True
) -> FileFormat:
    """Reads the beginning of the file; BadInput when it is no form of Criteo rows.

    need_label: ask (ColumnsNeeded) where a column that was not recognised may be the label.
    """
    container = detect_container(path)
    size = path.stat().st_size
    if container in COLUMNAR_FORMATS:
        names, rows, nested = read_first_rows(path, container, _EXAMINED_ROWS)
        if is_numbered_header(names) and (counted := numbered_layout(names)):
            columns = match_positions(rows, criteo_order(*counted), options, path.name, names)
        else:
            columns = match_header(names, rows, options, path.name, need_label, nested)
        dialect, mark = COLUMNAR_FORMATS[container]
        return _make_format(
            dialect, f"It begins with {mark}.", container, "", columns, 0, size, rows, names
        )
    member, notes, others = "", tuple[str, ...](), tuple[Member, ...]()
    if is_archive(container):
        choice = choose_member(path, options.member, count_lines_before_rows, keep_truncated=True)
        member, others = choice.member, choice.other_members
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
    form = _detect_text_format(head, path.name, options, need_label, container, size)
    return dataclasses.replace(
        form, member=member, notes=(*notes, *form.notes), other_members=others
    )


def count_lines_before_rows(head: bytes) -> int | None:
    """How many lines stand before the rows of a file that begins so, mostly its header; None where
    there are no rows.

    A table whose columns have to be mapped first is one of rows.
    """
    try:
        return _detect_text_format(
            head[:HEAD_BYTES], "file", ReadOptions(), False, "plain", len(head)
        ).rows_before_data
    except ColumnsNeeded as error:
        return 1 if len(error.names) >= MIN_HEADER_COLUMNS else None
    except BadInput:
        return None


def _make_format(
    dialect: str,
    reason: str,
    container: str,
    delimiter: str,
    columns: ColumnMapping,
    header_row: int,
    size: int,
    rows: Sequence[Sequence[str]],
    names: Sequence[str],
    quoted: bool = False,
) -> FileFormat:
    labels = [row[columns.stored_as.index(LABEL)] for row in rows] if columns.labelled else []
    return FileFormat(
        dialect,
        reason,
        container,
        delimiter,
        columns.stored_as,
        header_row,
        size,
        quoted,
        id_column=columns.id_column,
        segment_columns=columns.segment_columns,
        missing_fields=columns.missing_fields,
        renamed=columns.renamed,
        unknown_labels=bool(labels) and all(parse_label(label) == NO_LABEL for label in labels),
        column_names=tuple(names),
        examples=tuple(
            tuple(row[place] for row in rows[:_MAX_EXAMPLES]) for place in range(len(names))
        ),
        notes=columns.notes,
    )


def _detect_text_format(
    head: bytes, name: str, options: ReadOptions, need_label: bool, container: str, size: int
) -> FileFormat:
    """The form of a text file that begins with `head`."""
    lines, numbers = decode_lines(head, name)
    delimiter, quoted = find_delimiter(lines)
    whole = join_quoted_lines(lines, quoted)
    table = [split_cells(row, delimiter, quoted) for row in whole[:_EXAMINED_ROWS]]
    width, between = most_common_width(table), DELIMITERS[delimiter]
    header = find_header(table, width, options)
    before = count_preamble_rows(table, width) if header is None else header + 1
    rows = [row for row in table[before:] if len(row) == width]
    last = count_file_rows(whole, numbers, before)
    passed = before if header is None else header
    if header is None:
        names = [f"column {place + 1}" for place in range(width)]
        start = infer_column_order(rows, names, options, name, lines[before], between)
        columns = match_positions(rows, start, options, name, names)
        in_order = bool(start) and not columns.renamed
        dialect, reason = infer_dialect(lines, delimiter, quoted, columns.labelled, width, in_order)
    else:
        dialect, quoted = "csv", True
        names = align_names([cell.strip() for cell in table[header]], rows, width)
        if is_numbered_header(names):
            counted = numbered_layout(names)
            start = (
                criteo_order(*counted)
                if counted
                else infer_column_order(rows, names, options, name, lines[0], between)
            )
            columns = match_positions(rows, start, options, name, names)
            shown = [cell for cell in names if cell]
            reason = f"The first line only numbers the columns ({shown[0]} to {shown[-1]}): no row."
        else:
            columns = match_header(names, rows, options, name, need_label)
            reason = f"The first line names columns, separated by {between}."
    padded = is_padded(rows, delimiter)
    form = _make_format(
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
