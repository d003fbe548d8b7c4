"""The reading half of taking a file in: its form, and its rows as batches on disk.

`detect_file_format` and `read_rows` are for everybody; both have the work done in a process of its own
(see core.data.reading.reader_process), by `detect_format_job` and `read_rows_job`.
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
"""Letters of a cell that is an example."""


@dataclass(frozen=True)
class ReadSummary:
    """What was met on the way through a file.

    labelled: whether the rows have a label. rows: in the sample. clicks: rows whose label is 1.
    bad_rows, bad_examples: those skipped, and a few of the sentences on them. markers: (text that
    means a missing value, cells). truncated: the file breaks off. unpack_note: what unpacking had to
    say.
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
    """A look at a file; see core.data.reading.dialects.detect_format."""

    path: str
    options: ReadOptions
    need_label: bool


@dataclass(frozen=True)
class RowsRequest:
    """Rows to be written into `folder`: as many files as core.data.samples has. labels: of
    parse.LABEL_RULES."""

    path: str
    folder: str
    file_format: FileFormat
    skip: bool
    labels: str


def detect_file_format(
    path: Path, options: ReadOptions = DEFAULT_OPTIONS, need_label: bool = True
) -> FileFormat:
    """core.data.reading.dialects.detect_format, in a process of its own; the cells of its examples are
    shortened."""
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
    """Writes the rows of a file into `folder`, in a process of its own; None once `stop` says that
    they are not needed.

    skip: leave bad rows out and count them, in place of UnreadableRow. labels: one of
    core.data.reading.parse.LABEL_RULES; of "unknown" the rows are read anew where a label turns up, by
    "required". report: called with 0 to 1.
    """

    def on_event(share: Any) -> None:
        if isinstance(share, float):
            report(share)
        if should_stop():
            raise _Cancelled

    request = RowsRequest(str(path), str(folder), file_format, skip, labels)
    try:
        reading = from_json(
            ReadSummary, reader_process.call(read_rows_job, path, to_json(request), on_event)
        )
    except _Cancelled:
        reading = None
    report(1.0)
    return reading


def detect_format_job(request: dict[str, Any], tell: SendEvent) -> Any:
    """The work of `detect_file_format`."""
    look = from_json(FormatRequest, request)
    form = detect_format(Path(look.path), look.options, look.need_label)
    examples = tuple(tuple(cell[:MAX_EXAMPLE_LENGTH] for cell in cells) for cells in form.examples)
    return to_json(dataclasses.replace(form, examples=examples))


def read_rows_job(request: dict[str, Any], tell: SendEvent) -> Any:
    """The work of `read_rows`; it tells how much of the file has been read, or None where it cannot
    say."""
    wanted = from_json(RowsRequest, request)
    try:
        return to_json(_write_rows(wanted, tell))
    except LabelsFound:
        return to_json(_write_rows(dataclasses.replace(wanted, labels="required"), tell))


class _Cancelled(Exception):
    """Nobody needs the rows any more."""


@dataclass
class _FilePass:
    """One pass over a file, and what it has met so far.

    skipped: numbers of the file's lines that are no rows of the sample, in pieces. last: number of
    the last row.
    """

    path: Path
    file_format: FileFormat
    bad_rows: BadRowHandler
    labels: str
    rows: int = 0
    clicks: int = 0
    last: int = 0
    truncated: bool = False
    remark: str = ""
    markers: Counter[str] = field(default_factory=Counter)
    skipped: list[np.ndarray] = field(default_factory=list)

    @property
    def labelled(self) -> bool:
        """Whether the rows get a label."""
        return self.file_format.labelled and self.labels != "unknown"

    def add(self, rows: ParsedRows) -> None:
        """Counts rows that go into the sample."""
        self.rows += rows.batch.num_rows
        self.markers += rows.markers
        expected = np.arange(self.last + 1, int(rows.row_numbers[-1]) + 1)
        if len(expected) > len(rows.row_numbers):
            self.skipped.append(np.setdiff1d(expected, rows.row_numbers, assume_unique=True))
        self.last = int(rows.row_numbers[-1])
        if self.labelled:
            self.clicks += int(pc.sum(pc.equal(rows.batch[LABEL], 1)).as_py() or 0)


def _write_rows(wanted: RowsRequest, tell: SendEvent) -> ReadSummary:
    one, folder = (
        _FilePass(Path(wanted.path), wanted.file_format, BadRowHandler(wanted.skip), wanted.labels),
        Path(wanted.folder),
    )
    with (
        _open_rows(one, tell) as found,
        open_row_writer(folder / ROWS_FILE, one.labelled, one.file_format.extra_columns) as writer,
    ):
        for rows in found:
            writer.write_batch(rows.batch)
            one.add(rows)
    if one.skipped:
        np.save(folder / SKIPPED_FILE, np.concatenate(one.skipped))
    return ReadSummary(
        labelled=one.labelled,
        rows=one.rows,
        clicks=one.clicks,
        bad_rows=one.bad_rows.count,
        bad_examples=tuple(one.bad_rows.examples),
        markers=tuple(one.markers.most_common()),
        truncated=one.truncated,
        unpack_note=one.remark,
    )


@contextmanager
def _open_rows(one: _FilePass, tell: SendEvent) -> Iterator[Iterator[ParsedRows]]:
    path, form = one.path, one.file_format
    if form.container in COLUMNAR_FORMATS:
        wanted = [
            name for name, column in zip(form.column_names, form.columns, strict=True) if column
        ]
        with open_batches(path, form.container, wanted) as batches:
            yield _parse_columnar(batches, one, tell)
        return
    with open_rows(path, form.member, keep_truncated=one.bad_rows.skip) as stream:

        def reported() -> Iterator[ParsedRows]:
            for block in read_blocks(stream, form, path.name, one.bad_rows, one.labels):
                tell(stream.progress)
                yield from block
            one.truncated, one.remark = stream.truncated, stream.unpack_note

        yield reported()


def _parse_columnar(
    batches: Iterator[pa.RecordBatch], one: _FilePass, tell: SendEvent
) -> Iterator[ParsedRows]:
    form, file = one.file_format, one.path.name
    stored, seen = [column for column in form.columns if column], 0
    for batch in batches:
        tell(None)
        columns = [
            to_text(column, name, file, ours, seen + 1)
            for column, name, ours in zip(batch.columns, batch.schema.names, stored, strict=True)
        ]
        numbers = np.arange(seen + 1, seen + 1 + batch.num_rows)
        seen += batch.num_rows
        yield from parse_table(
            pa.table(columns, names=stored), numbers, form, file, one.bad_rows, one.labels
        )
        one.bad_rows.flush(batch.num_rows)
