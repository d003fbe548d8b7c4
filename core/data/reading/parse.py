"""Rows as text into coded batches, with every bad row named and every missing-value marker
counted."""

import codecs
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from core.data.columns.dictionary_file import BATCH_ROWS, make_batch
from core.data.reading.bad_rows import BadRowHandler, number_rows
from core.data.reading.column_names import LABEL_NAMES, normalise_name, recognise_columns
from core.data.reading.dialects import FileFormat
from core.data.reading.head import describe_not_utf8
from core.data.reading.row_ends import find_blank_rows, find_row_ends, skip_rows
from core.data.reading.values import (
    MAX_CATEGORY_LENGTH,
    NO_LABEL,
    ParsedCells,
    parse_categories,
    parse_label,
    parse_labels,
    parse_numbers,
)
from core.data.schema import CATEGORICAL, LABEL, NUMERIC
from core.errors import BadInput

LABEL_RULES = ("required", "optional", "unknown")
"""Of labels: each must be 0 or 1; one may be a placeholder (NO_LABEL); all are placeholders, so
there is no label."""


class NeedsSlowPath(Exception):
    """A quick reader's text has something that only `parse_text` may judge."""


class LabelsFound(Exception):
    """A label, where all before it were placeholders: the file has labels after all."""


@dataclass(frozen=True)
class ParsedRows:
    """Rows of a file. row_numbers: each one's number in the file, from 1, rising, int64. markers:
    missing-value markers.

    batch: label (or none), I1..I13, C1..C26 and the columns kept beside them, as core.data.columns.dictionary_file
    has them.
    """

    batch: pa.RecordBatch
    row_numbers: np.ndarray
    markers: Counter[str]


def parse_batch(
    columns: dict[str, pa.DictionaryArray], form: FileFormat, labels: str
) -> tuple[pa.RecordBatch, Counter]:
    """(columns of text as a coded batch, markers); UnusualText where a cell is not what belongs
    there."""
    markers: Counter[str] = Counter()
    parsed = {}
    for name, column in columns.items():
        cells = column.dictionary
        cells.validate(full=True)
        found = _parse_cells(name, cells, labels, form)
        if found.faults:
            raise NeedsSlowPath
        _count_markers(found, cells, column.indices, markers)
        parsed[name] = found
    return (
        _make_batch(
            {name: (columns[name].indices, found.values) for name, found in parsed.items()},
            form,
            labels,
        ),
        markers,
    )


def parse_text(
    text: bytes,
    form: FileFormat,
    name: str,
    bad: BadRowHandler,
    labels: str = "required",
    before: int = 0,
    start: int = 0,
) -> Iterator[ParsedRows]:
    """Rows from whole lines of text, before which the file has `before` lines of `start` bytes.

    Row numbers in sentences count from 1, a header line included.
    """
    if b"\x00" in text:
        raise BadInput(
            f"{name!r} holds a NUL byte at byte {start + text.index(0) + 1:,}: it is damaged, or"
            " binary."
        )
    columns = [f"{place}" for place in range(len(form.columns))]
    begin = skip_rows(text, form.rows_before_data, form.delimiter, form.quoted)
    if begin == len(text):
        raise BadInput(f"{name!r} holds no good row: its header is all there is.")
    first = before + form.rows_before_data
    # Arrow takes a byte order mark for none of the text's; in the middle of a file it is a letter
    # like any other.
    data = text[begin:] if begin else text
    data = codecs.BOM_UTF8 + data if (start or begin) and data.startswith(codecs.BOM_UTF8) else data
    dropped: list[int] = []

    def wrong_width(row: pyarrow.csv.InvalidRow) -> str:
        number = first + row.number
        dropped.append(number)
        bad.add(
            number,
            f"Row {number:,} of {name!r} has {row.actual_columns} columns where"
            f" {row.expected_columns} belong ({row.text[:60]!r}){_describe_line_span(row.text)}.",
        )
        return "skip"

    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(
                # One block, whose rows are numbered in one go.
                column_names=columns,
                block_size=len(data) + 1,
                use_threads=False,
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=form.delimiter,
                quote_char='"' if form.quoted else False,
                # Arrow then makes a row of nulls of a blank line, which keeps the numbers of the
                # rows.
                ignore_empty_lines=False,
                invalid_row_handler=wrong_width,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=[
                    columns[place] for place, column in enumerate(form.columns) if column
                ],
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowException as error:
        bad.flush(len(dropped))
        raise _explain_arrow_error(error, text, name, before + 1) from error
    table = table.rename_columns([column for column in form.columns if column])
    numbers = number_rows(first + 1, table.num_rows, dropped)
    blank = find_blank_rows(text, find_row_ends(text, form.delimiter, form.quoted))
    filled = ~np.isin(numbers, blank + before)
    seen = table.num_rows + len(dropped)
    yield from parse_table(table.filter(pa.array(filled)), numbers[filled], form, name, bad, labels)
    bad.flush(seen)


def _describe_line_span(text: str) -> str:
    lines = len(text.splitlines())
    return f", over {lines:,} lines: a quotation mark in it may not be closed" if lines > 1 else ""


def parse_table(
    table: pa.Table,
    numbers: np.ndarray,
    form: FileFormat,
    name: str,
    bad: BadRowHandler,
    labels: str = "required",
) -> Iterator[ParsedRows]:
    """The good rows of a table of text; the bad ones are noted. numbers: the rows' in the file,
    int64."""
    for start in range(0, table.num_rows, BATCH_ROWS):
        part = table.slice(start, BATCH_ROWS).combine_chunks()
        rows, keep = numbers[start : start + BATCH_ROWS], np.ones(part.num_rows, dtype=bool)
        columns, found = {}, {}
        for column in form.stored_columns:
            encoded = _encode_column(part[column])
            found[column] = _parse_cells(column, encoded.dictionary, labels, form)
            columns[column] = encoded
            if found[column].faults:
                if column == LABEL:
                    _check_repeated_header(part, form, rows, name)
                _note_faults(found[column], encoded, column, rows, keep, name, bad)
        markers: Counter[str] = Counter()
        coded = {}
        for column, parsed in found.items():
            indices = columns[column].indices.filter(pa.array(keep))
            _count_markers(parsed, columns[column].dictionary, indices, markers)
            coded[column] = (indices, parsed.values)
        if keep.any():
            yield ParsedRows(_make_batch(coded, form, labels), rows[keep], markers)


def _parse_cells(name: str, cells: pa.Array, labels: str, form: FileFormat) -> ParsedCells:
    if name == LABEL:
        found = parse_labels(cells, optional=labels != "required")
        if labels == "unknown" and np.any(found.values.to_numpy() != NO_LABEL):
            raise LabelsFound
        return found
    if name in NUMERIC:
        return parse_numbers(cells)
    if form.padded:
        cells = pc.replace_substring_regex(pc.utf8_trim_whitespace(cells), r'^"(.*)"$', r"\1")
    found = parse_categories(cells, MAX_CATEGORY_LENGTH if name in CATEGORICAL else None)
    return (
        dataclasses.replace(found, faults={**found.faults, **_find_unclosed_quotes(cells, form)})
        if form.quoted
        else found
    )


def _find_unclosed_quotes(cells: pa.Array, form: FileFormat) -> dict[int, str]:
    """Faults of cells that hold whole rows, as where a quotation mark before them is not closed."""
    long = pc.fill_null(pc.greater(pc.binary_length(cells), 2 * len(form.columns)), False)
    suspects = np.flatnonzero(np.asarray(long)).tolist()
    faults = {}
    for position in suspects:
        text = cells[position].as_py()
        if "\n" in text and text.count(form.delimiter) >= len(form.columns) - 1:
            faults[position] = (
                f"{text.count(chr(10)) + 1:,} lines: a quotation mark before them is not closed"
            )
    return faults


def _make_batch(
    columns: dict[str, tuple[pa.Array, pa.Array]], form: FileFormat, labels: str
) -> pa.RecordBatch:
    """Columns of (positions, values) as a batch; what the file lacks is missing in every row."""
    coded = {}
    rows = len(next(iter(columns.values()))[0])
    for name, (indices, values) in columns.items():
        if name == LABEL:
            if labels != "unknown":
                coded[name] = values.take(indices)
        else:
            coded[name] = pa.DictionaryArray.from_arrays(indices, values, safe=False)
    for name in form.missing_fields:
        value = pa.nulls(1, pa.float64() if name in NUMERIC else pa.string())
        coded[name] = pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(rows, np.int16)), value, safe=False
        )
    return make_batch(coded, form.extra_columns)


def _encode_column(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The column's distinct texts, a missing one among them, and each row's position there,
    int16."""
    whole = column.combine_chunks()
    encoded = whole.dictionary_encode(null_encoding="encode")
    return pa.DictionaryArray.from_arrays(
        encoded.indices.cast(pa.int16()), encoded.dictionary, safe=False
    )


def _count_markers(
    found: ParsedCells, cells: pa.Array, indices: pa.Array, markers: Counter[str]
) -> None:
    if not len(found.markers):
        return
    counts = np.bincount(indices.to_numpy(), minlength=len(cells))
    for position in found.markers.tolist():
        if counts[position]:
            text = cells[position].as_py()
            markers[text.strip() or ("blank" if text else "empty text")] += int(counts[position])


def _note_faults(
    found: ParsedCells,
    column: pa.DictionaryArray,
    name: str,
    rows: np.ndarray,
    keep: np.ndarray,
    file: str,
    bad: BadRowHandler,
) -> None:
    """Notes the rows whose cell is a fault and that have no other one yet, and takes them out of
    `keep`."""
    faulty = np.zeros(len(column.dictionary), bool)
    faulty[list(found.faults)] = True
    positions = column.indices.to_numpy()
    for place in np.flatnonzero(faulty[positions] & keep):
        value = column.dictionary[int(positions[place])].as_py()
        shown = (
            "empty" if value is None else repr(value if len(value) <= 60 else value[:57] + "...")
        )
        why = found.faults[int(positions[place])] + _suggest_cause(name, value)
        bad.add(
            int(rows[place]),
            f"Row {rows[place]:,} of {file!r}: {name} is {shown}, {why}.",
            name,
            value,
        )
        keep[place] = False


def _check_repeated_header(table: pa.Table, form: FileFormat, rows: np.ndarray, file: str) -> None:
    """BadInput where a row among the others names the columns in another order: what follows it
    stands elsewhere."""
    cells = table[LABEL].to_pylist()
    for cell in {cell for cell in cells if cell and normalise_name(cell) in LABEL_NAMES}:
        place = cells.index(cell)
        names = [str(table[column][place].as_py() or "") for column in form.stored_columns]
        order = recognise_columns(names, file)
        if any(form.stored_columns[at] != ours for ours, at in order.items()):
            raise BadInput(
                f"Row {rows[place]:,} of {file!r} names the columns anew, in another order: these"
                " are two files in one. Part them there, and read each by itself."
            )


def _suggest_cause(name: str, value: str | None) -> str:
    """What a fault may come from."""
    if value is None:
        return ""
    if value.strip().lower() in (name.lower(), "label"):
        return " (a header line in the middle of the file?)"
    if name == LABEL and parse_label(value) == NO_LABEL and value.strip().startswith("-"):
        return " (write 0 where -1 means no click)"
    if name in NUMERIC and value.strip().startswith('"'):
        return " (quotation marks around a number)"
    if name in NUMERIC and re.fullmatch(r"[-+]?\d+,\d+", value.strip()):
        return " (a decimal comma: write a point in its place)"
    return ""


def _explain_arrow_error(error: pa.ArrowException, text: bytes, name: str, row: int) -> BadInput:
    """What Arrow's reader could not take, in a sentence. text: that it was given, from row `row`
    on."""
    said = str(error)
    try:
        text.decode()
    except UnicodeDecodeError as wrong:
        at = row + text[: wrong.start].count(b"\n")
        return BadInput(f"{describe_not_utf8(name, text[wrong.start])} (row {at:,})")
    return BadInput(
        f"{name!r} cannot be read at or after row {row:,}: {said.splitlines()[0][:200]}"
    )
