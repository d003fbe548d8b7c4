"""Reads a Criteo file into the workspace as a sample: all of it, or nothing and a sentence."""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pyarrow as pa
import pyarrow.compute as pc

from core.access import require_writable
from core.data.containers import PARQUET, open_rows
from core.data.dialects import Inspection, inspect
from core.data.parse import BadRows, read_parquet
from core.data.rowsfile import code, write_rows
from core.data.samples import ROWS, Sample, load_sample, save_sample
from core.data.schema import LABEL
from core.data.textblocks import read_blocks
from core.errors import BadInput, name_write_error
from core.workspace import Workspace, check_name, hash_file

ON_BAD_ROWS = ("reject", "skip")


def ingest(
    workspace: Workspace,
    path: Path,
    name: str,
    on_bad_rows: str = "reject",
    progress: Callable[[float], None] | None = None,
    simulated: bool = False,
    one_class_ok: bool = False,
) -> Sample:
    """Reads `path` and stores it as a sample called `name`.

    on_bad_rows: "reject" refuses the file at its first bad row, "skip" leaves bad rows out and counts them. progress:
    called with 0..1. one_class_ok: accept labels all alike (to score, not to train). The same bytes read the same way
    give the same sample again, under the new name. BadInput leaves the workspace as it was.
    """
    require_writable()
    name = check_name(name, "sample")
    if on_bad_rows not in ON_BAD_ROWS:
        raise BadInput(f"on_bad_rows is {on_bad_rows!r}; choose one of {list(ON_BAD_ROWS)}.")
    form = inspect(path)
    bad = BadRows(skip=on_bad_rows == "skip")

    def folder_of(content_hash: str) -> Path:
        return workspace.samples / (f"s-{content_hash[:12]}" + ("-skip" if bad.skip else ""))

    part = Path(tempfile.mkdtemp(dir=workspace.samples, prefix=".part-"))
    try:
        with _hashing(path) as hashing:
            known = lambda: hashing.done() and folder_of(hashing.result()).exists()  # noqa: E731
            rows, clicks = _write_rows(path, form, part / ROWS, bad, progress or (lambda share: None), known)
            content_hash = hashing.result()
        folder = folder_of(content_hash)
        if folder.exists():
            sample = dataclasses.replace(load_sample(folder), name=name)
            save_sample(sample)
            return sample
        _check_rows(path.name, form, rows, clicks, bad, one_class_ok)
        sample = Sample(
            id=folder.name,
            name=name,
            source=path.name,
            dialect=form.dialect,
            reason=form.reason,
            container=form.container,
            rows=rows,
            labelled=form.labelled,
            click_rate=clicks / rows if form.labelled else None,
            bad_rows=bad.count,
            bad_examples=tuple(bad.examples),
            simulated=simulated,
            content_hash=content_hash,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            folder=part,
        )
        save_sample(sample)
        part.rename(folder)
    except Exception as error:
        name_write_error(error, part, workspace.samples)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return dataclasses.replace(sample, folder=folder)


@contextmanager
def _hashing(path: Path) -> Iterator[Future[str]]:
    """The file's SHA-256, computed while its rows are read; given up where that ends in an error."""
    over = Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(hash_file, path, over.is_set)
        finally:
            over.set()


def _write_rows(
    path: Path,
    form: Inspection,
    target: Path,
    bad: BadRows,
    report: Callable[[float], None],
    stop: Callable[[], bool],
) -> tuple[int, int]:
    """(rows, clicks) written to `target`: all there are, or those up to where `stop` says so."""
    rows = clicks = 0
    with _batches(path, form, bad, report) as batches, write_rows(target, form.labelled) as writer:
        for batch in batches:
            if stop():
                break
            writer.write_batch(batch)
            rows += batch.num_rows
            if form.labelled:
                clicks += int(pc.sum(batch[LABEL]).as_py())
    report(1.0)
    return rows, clicks


@contextmanager
def _batches(
    path: Path, form: Inspection, bad: BadRows, report: Callable[[float], None]
) -> Iterator[Iterator[pa.RecordBatch]]:
    if form.container == PARQUET:
        yield (batch for table in read_parquet(path, form, bad) for batch in code(table))
        return
    with open_rows(path) as stream:

        def reported() -> Iterator[pa.RecordBatch]:
            for batches in read_blocks(stream, form, path.name, bad):
                report(stream.share)
                yield from batches

        yield reported()


def _check_rows(name: str, form: Inspection, rows: int, clicks: int, bad: BadRows, one_class_ok: bool) -> None:
    if rows == 0:
        skipped = f" {bad.count:,} bad rows were skipped, the first: {bad.examples[0]}" if bad.count else ""
        raise BadInput(f"{name!r} holds no good row.{skipped}")
    if form.labelled and clicks in (0, rows) and not one_class_ok:
        only = "1 (click)" if clicks else "0 (no click)"
        raise BadInput(f"All {rows:,} rows of {name!r} have the label {only}; a classifier needs rows of both labels.")
