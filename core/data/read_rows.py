"""The reading half of taking a file in: its form, and its rows as batches on disk.

`inspect_file` and `read_rows` are for everybody; both have the work done in a process of its own
(see core.data.reader_process), by `look_job` and `rows_job`.
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

from core.data import reader_process
from core.data.bad_rows import BadRows
from core.data.columnar import COLUMNAR, as_text, read_columns
from core.data.containers import open_rows
from core.data.dialects import Inspection, inspect
from core.data.options import DEFAULT_OPTIONS, ReadOptions
from core.data.parse import LabelsFound, Rows, read_table
from core.data.reader_server import Tell
from core.data.rowsfile import write_rows
from core.data.samples import ROWS, SKIPPED
from core.data.schema import LABEL
from core.data.textblocks import read_blocks
from core.typed_json import from_json, to_json

SHOWN = 200
"""Letters of a cell that is an example."""


@dataclass(frozen=True)
class Reading:
    """What was met on the way through a file.

    labelled: whether the rows have a label. rows: in the sample. clicks: rows whose label is 1.
    bad_rows, bad_examples: those skipped, and a few of the sentences on them. markers: (text that
    means a missing value, cells). truncated: the file breaks off. remark: what unpacking had to
    say.
    """

    labelled: bool
    rows: int
    clicks: int
    bad_rows: int
    bad_examples: tuple[str, ...]
    markers: tuple[tuple[str, int], ...]
    truncated: bool
    remark: str


@dataclass(frozen=True)
class LookRequest:
    """A look at a file; see core.data.dialects.inspect."""

    path: str
    options: ReadOptions
    need_label: bool


@dataclass(frozen=True)
class RowsRequest:
    """Rows to be written into `folder`: as many files as core.data.samples has. labels: of
    parse.LABEL_RULES."""

    path: str
    folder: str
    form: Inspection
    skip: bool
    labels: str


def inspect_file(
    path: Path, options: ReadOptions = DEFAULT_OPTIONS, need_label: bool = True
) -> Inspection:
    """core.data.dialects.inspect, in a process of its own; the cells of its examples are
    shortened."""
    request = LookRequest(str(path), options, need_label)
    return from_json(Inspection, reader_process.call(look_job, path, to_json(request)))


def read_rows(
    path: Path,
    form: Inspection,
    folder: Path,
    skip: bool,
    labels: str,
    report: Callable[[float], None],
    stop: Callable[[], bool],
) -> Reading | None:
    """Writes the rows of a file into `folder`, in a process of its own; None once `stop` says that
    they are not needed.

    skip: leave bad rows out and count them, in place of UnreadableRow. labels: one of
    core.data.parse.LABEL_RULES; of "unknown" the rows are read anew where a label turns up, by
    "required". report: called with 0 to 1.
    """

    def on_event(share: Any) -> None:
        if isinstance(share, float):
            report(share)
        if stop():
            raise _Stopped

    request = RowsRequest(str(path), str(folder), form, skip, labels)
    try:
        reading = from_json(
            Reading, reader_process.call(rows_job, path, to_json(request), on_event)
        )
    except _Stopped:
        reading = None
    report(1.0)
    return reading


def look_job(request: dict[str, Any], tell: Tell) -> Any:
    """The work of `inspect_file`."""
    look = from_json(LookRequest, request)
    form = inspect(Path(look.path), look.options, look.need_label)
    examples = tuple(tuple(cell[:SHOWN] for cell in cells) for cells in form.examples)
    return to_json(dataclasses.replace(form, examples=examples))


def rows_job(request: dict[str, Any], tell: Tell) -> Any:
    """The work of `read_rows`; it tells how much of the file has been read, or None where it cannot
    say."""
    wanted = from_json(RowsRequest, request)
    try:
        return to_json(_write_rows(wanted, tell))
    except LabelsFound:
        return to_json(_write_rows(dataclasses.replace(wanted, labels="required"), tell))


class _Stopped(Exception):
    """Nobody needs the rows any more."""


@dataclass
class _Pass:
    """One pass over a file, and what it has met so far.

    skipped: numbers of the file's lines that are no rows of the sample, in pieces. last: number of
    the last row.
    """

    path: Path
    form: Inspection
    bad: BadRows
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
        return self.form.labelled and self.labels != "unknown"

    def add(self, rows: Rows) -> None:
        """Counts rows that go into the sample."""
        self.rows += rows.batch.num_rows
        self.markers += rows.markers
        expected = np.arange(self.last + 1, int(rows.numbers[-1]) + 1)
        if len(expected) > len(rows.numbers):
            self.skipped.append(np.setdiff1d(expected, rows.numbers, assume_unique=True))
        self.last = int(rows.numbers[-1])
        if self.labelled:
            self.clicks += int(pc.sum(pc.equal(rows.batch[LABEL], 1)).as_py() or 0)


def _write_rows(wanted: RowsRequest, tell: Tell) -> Reading:
    one, folder = (
        _Pass(Path(wanted.path), wanted.form, BadRows(wanted.skip), wanted.labels),
        Path(wanted.folder),
    )
    with (
        _rows(one, tell) as found,
        write_rows(folder / ROWS, one.labelled, one.form.extra) as writer,
    ):
        for rows in found:
            writer.write_batch(rows.batch)
            one.add(rows)
    if one.skipped:
        np.save(folder / SKIPPED, np.concatenate(one.skipped))
    return Reading(
        labelled=one.labelled,
        rows=one.rows,
        clicks=one.clicks,
        bad_rows=one.bad.count,
        bad_examples=tuple(one.bad.examples),
        markers=tuple(one.markers.most_common()),
        truncated=one.truncated,
        remark=one.remark,
    )


@contextmanager
def _rows(one: _Pass, tell: Tell) -> Iterator[Iterator[Rows]]:
    path, form = one.path, one.form
    if form.container in COLUMNAR:
        wanted = [name for name, column in zip(form.names, form.columns, strict=True) if column]
        with read_columns(path, form.container, wanted) as batches:
            yield _columnar_rows(batches, one, tell)
        return
    with open_rows(path, form.member, keep_truncated=one.bad.skip) as stream:

        def reported() -> Iterator[Rows]:
            for block in read_blocks(stream, form, path.name, one.bad, one.labels):
                tell(stream.share)
                yield from block
            one.truncated, one.remark = stream.truncated, stream.remark

        yield reported()


def _columnar_rows(batches: Iterator[pa.RecordBatch], one: _Pass, tell: Tell) -> Iterator[Rows]:
    form, file = one.form, one.path.name
    stored, seen = [column for column in form.columns if column], 0
    for batch in batches:
        tell(None)
        columns = [
            as_text(column, name, file, ours, seen + 1)
            for column, name, ours in zip(batch.columns, batch.schema.names, stored, strict=True)
        ]
        numbers = np.arange(seen + 1, seen + 1 + batch.num_rows)
        seen += batch.num_rows
        yield from read_table(
            pa.table(columns, names=stored), numbers, form, file, one.bad, one.labels
        )
        one.bad.settle(batch.num_rows)
