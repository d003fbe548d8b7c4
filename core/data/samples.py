"""Samples in the workspace: Criteo files, each read once and stored."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from core.data.columns.dictionary_file import dictionary_decode, memory_map_rows
from core.data.integrity import find_sample_fault
from core.data.read_options import DEFAULT_OPTIONS, ReadOptions
from core.data.schema import DIALECTS, FIELDS, LABEL
from core.errors import Damaged, caused_by_system
from core.files.durable import remove_folder
from core.names import find_by_name_or_id
from core.read_only import require_writable
from core.stored import (
    check_files_intact,
    check_regular_file,
    check_timestamp,
    damaged_file_error,
    load_stored,
    parse_stored,
    read_entries,
)
from core.workspace import Workspace, write_json

SAMPLE_FILE = "sample.json"
ROWS_FILE = "rows.arrow"
_LEGACY_ROWS_FILE = "rows.parquet"
SKIPPED_FILE = "skipped.npy"
"""Numbers of the file's lines that are not rows of the sample, int64, rising; absent if none."""
READER_VERSION = 2
"""Version of the reader. Since 2 (2026-11-27), missing-value markers are missing values."""

_OTHER_ADVICE = "put a copy of the folder back, or delete the folder"
_ADVICE = f"ingest its file again, {_OTHER_ADVICE}"


@dataclass(frozen=True)
class Sample:
    """A sample.

    `rows_path` holds label int8 (if labelled), I1..I13 and C1..C26 in file order, then the extra
    columns, as `core.data.columns.dictionary_file` stores them.

    Attributes:
        source: name of the file it was read from.
        bad_rows: number of skipped rows.
        content_hash: SHA-256 of the file's bytes.
        kept: names of segment columns.
        id_column: name of the column that identifies a row, "" for none.
        member: the archive member that was read.
        columns: (our name, the file's) where they differ; the file's is "" if it lacks the column.
        missing_markers: (text that means a missing value, number of cells), without empty cells.
        notes: further sentences about the reading.
        options: how it was asked to be read.
        reader: READER_VERSION at that time.
        rows_of: id of the sample that these rows were first stored as, if under another name.
    """

    id: str
    name: str
    source: str
    dialect: str
    reason: str
    container: str
    rows: int
    labelled: bool
    click_rate: float | None
    bad_rows: int
    bad_examples: tuple[str, ...]
    simulated: bool
    content_hash: str
    created: str
    folder: Path = Path()
    kept: tuple[str, ...] = ()
    id_column: str = ""
    member: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    missing_markers: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    options: ReadOptions = DEFAULT_OPTIONS
    reader: int = 1
    rows_of: str = ""

    @property
    def rows_id(self) -> str:
        """Identifies the rows: the same for all samples of the same bytes read the same way."""
        return self.rows_of or self.id

    @property
    def rows_path(self) -> Path:
        """The file of the rows; samples from before 2026-11-26 have Parquet."""
        path = self.folder / ROWS_FILE
        return path if path.exists() else self.folder / _LEGACY_ROWS_FILE


def save_sample(sample: Sample) -> None:
    """Write sample.json into the sample's folder."""
    values = dataclasses.asdict(sample)
    del values["folder"]
    write_json(sample.folder / "sample.json", values)


def load_sample_metadata(folder: Path) -> Sample:
    """Load the description of the sample in `folder`, even if its rows are damaged.

    Raises:
        Damaged: the description is damaged.
    """

    def make(values: dict[str, Any]) -> Sample:
        sample = dataclasses.replace(parse_stored(Sample, values), folder=folder)
        if sample.id != folder.name:
            raise ValueError(f"it describes the sample {sample.id[:40]!r}")
        if sample.dialect not in DIALECTS:
            raise ValueError(
                f"its dialect is {sample.dialect[:40]!r}, which this version of Thaw does not know"
            )
        if sample.rows < 1 or sample.bad_rows < 0:
            raise ValueError(f"it counts {sample.rows} rows and {sample.bad_rows} bad ones")
        if sample.bad_rows and not sample.bad_examples:
            raise ValueError("it counts bad rows and shows none")
        check_timestamp(sample.created, "created")
        return sample

    return load_stored(folder / SAMPLE_FILE, _ADVICE, make)


def load_sample(folder: Path) -> Sample:
    """Load the sample in `folder`; raise Damaged if its description or its rows are damaged."""
    sample = load_sample_metadata(folder)
    files = [sample.rows_path.name, *[SKIPPED_FILE] * os.path.lexists(folder / SKIPPED_FILE)]
    advice = (
        f"ingest {sample.source!r} again as {sample.name!r} with the options it was read with,"
        f" {_OTHER_ADVICE}"
    )
    check_files_intact(folder, files, lambda: find_sample_fault(folder, sample.rows), advice)
    return sample


def read_samples(workspace: Workspace) -> tuple[list[Sample], list[Damaged]]:
    """Return (every intact sample, newest first; errors for the damaged ones)."""
    intact, damaged_samples = read_entries(workspace.samples, SAMPLE_FILE, load_sample, "s-")
    return sorted(intact, key=lambda sample: sample.created, reverse=True), damaged_samples


def list_samples(workspace: Workspace) -> list[Sample]:
    """Return every intact sample, newest first."""
    return read_samples(workspace)[0]


def find_sample(workspace: Workspace, name_or_id: str) -> Sample:
    """Return the sample of this id, or the newest of this name; raise BadInput otherwise."""
    return find_by_name_or_id(*read_samples(workspace), name_or_id, "sample")


def delete_sample(sample: Sample) -> None:
    """Remove the sample; datasets prepared from it can no longer be encoded again."""
    require_writable()
    remove_folder(sample.folder)


def read_dictionary_table(sample: Sample) -> pa.Table:
    """Return all rows, memory-mapped and dictionary-encoded; raise Damaged if some are missing."""
    path = sample.rows_path
    try:
        check_regular_file(path)
        table = memory_map_rows(path)
        if table.num_rows != sample.rows:
            raise ValueError(f"it holds {table.num_rows:,} rows of {sample.rows:,}")
        if missing := {*FIELDS, *[LABEL] * sample.labelled, *sample.kept} - {*table.column_names}:
            raise ValueError(f"it lacks the column {min(missing)!r}")
    except (ValueError, TypeError, pa.ArrowException) as error:
        if caused_by_system(error):
            raise
        raise damaged_file_error(path, error, _ADVICE) from error
    return table


def file_row_numbers(sample: Sample) -> np.ndarray:
    """Return the number of each row in its file, int64, as messages count them.

    A header is line 1; rows of Parquet and Arrow files are counted from 1.
    """
    path = sample.folder / SKIPPED_FILE
    if not path.exists():
        return np.arange(1, sample.rows + 1)
    try:
        check_regular_file(path)
        skipped = np.load(path, allow_pickle=False)
        numbers = np.arange(1, sample.rows + len(skipped) + 1)
        return np.delete(numbers, skipped - 1)
    except (ValueError, TypeError, IndexError, EOFError) as error:
        raise damaged_file_error(path, error, _ADVICE) from error


def read_sample_rows(
    sample: Sample, columns: list[str] | None = None, limit: int | None = None
) -> pa.Table:
    """Return rows with plain columns, numbers as float64.

    Args:
        sample: the sample.
        columns: names of the columns, all by default.
        limit: number of first rows, all by default.
    """
    table = read_dictionary_table(sample)
    return dictionary_decode(table.select(columns or table.column_names).slice(0, limit))
