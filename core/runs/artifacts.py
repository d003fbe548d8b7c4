"""Files made from a finished run and stored in its folder.

They are the scores of files, an export and a verification, and are deleted together with the run.
"""

import contextlib
import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from core.data.read_options import DEFAULT_OPTIONS, ReadOptions
from core.data.schema import FIELDS
from core.errors import BadInput, Damaged
from core.evaluation.recalibration import NONE
from core.files.durable import make_folder, publish_folder, remove_folder, staging
from core.jobs.store import RunStore, utc_now
from core.read_only import require_writable
from core.runs.subprocess_commands import (
    ProgressFn,
    export_in_subprocess,
    score_in_subprocess,
    verify_in_subprocess,
)
from core.stored import (
    check_regular_file,
    check_timestamp,
    damaged_file_error,
    load_stored,
    parse_stored,
    read_entries,
)
from core.workspace import Workspace, hash_file, hash_json, write_json

MAX_SCORINGS = 8
"""Scored files stored per run; the oldest are deleted first."""
EXPORT = "export"
VERIFICATION = "verification"
_SCORES_PREFIX = "scores-"
_OUTPUT_FILE = "said.json"


DAMAGE_ADVICE = "delete the folder and have it made again"


@dataclass(frozen=True)
class _Stored:
    """What the file _OUTPUT_FILE holds.

    Args:
        said: the command's output, as ``--json`` prints it.
        created: ISO time in UTC.
        file: name of the scored file; "" for other artifacts.
    """

    said: dict[str, Any]
    created: str
    file: str = ""


@dataclass(frozen=True)
class _Spread:
    """Distribution of scores, see core.inference.score_drift.score_distribution."""

    rows: int
    mean: float | None
    counts: tuple[int, ...]
    predicted_click_share: float | None


@dataclass(frozen=True)
class _FieldDrift:
    field: str
    psi: float | None
    unseen_training: float
    unseen_scored: float
    missing_training: float
    missing_scored: float


@dataclass(frozen=True)
class _ScoreDrift:
    psi: float | None
    level: str | None
    test: _Spread
    scored: _Spread


@dataclass(frozen=True)
class _Drift:
    dataset: str
    training_rows: int
    fields: tuple[_FieldDrift, ...]
    scores: _ScoreDrift


@dataclass(frozen=True)
class _ScoredFile:
    """What pages read of a scored file, see core.inference.score_file.score_file."""

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
class Artifact:
    """Something made of a run.

    Args:
        output: what the command returned, as ``--json`` prints it.
        created: ISO time in UTC.
        folder: with the files that the command wrote.
    """

    output: dict[str, Any]
    created: str
    folder: Path


@dataclass(frozen=True)
class Scoring(Artifact):
    """A file scored by a run.

    Args:
        id: hash of the file's bytes and of how it was read.
        file: the name that the user gave it.
    """

    id: str
    file: str

    @property
    def csv(self) -> Path:
        """Columns row, id if there is one, score and predicted_click (core.inference.scoring)."""
        return self.folder / "predictions.csv"

    def head(self, rows: int) -> pa.Table:
        """Return the first predictions, at most `rows`."""
        with pyarrow.csv.open_csv(self.csv, convert_options=_column_types(self.csv)) as reader:
            return pa.Table.from_batches([reader.read_next_batch()]).slice(0, rows)

    def parquet(self) -> bytes:
        """Return all predictions as a Parquet file."""
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(
            pyarrow.csv.read_csv(self.csv, convert_options=_column_types(self.csv)), sink
        )
        return sink.getvalue().to_pybytes()


def _column_types(path: Path) -> pyarrow.csv.ConvertOptions:
    """Types of the columns. Ids are text, because their leading zeros belong to them."""
    with path.open(newline="", encoding="utf-8") as file:
        names = next(csv.reader(file))
    ours = {"row": pa.int64(), "score": pa.float32(), "predicted_click": pa.int8()}
    return pyarrow.csv.ConvertOptions(
        column_types={name: ours.get(name, pa.string()) for name in names}
    )


def scoring_id(
    source: Path,
    on_bad_rows: str,
    options: ReadOptions = DEFAULT_OPTIONS,
    calibration: str = NONE,
) -> str:
    """Return the id of the scoring of this file, before or after it was made."""
    read = (
        "" if options == DEFAULT_OPTIONS else f"-{hash_json([options.member, options.columns])[:8]}"
    )
    how = "" if calibration == NONE else f"-{calibration}"
    return f"{hash_file(source)[:16]}{read}{how}{'-skip' if on_bad_rows == 'skip' else ''}"


def score_and_store(
    workspace: Workspace,
    run_id: str,
    source: Path,
    file: str,
    on_bad_rows: str,
    report: ProgressFn | None = None,
    options: ReadOptions = DEFAULT_OPTIONS,
    calibration: str = NONE,
) -> None:
    """Score a file and store the scores; the same bytes are scored only once.

    Args:
        workspace, run_id: of the model.
        source: the file to score.
        file: the name that the user gave it.
        on_bad_rows: "reject" or "skip".
        report: called with the progress, 0 to 1.
        options: how the file is read.
        calibration: method by which the scores are calibrated, one of
            core.evaluation.recalibration.METHODS.
    """
    require_writable()
    name = _SCORES_PREFIX + scoring_id(source, on_bad_rows, options, calibration)
    known = next((one for one in list_scorings(workspace, run_id) if one.folder.name == name), None)
    # Scores of earlier versions have no shares of unknown values: they are made again.
    if known and "unknown" in known.output:
        write_json(
            known.folder / _OUTPUT_FILE, {"said": known.output, "created": utc_now(), "file": file}
        )
        return

    def fill(folder: Path) -> dict[str, Any]:
        try:
            output = score_in_subprocess(
                workspace,
                run_id,
                source,
                folder / "predictions.csv",
                on_bad_rows,
                report,
                options,
                calibration,
            )
        except BadInput as error:
            raise BadInput(str(error).replace(source.name, file)) from error
        named = {
            key: [sentence.replace(source.name, file) for sentence in output[key]]
            for key in ("bad_examples", "notes")
        }
        return {"said": output | named, "created": utc_now(), "file": file}

    _store_artifact(workspace, run_id, name, fill)
    for old in list_scorings(workspace, run_id)[MAX_SCORINGS:]:
        delete_artifact(old)


def list_scorings(workspace: Workspace, run_id: str) -> list[Scoring]:
    """Return the files that the run has scored and whose predictions are whole, newest first."""
    return read_scorings(workspace, run_id)[0]


def read_scorings(workspace: Workspace, run_id: str) -> tuple[list[Scoring], list[Damaged]]:
    """Return ``(scorings, damaged)`` of a run.

    `scorings` are the files that the run has scored, newest first; `damaged` says what is wrong
    with the damaged ones.
    """
    root = workspace.runs / run_id
    if not root.is_dir():
        return [], []
    found, broken = read_entries(
        root, _OUTPUT_FILE, _load_scoring, _SCORES_PREFIX, prefix_only=True
    )
    return sorted(found, key=lambda one: one.created, reverse=True), broken


def _load_scoring(folder: Path) -> Scoring:
    def make(values: dict[str, Any]) -> Scoring:
        stored = parse_stored(_Stored, values)
        if not isinstance(stored.said.get("rows"), int):
            raise ValueError("it does not say how many rows there are")
        check_timestamp(stored.created, "created")
        return Scoring(
            stored.said,
            stored.created,
            folder,
            folder.name.removeprefix(_SCORES_PREFIX),
            stored.file,
        )

    scoring = load_stored(folder / _OUTPUT_FILE, DAMAGE_ADVICE, make)
    try:
        check_regular_file(scoring.csv)
    except ValueError as error:
        raise damaged_file_error(scoring.csv, error, DAMAGE_ADVICE) from error
    return scoring


def check_scoring(scoring: Scoring) -> None:
    """Raise Damaged unless everything that a page shows of a scored file is there."""
    try:
        output = parse_stored(_ScoredFile, scoring.output)
        if output.drift and sorted(one.field for one in output.drift.fields) != sorted(FIELDS):
            raise ValueError("its drift is not of the 39 fields")
        scoring.head(1)
    except (ValueError, KeyError, OSError, StopIteration, pa.ArrowException) as error:
        raise damaged_file_error(
            scoring.folder / _OUTPUT_FILE, error or type(error).__name__, DAMAGE_ADVICE
        ) from error


def export_and_store(workspace: Workspace, run_id: str, calibration: str | None = None) -> None:
    """Export the run into a zip archive, see `export_path`.

    Args:
        workspace, run_id: of the model.
        calibration: of its probabilities; None for the one that the run uses.
    """
    require_writable()
    _store_output(
        workspace,
        run_id,
        EXPORT,
        lambda folder: export_in_subprocess(
            workspace, run_id, export_path(folder, run_id), calibration
        ),
    )


def export_path(folder: Path, run_id: str) -> Path:
    """Return the archive in the folder of a stored export."""
    return folder / f"thaw-{run_id}.zip"


def verify_and_store(workspace: Workspace, run_id: str, report: ProgressFn | None = None) -> None:
    """Repeat the run and store whether its numbers are the same."""
    require_writable()
    _store_output(
        workspace,
        run_id,
        VERIFICATION,
        lambda folder: verify_in_subprocess(workspace, run_id, report),
    )


def find_artifact(workspace: Workspace, run_id: str, name: str) -> Artifact | None:
    """Return the run's artifact of that name, such as EXPORT.

    None if there is none or it is damaged.
    """
    folder = workspace.runs / run_id / name
    if not (folder / _OUTPUT_FILE).exists():
        return None

    def make(values: dict[str, Any]) -> Artifact:
        stored = parse_stored(_Stored, values)
        if name in _SHAPES:
            parse_stored(_SHAPES[name], stored.said)
        check_timestamp(stored.created, "created")
        return Artifact(stored.said, stored.created, folder)

    try:
        return load_stored(folder / _OUTPUT_FILE, DAMAGE_ADVICE, make)
    except Damaged:
        return None


def delete_artifact(one: Artifact) -> None:
    """Delete an artifact with its folder."""
    require_writable()
    with contextlib.suppress(FileNotFoundError):
        remove_folder(one.folder)


def _store_output(
    workspace: Workspace, run_id: str, name: str, make: Callable[[Path], dict[str, Any]]
) -> None:
    _store_artifact(
        workspace, run_id, name, lambda folder: {"said": make(folder), "created": utc_now()}
    )


def _store_artifact(
    workspace: Workspace, run_id: str, name: str, fill: Callable[[Path], dict[str, Any]]
) -> None:
    """Fill a folder of that name, completely or not at all, in place of an older one."""
    with staging(workspace.runs) as part:
        write_json(part / _OUTPUT_FILE, fill(part))
        # Raises where the run was deleted meanwhile: its folder must not be created again.
        RunStore(workspace).get(run_id)
        folder = workspace.runs / run_id / name
        make_folder(folder.parent)
        publish_folder(part, folder)
