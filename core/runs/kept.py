"""What was made of a finished run and is kept in its folder, to be deleted with it: scores, export,
verification."""

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
from core.data.schema import FIELDS
from core.durable import make_folder, publish, remove_folder, staging
from core.errors import BadInput, Damaged
from core.runs.command import (
    Report,
    export_in_subprocess,
    score_in_subprocess,
    verify_in_subprocess,
)
from core.runs.store import RunStore, now
from core.stored import build, check_moment, check_regular, damaged, load_stored, read_entries
from core.workspace import Workspace, hash_file, hash_json, write_json

MOST_SCORINGS = 8
"""Scored files kept a run; the oldest go first."""
EXPORT = "export"
VERIFICATION = "verification"
_SCORES = "scores-"
_SAID = "said.json"


ADVICE = "delete the folder and have it made again"


@dataclass(frozen=True)
class _Stored:
    """What _SAID holds. file: of a scoring alone."""

    said: dict[str, Any]
    created: str
    file: str = ""


@dataclass(frozen=True)
class _Spread:
    """How scores spread, as far as pages read it; see core.training.score_drift.distribution."""

    rows: int
    mean: float | None
    counts: tuple[int, ...]
    predicted_click_share: float | None


@dataclass(frozen=True)
class _MovedField:
    field: str
    psi: float | None
    unseen_training: float
    unseen_scored: float
    missing_training: float
    missing_scored: float


@dataclass(frozen=True)
class _MovedScores:
    psi: float | None
    level: str | None
    test: _Spread
    scored: _Spread


@dataclass(frozen=True)
class _Drift:
    dataset: str
    training_rows: int
    fields: tuple[_MovedField, ...]
    scores: _MovedScores


@dataclass(frozen=True)
class _ScoredFile:
    """What is said of a scored file, as far as pages read it; see
    core.training.apply.score_file."""

    rows: int
    bad_rows: int
    bad_examples: tuple[str, ...]
    threshold: float
    scores: _Spread
    metrics: dict[str, Any] | None
    drift: _Drift | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Difference:
    name: str
    first: float | None
    again: float | None


@dataclass(frozen=True)
class _Verified:
    same: bool
    sentence: str
    differences: tuple[_Difference, ...]


@dataclass(frozen=True)
class _Exported:
    onnx: dict[str, Any]


_SHAPES: dict[str, type] = {EXPORT: _Exported, VERIFICATION: _Verified}


@dataclass(frozen=True)
class Kept:
    """said: what the command said, as `--json` shows it. created: ISO time in UTC. folder: with the
    files it wrote."""

    said: dict[str, Any]
    created: str
    folder: Path


@dataclass(frozen=True)
class Scoring(Kept):
    """A file scored by a run. id: by the file's bytes and what was done with bad rows. file: its
    name."""

    id: str
    file: str

    @property
    def csv(self) -> Path:
        """row, id if there is one, score, predicted_click: see
        core.training.scoring.write_predictions."""
        return self.folder / "predictions.csv"

    def first(self, rows: int) -> pa.Table:
        """The first `rows` predictions at most."""
        with pyarrow.csv.open_csv(self.csv, convert_options=_types(self.csv)) as reader:
            return pa.Table.from_batches([reader.read_next_batch()]).slice(0, rows)

    def parquet(self) -> bytes:
        """All predictions as a Parquet file."""
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(
            pyarrow.csv.read_csv(self.csv, convert_options=_types(self.csv)), sink
        )
        return sink.getvalue().to_pybytes()


def _types(path: Path) -> pyarrow.csv.ConvertOptions:
    """Types of the predictions' columns; ids are texts, whose leading zeros belong to them."""
    with path.open(newline="", encoding="utf-8") as file:
        names = next(csv.reader(file))
    ours = {"row": pa.int64(), "score": pa.float32(), "predicted_click": pa.int8()}
    return pyarrow.csv.ConvertOptions(
        column_types={name: ours.get(name, pa.string()) for name in names}
    )


def scoring_id(source: Path, on_bad_rows: str, options: ReadOptions = DEFAULT_OPTIONS) -> str:
    """The id that the scoring of this file has, before or after it was made."""
    read = (
        "" if options == DEFAULT_OPTIONS else f"-{hash_json([options.member, options.columns])[:8]}"
    )
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
    """Scores `source`, which the user calls `file`; at once where the same bytes were scored
    before."""
    require_writable()
    name = _SCORES + scoring_id(source, on_bad_rows, options)
    known = next((one for one in scorings(workspace, run_id) if one.folder.name == name), None)
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
            key: [sentence.replace(source.name, file) for sentence in said[key]]
            for key in ("bad_examples", "notes")
        }
        return {"said": said | named, "created": now(), "file": file}

    _keep(workspace, run_id, name, fill)
    for old in scorings(workspace, run_id)[MOST_SCORINGS:]:
        delete_kept(old)


def scorings(workspace: Workspace, run_id: str) -> list[Scoring]:
    """The files that the run has scored and whose predictions are whole, newest first."""
    return read_scorings(workspace, run_id)[0]


def read_scorings(workspace: Workspace, run_id: str) -> tuple[list[Scoring], list[Damaged]]:
    """(the files that the run has scored, newest first; those of which something is damaged)."""
    root = workspace.runs / run_id
    if not root.is_dir():
        return [], []
    found, broken = read_entries(root, _SAID, _load_scoring, _SCORES, only=True)
    return sorted(found, key=lambda one: one.created, reverse=True), broken


def _load_scoring(folder: Path) -> Scoring:
    def make(values: dict[str, Any]) -> Scoring:
        stored = build(_Stored, values)
        if not isinstance(stored.said.get("rows"), int):
            raise ValueError("it does not say how many rows there are")
        check_moment(stored.created, "created")
        return Scoring(
            stored.said, stored.created, folder, folder.name.removeprefix(_SCORES), stored.file
        )

    scoring = load_stored(folder / _SAID, ADVICE, make)
    try:
        check_regular(scoring.csv)
    except ValueError as error:
        raise damaged(scoring.csv, error, ADVICE) from error
    return scoring


def check_scoring(scoring: Scoring) -> None:
    """`Damaged` unless all that a page shows of a scored file is there."""
    try:
        said = build(_ScoredFile, scoring.said)
        if said.drift and sorted(one.field for one in said.drift.fields) != sorted(FIELDS):
            raise ValueError("its drift is not of the 39 fields")
        scoring.first(1)
    except (ValueError, KeyError, OSError, StopIteration, pa.ArrowException) as error:
        raise damaged(scoring.folder / _SAID, error or type(error).__name__, ADVICE) from error


def export_and_keep(workspace: Workspace, run_id: str) -> None:
    """Exports the run into one zip archive, see `export_file`."""
    require_writable()
    _keep_said(
        workspace,
        run_id,
        EXPORT,
        lambda folder: export_in_subprocess(workspace, run_id, export_file(folder, run_id)),
    )


def export_file(folder: Path, run_id: str) -> Path:
    """The archive in the folder of a kept export."""
    return folder / f"thaw-{run_id}.zip"


def verify_and_keep(workspace: Workspace, run_id: str, report: Report | None = None) -> None:
    """Carries the run out again and keeps what came of it."""
    require_writable()
    _keep_said(
        workspace,
        run_id,
        VERIFICATION,
        lambda folder: verify_in_subprocess(workspace, run_id, report),
    )


def kept(workspace: Workspace, run_id: str, name: str) -> Kept | None:
    """What is kept of the run under that name, such as EXPORT; None where it is damaged, to be made
    again."""
    folder = workspace.runs / run_id / name
    if not (folder / _SAID).exists():
        return None

    def make(values: dict[str, Any]) -> Kept:
        stored = build(_Stored, values)
        if name in _SHAPES:
            build(_SHAPES[name], stored.said)
        check_moment(stored.created, "created")
        return Kept(stored.said, stored.created, folder)

    try:
        return load_stored(folder / _SAID, ADVICE, make)
    except Damaged:
        return None


def delete_kept(one: Kept) -> None:
    """Removes its folder."""
    require_writable()
    with contextlib.suppress(FileNotFoundError):
        remove_folder(one.folder)


def _keep_said(
    workspace: Workspace, run_id: str, name: str, make: Callable[[Path], dict[str, Any]]
) -> None:
    _keep(workspace, run_id, name, lambda folder: {"said": make(folder), "created": now()})


def _keep(
    workspace: Workspace, run_id: str, name: str, fill: Callable[[Path], dict[str, Any]]
) -> None:
    """Fills a folder of that name: all of it, or nothing. In place of an older one."""
    with staging(workspace.runs) as part:
        write_json(part / _SAID, fill(part))
        # The run may have been deleted meanwhile, and its folder is not to come back.
        RunStore(workspace).get(run_id)
        folder = workspace.runs / run_id / name
        make_folder(folder.parent)
        publish(part, folder)
