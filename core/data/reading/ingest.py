"""Reads a Criteo file into the workspace as a sample: all of it, or nothing and an error."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from core.data.read_options import DEFAULT_OPTIONS, ON_BAD_ROWS, ReadOptions
from core.data.reading.dialects import FileFormat
from core.data.reading.read_rows import ReadSummary, detect_file_format, read_file_rows
from core.data.reading.stored_rows import (
    RowsAlreadyStored,
    choose_sample_id,
    find_named_sample,
    find_samples_of_rows,
    find_stored_sample,
    make_id_suffix,
    make_rows_id,
    share_rows,
)
from core.data.samples import (
    READER_VERSION,
    Sample,
    load_sample_metadata,
    save_sample,
)
from core.errors import BadInput, Damaged
from core.files.durable import publish_folder, staging, sync_tree
from core.names import names_lock
from core.read_only import require_writable
from core.workspace import Workspace, check_name, hash_file


def ingest(
    workspace: Workspace,
    path: Path,
    name: str,
    on_bad_rows: str = "reject",
    progress: Callable[[float], None] | None = None,
    simulated: bool = False,
    allow_single_class: bool = False,
    *,
    options: ReadOptions = DEFAULT_OPTIONS,
    labels: str = "required",
    on_format: Callable[[FileFormat], None] | None = None,
) -> Sample:
    """Read a file and store it as a sample.

    The same bytes read the same way under the same name are the same sample again; under another
    name they are another sample that shares the rows. An error leaves the workspace as it was.

    Args:
        workspace: where to store it.
        path: the file.
        name: of the sample.
        on_bad_rows: "reject" refuses the file at its first bad row. "skip" skips and counts bad
            rows, and keeps the rows before the end of a truncated file.
        progress: called with 0 to 1.
        simulated: whether to mark the sample as simulated.
        allow_single_class: accept rows whose labels are all the same (to score them).
        options: what the user says about the file.
        labels: "required", or "optional" to store a placeholder (empty, ``?``, -1) as
            `values.NO_LABEL`. A file with placeholders only is read as one without labels.
        on_format: called with the file's format before its rows are read.

    Returns:
        The sample.

    Raises:
        BadInput: the file cannot be read, or holds no usable rows.
        NameTaken: a sample of other rows has the name.
    """
    require_writable()
    name = check_name(name, "sample")
    if on_bad_rows not in ON_BAD_ROWS:
        raise BadInput(f"on_bad_rows is {on_bad_rows!r}; choose one of {list(ON_BAD_ROWS)}.")
    file_format = detect_file_format(path, options, need_label=labels == "required")
    if on_format:
        on_format(file_format)
    skip = on_bad_rows == "skip"
    suffix = make_id_suffix(file_format, skip, options, labels)

    if existing := find_stored_sample(workspace, path, name, suffix, simulated):
        return existing
    with staging(workspace.samples) as new_folder:
        with _hash_in_background(path) as hash_future:
            label_rule = labels
            if file_format.unknown_labels and labels == "required":
                label_rule = "unknown"
            report = progress or (lambda share: None)
            already_stored = RowsAlreadyStored(workspace, hash_future, suffix)
            summary = read_file_rows(
                path, file_format, new_folder, skip, label_rule, report, already_stored
            )
            content_hash = hash_future.result()
        if summary:
            _check_rows(path, summary, allow_single_class)
        new = _NewSample(
            path, name, simulated, options, labels, file_format, summary, content_hash, suffix
        )
        # Slow work is done before the lock on names is taken.
        sync_tree(new_folder)
        with names_lock(workspace):
            return _store(workspace, new, new_folder)


@dataclass(frozen=True)
class _NewSample:
    """A sample that is about to be stored; `summary` is None if its rows are stored already."""

    path: Path
    name: str
    simulated: bool
    options: ReadOptions
    labels: str
    file_format: FileFormat
    summary: ReadSummary | None
    content_hash: str
    suffix: str


def _store(workspace: Workspace, new: _NewSample, new_folder: Path) -> Sample:
    """Publish `new_folder` as a sample, or return the sample that is there already."""
    rows_id = make_rows_id(new.content_hash, new.suffix)
    related = find_samples_of_rows(workspace, rows_id)
    current = [sample for sample in related if sample.reader == READER_VERSION] or related
    if _was_read_differently(new.summary, workspace.samples / rows_id, current):
        # The old sample stays, because datasets may be made of it.
        rows_id, current = f"{rows_id}-{READER_VERSION}", []
    if existing := find_named_sample(workspace, new.name, current, related, new.simulated):
        return existing
    folder = workspace.samples / choose_sample_id(workspace, rows_id, new.name)
    if current:
        return share_rows(current[0], new_folder, folder, new.path, new.name, new.simulated)
    if new.summary is None:
        raise BadInput(
            f"The sample of {new.path.name!r} was deleted while the file was read; add the file"
            " again."
        )
    sample = _make_sample(new, new.summary, folder)
    if sample.id != rows_id:
        sample = dataclasses.replace(sample, rows_of=rows_id)
    save_sample(dataclasses.replace(sample, folder=new_folder))
    # This replaces a damaged sample of the same id.
    publish_folder(new_folder, folder)
    return sample


def _was_read_differently(
    summary: ReadSummary | None, folder: Path, current: Sequence[Sample]
) -> bool:
    """Return whether an earlier version read other values or rows from the same file.

    If the earlier rows are lost (`current` is empty) this cannot be known; the same number of rows
    may then replace them.
    """
    earlier = current[0] if current else _try_load_metadata(folder)
    if summary is None or earlier is None or earlier.reader == READER_VERSION:
        return False
    return summary.rows != earlier.rows or (bool(summary.markers) and bool(current))


def _try_load_metadata(folder: Path) -> Sample | None:
    """Return the sample described there, even if its rows are damaged; None if there is none."""
    try:
        return load_sample_metadata(folder)
    except Damaged:
        return None


def _make_sample(new: _NewSample, summary: ReadSummary, folder: Path) -> Sample:
    file_format = new.file_format
    return Sample(
        id=folder.name,
        name=new.name,
        source=new.path.name,
        dialect=file_format.dialect,
        reason=file_format.reason,
        container=file_format.container,
        rows=summary.rows,
        labelled=summary.labelled,
        click_rate=_click_rate(summary, new.labels),
        bad_rows=summary.bad_rows,
        bad_examples=summary.bad_examples,
        simulated=new.simulated,
        content_hash=new.content_hash,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        folder=folder,
        kept=file_format.segment_columns,
        id_column=file_format.id_column,
        member=file_format.member,
        columns=(*file_format.renamed, *((absent, "") for absent in file_format.missing_fields)),
        missing_markers=summary.markers,
        notes=(*file_format.notes, *_collect_notes(file_format, summary)),
        options=new.options,
        reader=READER_VERSION,
    )


def _click_rate(summary: ReadSummary, labels: str) -> float | None:
    if not summary.labelled or labels == "optional":
        return None
    return summary.clicks / summary.rows


def _collect_notes(file_format: FileFormat, summary: ReadSummary) -> list[str]:
    """Return notes about the reading, other than bad rows and markers."""
    notes = []
    if file_format.missing_fields:
        notes.append(
            f"The file has no {', '.join(file_format.missing_fields)}: missing in every row."
        )
    if file_format.labelled and not summary.labelled:
        notes.append(
            "Every label is empty, ?, -1 or another marker of a missing value: these are rows"
            " without labels."
        )
    if summary.unpack_note:
        notes.append(summary.unpack_note)
    if summary.truncated:
        notes.append(
            f"The file is truncated: the {summary.rows:,} whole rows before its end were kept."
            " Fetch it again to have all of them."
        )
    return notes


@contextmanager
def _hash_in_background(path: Path) -> Iterator[Future[str]]:
    """Compute the file's SHA-256 while its rows are read; abort if reading ends in an error."""
    aborted = Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(hash_file, path, aborted.is_set)
        finally:
            aborted.set()


def _check_rows(path: Path, summary: ReadSummary, allow_single_class: bool) -> None:
    name, rows, n_bad = path.name, summary.rows, summary.bad_rows
    if rows == 0:
        skipped = (
            f" {n_bad:,} bad rows were skipped, the first: {summary.bad_examples[0]}"
            if n_bad
            else ""
        )
        raise BadInput(f"{name!r} holds no good row.{skipped}")
    if summary.labelled and summary.clicks in (0, rows) and not allow_single_class:
        only = "1 (click)" if summary.clicks else "0 (no click)"
        all_rows = (
            f"All {rows:,} rows of {name!r} have" if rows > 1 else f"The only row of {name!r} has"
        )
        raise BadInput(f"{all_rows} the label {only}; a classifier needs rows of both labels.")
