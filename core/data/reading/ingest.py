"""Reads a Criteo file into the workspace as a sample: all of it, or nothing and a sentence."""

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
    """Reads `path` and stores it as a sample called `name`.

    on_bad_rows: "reject" refuses the file at its first bad row, "skip" leaves bad rows out and
    counts them, and keeps the rows before the break of a truncated file. progress: called with
    0..1. one_class_ok: accept labels all alike (to score, not to train). labels: "required", or
    "optional" where a placeholder (empty, ``?``, -1) is stored as core.data.reading.values.NO_LABEL; a file
    whose every label is a placeholder is read as one without labels. on_form: called with the
    file's form before its rows are read. The same bytes read the same way under the same name are
    the same sample again; under another name they are another sample, which shares the rows.
    NameTaken where a sample of other rows has the name. BadInput leaves the workspace as it was.
    """
    require_writable()
    name = check_name(name, "sample")
    if on_bad_rows not in ON_BAD_ROWS:
        raise BadInput(f"on_bad_rows is {on_bad_rows!r}; choose one of {list(ON_BAD_ROWS)}.")
    form = detect_file_format(path, options, need_label=labels == "required")
    if on_format:
        on_format(form)
    skip = on_bad_rows == "skip"
    suffix = _make_id_suffix(form, skip, options, labels)

    if same := _find_stored_sample(workspace, path, name, suffix, simulated):
        return same
    with staging(workspace.samples) as part:
        with _hash_in_background(path) as hashing:
            rule = "unknown" if form.unknown_labels and labels == "required" else labels
            report = progress or (lambda share: None)
            known = _RowsAlreadyStored(workspace, hashing, suffix)
            reading = read_file_rows(path, form, part, skip, rule, report, known)
            content_hash = hashing.result()
        if reading:
            _check_rows(path, reading, allow_single_class)
        # What takes time goes before the names are held.
        sync_tree(part)
        with names_lock(workspace):
            rows_id = _make_rows_id(content_hash, suffix)
            family = _find_samples_of_rows(workspace, rows_id)
            there = [one for one in family if one.reader == READER_VERSION] or family
            earlier = there[0] if there else _try_load_metadata(workspace.samples / rows_id)
            if (
                reading
                and earlier
                and earlier.reader != READER_VERSION
                and _differs(reading, earlier, lost=not there)
            ):
                # The old sample may have datasets, and stays.
                rows_id, there = f"{rows_id}-{READER_VERSION}", []
            if same := _find_named_sample(workspace, name, there, family, simulated):
                return same
            folder = workspace.samples / _choose_id(workspace, rows_id, name)
            if there:
                return _share_rows(there[0], part, folder, path, name, simulated)
            if reading is None:
                raise BadInput(
                    f"The sample of {path.name!r} was deleted while the file was read; add the file"
                    " again."
                )
            sample = _make_sample(
                path, form, reading, folder, name, simulated, content_hash, options, labels
            )
            if sample.id != rows_id:
                sample = dataclasses.replace(sample, rows_of=rows_id)
            save_sample(dataclasses.replace(sample, folder=part))
            # In place of one that is not whole.
            publish_folder(part, folder)
    return sample


class _RowsAlreadyStored:
    """Whether the rows of the file are here already, as far as its hash is known; asked batch by
    batch."""

    def __init__(self, workspace: Workspace, hashing: Future[str], suffix: str) -> None:
        self._workspace, self._hashing, self._suffix = workspace, hashing, suffix
        self._known: bool | None = None

    def __call__(self) -> bool:
        if self._known is None and self._hashing.done():
            family = _find_samples_of_rows(
                self._workspace, _make_rows_id(self._hashing.result(), self._suffix)
            )
            self._known = any(one.reader == READER_VERSION for one in family)
        return bool(self._known)


def _make_rows_id(content_hash: str, suffix: str) -> str:
    return f"s-{content_hash[:12]}{suffix}"


def _find_samples_of_rows(workspace: Workspace, rows_id: str) -> list[Sample]:
    """The samples, of whatever name, that were read from the same bytes in the same way, by this
    version or another."""
    return [
        one
        for one in list_samples(workspace)
        if one.rows_id in (rows_id, f"{rows_id}-{READER_VERSION}")
    ]


def _find_stored_sample(
    workspace: Workspace, path: Path, name: str, suffix: str, simulated: bool
) -> Sample | None:
    """The sample of that name and of the rows of the file, before it is read; NameTaken where they
    cannot have it."""
    if not any(one.name == name for one in list_samples(workspace)):
        return None
    family = _find_samples_of_rows(workspace, _make_rows_id(hash_file(path), suffix))
    return _find_named_sample(
        workspace, name, [one for one in family if one.reader == READER_VERSION], family, simulated
    )


def _find_named_sample(
    workspace: Workspace,
    name: str,
    there: Sequence[Sample],
    family: Sequence[Sample],
    simulated: bool,
) -> Sample | None:
    """The one of that name among `there`, which have the same rows; None where no sample has the
    name.

    NameTaken where it is marked as simulated and that was not asked for, or the other way round,
    and where a sample of other rows has the name; but for one of `family`, which an earlier version
    read from the same bytes.
    """
    named = [one for one in list_samples(workspace) if one.name == name]
    ids, related = {one.id for one in there}, {one.id for one in family}
    same = next((one for one in named if one.id in ids), None)
    if same is None:
        if all(one.id in related for one in named):
            return None
        raise NameTaken(
            f"There is already a sample named {name!r}, with other rows (of {named[0].source!r}) or"
            " read in another way; choose another name, or rename or delete that one first."
        )
    if same.simulated != simulated:
        marked, flag = ("is", "with") if same.simulated else ("is not", "without")
        raise NameTaken(
            f"There is already a sample named {name!r} of the same rows, and it {marked} marked as"
            f" simulated; ask {flag} that mark, choose another name, or delete that one first."
        )
    return same


def _choose_id(workspace: Workspace, rows_id: str, name: str) -> str:
    """The id of a new sample of these rows: that of a damaged one whose place it takes, else one
    that is free."""
    whole = (one.id for one in list_samples(workspace))
    return find_damaged_id(workspace.samples, SAMPLE_FILE, rows_id, name, whole) or unused_id(
        workspace.samples, rows_id
    )


def _share_rows(
    of: Sample, part: Path, folder: Path, path: Path, name: str, simulated: bool
) -> Sample:
    """Another sample of the same rows, which takes no room of its own where the disk knows hard
    links."""
    for file in part.iterdir():
        file.unlink()
    for file in (of.rows_path, of.folder / SKIPPED_FILE):
        if file.exists():
            try:
                os.link(file, part / file.name)
            except OSError:
                shutil.copyfile(file, part / file.name)
    sample = dataclasses.replace(
        of,
        id=folder.name,
        name=name,
        source=path.name,
        simulated=simulated,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        folder=folder,
        rows_of=of.rows_id if folder.name != of.rows_id else "",
    )
    save_sample(dataclasses.replace(sample, folder=part))
    publish_folder(part, sample.folder)
    return sample


def _make_sample(
    path: Path,
    form: FileFormat,
    reading: ReadSummary,
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
        dialect=form.dialect,
        reason=form.reason,
        container=form.container,
        rows=reading.rows,
        labelled=reading.labelled,
        click_rate=_click_rate(reading, labels),
        bad_rows=reading.bad_rows,
        bad_examples=reading.bad_examples,
        simulated=simulated,
        content_hash=content_hash,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        folder=folder,
        kept=form.segment_columns,
        id_column=form.id_column,
        member=form.member,
        columns=(*form.renamed, *((absent, "") for absent in form.missing_fields)),
        missing_markers=reading.markers,
        notes=(*form.notes, *_collect_notes(form, reading)),
        options=options,
        reader=READER_VERSION,
    )


def _click_rate(reading: ReadSummary, labels: str) -> float | None:
    if not reading.labelled or labels == "optional":
        return None
    return reading.clicks / reading.rows


def _collect_notes(form: FileFormat, reading: ReadSummary) -> list[str]:
    """What the reading has to say beside bad rows and markers."""
    notes = []
    if form.missing_fields:
        notes.append(f"The file has no {', '.join(form.missing_fields)}: missing in every row.")
    if form.labelled and not reading.labelled:
        notes.append(
            "Every label is empty, ?, -1 or another marker of a missing value: these are rows"
            " without labels."
        )
    if reading.unpack_note:
        notes.append(reading.unpack_note)
    if reading.truncated:
        notes.append(
            f"The file is truncated: the {reading.rows:,} whole rows before the break were kept."
            " Fetch it again to have all of them."
        )
    return notes


def _make_id_suffix(form: FileFormat, skip: bool, options: ReadOptions, labels: str) -> str:
    """What tells samples of the same bytes read in other ways apart in their ids; "" for the plain
    way."""
    plain = not (
        options.member
        or options.columns
        or form.extra_columns
        or form.renamed
        or form.missing_fields
    )
    way = "" if plain else "-" + hash_json([form.member, form.columns, form.id_column])[:6]
    return way + ("-skip" if skip else "") + ("-optional" if labels == "optional" else "")


def _try_load_metadata(folder: Path) -> Sample | None:
    """The sample there by what it says of itself, though its rows are not whole; None where it says
    nothing."""
    try:
        return load_sample_metadata(folder)
    except Damaged:
        return None


def _differs(reading: ReadSummary, earlier: Sample, lost: bool) -> bool:
    """Whether what an earlier version took for values or for a row is none now.

    Of rows that are lost nobody can say, and where there are as many again they may take the old
    ones' place.
    """
    return reading.rows != earlier.rows or (bool(reading.markers) and not lost)


@contextmanager
def _hash_in_background(path: Path) -> Iterator[Future[str]]:
    """The file's SHA-256, computed while its rows are read; given up where that ends in an
    error."""
    over = Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(hash_file, path, over.is_set)
        finally:
            over.set()


def _check_rows(path: Path, reading: ReadSummary, one_class_ok: bool) -> None:
    name, rows, bad = path.name, reading.rows, reading.bad_rows
    if rows == 0:
        skipped = (
            f" {bad:,} bad rows were skipped, the first: {reading.bad_examples[0]}" if bad else ""
        )
        raise BadInput(f"{name!r} holds no good row.{skipped}")
    if reading.labelled and reading.clicks in (0, rows) and not one_class_ok:
        only = "1 (click)" if reading.clicks else "0 (no click)"
        all_rows = (
            f"All {rows:,} rows of {name!r} have" if rows > 1 else f"The only row of {name!r} has"
        )
        raise BadInput(f"{all_rows} the label {only}; a classifier needs rows of both labels.")
