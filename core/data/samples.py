"""Samples in the workspace: a Criteo file as given, read once."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from core.access import require_writable
from core.data.options import DEFAULT_OPTIONS, ReadOptions, options_from_json
from core.data.rowsfile import map_rows, plain
from core.durable import remove_folder
from core.errors import BadInput
from core.workspace import Workspace, read_json, write_json

ROWS = "rows.arrow"
_EARLIER_ROWS = "rows.parquet"
SKIPPED = "skipped.npy"
"""Numbers of the file's lines that are no rows of the sample, int64, rising; absent where there are none."""
READER = 2
"""Of what is read from the same bytes; 2, since 2026-11-27: missing-value markers are missing values."""


@dataclass(frozen=True)
class Sample:
    """A sample. source: the file's own name. content_hash: SHA-256 of the file's bytes. bad_rows: rows skipped.

    rows_path holds label int8 (absent when unlabelled), I1..I13 and C1..C26 in file order, then the columns kept beside
    them, as `rowsfile` has them. kept: names of segment columns. id_column: name of the column that identifies a row,
    "" for none. member: of an archive, the file that was read. columns: (our name, the file's) where they differ, ""
    where the file has none. missing_markers: (text that means a missing value, cells), empty cells not counted. notes:
    what else reading had to say, in sentences. options: how it was asked to be read. reader: version of the reader, see
    READER.
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

    @property
    def rows_path(self) -> Path:
        """The file of the rows; samples made before 2026-11-26 have them in Parquet."""
        path = self.folder / ROWS
        return path if path.exists() else self.folder / _EARLIER_ROWS


def save_sample(sample: Sample) -> None:
    """Writes sample.json into the sample's folder."""
    values = dataclasses.asdict(sample)
    del values["folder"]
    write_json(sample.folder / "sample.json", values)


def load_sample(folder: Path) -> Sample:
    """The sample stored in `folder`."""
    values = read_json(folder / "sample.json")
    for name in ("bad_examples", "kept", "notes"):
        values[name] = tuple(values.get(name, ()))
    for name in ("columns", "missing_markers"):
        values[name] = tuple((first, second) for first, second in values.get(name, ()))
    values["options"] = options_from_json(values.get("options", {}))
    return Sample(**{**values, "folder": folder})


def list_samples(workspace: Workspace) -> list[Sample]:
    """Every sample, newest first."""
    samples = [load_sample(path.parent) for path in workspace.samples.glob("*/sample.json")]
    return sorted(samples, key=lambda sample: sample.created, reverse=True)


def find_sample(workspace: Workspace, name_or_id: str) -> Sample:
    """The sample of that id, else the newest of that name; BadInput lists the names there are."""
    samples = list_samples(workspace)
    for field in ("id", "name"):
        for sample in samples:
            if getattr(sample, field) == name_or_id:
                return sample
    names = sorted({sample.name for sample in samples})
    raise BadInput(f"There is no sample {name_or_id!r}; the samples here are {names}.")


def delete_sample(sample: Sample) -> None:
    """Removes the sample's folder; datasets prepared from it can no longer be encoded anew."""
    require_writable()
    remove_folder(sample.folder)


def coded_rows(sample: Sample) -> pa.Table:
    """All rows as `rowsfile.map_rows` has them: memory-mapped, the fields coded."""
    return map_rows(sample.rows_path)


def row_numbers(sample: Sample) -> np.ndarray:
    """Each row's number in its file, int64 (rows,), as messages count them: a header is line 1; Parquet from 1."""
    path = sample.folder / SKIPPED
    if not path.exists():
        return np.arange(1, sample.rows + 1)
    skipped = np.load(path)
    numbers = np.arange(1, sample.rows + len(skipped) + 1)
    return np.delete(numbers, skipped - 1)


def read_rows(sample: Sample, columns: list[str] | None = None, limit: int | None = None) -> pa.Table:
    """The first `limit` rows (all by default) of the given columns (all by default), numbers as float64."""
    table = coded_rows(sample)
    return plain(table.select(columns or table.column_names).slice(0, limit))
