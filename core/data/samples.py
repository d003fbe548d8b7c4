"""Samples in the workspace: a Criteo file as given, read once."""

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
"""Numbers of the file's lines that are no rows of the sample, int64, rising; absent where there are
none."""
READER_VERSION = 2
"""Of what is read from the same bytes; 2, since 2026-11-27: missing-value markers are missing
values."""

_OTHER_ADVICE = "put a copy of the folder back, or delete the folder"
_ADVICE = f"ingest its file again, {_OTHER_ADVICE}"


@dataclass(frozen=True)
class Sample:
    """A sample. source: the file's own name. content_hash: SHA-256 of the file's bytes. bad_rows:
    rows skipped.

    rows_path holds label int8 (absent when unlabelled), I1..I13 and C1..C26 in file order, then the
    columns kept beside them, as `rowsfile` has them. kept: names of segment columns. id_column:
    name of the column that identifies a row, "" for none. member: of an archive, the file that was
    read. columns: (our name, the file's) where they differ, "" where the file has none.
    missing_markers: (text that means a missing value, cells), empty cells not counted. notes: what
    else reading had to say, in sentences. options: how it was asked to be read. reader: version of
    the reader, see READER. rows_of: where another name was given to rows that were here already,
    the id that these have.
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
        """What tells rows apart: one for all samples of the same bytes read the same way, whatever
        their names."""
        return self.rows_of or self.id

    @property
    def rows_path(self) -> Path:
        """The file of the rows; samples made before 2026-11-26 have them in Parquet."""
        path = self.folder / ROWS_FILE
        return path if path.exists() else self.folder / _LEGACY_ROWS_FILE


def save_sample(sample: Sample) -> None:
    """Writes sample.json into the sample's folder."""
    values = dataclasses.asdict(sample)
    del values["folder"]
    write_json(sample.folder / "sample.json", values)


def load_sample_metadata(folder: Path) -> Sample:
    """The sample stored in `folder` by what it says of itself, whether its rows are whole or not;
    else `Damaged`."""

    def make(values: dict[str, Any]) -> Sample:
        sample = dataclasses.replace(parse_stored(Sample, values), folder=folder)
        if sample.id != folder.name:
            raise ValueError(f"it describes the sample {sample.id[:40]!r}")
        if sample.dialect not in DIALECTS:
            raise ValueError(
                f"its dialect is {sample.dialect[:40]!r}, which this Thaw does not know"
            )
        if sample.rows < 1 or sample.bad_rows < 0:
            raise ValueError(f"it counts {sample.rows} rows and {sample.bad_rows} bad ones")
        if sample.bad_rows and not sample.bad_examples:
            raise ValueError("it counts bad rows and shows none")
        check_timestamp(sample.created, "created")
        return sample

    return load_stored(folder / SAMPLE_FILE, _ADVICE, make)


def load_sample(folder: Path) -> Sample:
    """The sample stored in `folder`; `Damaged` where its description or its rows are not whole."""
    sample = load_sample_metadata(folder)
    files = [sample.rows_path.name, *[SKIPPED_FILE] * os.path.lexists(folder / SKIPPED_FILE)]
    advice = (
        f"ingest {sample.source!r} again as {sample.name!r} with the options it was read with,"
        f" {_OTHER_ADVICE}"
    )
    check_files_intact(folder, files, lambda: find_sample_fault(folder, sample.rows), advice)
    return sample


def read_samples(workspace: Workspace) -> tuple[list[Sample], list[Damaged]]:
    """(every sample that is whole, newest first; what is damaged)."""
    whole, broken = read_entries(workspace.samples, SAMPLE_FILE, load_sample, "s-")
    return sorted(whole, key=lambda sample: sample.created, reverse=True), broken


def list_samples(workspace: Workspace) -> list[Sample]:
    """Every sample that is whole, newest first."""
    return read_samples(workspace)[0]


def find_sample(workspace: Workspace, name_or_id: str) -> Sample:
    """The sample of that id, else the newest of that name; BadInput lists the names there are."""
    return find_by_name_or_id(*read_samples(workspace), name_or_id, "sample")


def delete_sample(sample: Sample) -> None:
    """Removes the sample's folder; datasets prepared from it can no longer be encoded anew."""
    require_writable()
    remove_folder(sample.folder)


def read_dictionary_table(sample: Sample) -> pa.Table:
    """All rows as `rowsfile.map_rows` has them: memory-mapped, the fields coded; `Damaged` where
    they are not whole."""
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
    """Each row's number in its file, int64 (rows,), as messages count them: a header is line 1;
    Parquet from 1."""
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
    """The first `limit` rows (all by default) of the given columns (all by default), numbers as
    float64."""
    table = read_dictionary_table(sample)
    return dictionary_decode(table.select(columns or table.column_names).slice(0, limit))
