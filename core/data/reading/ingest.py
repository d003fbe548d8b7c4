"""Reads a Criteo file into the workspace as a sample: all of it, or nothing and an error."""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from core.data.read_options import DEFAULT_OPTIONS, ON_BAD_ROWS, ReadOptions
from core.data.reading.dialects import FileFormat
from core.data.reading.read_rows import ReadSummary, detect_file_format, read_file_rows
from core.data.samples import (
    READER_VERSION,
    SAMPLE_FILE,
    SKIPPED_FILE,
    Sample,
    list_samples,
    load_sample_metadata,
    save_sample,
)
from core.errors import BadInput, Damaged, NameTaken
from core.files.durable import publish_folder, staging, sync_tree
from core.names import find_damaged_id, names_lock, unused_id
from core.read_only import require_writable
from core.workspace import Workspace, check_name, hash_file, hash_json


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
    suffix = _make_id_suffix(file_format, skip, options, labels)

    if existing := _find_stored_sample(workspace, path, name, suffix, simulated):
        return existing
    with staging(workspace.samples) as part:
        with _hash_in_background(path) as hash_future:
            label_rule = (
                "unknown" if file_format.unknown_labels and labels == "required" else labels
            )
            report = progress or (lambda share: None)
            already_stored = _RowsAlreadyStored(workspace, hash_future, suffix)
            summary = read_file_rows(
                path, file_format, part, skip, label_rule, report, already_stored
            )
            content_hash = hash_future.result()
        if summary:
            _check_rows(path, summary, allow_single_class)
        # Slow work is done before the lock on names is taken.
        sync_tree(part)
        with names_lock(workspace):
            rows_id = _make_rows_id(content_hash, suffix)
            related = _find_samples_of_rows(workspace, rows_id)
            current = [sample for sample in related if sample.reader == READER_VERSION] or related
            earlier = current[0] if current else _try_load_metadata(workspace.samples / rows_id)
            if (
                summary
                and earlier
                and earlier.reader != READER_VERSION
                and _differs(summary, earlier, lost=not current)
            ):
                # The old sample stays, because datasets may be made of it.
                rows_id, current = f"{rows_id}-{READER_VERSION}", []
            if existing := _find_named_sample(workspace, name, current, related, simulated):
                return existing
            folder = workspace.samples / _choose_id(workspace, rows_id, name)
            if current:
                return _share_rows(current[0], part, folder, path, name, simulated)
            if summary is None:
                raise BadInput(
                    f"The sample of {path.name!r} was deleted while the file was read; add the file"
                    " again."
                )
            sample = _make_sample(
                path, file_format, summary, folder, name, simulated, content_hash, options, labels
            )
            if sample.id != rows_id:
                sample = dataclasses.replace(sample, rows_of=rows_id)
            save_sample(dataclasses.replace(sample, folder=part))
            # This replaces a damaged sample of the same id.
            publish_folder(part, folder)
    return sample


class _RowsAlreadyStored:
    """Whether the rows of the file are stored already; called for every batch.

    The answer is no until the hash of the file is known.
    """

    def __init__(self, workspace: Workspace, hashing: Future[str], suffix: str) -> None:
        self._workspace, self._hashing, self._suffix = workspace, hashing, suffix
        self._stored: bool | None = None

    def __call__(self) -> bool:
        if self._stored is None and self._hashing.done():
            family = _find_samples_of_rows(
                self._workspace, _make_rows_id(self._hashing.result(), self._suffix)
            )
            self._stored = any(sample.reader == READER_VERSION for sample in family)
        return bool(self._stored)


def _make_rows_id(content_hash: str, suffix: str) -> str:
    return f"s-{content_hash[:12]}{suffix}"


def _find_samples_of_rows(workspace: Workspace, rows_id: str) -> list[Sample]:
    """Return the samples read from the same bytes in the same way, by this or another version."""
    return [
        sample
        for sample in list_samples(workspace)
        if sample.rows_id in (rows_id, f"{rows_id}-{READER_VERSION}")
    ]


def _find_stored_sample(
    workspace: Workspace, path: Path, name: str, suffix: str, simulated: bool
) -> Sample | None:
    """Return the sample with this name and the rows of the file, before the file is read.

    Raises:
        NameTaken: another sample has the name.
    """
    if not any(sample.name == name for sample in list_samples(workspace)):
        return None
    related = _find_samples_of_rows(workspace, _make_rows_id(hash_file(path), suffix))
    return _find_named_sample(
        workspace,
        name,
        [sample for sample in related if sample.reader == READER_VERSION],
        related,
        simulated,
    )


def _find_named_sample(
    workspace: Workspace,
    name: str,
    current: Sequence[Sample],
    related: Sequence[Sample],
    simulated: bool,
) -> Sample | None:
    """Return the sample with this name among `current`; None if no sample has the name.

    Args:
        workspace: to search in.
        name: of the sample.
        current: samples of the same rows.
        related: samples that an earlier version read from the same bytes; they may have the name.
        simulated: whether the sample must be marked as simulated.

    Raises:
        NameTaken: a sample of other rows has the name, or the mark differs.
    """
    named = [sample for sample in list_samples(workspace) if sample.name == name]
    ids, related_ids = {sample.id for sample in current}, {sample.id for sample in related}
    existing = next((sample for sample in named if sample.id in ids), None)
    if existing is None:
        if all(sample.id in related_ids for sample in named):
            return None
        raise NameTaken(
            f"There is already a sample named {name!r}, with other rows (of {named[0].source!r}) or"
            " read in another way; choose another name, or rename or delete that one first."
        )
    if existing.simulated != simulated:
        marked, flag = ("is", "with") if existing.simulated else ("is not", "without")
        raise NameTaken(
            f"There is already a sample named {name!r} of the same rows, and it {marked} marked as"
            f" simulated; ingest the file {flag} that mark, choose another name, or delete that"
            " one first."
        )
    return existing


def _choose_id(workspace: Workspace, rows_id: str, name: str) -> str:
    """Return the id for a new sample: that of a damaged sample it replaces, or a free one."""
    ids = (sample.id for sample in list_samples(workspace))
    return find_damaged_id(workspace.samples, SAMPLE_FILE, rows_id, name, ids) or unused_id(
        workspace.samples, rows_id
    )


def _share_rows(
    original: Sample, new_folder: Path, folder: Path, path: Path, name: str, simulated: bool
) -> Sample:
    """Store another sample of the same rows, by hard links where the file system has them."""
    for file in new_folder.iterdir():
        file.unlink()
    for file in (original.rows_path, original.folder / SKIPPED_FILE):
        if file.exists():
            try:
                os.link(file, new_folder / file.name)
            except OSError:
                shutil.copyfile(file, new_folder / file.name)
    sample = dataclasses.replace(
        original,
        id=folder.name,
        name=name,
        source=path.name,
        simulated=simulated,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        folder=folder,
        rows_of=original.rows_id if folder.name != original.rows_id else "",
    )
    save_sample(dataclasses.replace(sample, folder=new_folder))
    publish_folder(new_folder, sample.folder)
    return sample


def _make_sample(
    path: Path,
    file_format: FileFormat,
    summary: ReadSummary,
    folder: Path,
    name: str,
    simulated: bool,
    content_hash: str,
    options: ReadOptions,
    labels: str,
) -> Sample:
    return Sample(
        id=folder.name,
        name=name,
        source=path.name,
        dialect=file_format.dialect,
        reason=file_format.reason,
        container=file_format.container,
        rows=summary.rows,
        labelled=summary.labelled,
        click_rate=_click_rate(summary, labels),
        bad_rows=summary.bad_rows,
        bad_examples=summary.bad_examples,
        simulated=simulated,
        content_hash=content_hash,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        folder=folder,
        kept=file_format.segment_columns,
        id_column=file_format.id_column,
        member=file_format.member,
        columns=(*file_format.renamed, *((absent, "") for absent in file_format.missing_fields)),
        missing_markers=summary.markers,
        notes=(*file_format.notes, *_collect_notes(file_format, summary)),
        options=options,
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


def _make_id_suffix(file_format: FileFormat, skip: bool, options: ReadOptions, labels: str) -> str:
    """Return what tells samples of the same bytes read in other ways apart; "" by default."""
    plain = not (
        options.member
        or options.columns
        or file_format.extra_columns
        or file_format.renamed
        or file_format.missing_fields
    )
    suffix = (
        ""
        if plain
        else "-" + hash_json([file_format.member, file_format.columns, file_format.id_column])[:6]
    )
    return suffix + ("-skip" if skip else "") + ("-optional" if labels == "optional" else "")


def _try_load_metadata(folder: Path) -> Sample | None:
    """Return the sample described there, even if its rows are damaged; None if there is none."""
    try:
        return load_sample_metadata(folder)
    except Damaged:
        return None


def _differs(summary: ReadSummary, earlier: Sample, lost: bool) -> bool:
    """Return whether an earlier version read other values or rows from the same file.

    If the earlier rows are lost this cannot be known; the same number of rows may then replace
    them.
    """
    return summary.rows != earlier.rows or (bool(summary.markers) and not lost)


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
