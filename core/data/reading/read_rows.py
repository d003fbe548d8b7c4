"""Reads a file: detects its format, and writes its rows to disk as batches.

`detect_file_format` and `read_file_rows` are the functions to call. Both do their work in a
separate process (see `reader_process`), in `detect_format_job` and `read_rows_job`.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.data.archives.containers import open_rows
from core.data.columns.dictionary_file import open_row_writer
from core.data.read_options import DEFAULT_OPTIONS, ReadOptions
from core.data.reading import reader_process
from core.data.reading.bad_rows import BadRowHandler
from core.data.reading.columnar import COLUMNAR_FORMATS, open_batches, to_text
from core.data.reading.dialects import FileFormat, detect_format
from core.data.reading.parse import LabelsFound, ParsedRows, parse_table
from core.data.reading.reader_server import SendEvent
from core.data.reading.textblocks import read_blocks
from core.data.samples import ROWS_FILE, SKIPPED_FILE
from core.data.schema import LABEL
from core.files.typed_json import from_json, to_json

MAX_EXAMPLE_LENGTH = 200
"""Characters of an example cell that are kept."""


@dataclass(frozen=True)
class ReadSummary:
    """What was found while reading a file.

    Attributes:
        labelled: whether the rows have a label.
        rows: number of rows in the sample.
        clicks: number of rows whose label is 1.
        bad_rows: number of skipped rows.
        bad_examples: sentences about some of them.
        markers: (text that means a missing value, number of cells).
        truncated: whether the file is truncated.
        unpack_note: a sentence from unpacking, "" as a rule.
    """

    labelled: bool
    rows: int
    clicks: int
    bad_rows: int
    bad_examples: tuple[str, ...]
    markers: tuple[tuple[str, int], ...]
    truncated: bool
    unpack_note: str


@dataclass(frozen=True)
class FormatRequest:
    """A request to detect the format of a file; see `dialects.detect_format`."""

    path: str
    options: ReadOptions
    need_label: bool


@dataclass(frozen=True)
class RowsRequest:
    """A request to write a file's rows into `folder`; see `core.data.samples` for the file names.

    Attributes:
        skip: whether to skip bad rows instead of raising.
        labels: one of `parse.LABEL_RULES`.
    """

    path: str
    folder: str
    file_format: FileFormat
    skip: bool
    labels: str


def detect_file_format(
    path: Path, options: ReadOptions = DEFAULT_OPTIONS, need_label: bool = True
) -> FileFormat:
    """Run `dialects.detect_format` in the reader process; example cells are shortened."""
    request = FormatRequest(str(path), options, need_label)
    return from_json(FileFormat, reader_process.call(detect_format_job, path, to_json(request)))


def read_file_rows(
    path: Path,
    file_format: FileFormat,
    folder: Path,
    skip: bool,
    labels: str,
    report: Callable[[float], None],
    should_stop: Callable[[], bool],
) -> ReadSummary | None:
    """Write the rows of a file into `folder`, in the reader process.

    Args:
        path: the file.
        file_format: as `detect_file_format` returned it.
        folder: an empty folder.
        skip: skip and count bad rows instead of raising UnreadableRow.
        labels: one of `parse.LABEL_RULES`. With "unknown" the rows are read again as "required" if
            a label turns up.
        report: called with the progress, 0 to 1.
        should_stop: called at every event; reading stops once it returns true.

    Returns:
        What was found, or None if reading was stopped.
    """

    def on_event(progress: Any) -> None:
        if isinstance(progress, float):
            report(progress)
        if should_stop():
            raise _Cancelled

    request = RowsRequest(str(path), str(folder), file_format, skip, labels)
    try:
        summary = from_json(
            ReadSummary, reader_process.call(read_rows_job, path, to_json(request), on_event)
        )
    except _Cancelled:
        summary = None
    report(1.0)
    return summary


def detect_format_job(request: dict[str, Any], send_event: SendEvent) -> Any:
    """Do the work of `detect_file_format`."""
    parsed = from_json(FormatRequest, request)
    file_format = detect_format(Path(parsed.path), parsed.options, parsed.need_label)
    examples = tuple(
        tuple(cell[:MAX_EXAMPLE_LENGTH] for cell in cells) for cells in file_format.examples
    )
    return to_json(dataclasses.replace(file_format, examples=examples))


def read_rows_job(request: dict[str, Any], send_event: SendEvent) -> Any:
    """Do the work of `read_file_rows`; its events are the progress, None where it is unknown."""
    parsed = from_json(RowsRequest, request)
    try:
        return to_json(_write_rows(parsed, send_event))
    except LabelsFound:
        return to_json(_write_rows(dataclasses.replace(parsed, labels="required"), send_event))


class _Cancelled(Exception):
    """The rows are no longer needed."""


@dataclass
class _FilePass:
    """One pass over a file, and what it has found so far.

    Attributes:
        skipped: numbers of the file's lines that are not rows of the sample, as a list of arrays.
        last: number of the last row.
    """

    path: Path
    file_format: FileFormat
    bad_rows: BadRowHandler
    labels: str
    rows: int = 0
    clicks: int = 0
    last: int = 0
    truncated: bool = False
    unpack_note: str = ""
    markers: Counter[str] = field(default_factory=Counter)
    skipped: list[np.ndarray] = field(default_factory=list)

    @property
    def labelled(self) -> bool:
        """Whether the stored rows have a label."""
        return self.file_format.labelled and self.labels != "unknown"

    def add(self, rows: ParsedRows) -> None:
        """Count rows that go into the sample."""
        self.rows += rows.batch.num_rows
        self.markers += rows.markers
        expected = np.arange(self.last + 1, int(rows.row_numbers[-1]) + 1)
        if len(expected) > len(rows.row_numbers):
            self.skipped.append(np.setdiff1d(expected, rows.row_numbers, assume_unique=True))
        self.last = int(rows.row_numbers[-1])
        if self.labelled:
            self.clicks += int(pc.sum(pc.equal(rows.batch[LABEL], 1)).as_py() or 0)


def _write_rows(request: RowsRequest, send_event: SendEvent) -> ReadSummary:
    folder, bad_rows = Path(request.folder), BadRowHandler(request.skip)
    file_pass = _FilePass(Path(request.path), request.file_format, bad_rows, request.labels)
    with (
        _open_rows(file_pass, send_event) as batches,
        open_row_writer(
            folder / ROWS_FILE, file_pass.labelled, file_pass.file_format.extra_columns
        ) as writer,
    ):
        for rows in batches:
            writer.write_batch(rows.batch)
            file_pass.add(rows)
    if file_pass.skipped:
        np.save(folder / SKIPPED_FILE, np.concatenate(file_pass.skipped))
    return ReadSummary(
        labelled=file_pass.labelled,
        rows=file_pass.rows,
        clicks=file_pass.clicks,
        bad_rows=file_pass.bad_rows.count,
        bad_examples=tuple(file_pass.bad_rows.examples),
        markers=tuple(file_pass.markers.most_common()),
        truncated=file_pass.truncated,
        unpack_note=file_pass.unpack_note,
    )


@contextmanager
def _open_rows(file_pass: _FilePass, send_event: SendEvent) -> Iterator[Iterator[ParsedRows]]:
    path, file_format = file_pass.path, file_pass.file_format
    if file_format.container in COLUMNAR_FORMATS:
        names = [
            name
            for name, column in zip(file_format.column_names, file_format.columns, strict=True)
            if column
        ]
        with open_batches(path, file_format.container, names) as batches:
            yield _parse_columnar(batches, file_pass, send_event)
        return
    with open_rows(path, file_format.member, keep_truncated=file_pass.bad_rows.skip) as stream:

        def parsed_rows() -> Iterator[ParsedRows]:
            for block in read_blocks(
                stream, file_format, path.name, file_pass.bad_rows, file_pass.labels
            ):
                send_event(stream.progress)
                yield from block
            file_pass.truncated, file_pass.unpack_note = stream.truncated, stream.unpack_note

        yield parsed_rows()


def _parse_columnar(
    batches: Iterator[pa.RecordBatch], file_pass: _FilePass, send_event: SendEvent
) -> Iterator[ParsedRows]:
    file_format, file = file_pass.file_format, file_pass.path.name
    stored, n_seen = [column for column in file_format.columns if column], 0
    for batch in batches:
        send_event(None)
        columns = [
            to_text(column, name, file, field, n_seen + 1)
            for column, name, field in zip(batch.columns, batch.schema.names, stored, strict=True)
        ]
        numbers = np.arange(n_seen + 1, n_seen + 1 + batch.num_rows)
        n_seen += batch.num_rows
        yield from parse_table(
            pa.table(columns, names=stored),
            numbers,
            file_format,
            file,
            file_pass.bad_rows,
            file_pass.labels,
        )
        file_pass.bad_rows.flush(batch.num_rows)
