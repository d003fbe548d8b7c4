"""Rows of text or Parquet into typed columns, batch by batch, with every bad row named."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from core.data.containers import Guard, check_size
from core.data.dialects import Inspection
from core.data.parquet_pages import claimed_bytes
from core.data.schema import CATEGORICAL, FIELDS, LABEL, NUMERIC
from core.errors import BadInput, UnreadableRow

BLOCK_BYTES = 7 * 2**20
"""About as many rows as go into one coded batch; no row may be longer."""
MAX_FIELD = 4096
"""Characters; Criteo's categories have 8, and a field this long is damage."""
MAX_EXAMPLES = 20
PARQUET_ROWS = 65_536
MAX_ROW_GROUP_BYTES = 4 * 2**30
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
LABELS = pa.array(["0", "1", "0.0", "1.0"])
_SCHEMA = pa.schema(
    [(LABEL, pa.int8())] + [(name, pa.float64()) for name in NUMERIC] + [(name, pa.string()) for name in CATEGORICAL]
)


class UnusualText(Exception):
    """A quick reader's text has something that only `read_text` may judge."""


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

    def settle(self, last_row: int | None = None) -> None:
        """Decides on the rows noted up to `last_row` (all when None), in order: BadInput with the first, or skips."""
        self._pending.sort()
        while self._pending and (last_row is None or self._pending[0][0] <= last_row):
            sentence = self._pending.pop(0)[1]
            if not self.skip:
                raise UnreadableRow(f"{sentence} Mend the row, or choose to skip bad rows.")
            self.count += 1
            if len(self.examples) < MAX_EXAMPLES:
                self.examples.append(sentence)


def table_schema(labelled: bool) -> pa.Schema:
    """Columns of the tables read: label int8 when labelled, I1..I13 float64, C1..C26 string."""
    return _SCHEMA if labelled else _SCHEMA.remove(0)


def read_text(
    stream: Guard | BinaryIO, form: Inspection, name: str, bad: BadRows, before: int = 0, start: int = 0
) -> Iterator[pa.Table]:
    """Typed tables from the text of `stream`, before which the file has `before` lines of `start` bytes.

    Row numbers in sentences count from 1, a header line included.
    """
    columns = [column or f"ignored {place}" for place, column in enumerate(form.columns)]
    bad_widths: list[int] = []

    def wrong_width(row: pyarrow.csv.InvalidRow) -> str:
        number = before + row.number
        bad_widths.append(number)
        bad.note(
            number,
            f"Row {number:,} of {name!r} has {row.actual_columns} columns where {row.expected_columns} belong "
            f"({row.text[:60]!r}).",
        )
        return "skip"

    try:
        reader = pyarrow.csv.open_csv(
            pa.PythonFile(_Text(stream, name, start), "r"),
            read_options=pyarrow.csv.ReadOptions(
                column_names=columns, skip_rows=form.header_row, block_size=BLOCK_BYTES, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=form.delimiter,
                quote_char='"' if form.dialect == "csv" else False,
                # Arrow makes a row of nulls of a blank line. Where rows have labels that is told apart from data.
                ignore_empty_lines=not form.labelled,
                invalid_row_handler=wrong_width,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=[column for column in form.columns if column],
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowException as error:
        bad.settle()
        raise _arrow_sentence(error, name, before + 1) from error
    seen = before
    numbers = RowNumbers(first=before + 1 + form.header_row)
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            break
        except pa.ArrowException as error:
            bad.settle()
            raise _arrow_sentence(error, name, seen + 1) from error
        rows = numbers.take(batch.num_rows, bad_widths)
        seen = int(rows[-1]) if len(rows) else seen
        table = pa.Table.from_batches([batch])
        if form.labelled:
            filled = ~_all_null(table)
            table, rows = table.filter(pa.array(filled)), rows[filled]
        table = _typed(table, rows, name, bad)
        bad.settle(seen)
        yield table
    bad.settle()


def read_parquet(path: Path, form: Inspection, bad: BadRows) -> Iterator[pa.Table]:
    """Typed tables from a Parquet file; columns may hold numbers or text."""
    wanted = [column for column in (LABEL, *FIELDS) if column in form.columns]
    try:
        with pq.ParquetFile(path) as file:
            packed, unpacked = path.stat().st_size, 0
            sizes = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
            if any(size > MAX_ROW_GROUP_BYTES for size in sizes):
                raise BadInput(
                    f"{path.name!r} has a row group of {max(sizes):,} bytes; write it with row groups of at most "
                    f"{MAX_ROW_GROUP_BYTES:,} bytes."
                )
            _check_count(sum(file.metadata.row_group(i).num_rows for i in range(len(sizes))), file, path.name)
            check_size(sum(sizes), packed, path.name)
            check_size(claimed_bytes(path, file.metadata), packed, path.name)
            names = [name for name, column in zip(file.schema_arrow.names, form.columns, strict=True) if column]
            seen = 0
            for batch in file.iter_batches(PARQUET_ROWS, columns=names):
                # A value repeated a million times takes no room in the file; once decoded it does.
                unpacked += batch.nbytes
                check_size(unpacked, packed, path.name)
                table = pa.Table.from_batches([batch])
                table = table.rename_columns(
                    [LABEL if name.strip() == "Label" else name.strip() for name in table.column_names]
                )
                rows = np.arange(seen + 1, seen + 1 + table.num_rows)
                texts = [_as_text(table[column], column, path.name, rows) for column in wanted]
                seen += table.num_rows
                typed = _typed(pa.table(texts, names=wanted), rows, path.name, bad)
                bad.settle()
                yield typed
            _check_count(seen, file, path.name)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path.name!r} cannot be read as Parquet ({error}); write it again.") from error


def _check_count(rows: int, file: pq.ParquetFile, name: str) -> None:
    """BadInput where a Parquet file's footer counts other rows: Arrow hands out the fewer of the two in silence."""
    if rows != file.metadata.num_rows:
        raise BadInput(
            f"{name!r} holds {rows:,} rows where its footer counts {file.metadata.num_rows:,}: it is damaged; write it "
            "again."
        )


class _Text:
    """A stream of text for Arrow, which would take NUL bytes for letters."""

    def __init__(self, stream: Guard | BinaryIO, name: str, start: int) -> None:
        self._stream = stream
        self._name = name
        self._read = start
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; BadInput when a NUL byte is among them."""
        data = self._stream.read(size)
        if b"\x00" in data:
            place = self._read + data.index(b"\x00") + 1
            raise BadInput(f"{self._name!r} holds a NUL byte at byte {place:,}: it is damaged, or binary.")
        self._read += len(data)
        return data


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


def _all_null(table: pa.Table) -> np.ndarray:
    """bool (rows,): whether every column is null."""
    empty = np.ones(table.num_rows, dtype=bool)
    for column in table.columns:
        if not empty.any():
            break
        empty &= column.is_null().to_numpy()
    return empty


def _arrow_sentence(error: pa.ArrowException, name: str, row: int) -> BadInput:
    text = str(error)
    if "Could not skip" in text:
        return BadInput(f"{name!r} holds no good row: its header is all there is.")
    if "straddl" in text or "block" in text:
        return BadInput(
            f"{name!r} has a row longer than {BLOCK_BYTES:,} bytes near row {row:,}: that is damage, not a Criteo row."
        )
    if "UTF8" in text or "UTF-8" in text:
        return BadInput(f"{name!r} is not text in UTF-8 at or after row {row:,}; save it as UTF-8.")
    return BadInput(f"{name!r} cannot be read at or after row {row:,}: {text.splitlines()[0][:200]}")


def _as_text(column: pa.ChunkedArray, name: str, file: str, rows: np.ndarray) -> pa.ChunkedArray:
    """Numbers and dictionaries as text, so that Parquet meets the same checks as any other file."""
    try:
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        texts = column.cast(pa.string())
    except pa.ArrowException as error:
        raise BadInput(
            f"Column {name} of {file!r} has the type {column.type}; it must hold numbers or text."
        ) from error
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise BadInput(
            f"Column {name} of {file!r} holds text that is not UTF-8 in rows {rows[0]:,} to {rows[-1]:,}; write it "
            "again."
        ) from error
    return texts


def _typed(table: pa.Table, rows: np.ndarray, name: str, bad: BadRows) -> pa.Table:
    """Casts text columns to the schema. A row that cannot be cast is bad; its first fault is the one named."""
    keep = np.ones(table.num_rows, dtype=bool)

    def reject(faulty: pa.ChunkedArray | np.ndarray, column: str, why: str) -> None:
        places = np.flatnonzero(np.asarray(faulty) & keep)
        for place in places:
            value = table[column][int(place)].as_py()
            shown = "empty" if value is None else repr(value if len(value) <= 60 else value[:57] + "...")
            header = " (a header line in the middle of the file?)" if value == column or value == "Label" else ""
            bad.note(int(rows[place]), f"Row {rows[place]:,} of {name!r}: {column} is {shown}, {why}{header}.")
        keep[places] = False

    typed: dict[str, pa.ChunkedArray] = {}
    labelled = LABEL in table.column_names
    if labelled:
        found = pc.index_in(table[LABEL], value_set=LABELS)
        if found.null_count:
            reject(found.is_null(), LABEL, "not 0 or 1")
        typed[LABEL] = pc.bit_wise_and(pc.fill_null(found, 0), 1).cast(pa.int8())
    for column in NUMERIC:
        typed[column] = _numbers(table[column], column, reject)
    for column in CATEGORICAL:
        lengths = pc.fill_null(pc.utf8_length(table[column]), 0)
        if (pc.max(lengths).as_py() or 0) > MAX_FIELD:
            reject(pc.greater(lengths, MAX_FIELD), column, f"longer than {MAX_FIELD:,} characters")
        typed[column] = table[column]
    result = pa.table(typed, schema=table_schema(labelled))
    return result if keep.all() else result.filter(pa.array(keep))


def _numbers(
    column: pa.ChunkedArray, name: str, reject: Callable[[pa.ChunkedArray, str, str], None]
) -> pa.ChunkedArray:
    try:
        values = column.cast(pa.float64())
    except pa.ArrowInvalid:
        good = pc.fill_null(pc.match_substring_regex(column, _NUMBER), True)
        reject(pc.invert(good), name, "not a number")
        values = pc.if_else(good, column, None).cast(pa.float64())
    finite = pc.fill_null(pc.is_finite(values), True)
    if not pc.all(finite).as_py():
        reject(pc.invert(finite), name, "not a finite number")
        values = pc.if_else(finite, values, None)
    return values
