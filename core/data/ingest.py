"""Reads a Criteo file into the workspace as a sample: all of it, or nothing and a sentence."""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from core.access import require_writable
from core.data.dialects import Inspection
from core.data.options import DEFAULT_OPTIONS, ReadOptions
from core.data.read_rows import Reading, inspect_file, read_rows
from core.data.samples import READER, Sample, load_sample, save_sample
from core.data.wholeness import sample_fault
from core.durable import publish, staging
from core.errors import BadInput, refused_by_system
from core.workspace import Workspace, check_name, hash_file, hash_json

ON_BAD_ROWS = ("reject", "skip")


def ingest(
    workspace: Workspace,
    path: Path,
    name: str,
    on_bad_rows: str = "reject",
    progress: Callable[[float], None] | None = None,
    simulated: bool = False,
    one_class_ok: bool = False,
    *,
    options: ReadOptions = DEFAULT_OPTIONS,
    labels: str = "required",
    on_form: Callable[[Inspection], None] | None = None,
) -> Sample:
    """Reads `path` and stores it as a sample called `name`.

    on_bad_rows: "reject" refuses the file at its first bad row, "skip" leaves bad rows out and counts them, and keeps
    the rows before the break of a truncated file. progress: called with 0..1. one_class_ok: accept labels all alike (to
    score, not to train). labels: "required", or "optional" where a placeholder (empty, ``?``, -1) is stored as
    core.data.values.NO_LABEL; a file whose every label is a placeholder is read as one without labels. on_form: called
    with the file's form before its rows are read. The same bytes read the same way give the same sample again, under
    the new name. BadInput leaves the workspace as it was.
    """
    require_writable()
    name = check_name(name, "sample")
    if on_bad_rows not in ON_BAD_ROWS:
        raise BadInput(f"on_bad_rows is {on_bad_rows!r}; choose one of {list(ON_BAD_ROWS)}.")
    form = inspect_file(path, options, need_label=labels == "required")
    if on_form:
        on_form(form)
    skip = on_bad_rows == "skip"
    suffix = _suffix(form, skip, options, labels)

    def folder_of(content_hash: str) -> Path:
        return workspace.samples / f"s-{content_hash[:12]}{suffix}"

    with staging(workspace.samples) as part:
        with _hashing(path) as hashing:
            known = lambda: hashing.done() and _is_current(folder_of(hashing.result()))  # noqa: E731
            rule = "unknown" if form.unknown_labels and labels == "required" else labels
            report = progress or (lambda share: None)
            reading = read_rows(path, form, part, skip, rule, report, known)
            content_hash = hashing.result()
        folder = folder_of(content_hash)
        if reading and not _is_current(folder) and _differs(reading, _described(folder)):
            # The old sample may have datasets, and stays.
            folder = folder.with_name(f"{folder.name}-{READER}")
        if known_sample := _whole(folder):
            sample = dataclasses.replace(known_sample, name=name)
            save_sample(sample)
            return sample
        if reading is None:
            raise BadInput(f"The sample of {path.name!r} was deleted while the file was read; add the file again.")
        _check_rows(path, reading, one_class_ok)
        sample = _sample(path, form, reading, folder, name, simulated, content_hash, options, labels)
        sample = dataclasses.replace(sample, folder=part)
        save_sample(sample)
        publish(part, folder)
    return dataclasses.replace(sample, folder=folder)


def _sample(
    path: Path,
    form: Inspection,
    reading: Reading,
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
        kept=form.kept,
        id_column=form.id_column,
        member=form.member,
        columns=(*form.renamed, *((absent, "") for absent in form.absent)),
        missing_markers=reading.markers,
        notes=(*form.notes, *_notes(form, reading)),
        options=options,
        reader=READER,
    )


def _click_rate(reading: Reading, labels: str) -> float | None:
    if not reading.labelled or labels == "optional":
        return None
    return reading.clicks / reading.rows


def _notes(form: Inspection, reading: Reading) -> list[str]:
    """What the reading has to say beside bad rows and markers."""
    notes = []
    if form.absent:
        notes.append(f"The file has no {', '.join(form.absent)}: missing in every row.")
    if form.labelled and not reading.labelled:
        notes.append("Every label is empty, ?, -1 or another marker of a missing value: these are rows without labels.")
    if reading.remark:
        notes.append(reading.remark)
    if reading.truncated:
        notes.append(
            f"The file is truncated: the {reading.rows:,} whole rows before the break were kept. Fetch it again to "
            "have all of them."
        )
    return notes


def _suffix(form: Inspection, skip: bool, options: ReadOptions, labels: str) -> str:
    """What tells samples of the same bytes read in other ways apart in their ids; "" for the plain way."""
    plain = not (options.member or options.columns or form.extra or form.renamed or form.absent)
    way = "" if plain else "-" + hash_json([form.member, form.columns, form.id_column])[:6]
    return way + ("-skip" if skip else "") + ("-optional" if labels == "optional" else "")


def _described(folder: Path) -> Sample | None:
    """The sample that is there by what it says of itself, whole or not; None where it says nothing."""
    try:
        return load_sample(folder)
    except (OSError, ValueError, KeyError, TypeError, BadInput) as error:
        if refused_by_system(error):
            raise
        return None


def _whole(folder: Path) -> Sample | None:
    """The sample that is there, if all of it is."""
    sample = _described(folder)
    return sample if sample and not sample_fault(folder, sample.rows) else None


def _is_current(folder: Path) -> bool:
    """Whether a whole sample is there that this version of the reader made."""
    sample = _whole(folder)
    return sample is not None and sample.reader == READER


def _differs(reading: Reading, earlier: Sample | None) -> bool:
    """Whether what an earlier version took for values or for a row is none now.

    Of rows that are lost nobody can say, and where there are as many again they may take the old ones' place.
    """
    if earlier is None:
        return False
    lost = bool(sample_fault(earlier.folder, earlier.rows))
    return reading.rows != earlier.rows or (bool(reading.markers) and not lost)


@contextmanager
def _hashing(path: Path) -> Iterator[Future[str]]:
    """The file's SHA-256, computed while its rows are read; given up where that ends in an error."""
    over = Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(hash_file, path, over.is_set)
        finally:
            over.set()


def _check_rows(path: Path, reading: Reading, one_class_ok: bool) -> None:
    name, rows, bad = path.name, reading.rows, reading.bad_rows
    if rows == 0:
        skipped = f" {bad:,} bad rows were skipped, the first: {reading.bad_examples[0]}" if bad else ""
        raise BadInput(f"{name!r} holds no good row.{skipped}")
    if reading.labelled and reading.clicks in (0, rows) and not one_class_ok:
        only = "1 (click)" if reading.clicks else "0 (no click)"
        all_rows = f"All {rows:,} rows of {name!r} have" if rows > 1 else f"The only row of {name!r} has"
        raise BadInput(f"{all_rows} the label {only}; a classifier needs rows of both labels.")
