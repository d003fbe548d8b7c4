"""Rows as text into coded batches, with every bad row named and every missing-value marker counted."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv

from core.data.dialects import Inspection
from core.data.row_ends import blank_rows, row_ends
from core.data.rowsfile import BATCH_ROWS, coded_batch
from core.data.schema import LABEL, NUMERIC
from core.data.values import NO_LABEL, Parsed, parse_categories, parse_labels, parse_numbers
from core.errors import BadInput, UnreadableRow

MAX_EXAMPLES = 20
LABEL_RULES = ("required", "optional", "unknown")
"""Of labels: each must be 0 or 1; one may be a placeholder (NO_LABEL); all are placeholders, so there is no label."""
_MANY = 0.5


class UnusualText(Exception):
    """A quick reader's text has something that only `read_text` may judge."""


class LabelsFound(Exception):
    """A label, where all before it were placeholders: the file has labels after all."""


@dataclass
class BadRows:
    """What to do with a bad row: refuse the file with a sentence, or skip, count and remember a few."""

    skip: bool
    count: int = 0
    examples: list[str] = field(default_factory=list)
    _pending: list[tuple[int, str]] = field(default_factory=list)

    def note(self, row: int, sentence: str) -> None:
        """Notes a bad row; faults are found out of order, so nothing is decided before `settle`."""
        self._pending.append((row, sentence))

    def settle(self, rows: int) -> None:
        """Decides on the rows noted, which were among so many: BadInput with the first of them, or skips all."""
        self._pending.sort()
        if self._pending and not self.skip:
            self._refuse(rows)
        self.count += len(self._pending)
        self.examples += [sentence for _, sentence in self._pending[: MAX_EXAMPLES - len(self.examples)]]
        self._pending.clear()

    def _refuse(self, rows: int) -> NoReturn:
        first, bad = self._pending[0][1], len(self._pending)
        if bad > 1 and bad > _MANY * rows:
            raise BadInput(
                f"{first} {bad:,} of the {rows:,} rows looked at are bad, so skipping bad rows would leave few: check "
                "that delimiter and columns are what they seem."
            )
        raise UnreadableRow(f"{first} Fix the row, or choose to skip bad rows.")


@dataclass(frozen=True)
class Rows:
    """Rows of a file. numbers: each one's number in the file, from 1, rising, int64. markers: missing-value markers.

    batch: label (or none), I1..I13, C1..C26 and the columns kept beside them, as core.data.rowsfile has them.
    """

    batch: pa.RecordBatch
    numbers: np.ndarray
    markers: Counter[str]


def code_batch(columns: dict[str, pa.DictionaryArray], form: Inspection, labels: str) -> tuple[pa.RecordBatch, Counter]:
    """(columns of text as a coded batch, markers); UnusualText where a cell is not what belongs there."""
    markers: Counter[str] = Counter()
    parsed = {}
    for name, column in columns.items():
        cells = column.dictionary
        cells.validate(full=True)
        found = _parse(name, cells, labels)
        if found.faults:
            raise UnusualText
        _count_markers(found, cells, column.indices, markers)
        parsed[name] = found
    return _coded(
        {name: (columns[name].indices, found.values) for name, found in parsed.items()}, form, labels
    ), markers


def read_text(
    text: bytes, form: Inspection, name: str, bad: BadRows, labels: str = "required", before: int = 0, start: int = 0
) -> Iterator[Rows]:
    """Rows from whole lines of text, before which the file has `before` lines of `start` bytes.

    Row numbers in sentences count from 1, a header line included.
    """
    if b"\x00" in text:
        raise BadInput(f"{name!r} holds a NUL byte at byte {start + text.index(0) + 1:,}: it is damaged, or binary.")
    columns = [f"{place}" for place in range(len(form.columns))]
    dropped: list[int] = []

    def wrong_width(row: pyarrow.csv.InvalidRow) -> str:
        number = before + row.number
        dropped.append(number)
        bad.note(
            number,
            f"Row {number:,} of {name!r} has {row.actual_columns} columns where {row.expected_columns} belong "
            f"({row.text[:60]!r}).",
        )
        return "skip"

    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text),
            read_options=pyarrow.csv.ReadOptions(
                # One block, whose rows are numbered in one go.
                column_names=columns,
                skip_rows=form.header_row,
                block_size=len(text) + 1,
                use_threads=False,
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=form.delimiter,
                quote_char='"' if form.quoted else False,
                # Arrow then makes a row of nulls of a blank line, which keeps the numbers of the rows.
                ignore_empty_lines=False,
                invalid_row_handler=wrong_width,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=[columns[place] for place, column in enumerate(form.columns) if column],
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowException as error:
        bad.settle(len(dropped))
        raise _arrow_sentence(error, name, before + 1) from error
    table = table.rename_columns([column for column in form.columns if column])
    numbers = RowNumbers(first=before + 1 + form.header_row).take(table.num_rows, dropped)
    blank = blank_rows(text, row_ends(text, form.delimiter, form.quoted))
    filled = ~np.isin(numbers, blank + before)
    seen = table.num_rows + len(dropped)
    yield from read_table(table.filter(pa.array(filled)), numbers[filled], form, name, bad, labels)
    bad.settle(seen)


def read_table(
    table: pa.Table, numbers: np.ndarray, form: Inspection, name: str, bad: BadRows, labels: str = "required"
) -> Iterator[Rows]:
    """The good rows of a table of text; the bad ones are noted. numbers: the rows' in the file, int64."""
    for start in range(0, table.num_rows, BATCH_ROWS):
        part = table.slice(start, BATCH_ROWS).combine_chunks()
        rows, keep = numbers[start : start + BATCH_ROWS], np.ones(part.num_rows, dtype=bool)
        columns, found = {}, {}
        for column in form.stored:
            encoded = _encode(part[column])
            found[column] = _parse(column, encoded.dictionary, labels)
            _note_faults(found[column], encoded, column, rows, keep, name, bad)
            columns[column] = encoded
        markers: Counter[str] = Counter()
        coded = {}
        for column, parsed in found.items():
            indices = columns[column].indices.filter(pa.array(keep))
            _count_markers(parsed, columns[column].dictionary, indices, markers)
            coded[column] = (indices, parsed.values)
        if keep.any():
            yield Rows(_coded(coded, form, labels), rows[keep], markers)


def _parse(name: str, cells: pa.Array, labels: str) -> Parsed:
    if name == LABEL:
        found = parse_labels(cells, optional=labels != "required")
        if labels == "unknown" and np.any(found.values.to_numpy() != NO_LABEL):
            raise LabelsFound
        return found
    if name in NUMERIC:
        return parse_numbers(cells)
    return parse_categories(cells)


def _coded(columns: dict[str, tuple[pa.Array, pa.Array]], form: Inspection, labels: str) -> pa.RecordBatch:
    """Columns of (positions, values) as a batch; what the file lacks is missing in every row."""
    coded = {}
    rows = len(next(iter(columns.values()))[0])
    for name, (indices, values) in columns.items():
        if name == LABEL:
            if labels != "unknown":
                coded[name] = values.take(indices)
        else:
            coded[name] = pa.DictionaryArray.from_arrays(indices, values, safe=False)
    for name in form.absent:
        value = pa.nulls(1, pa.float64() if name in NUMERIC else pa.string())
        coded[name] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int16)), value, safe=False)
    return coded_batch(coded, form.extra)


def _encode(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The column's distinct texts, a missing one among them, and each row's position there, int16."""
    whole = column.combine_chunks()
    encoded = whole.dictionary_encode(null_encoding="encode")
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(pa.int16()), encoded.dictionary, safe=False)


def _count_markers(found: Parsed, cells: pa.Array, indices: pa.Array, markers: Counter[str]) -> None:
    if not len(found.markers):
        return
    counts = np.bincount(indices.to_numpy(), minlength=len(cells))
    for position in found.markers.tolist():
        if counts[position]:
            text = cells[position].as_py()
            markers[text.strip() or ("blank" if text else "empty text")] += int(counts[position])


def _note_faults(
    found: Parsed,
    column: pa.DictionaryArray,
    name: str,
    rows: np.ndarray,
    keep: np.ndarray,
    file: str,
    bad: BadRows,
) -> None:
    """Notes the rows whose cell is a fault and that have no other one yet, and takes them out of `keep`."""
    if not found.faults:
        return
    faulty = np.zeros(len(column.dictionary), bool)
    faulty[list(found.faults)] = True
    positions = column.indices.to_numpy()
    for place in np.flatnonzero(faulty[positions] & keep):
        value = column.dictionary[int(positions[place])].as_py()
        shown = "empty" if value is None else repr(value if len(value) <= 60 else value[:57] + "...")
        why = found.faults[int(positions[place])] + _hint(name, value)
        bad.note(int(rows[place]), f"Row {rows[place]:,} of {file!r}: {name} is {shown}, {why}.")
        keep[place] = False


def _hint(name: str, value: str | None) -> str:
    """What a fault may come from."""
    if value is None:
        return ""
    if value.strip().lower() in (name.lower(), "label"):
        return " (a header line in the middle of the file?)"
    if name == LABEL and value.strip() in ("-1", "-1.0"):
        return " (write 0 where -1 means no click)"
    if name in NUMERIC and value.strip().startswith('"'):
        return " (quotation marks around a number)"
    return ""


class RowNumbers:
    """Maps the rows that arrow hands out back to line numbers, knowing which lines it dropped."""

    def __init__(self, first: int) -> None:
        self._next = first

    def take(self, count: int, dropped: list[int]) -> np.ndarray:
        """Line numbers of the next `count` rows handed out, when arrow left out the lines `dropped`."""
        gone = np.array([number for number in dropped if number >= self._next], dtype=np.int64)
        numbers = np.arange(self._next, self._next + count + len(gone))
        numbers = numbers[~np.isin(numbers, gone)][:count]
        if count:
            self._next = int(numbers[-1]) + 1
        return numbers


def _arrow_sentence(error: pa.ArrowException, name: str, row: int) -> BadInput:
    text = str(error)
    if "Could not skip" in text:
        return BadInput(f"{name!r} holds no good row: its header is all there is.")
    if "UTF8" in text or "UTF-8" in text:
        return BadInput(f"{name!r} is not text in UTF-8 at or after row {row:,}; save it as UTF-8.")
    return BadInput(f"{name!r} cannot be read at or after row {row:,}: {text.splitlines()[0][:200]}")
