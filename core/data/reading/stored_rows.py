"""Recognises rows that are stored already, so that the same bytes are not stored twice.

A sample's id starts with the hash of its file's bytes, followed by what else decides its rows.
Samples of other names share the files of the rows by hard links.
"""

import dataclasses
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

from core.data.read_options import ReadOptions
from core.data.reading.dialects import FileFormat
from core.data.samples import (
    READER_VERSION,
    SAMPLE_FILE,
    SKIPPED_FILE,
    Sample,
    list_samples,
    save_sample,
)
from core.errors import NameTaken
from core.files.durable import publish_folder
from core.names import find_damaged_id, unused_id
from core.workspace import Workspace, hash_file, hash_json


def make_id_suffix(file_format: FileFormat, skip: bool, options: ReadOptions, labels: str) -> str:
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


def make_rows_id(content_hash: str, suffix: str) -> str:
    return f"s-{content_hash[:12]}{suffix}"


def find_samples_of_rows(workspace: Workspace, rows_id: str) -> list[Sample]:
    """Return the samples read from the same bytes in the same way, by this or another version."""
    return [
        sample
        for sample in list_samples(workspace)
        if sample.rows_id in (rows_id, f"{rows_id}-{READER_VERSION}")
    ]


class RowsAlreadyStored:
    """Whether the rows of the file are stored already; called for every batch.

    The answer is no until the hash of the file is known.
    """

    def __init__(self, workspace: Workspace, hashing: Future[str], suffix: str) -> None:
        self._workspace, self._hashing, self._suffix = workspace, hashing, suffix
        self._stored: bool | None = None

    def __call__(self) -> bool:
        if self._stored is None and self._hashing.done():
            samples = find_samples_of_rows(
                self._workspace, make_rows_id(self._hashing.result(), self._suffix)
            )
            self._stored = any(sample.reader == READER_VERSION for sample in samples)
        return bool(self._stored)


def find_stored_sample(
    workspace: Workspace, path: Path, name: str, suffix: str, simulated: bool
) -> Sample | None:
    """Return the sample with this name and the rows of the file, before the file is read.

    Raises:
        NameTaken: another sample has the name.
    """
    if not any(sample.name == name for sample in list_samples(workspace)):
        return None
    related = find_samples_of_rows(workspace, make_rows_id(hash_file(path), suffix))
    return find_named_sample(
        workspace,
        name,
        [sample for sample in related if sample.reader == READER_VERSION],
        related,
        simulated,
    )


def find_named_sample(
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


def choose_sample_id(workspace: Workspace, rows_id: str, name: str) -> str:
    """Return the id for a new sample: that of a damaged sample it replaces, or a free one."""
    ids = (sample.id for sample in list_samples(workspace))
    return find_damaged_id(workspace.samples, SAMPLE_FILE, rows_id, name, ids) or unused_id(
        workspace.samples, rows_id
    )


def share_rows(
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
