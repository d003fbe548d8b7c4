"""Messages about rows that cannot be parsed: what is wrong, and what may be the cause."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.csv

from core.data.reading.bad_rows import BadRowHandler
from core.data.reading.column_names import LABEL_NAMES, normalise_name, recognise_columns
from core.data.reading.dialects import FileFormat
from core.data.reading.file_start import describe_not_utf8
from core.data.reading.values import (
    NO_LABEL,
    ParsedCells,
    parse_label,
)
from core.data.schema import LABEL, NUMERIC
from core.errors import BadInput


def report_faults(
    parsed: ParsedCells,
    column: pa.DictionaryArray,
    name: str,
    row_numbers: np.ndarray,
    keep: np.ndarray,
    file: str,
    bad_rows: BadRowHandler,
) -> None:
    """Report the rows with a faulty cell that were good so far, and clear them in `keep`."""
    faulty = np.zeros(len(column.dictionary), bool)
    faulty[list(parsed.faults)] = True
    positions = column.indices.to_numpy()
    for row in np.flatnonzero(faulty[positions] & keep):
        value = column.dictionary[int(positions[row])].as_py()
        shown = (
            "empty" if value is None else repr(value if len(value) <= 60 else value[:57] + "...")
        )
        reason = parsed.faults[int(positions[row])] + _suggest_cause(name, value)
        bad_rows.add(
            int(row_numbers[row]),
            f"Row {row_numbers[row]:,} of {file!r}: {name} is {shown}, {reason}.",
            name,
            value,
        )
        keep[row] = False


def check_repeated_header(
    table: pa.Table, file_format: FileFormat, row_numbers: np.ndarray, file: str
) -> None:
    """Raise BadInput if a row names the columns in another order: what follows would be misread."""
    cells = table[LABEL].to_pylist()
    for cell in {cell for cell in cells if cell and normalise_name(cell) in LABEL_NAMES}:
        row = cells.index(cell)
        names = [str(table[column][row].as_py() or "") for column in file_format.stored_columns]
        order = recognise_columns(names, file)
        if any(file_format.stored_columns[at] != field for field, at in order.items()):
            raise BadInput(
                f"Row {row_numbers[row]:,} of {file!r} names the columns again, in another order:"
                " these are two files in one. Split the file there, and read each part by itself."
            )


def _suggest_cause(name: str, value: str | None) -> str:
    """Return what a fault may come from, in brackets; "" if there is no guess."""
    if value is None:
        return ""
    if value.strip().lower() in (name.lower(), "label"):
        return " (a header line in the middle of the file?)"
    if name == LABEL and parse_label(value) == NO_LABEL and value.strip().startswith("-"):
        return " (write 0 where -1 means no click)"
    if name in NUMERIC and value.strip().startswith('"'):
        return " (quotation marks around a number)"
    if name in NUMERIC and re.fullmatch(r"[-+]?\d+,\d+", value.strip()):
        return " (a decimal comma: use a point instead)"
    return ""


def describe_line_span(text: str) -> str:
    lines = len(text.splitlines())
    return f", over {lines:,} lines: a quotation mark in it may not be closed" if lines > 1 else ""


def explain_arrow_error(error: pa.ArrowException, text: bytes, file: str, row: int) -> BadInput:
    """Return the error for text that Arrow could not read.

    Args:
        error: Arrow's.
        text: what Arrow was given.
        file: the file's name.
        row: number of the text's first row.
    """
    message = str(error)
    try:
        text.decode()
    except UnicodeDecodeError as decode_error:
        row_number = row + text[: decode_error.start].count(b"\n")
        return BadInput(f"{describe_not_utf8(file, text[decode_error.start])} (row {row_number:,})")
    return BadInput(
        f"{file!r} cannot be read at or after row {row:,}: {message.splitlines()[0][:200]}"
    )
