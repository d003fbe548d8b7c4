"""Files without a header: which column is which, by the number of columns and their cells."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

from core.data.read_options import ReadOptions
from core.data.reading.column_mapping import MAX_COLUMNS, criteo_order
from core.data.reading.columns_needed import ColumnsNeeded
from core.data.reading.file_start import DELIMITERS
from core.data.reading.values import is_missing, is_number, parse_label
from core.data.schema import FIELDS, LABEL, NUMERIC
from core.errors import BadInput

_C20_FROM_END = FIELDS.index("C20") - len(FIELDS)
_MAX_KAGGLE_C20_VALUES = 20
"""More distinct values of C20 mean a 1TB day file; Kaggle's train.txt has 4."""
_MIN_C20_ROWS = 50
"""Fewer values of C20 do not tell the two apart."""
_MAJORITY = 0.8
"""Share of cells that counts as nearly all."""
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


def infer_column_order(
    rows: Sequence[Sequence[str]],
    names: Sequence[str],
    options: ReadOptions,
    file: str,
    first_line: str,
    delimiter_name: str,
) -> dict[str, int]:
    """Return the position of each column in a file whose header does not tell.

    Args:
        rows: some of the rows.
        names: names or positions of the columns, for messages.
        options: what the user says about the file.
        file: its name, for messages.
        first_line: for messages.
        delimiter_name: for messages.

    Raises:
        BadInput: the file does not hold Criteo rows.
        ColumnsNeeded: the columns do not seem to be in Criteo's order.
    """
    if len(names) > MAX_COLUMNS:
        raise BadInput(
            f"Row 1 of {file!r} has {len(names):,} columns; at most {MAX_COLUMNS:,} are read."
        )
    width = len(names)
    columns = [[row[position] for row in rows] for position in range(width)]
    labelled = bool(rows) and _mostly(columns[0], _is_label)
    if width == len(FIELDS) + 1 + labelled and not any(columns[-1]):
        # Every row ends with a delimiter, so the last column is empty.
        return infer_column_order(
            [row[:-1] for row in rows], names[:-1], options, file, first_line, delimiter_name
        )
    if options.columns:
        return (
            criteo_order(width == len(FIELDS) + 1)
            if width in (len(FIELDS), len(FIELDS) + 1)
            else {}
        )
    if width == len(FIELDS):
        order = criteo_order(False)
    elif width == len(FIELDS) + 1:
        order = criteo_order(True)
        if not _mostly(columns[0], _is_label) and all(map(_is_label, columns[-1])):
            raise _mapping_needed(
                f"{file!r} has no header, column 1 is not a label ({columns[0][0]!r} in row 1), and"
                " the last column holds only 0 and 1: the label seems to be at the end.",
                names,
                columns,
                {LABEL: width} | {field: position + 1 for position, field in enumerate(FIELDS)},
            )
    else:
        raise _explain_width(columns, width, file, first_line, delimiter_name, names)
    categorical = [field for field in NUMERIC if _holds_categories(columns[order[field]])]
    if len(categorical) > 4 and len(rows) > 4:
        raise _mapping_needed(
            f"{file!r} has no header, and where I1 to I13 belong most cells are not numbers (such"
            f" as {columns[order[categorical[0]]][0]!r} for {categorical[0]}): its columns are in"
            " another order.",
            names,
            columns,
            {field: position + 1 for field, position in order.items()},
        )
    return order


def _explain_width(
    columns: Sequence[Sequence[str]],
    width: int,
    file: str,
    first_line: str,
    delimiter_name: str,
    names: Sequence[str],
) -> BadInput:
    """Return the error for rows of a width that is not Criteo's.

    It proposes a mapping if label and features seem to be among more columns.
    """
    for position in range(width - len(FIELDS)):
        numeric = columns[position + 1 : position + 1 + len(NUMERIC)]
        if all(map(_is_label, columns[position])) and all(
            _mostly(cells, _is_numeric_cell) for cells in numeric
        ):
            return _mapping_needed(
                f"{file!r} has no header and {width} columns separated by {delimiter_name}, where"
                f" Criteo rows have 40 or 39; label and features may be columns {position + 1} to"
                f" {position + 1 + len(FIELDS)}.",
                names,
                columns,
                {field: index + 1 for field, index in criteo_order(True, position).items()},
            )
    shown = f"{width} {'tab-separated ' if delimiter_name == 'tabs' else ''}columns"
    return BadInput(
        f"Row 1 of {file!r} has {shown} ({first_line[:60]!r}); Criteo rows have 40 (label, I1 to"
        " I13, C1 to C26) or 39 without the label; a CSV needs a header line that names them."
    )


def _mapping_needed(
    sentence: str, names: Sequence[str], columns: Sequence[Sequence[str]], proposal: dict[str, int]
) -> ColumnsNeeded:
    example = ", ".join(f'"{field}": {position}' for field, position in list(proposal.items())[:3])
    return ColumnsNeeded(
        sentence,
        "Say which column is which by position, with a mapping (--columns map.json) such as"
        f" {{{example}, …}}, or write the columns in Criteo's order.",
        names,
        columns,
        {field: names[position - 1] for field, position in proposal.items()},
    )


def _is_label(cell: str) -> bool:
    return parse_label(cell) in (0, 1)


def _is_numeric_cell(cell: str) -> bool:
    return is_missing(cell) or is_number(cell) or bool(_DECIMAL_COMMA.fullmatch(cell.strip()))


def _holds_categories(cells: Sequence[str]) -> bool:
    """Return whether most cells are different words. A single word may stand for missing values."""
    return (
        not _mostly(cells, _is_numeric_cell)
        and len({cell for cell in cells if not _is_numeric_cell(cell)}) > 2
    )


def is_padded(rows: Sequence[Sequence[str]], delimiter: str) -> bool:
    """Return whether nearly all cells after a delimiter start with a space."""
    cells = [cell for row in rows for cell in row[1:] if cell.strip()]
    return (
        delimiter not in "\t "
        and bool(cells)
        and sum(cell[0] == " " for cell in cells) >= _MAJORITY * len(cells)
    )


def _mostly(cells: Sequence[str], test: Callable[[str], bool]) -> bool:
    counts = Counter(cells)
    return sum(count for cell, count in counts.items() if test(cell)) >= _MAJORITY * len(cells)


def infer_dialect(
    lines: Sequence[str], delimiter: str, quoted: bool, labelled: bool, width: int, in_order: bool
) -> tuple[str, str]:
    """Return (dialect, reason) for rows without a header."""
    if delimiter != "\t" or quoted or not in_order:
        marks = ", in quotation marks" if delimiter == "\t" and quoted else ""
        label = "" if labelled else ": rows without a label"
        return (
            "delimited",
            f"{width} columns separated by {DELIMITERS[delimiter]}{marks}, and no header{label}.",
        )
    if not labelled:
        return "kaggle-test", "39 tab-separated columns and no header: rows without a label."
    return _kaggle_or_terabyte(lines)


def _kaggle_or_terabyte(lines: Sequence[str]) -> tuple[str, str]:
    """Tell Kaggle's train.txt (C20 has 4 values) from a 1TB day file (it has millions)."""
    cells = [
        row[_C20_FROM_END]
        for row in (line.split("\t") for line in lines)
        if len(row) == len(FIELDS) + 1
    ]
    values = [cell for cell in cells if not is_missing(cell)]
    distinct = len(set(values))
    layout = "40 tab-separated columns and no header"
    if len(values) < _MIN_C20_ROWS:
        return "kaggle-train", (
            f"{layout}. With so few values of C20 ({len(values)}), Kaggle's train.txt and a 1TB day"
            " file look alike; taken as Kaggle's. Rows are read the same way."
        )
    # Only the start of the file is looked at, and C20 is missing in many rows.
    c20 = (
        f"C20 has {distinct} {'value' if distinct == 1 else 'values'} in those {len(values):,} of"
        " the first rows that have one"
    )
    if distinct > _MAX_KAGGLE_C20_VALUES:
        return "criteo-1tb", f"{layout}, and {c20}, where Kaggle's train.txt has 4."
    return "kaggle-train", (
        f"{layout}, and {c20}; Kaggle's train.txt has 4, a 1TB day file thousands."
    )
