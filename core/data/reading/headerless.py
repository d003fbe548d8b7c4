"""Rows without a header: which column is which, as far as their number and their cells tell."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

from core.data.read_options import ReadOptions
from core.data.reading.column_mapping import MAX_COLUMNS, ColumnsNeeded, criteo_order
from core.data.reading.head import DELIMITERS
from core.data.reading.values import is_missing, is_number, parse_label
from core.data.schema import FIELDS, LABEL, NUMERIC
from core.errors import BadInput

_C20_FROM_END = FIELDS.index("C20") - len(FIELDS)
_MAX_KAGGLE_C20_VALUES = 20
_MIN_C20_ROWS = 50
_MAJORITY = 0.8
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


def infer_column_order(
    rows: Sequence[Sequence[str]],
    names: Sequence[str],
    options: ReadOptions,
    name: str,
    first: str,
    between: str,
) -> dict[str, int]:
    """Which column is which, by place, where no header says so; ColumnsNeeded where they do not
    stand in order."""
    if len(names) > MAX_COLUMNS:
        raise BadInput(
            f"Row 1 of {name!r} has {len(names):,} columns; at most {MAX_COLUMNS:,} are read."
        )
    width = len(names)
    columns = [[row[place] for row in rows] for place in range(width)]
    labelled = bool(rows) and _mostly(columns[0], _is_label)
    if width == len(FIELDS) + 1 + labelled and not any(columns[-1]):
        # Every row ends with a delimiter.
        return infer_column_order(
            [row[:-1] for row in rows], names[:-1], options, name, first, between
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
                f"{name!r} has no header, column 1 is no label ({columns[0][0]!r} in row 1), and"
                " the last column holds only 0 and 1: the label seems to stand at the end.",
                names,
                columns,
                {LABEL: width} | {field: place + 1 for place, field in enumerate(FIELDS)},
            )
    else:
        raise _explain_width(columns, width, name, first, between, names)
    odd = [field for field in NUMERIC if _holds_categories(columns[order[field]])]
    if len(odd) > 4 and len(rows) > 4:
        raise _mapping_needed(
            f"{name!r} has no header, and where I1 to I13 belong most cells are no numbers (such as"
            f" {columns[order[odd[0]]][0]!r} for {odd[0]}): its columns stand in another order.",
            names,
            columns,
            {ours: place + 1 for ours, place in order.items()},
        )
    return order


def _explain_width(
    columns: Sequence[Sequence[str]],
    width: int,
    name: str,
    first: str,
    between: str,
    names: Sequence[str],
) -> BadInput:
    """Why rows of this width are none of Criteo's; with a mapping where label and features stand
    among more columns."""
    for place in range(width - len(FIELDS)):
        numeric = columns[place + 1 : place + 1 + len(NUMERIC)]
        if all(map(_is_label, columns[place])) and all(
            _mostly(cells, _is_numeric_cell) for cells in numeric
        ):
            return _mapping_needed(
                f"{name!r} has no header and {width} columns separated by {between}, where Criteo"
                f" rows have 40 or 39; label and features may be columns {place + 1} to"
                f" {place + 1 + len(FIELDS)}.",
                names,
                columns,
                {ours: at + 1 for ours, at in criteo_order(True, place).items()},
            )
    shown = f"{width} {'tab-separated ' if between == 'tabs' else ''}columns"
    return BadInput(
        f"Row 1 of {name!r} has {shown} ({first[:60]!r}); Criteo rows have 40 (label, I1 to I13, C1"
        " to C26) or 39 without the label; a CSV needs a header line that names them."
    )


def _mapping_needed(
    sentence: str, names: Sequence[str], columns: Sequence[Sequence[str]], proposal: dict[str, int]
) -> ColumnsNeeded:
    example = ", ".join(f'"{ours}": {place}' for ours, place in list(proposal.items())[:3])
    return ColumnsNeeded(
        sentence,
        "Say which column is which by position, with a mapping (--columns map.json) such as"
        f" {{{example}, …}}, or write the columns in Criteo's order.",
        names,
        columns,
        {ours: names[place - 1] for ours, place in proposal.items()},
    )


def _is_label(cell: str) -> bool:
    return parse_label(cell) in (0, 1)


def _is_numeric_cell(cell: str) -> bool:
    return is_missing(cell) or is_number(cell) or bool(_DECIMAL_COMMA.fullmatch(cell.strip()))


def _holds_categories(cells: Sequence[str]) -> bool:
    """Whether most cells are different words: one word for all may stand for a missing value."""
    return (
        not _mostly(cells, _is_numeric_cell)
        and len({cell for cell in cells if not _is_numeric_cell(cell)}) > 2
    )


def is_padded(rows: Sequence[Sequence[str]], delimiter: str) -> bool:
    """Whether nearly all cells behind a delimiter begin with a space, which is part of the
    delimiter then."""
    cells = [cell for row in rows for cell in row[1:] if cell.strip()]
    return (
        delimiter not in "\t "
        and bool(cells)
        and sum(cell[0] == " " for cell in cells) >= _MAJORITY * len(cells)
    )


def _mostly(cells: Sequence[str], test: Callable[[str], bool]) -> bool:
    distinct = Counter(cells)
    return sum(count for cell, count in distinct.items() if test(cell)) >= _MAJORITY * len(cells)


def infer_dialect(
    lines: Sequence[str], delimiter: str, quoted: bool, labelled: bool, width: int, in_order: bool
) -> tuple[str, str]:
    """(dialect, why) of rows without a header."""
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
    """Kaggle's and the 1TB files have the same columns; C20 has 4 values in Kaggle's and millions
    in the 1TB's."""
    cells = [
        row[_C20_FROM_END]
        for row in (line.split("\t") for line in lines)
        if len(row) == len(FIELDS) + 1
    ]
    values = [cell for cell in cells if not is_missing(cell)]
    distinct = len(set(values))
    if len(values) < _MIN_C20_ROWS:
        return (
            "kaggle-train",
            (
                "40 tab-separated columns and no header. With so few values of C20 to look at"
                f" ({len(values)}), Kaggle's train.txt and a 1TB day file look alike; taken as"
                " Kaggle's. Rows are read the same way."
            ),
        )
    seen = f"C20 has {distinct} {'value' if distinct == 1 else 'values'} in {len(values):,} rows"
    if distinct > _MAX_KAGGLE_C20_VALUES:
        return (
            "criteo-1tb",
            f"40 tab-separated columns and no header, and {seen}, where Kaggle's train.txt has 4.",
        )
    return (
        "kaggle-train",
        (
            f"40 tab-separated columns and no header, and {seen}; Kaggle's train.txt has 4, a 1TB"
            " day file thousands."
        ),
    )
