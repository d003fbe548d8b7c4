"""Which form a file is in, from its first bytes; said with the reason, never guessed silently."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
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
    counting_header,
    find_delimiter,
    head_lines,
    is_header,
    split_cells,
    split_rows,
)
from core.data.members import is_archive
from core.data.options import DEFAULT_OPTIONS, ReadOptions
from core.data.schema import FIELDS, LABEL, NUMERIC
from core.data.values import NO_LABEL, is_missing, is_number, label_of
from core.errors import BadInput

_LOOKED_AT = 200
"""Rows of the head that are cut into cells."""
_C20 = FIELDS.index("C20") - len(FIELDS)
_ONE_TB_DISTINCT = 20
_ENOUGH_ROWS = 50
_MOST = 0.8
_EXAMPLES = 8


@dataclass(frozen=True)
class Inspection:
    """A file's form.

    columns: for every column of the file the name it is stored under, None where it is left out. reason: why this
    dialect. header_row: number of the line that names the columns, from 1; 0 where none does. quoted: whether cells may
    stand in quotation marks. member: of an archive, the file that is read. id_column, kept, absent, renamed: as
    core.data.columns.Columns has them. unknown_labels: whether every label at the beginning is a placeholder. names,
    examples: what the file calls its columns, and some cells of each. notes: sentences on what was decided. others:
    members of the archive that hold rows too.
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
        """Label, features and extra columns that the file has, in the order in which faults are looked for."""
        features = tuple(field for field in FIELDS if field not in self.absent)
        return ((LABEL,) if self.labelled else ()) + features + self.extra


def inspect(path: Path, options: ReadOptions = DEFAULT_OPTIONS, need_label: bool = True) -> Inspection:
    """Reads the beginning of the file; BadInput when it is no form of Criteo rows.

    need_label: ask (ColumnsNeeded) where a column that was not recognised may be the label.
    """
    container = container_of(path)
    size = path.stat().st_size
    if container in COLUMNAR:
        names, rows, nested = read_head(path, container, _LOOKED_AT)
        columns = match_header(names, rows, options, path.name, need_label, nested)
        dialect, mark = COLUMNAR[container]
        return _inspection(dialect, f"It begins with {mark}.", container, "", columns, 0, size, rows, names)
    member, notes, others = "", tuple[str, ...](), tuple[Member, ...]()
    if is_archive(container):
        choice = choose_member(path, options.member, looks_like_rows, keep_truncated=True)
        member, others = choice.member, choice.others
        notes = (choice.reason,) if choice.reason else ()
        if choice.truncated:
            notes += ("The archive is truncated, so members of it may be missing.",)
    elif options.member:
        raise BadInput(f"{path.name!r} is no archive, so it has no member {options.member[:80]!r}; leave --member out.")
    with open_rows(path, member, keep_truncated=True) as stream:
        head = b""
        while len(head) < HEAD_BYTES and (block := stream.read(HEAD_BYTES - len(head))):
            head += block
        if not head and stream.truncated:
            raise BadInput(f"{path.name!r} breaks off before its first row: the file is truncated; fetch it again.")
    form = _inspect_head(head, path.name, options, need_label, container, size)
    return dataclasses.replace(form, member=member, notes=(*notes, *form.notes), others=others)


def looks_like_rows(head: bytes) -> bool:
    """Whether the beginning of a file, unpacked, is that of Criteo rows, or of a table that could be mapped to them."""
    try:
        _inspect_head(head[:HEAD_BYTES], "file", ReadOptions(), False, "plain", len(head))
    except ColumnsNeeded as error:
        return len(error.names) >= FEW_COLUMNS
    except BadInput:
        return False
    return True


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
        examples=tuple(tuple(row[place] for row in rows[:_EXAMPLES]) for place in range(len(names))),
        notes=columns.notes,
    )


def _inspect_head(
    head: bytes, name: str, options: ReadOptions, need_label: bool, container: str, size: int
) -> Inspection:
    """The form of a text file that begins with `head`."""
    lines, blank = head_lines(head, name)
    delimiter, quoted = find_delimiter(lines)
    table = [split_cells(row, delimiter, quoted) for row in split_rows(lines, quoted)[:_LOOKED_AT]]
    first, width = [cell.strip() for cell in table[0]], common_width(table)
    between = DELIMITERS[delimiter]
    if counted := counting_header(first):
        rows = [row for row in table[1:] if len(row) == len(first)]
        columns = match_positions(rows, criteo_order(*counted), options, name, first)
        reason = f"The first line only numbers the columns ({first[counted[1]]} to {first[-1]}): no row."
        return _inspection("csv", reason, container, delimiter, columns, blank + 1, size, rows, first, True)
    if is_header(first, options):
        names = ["", *first] if len(first) == width - 1 else first
        rows = [row for row in table[1:] if len(row) == len(names)]
        columns = match_header(names, rows, options, name, need_label)
        reason = f"The first line names columns, separated by {between}."
        return _inspection("csv", reason, container, delimiter, columns, blank + 1, size, rows, names, True)
    rows = [row for row in table if len(row) == width]
    start = _headerless_order(rows, width, options, name, lines[0], between)
    columns = match_positions(rows, start, options, name, [f"column {place + 1}" for place in range(width)])
    dialect, reason = _headerless_dialect(lines, delimiter, quoted, columns, width, bool(start) and not columns.renamed)
    names = [str(place + 1) for place in range(width)]
    # A leading line of nothing is no header, and no row either.
    return _inspection(dialect, reason, container, delimiter, columns, 0, size, rows, names, quoted)


def _headerless_order(
    rows: Sequence[Sequence[str]], width: int, options: ReadOptions, name: str, first: str, between: str
) -> dict[str, int]:
    """Which column is which, by place, where no header says so; ColumnsNeeded where they do not stand in order."""
    names = [f"column {place + 1}" for place in range(width)]
    columns = [[row[place] for row in rows] for place in range(width)]
    if options.columns:
        return criteo_order(width == len(FIELDS) + 1) if width in (len(FIELDS), len(FIELDS) + 1) else {}
    if width == len(FIELDS):
        order = criteo_order(False)
    elif width == len(FIELDS) + 1:
        order = criteo_order(True)
        if not _mostly(columns[0], _is_label) and all(map(_is_label, columns[-1])):
            raise _needed(
                f"{name!r} has no header, column 1 is no label ({columns[0][0]!r} in row 1), and the last column holds "
                "only 0 and 1: the label seems to stand at the end.",
                names,
                columns,
                {LABEL: width} | {field: place + 1 for place, field in enumerate(FIELDS)},
            )
    else:
        raise _wrong_width(columns, width, name, first, between, names)
    odd = [field for field in NUMERIC if not _mostly(columns[order[field]], _is_numeric_cell)]
    if len(odd) > 4 and len(rows) > 4:
        raise _needed(
            f"{name!r} has no header, and where I1 to I13 belong most cells are no numbers (such as "
            f"{columns[order[odd[0]]][0]!r} for {odd[0]}): its columns stand in another order.",
            names,
            columns,
            {ours: place + 1 for ours, place in order.items()},
        )
    return order


def _wrong_width(
    columns: Sequence[Sequence[str]], width: int, name: str, first: str, between: str, names: Sequence[str]
) -> BadInput:
    """Why rows of this width are none of Criteo's; with a mapping where label and features stand among more columns."""
    for place in range(width - len(FIELDS)):
        numeric = columns[place + 1 : place + 1 + len(NUMERIC)]
        if all(map(_is_label, columns[place])) and all(_mostly(cells, _is_numeric_cell) for cells in numeric):
            return _needed(
                f"{name!r} has no header and {width} columns separated by {between}, where Criteo rows have 40 or 39; "
                f"label and features may be columns {place + 1} to {place + 1 + len(FIELDS)}.",
                names,
                columns,
                {ours: at + 1 for ours, at in criteo_order(True, place).items()},
            )
    shown = f"{width} {'tab-separated ' if between == 'tabs' else ''}columns"
    return BadInput(
        f"Row 1 of {name!r} has {shown} ({first[:60]!r}); Criteo rows have 40 (label, I1 to I13, C1 to C26) or 39 "
        "without the label; a CSV needs a header line that names them."
    )


def _needed(
    sentence: str, names: Sequence[str], columns: Sequence[Sequence[str]], proposal: dict[str, int]
) -> ColumnsNeeded:
    example = ", ".join(f'"{ours}": {place}' for ours, place in list(proposal.items())[:3])
    return ColumnsNeeded(
        sentence,
        f"Say which column is which by position, with a mapping (--columns map.json) such as {{{example}, …}}, or "
        "write the columns in Criteo's order.",
        names,
        columns,
        {ours: names[place - 1] for ours, place in proposal.items()},
    )


def _is_label(cell: str) -> bool:
    return label_of(cell) in (0, 1)


def _is_numeric_cell(cell: str) -> bool:
    return is_missing(cell) or is_number(cell)


def _mostly(cells: Sequence[str], test: Callable[[str], bool]) -> bool:
    distinct = Counter(cells)
    return sum(count for cell, count in distinct.items() if test(cell)) >= _MOST * len(cells)


def _headerless_dialect(
    lines: Sequence[str], delimiter: str, quoted: bool, columns: Columns, width: int, in_order: bool
) -> tuple[str, str]:
    """(dialect, why) of rows without a header."""
    if delimiter != "\t" or quoted or not in_order:
        marks = ", in quotation marks" if delimiter == "\t" and quoted else ""
        label = "" if columns.labelled else ": rows without a label"
        return "delimited", f"{width} columns separated by {DELIMITERS[delimiter]}{marks}, and no header{label}."
    if not columns.labelled:
        return "kaggle-test", "39 tab-separated columns and no header: rows without a label."
    return _kaggle_or_terabyte(lines)


def _kaggle_or_terabyte(lines: Sequence[str]) -> tuple[str, str]:
    """Kaggle's and the 1TB files have the same columns; C20 has 4 values in Kaggle's and millions in the 1TB's."""
    cells = [row[_C20] for row in (line.split("\t") for line in lines) if len(row) == len(FIELDS) + 1]
    values = [cell for cell in cells if not is_missing(cell)]
    distinct = len(set(values))
    if len(values) < _ENOUGH_ROWS:
        return "kaggle-train", (
            f"40 tab-separated columns and no header. With so few values of C20 to look at ({len(values)}), Kaggle's "
            "train.txt and a 1TB day file look alike; taken as Kaggle's. Rows are read the same way."
        )
    seen = f"C20 has {distinct} {'value' if distinct == 1 else 'values'} in {len(values):,} rows"
    if distinct > _ONE_TB_DISTINCT:
        return "criteo-1tb", f"40 tab-separated columns and no header, and {seen}, where Kaggle's train.txt has 4."
    return "kaggle-train", (
        f"40 tab-separated columns and no header, and {seen}; Kaggle's train.txt has 4, a 1TB day file thousands."
    )
