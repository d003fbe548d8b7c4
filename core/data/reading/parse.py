"""Parses rows of text into dictionary-encoded batches.

Every bad row is reported and every missing-value marker counted. Arrow's CSV reader does the
splitting here; `tokenizer` is the fast path for text without anything unusual.
"""

import codecs
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from core.data.columns.dictionary_file import BATCH_ROWS, make_batch
from core.data.reading.bad_rows import BadRowHandler, number_rows
from core.data.reading.dialects import FileFormat
from core.data.reading.fault_messages import (
    check_repeated_header,
    describe_line_span,
    explain_arrow_error,
    report_faults,
)
from core.data.reading.row_ends import find_blank_rows, find_row_ends, skip_rows
from core.data.reading.values import (
    MAX_CATEGORY_LENGTH,
    NO_LABEL,
    ParsedCells,
    parse_categories,
    parse_labels,
    parse_numbers,
)
from core.data.schema import CATEGORICAL, LABEL, NUMERIC
from core.errors import BadInput

LABEL_RULES = ("required", "optional", "unknown")
"""Rules for labels. "required": each must be 0 or 1. "optional": a placeholder becomes NO_LABEL.
"unknown": all labels are placeholders, so the rows have no label."""


class NeedsSlowPath(Exception):
    """The fast path met something that only `parse_text` can judge."""


class LabelsFound(Exception):
    """A label where all labels before it were placeholders: the file does have labels."""


@dataclass(frozen=True)
class ParsedRows:
    """Rows of a file.

    Attributes:
        batch: an optional label, I1..I13, C1..C26 and the extra columns, as
            `core.data.columns.dictionary_file` stores them.
        row_numbers: number of each row in the file, counted from 1, rising, int64.
        markers: number of cells of each missing-value marker.
    """

    batch: pa.RecordBatch
    row_numbers: np.ndarray
    markers: Counter[str]


def parse_batch(
    columns: dict[str, pa.DictionaryArray], file_format: FileFormat, labels: str
) -> tuple[pa.RecordBatch, Counter]:
    """Parse dictionary-encoded columns of text: return (batch, missing-value markers).

    Raises:
        NeedsSlowPath: a cell does not hold what belongs there.
    """
    markers: Counter[str] = Counter()
    parsed = {}
    for name, column in columns.items():
        cells = column.dictionary
        cells.validate(full=True)
        parsed_cells = _parse_cells(name, cells, labels, file_format)
        if parsed_cells.faults:
            raise NeedsSlowPath
        _count_markers(parsed_cells, cells, column.indices, markers)
        parsed[name] = parsed_cells
    return (
        _make_batch(
            {
                name: (columns[name].indices, parsed_cells.values)
                for name, parsed_cells in parsed.items()
            },
            file_format,
            labels,
        ),
        markers,
    )


def parse_text(
    text: bytes,
    file_format: FileFormat,
    file: str,
    bad_rows: BadRowHandler,
    labels: str = "required",
    rows_before: int = 0,
    bytes_before: int = 0,
) -> Iterator[ParsedRows]:
    """Parse whole lines of text.

    Args:
        text: the lines.
        file_format: the file's format; `rows_before_data` applies to `text`.
        file: its name, for messages.
        bad_rows: what to do with bad rows.
        labels: one of LABEL_RULES.
        rows_before: rows of the file before `text`. Messages count rows from 1, including a header.
        bytes_before: bytes of the file before `text`.
    """
    if b"\x00" in text:
        raise BadInput(
            f"{file!r} holds a NUL byte at byte {bytes_before + text.index(0) + 1:,}: it is"
            " damaged, or binary."
        )
    data_start = skip_rows(
        text, file_format.rows_before_data, file_format.delimiter, file_format.quoted
    )
    if data_start == len(text):
        raise BadInput(f"{file!r} holds no good row: its header is all there is.")
    first = rows_before + file_format.rows_before_data
    # Arrow drops a byte order mark at the start. In the middle of a file it is an ordinary
    # character, so a second one is added for Arrow to drop.
    data = text[data_start:] if data_start else text
    if (bytes_before or data_start) and data.startswith(codecs.BOM_UTF8):
        data = codecs.BOM_UTF8 + data
    dropped: list[int] = []

    def report_width(row: pyarrow.csv.InvalidRow) -> str:
        number = first + row.number
        dropped.append(number)
        bad_rows.add(
            number,
            f"Row {number:,} of {file!r} has {row.actual_columns} columns instead of"
            f" {row.expected_columns} ({row.text[:60]!r}){describe_line_span(row.text)}.",
        )
        return "skip"

    try:
        table = _read_csv(data, file_format, report_width)
    except pa.ArrowException as error:
        bad_rows.flush(len(dropped))
        raise explain_arrow_error(error, text, file, rows_before + 1) from error
    numbers = number_rows(first + 1, table.num_rows, dropped)
    blank = find_blank_rows(text, find_row_ends(text, file_format.delimiter, file_format.quoted))
    filled = ~np.isin(numbers, blank + rows_before)
    n_rows = table.num_rows + len(dropped)
    yield from parse_table(
        table.filter(pa.array(filled)), numbers[filled], file_format, file, bad_rows, labels
    )
    bad_rows.flush(n_rows)


def _read_csv(
    data: bytes, file_format: FileFormat, on_invalid_row: Callable[[pyarrow.csv.InvalidRow], str]
) -> pa.Table:
    """Split rows of text into a table of strings, with the stored names of the columns."""
    columns = [f"{position}" for position in range(len(file_format.columns))]
    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        read_options=pyarrow.csv.ReadOptions(
            column_names=columns,
            # A single block, so that on_invalid_row gets row numbers within `data`.
            block_size=len(data) + 1,
            use_threads=False,
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=file_format.delimiter,
            quote_char='"' if file_format.quoted else False,
            # A blank line becomes a row of nulls, which keeps the row numbers right.
            ignore_empty_lines=False,
            invalid_row_handler=on_invalid_row,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            include_columns=[
                columns[position] for position, name in enumerate(file_format.columns) if name
            ],
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    return table.rename_columns([name for name in file_format.columns if name])


def parse_table(
    table: pa.Table,
    numbers: np.ndarray,
    file_format: FileFormat,
    file: str,
    bad_rows: BadRowHandler,
    labels: str = "required",
) -> Iterator[ParsedRows]:
    """Parse a table of strings into batches of good rows; bad rows are reported.

    Args:
        table: the columns by stored name.
        numbers: number of each row in the file, int64.
        file_format: the file's format.
        file: its name, for messages.
        bad_rows: what to do with bad rows.
        labels: one of LABEL_RULES.
    """
    for start in range(0, table.num_rows, BATCH_ROWS):
        part = table.slice(start, BATCH_ROWS).combine_chunks()
        row_numbers, keep = numbers[start : start + BATCH_ROWS], np.ones(part.num_rows, dtype=bool)
        encoded, parsed = {}, {}
        for column in file_format.stored_columns:
            array = encoded[column] = _encode_column(part[column])
            cells = parsed[column] = _parse_cells(column, array.dictionary, labels, file_format)
            if cells.faults:
                if column == LABEL:
                    check_repeated_header(part, file_format, row_numbers, file)
                report_faults(cells, array, column, row_numbers, keep, file, bad_rows)
        markers: Counter[str] = Counter()
        columns = {}
        for column, cells in parsed.items():
            indices = encoded[column].indices.filter(pa.array(keep))
            _count_markers(cells, encoded[column].dictionary, indices, markers)
            columns[column] = (indices, cells.values)
        if keep.any():
            yield ParsedRows(_make_batch(columns, file_format, labels), row_numbers[keep], markers)


def _parse_cells(name: str, cells: pa.Array, labels: str, file_format: FileFormat) -> ParsedCells:
    if name == LABEL:
        parsed = parse_labels(cells, optional=labels != "required")
        if labels == "unknown" and np.any(parsed.values.to_numpy() != NO_LABEL):
            raise LabelsFound
        return parsed
    if name in NUMERIC:
        return parse_numbers(cells)
    if file_format.padded:
        cells = pc.replace_substring_regex(pc.utf8_trim_whitespace(cells), r'^"(.*)"$', r"\1")
    parsed = parse_categories(cells, MAX_CATEGORY_LENGTH if name in CATEGORICAL else None)
    if not file_format.quoted:
        return parsed
    faults = {**parsed.faults, **_find_unclosed_quotes(cells, file_format)}
    return dataclasses.replace(parsed, faults=faults)


def _find_unclosed_quotes(cells: pa.Array, file_format: FileFormat) -> dict[int, str]:
    """Return faults of cells that contain whole rows: an earlier quotation mark was not closed."""
    long = pc.fill_null(pc.greater(pc.binary_length(cells), 2 * len(file_format.columns)), False)
    suspects = np.flatnonzero(np.asarray(long)).tolist()
    faults = {}
    for position in suspects:
        text = cells[position].as_py()
        if "\n" in text and text.count(file_format.delimiter) >= len(file_format.columns) - 1:
            faults[position] = (
                f"{text.count(chr(10)) + 1:,} lines: a quotation mark before them is not closed"
            )
    return faults


def _make_batch(
    columns: dict[str, tuple[pa.Array, pa.Array]], file_format: FileFormat, labels: str
) -> pa.RecordBatch:
    """Make a batch of columns given as (indices, values); fields the file lacks are missing."""
    arrays = {}
    rows = len(next(iter(columns.values()))[0])
    for name, (indices, values) in columns.items():
        if name == LABEL:
            if labels != "unknown":
                arrays[name] = values.take(indices)
        else:
            arrays[name] = pa.DictionaryArray.from_arrays(indices, values, safe=False)
    for name in file_format.missing_fields:
        value = pa.nulls(1, pa.float64() if name in NUMERIC else pa.string())
        arrays[name] = pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(rows, np.int16)), value, safe=False
        )
    return make_batch(arrays, file_format.extra_columns)


def _encode_column(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Dictionary-encode a column with int16 indices, null values included."""
    array = column.combine_chunks()
    encoded = array.dictionary_encode(null_encoding="encode")
    return pa.DictionaryArray.from_arrays(
        encoded.indices.cast(pa.int16()), encoded.dictionary, safe=False
    )


def _count_markers(
    parsed: ParsedCells, cells: pa.Array, indices: pa.Array, markers: Counter[str]
) -> None:
    if not len(parsed.markers):
        return
    counts = np.bincount(indices.to_numpy(), minlength=len(cells))
    for position in parsed.markers.tolist():
        if counts[position]:
            text = cells[position].as_py()
            markers[text.strip() or ("blank" if text else "empty text")] += int(counts[position])
