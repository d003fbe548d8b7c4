"""What was made of a finished run and is kept in its folder, to be deleted with it: scores, export, verification."""

import contextlib
import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from core.access import require_writable
from core.data.options import DEFAULT_OPTIONS, ReadOptions
from core.durable import make_folder, publish, remove_folder, staging
from core.errors import BadInput
from core.runs.command import Report, export_in_subprocess, score_in_subprocess, verify_in_subprocess
from core.runs.store import RunStore, now
from core.workspace import Workspace, hash_file, hash_json, read_json, write_json

MOST_SCORINGS = 8
"""Scored files kept a run; the oldest go first."""
EXPORT = "export"
VERIFICATION = "verification"
_SCORES = "scores-"
_SAID = "said.json"


@dataclass(frozen=True)
class Kept:
    """said: what the command said, as `--json` shows it. created: ISO time in UTC. folder: with the files it wrote."""

    said: dict[str, Any]
    created: str
    folder: Path


@dataclass(frozen=True)
class Scoring(Kept):
    """A file scored by a run. id: by the file's bytes and what was done with bad rows. file: its name."""

    id: str
    file: str

    @property
    def csv(self) -> Path:
        """row, id if there is one, score, predicted_click: see core.training.scoring.write_predictions."""
        return self.folder / "predictions.csv"

    def first(self, rows: int) -> pa.Table:
        """The first `rows` predictions at most."""
        with pyarrow.csv.open_csv(self.csv, convert_options=_types(self.csv)) as reader:
            return pa.Table.from_batches([reader.read_next_batch()]).slice(0, rows)

    def parquet(self) -> bytes:
        """All predictions as a Parquet file."""
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.csv.read_csv(self.csv, convert_options=_types(self.csv)), sink)
        return sink.getvalue().to_pybytes()


def _types(path: Path) -> pyarrow.csv.ConvertOptions:
    """Types of the predictions' columns; ids are texts, whose leading zeros belong to them."""
    with path.open(newline="", encoding="utf-8") as file:
        names = next(csv.reader(file))
    ours = {"row": pa.int64(), "score": pa.float32(), "predicted_click": pa.int8()}
    return pyarrow.csv.ConvertOptions(column_types={name: ours.get(name, pa.string()) for name in names})


def scoring_id(source: Path, on_bad_rows: str, options: ReadOptions = DEFAULT_OPTIONS) -> str:
    """The id that the scoring of this file has, before or after it was made."""
    read = "" if options == DEFAULT_OPTIONS else f"-{hash_json([options.member, options.columns])[:8]}"
    return f"{hash_file(source)[:16]}{read}{'-skip' if on_bad_rows == 'skip' else ''}"


def score_and_keep(
    workspace: Workspace,
    run_id: str,
    source: Path,
    file: str,
    on_bad_rows: str,
    report: Report | None = None,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> None:
    """Scores `source`, which the user calls `file`; at once where the same bytes were scored before."""
    require_writable()
    name = _SCORES + scoring_id(source, on_bad_rows, options)
    known = kept(workspace, run_id, name)
    # Earlier versions numbered the rows in another way and knew nothing of unknown values.
    if known and "unknown" in known.said:
        write_json(known.folder / _SAID, {"said": known.said, "created": now(), "file": file})
        return

    def fill(folder: Path) -> dict[str, Any]:
        try:
            said = score_in_subprocess(
                workspace, run_id, source, folder / "predictions.csv", on_bad_rows, report, options
            )
        except BadInput as error:
            raise BadInput(str(error).replace(source.name, file)) from error
        named = {
            key: [sentence.replace(source.name, file) for sentence in said[key]] for key in ("bad_examples", "notes")
        }
        return {"said": said | named, "created": now(), "file": file}

    _keep(workspace, run_id, name, fill)
    for old in scorings(workspace, run_id)[MOST_SCORINGS:]:
        delete_kept(old)


def scorings(workspace: Workspace, run_id: str) -> list[Scoring]:
    """The files that the run has scored, newest first."""
    found = []
    for path in (workspace.runs / run_id).glob(f"{_SCORES}*/{_SAID}"):
        values = read_json(path)
        folder = path.parent
        one = Scoring(values["said"], values["created"], folder, folder.name.removeprefix(_SCORES), values["file"])
        found.append(one)
    return sorted(found, key=lambda one: one.created, reverse=True)


def export_and_keep(workspace: Workspace, run_id: str) -> None:
    """Exports the run into one zip archive, see `export_file`."""
    require_writable()
    _keep_said(
        workspace, run_id, EXPORT, lambda folder: export_in_subprocess(workspace, run_id, export_file(folder, run_id))
    )


def export_file(folder: Path, run_id: str) -> Path:
    """The archive in the folder of a kept export."""
    return folder / f"thaw-{run_id}.zip"


def verify_and_keep(workspace: Workspace, run_id: str, report: Report | None = None) -> None:
    """Carries the run out again and keeps what came of it."""
    require_writable()
    _keep_said(workspace, run_id, VERIFICATION, lambda folder: verify_in_subprocess(workspace, run_id, report))


def kept(workspace: Workspace, run_id: str, name: str) -> Kept | None:
    """What is kept of the run under that name, such as EXPORT."""
    folder = workspace.runs / run_id / name
    if not (folder / _SAID).exists():
        return None
    values = read_json(folder / _SAID)
    return Kept(values["said"], values["created"], folder)


def delete_kept(one: Kept) -> None:
    """Removes its folder."""
    require_writable()
    with contextlib.suppress(FileNotFoundError):
        remove_folder(one.folder)


def _keep_said(workspace: Workspace, run_id: str, name: str, make: Callable[[Path], dict[str, Any]]) -> None:
    _keep(workspace, run_id, name, lambda folder: {"said": make(folder), "created": now()})


def _keep(workspace: Workspace, run_id: str, name: str, fill: Callable[[Path], dict[str, Any]]) -> None:
    """Fills a folder of that name: all of it, or nothing. In place of an older one."""
    with staging(workspace.runs) as part:
        write_json(part / _SAID, fill(part))
        # The run may have been deleted meanwhile, and its folder is not to come back.
        RunStore(workspace).get(run_id)
        folder = workspace.runs / run_id / name
        make_folder(folder.parent)
        publish(part, folder)
