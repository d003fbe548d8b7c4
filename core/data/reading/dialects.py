"""Detects the format of a file from its first bytes and says why; nothing is guessed silently."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data.archives.containers import choose_member, detect_container, open_rows
from core.data.archives.member_choice import Member, MemberChoice
from core.data.archives.members import is_archive
from core.data.read_options import DEFAULT_OPTIONS, ReadOptions
from core.data.reading.column_mapping import (
    ColumnMapping,
    criteo_order,
    match_header,
    match_positions,
)
from core.data.reading.columnar import COLUMNAR_FORMATS, read_first_rows
from core.data.reading.columns_needed import ColumnsNeeded
from core.data.reading.file_start import (
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
"""Number of first rows that are split into cells."""
_MAX_EXAMPLES = 8
"""Number of example cells per column."""


@dataclass(frozen=True)
class FileFormat:
    """The format of a file.

    Attributes:
        dialect: a key of `core.data.schema.DIALECTS`.
        reason: why it is this dialect, a sentence.
        container: as `containers.detect_container` returns it.
        delimiter: the character between cells; "" for columnar files.
        columns: for every column of the file its name in the sample, None if it is left out.
        rows_before_data: number of rows before the data, the last of which usually names the
            columns. A row with a line break within quotation marks is one row.
        file_bytes: size of the file.
        quoted: whether cells may be enclosed in quotation marks.
        member: the archive member that is read.
        id_column, segment_columns, missing_fields, renamed: as in `column_mapping.ColumnMapping`.
        unknown_labels: whether every label in the first rows is a placeholder.
        column_names: the names of the columns in the file.
        examples: some cells of each column.
        notes: sentences about what was decided.
        padded: whether cells have leading spaces that are removed.
        other_members: other archive members that hold rows.
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
        """Names of the columns stored in addition to label and features, in file order."""
        wanted = {self.id_column, *self.segment_columns}
        return tuple(column for column in self.columns if column and column in wanted)

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """Label, features and extra columns of the file, in the order in which they are checked."""
        features = tuple(field for field in FIELDS if field not in self.missing_fields)
        return ((LABEL,) if self.labelled else ()) + features + self.extra_columns


def detect_format(
    path: Path, options: ReadOptions = DEFAULT_OPTIONS, need_label: bool = True
) -> FileFormat:
    """Detect the format of a file from its first bytes.

    Args:
        path: the file.
        options: what the user says about it.
        need_label: raise ColumnsNeeded if a column that was not recognised may be the label.

    Raises:
        BadInput: the file does not contain Criteo rows, or the columns are ambiguous
            (ColumnsNeeded).
    """
    container = detect_container(path)
    if container in COLUMNAR_FORMATS:
        return _detect_columnar_format(path, container, options, need_label)
    choice = _choose_member(path, container, options.member)
    notes = [choice.reason] if choice.reason else []
    if choice.truncated:
        notes.append("The archive is truncated, so members of it may be missing.")
    head, size = _read_head(path, choice.member), path.stat().st_size
    file_format = _detect_text_format(head, path.name, options, need_label, container, size)
    return dataclasses.replace(
        file_format,
        member=choice.member,
        notes=(*notes, *file_format.notes),
        other_members=choice.other_members,
    )


def _detect_columnar_format(
    path: Path, container: str, options: ReadOptions, need_label: bool
) -> FileFormat:
    names, rows, nested = read_first_rows(path, container, _EXAMINED_ROWS)
    if is_numbered_header(names) and (layout := numbered_layout(names)):
        columns = match_positions(rows, criteo_order(*layout), options, path.name, names)
    else:
        columns = match_header(names, rows, options, path.name, need_label, nested)
    dialect, magic = COLUMNAR_FORMATS[container]
    reason, size = f"It begins with {magic}.", path.stat().st_size
    return _make_format(dialect, reason, container, "", columns, 0, size, rows, names)


def _choose_member(path: Path, container: str, member: str) -> MemberChoice:
    if member and not is_archive(container):
        raise BadInput(
            f"{path.name!r} is not an archive, so it has no member {member[:80]!r}; leave"
            " --member out."
        )
    if not is_archive(container):
        return MemberChoice("", (), "")
    return choose_member(path, member, count_lines_before_rows, keep_truncated=True)


def _read_head(path: Path, member: str) -> bytes:
    """Return the first HEAD_BYTES unpacked bytes of a text file."""
    with open_rows(path, member, keep_truncated=True) as stream:
        head = b""
        while len(head) < HEAD_BYTES and (block := stream.read(HEAD_BYTES - len(head))):
            head += block
        if not head and stream.truncated:
            raise BadInput(
                f"{path.name!r} ends before its first row: the file is truncated; fetch it again."
            )
    return head


def count_lines_before_rows(head: bytes) -> int | None:
    """Return the number of lines before the rows of a file with this head; None if it has no rows.

    A table counts as rows even if its columns need a mapping.
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
    rows_before_data: int,
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
        rows_before_data,
        size,
        quoted,
        id_column=columns.id_column,
        segment_columns=columns.segment_columns,
        missing_fields=columns.missing_fields,
        renamed=columns.renamed,
        unknown_labels=bool(labels) and all(parse_label(label) == NO_LABEL for label in labels),
        column_names=tuple(names),
        examples=tuple(
            tuple(row[position] for row in rows[:_MAX_EXAMPLES]) for position in range(len(names))
        ),
        notes=columns.notes,
    )


def _detect_text_format(
    head: bytes, file: str, options: ReadOptions, need_label: bool, container: str, size: int
) -> FileFormat:
    """Detect the format of a text file with this head."""
    lines, numbers = decode_lines(head, file)
    delimiter, quoted = find_delimiter(lines)
    lines_as_rows = join_quoted_lines(lines, quoted)
    table = [split_cells(row, delimiter, quoted) for row in lines_as_rows[:_EXAMINED_ROWS]]
    width, delimiter_name = most_common_width(table), DELIMITERS[delimiter]
    header = find_header(table, width, options)
    n_before = count_preamble_rows(table, width) if header is None else header + 1
    rows = [row for row in table[n_before:] if len(row) == width]
    rows_before_data = count_file_rows(lines_as_rows, numbers, n_before)
    if header is None:
        n_skipped = n_before
        names = [f"column {position + 1}" for position in range(width)]
        order = infer_column_order(rows, names, options, file, lines[n_before], delimiter_name)
        columns = match_positions(rows, order, options, file, names)
        in_order = bool(order) and not columns.renamed
        dialect, reason = infer_dialect(lines, delimiter, quoted, columns.labelled, width, in_order)
    else:
        n_skipped, dialect, quoted = header, "csv", True
        names = align_names([cell.strip() for cell in table[header]], rows, width)
        if is_numbered_header(names):
            order = _numbered_order(rows, names, options, file, lines[0], delimiter_name)
            columns = match_positions(rows, order, options, file, names)
            shown = [cell for cell in names if cell]
            reason = f"The first line only numbers the columns ({shown[0]} to {shown[-1]}): no row."
        else:
            columns = match_header(names, rows, options, file, need_label)
            reason = f"The first line names columns, separated by {delimiter_name}."
    padded = is_padded(rows, delimiter)
    file_format = _make_format(
        dialect, reason, container, delimiter, columns, rows_before_data, size, rows, names, quoted
    )
    notes = (*file_format.notes, *_head_notes(lines[:n_skipped], padded))
    return dataclasses.replace(file_format, padded=padded, notes=notes)


def _numbered_order(
    rows: Sequence[Sequence[str]],
    names: Sequence[str],
    options: ReadOptions,
    file: str,
    first_line: str,
    delimiter_name: str,
) -> dict[str, int]:
    if layout := numbered_layout(names):
        return criteo_order(*layout)
    return infer_column_order(rows, names, options, file, first_line, delimiter_name)


def _head_notes(skipped: Sequence[str], padded: bool) -> list[str]:
    notes = []
    if skipped:
        lines = "The first line is" if len(skipped) == 1 else f"The first {len(skipped)} lines are"
        notes.append(f"{lines} skipped ({skipped[0][:60]!r}): neither a header nor a row.")
    if padded:
        notes.append("Cells have leading spaces, which are removed.")
    return notes
