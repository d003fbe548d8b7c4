"""Artifacts of a run are complete or absent, bounded in number, and deleted with the run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from core.data.datasets import Dataset
from core.errors import BadInput
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run, RunStore
from core.runs import artifacts as module
from core.runs.artifacts import (
    EXPORT,
    MAX_SCORINGS,
    delete_artifact,
    export_and_store,
    export_path,
    find_artifact,
    list_scorings,
    score_and_store,
    scoring_id,
)
from core.workspace import Workspace

LINES = "row,score,predicted_click\n1,0.25,0\n2,0.75,1\n"


@pytest.fixture
def run(tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose scoring writes LINES, and refuses files that begin with "bad"."""

    def score(
        workspace: Workspace,
        run_id: str,
        source: Path,
        target: Path,
        on_bad_rows: str,
        report: Any,
        options: Any,
        calibration: str,
    ) -> dict[str, Any]:
        target.write_text(LINES)
        if source.read_text().startswith("bad"):
            raise BadInput(f"Row 1 of {source.name!r} is bad.")
        return {
            "rows": 2,
            "bad_examples": [f"Row 9 of {source.name!r} is bad."],
            "notes": [],
            "unknown": {},
        }

    monkeypatch.setattr(module, "score_in_subprocess", score)
    return RunStore(tiny[0]).submit(FinetuneRequest(tiny[1].id, "simulated-dnn"), "a run", "cpu")


@pytest.fixture
def scored(tiny: tuple[Workspace, Dataset], run: Run, tmp_path: Path) -> Callable[[str], Path]:
    """Scores a file of that content."""

    def score(content: str) -> Path:
        path = tmp_path / f"upload-{len(content)}"
        path.write_text(content)
        score_and_store(tiny[0], run.id, path, "mine.tsv", "reject")
        return path

    return score


def test_a_scoring_is_found_by_its_files_bytes(
    tiny: tuple[Workspace, Dataset], run: Run, scored: Callable[[str], Path]
) -> None:
    path = scored("rows")
    (one,) = list_scorings(tiny[0], run.id)
    assert one.id == scoring_id(path, "reject") != scoring_id(path, "skip")
    assert one.id != scoring_id(path, "reject", calibration="platt")
    assert one.file == "mine.tsv" and one.output["bad_examples"] == ["Row 9 of 'mine.tsv' is bad."]
    assert one.csv.read_text() == LINES
    table = pyarrow.parquet.read_table(pa.BufferReader(one.parquet()))
    assert table.to_pydict() == {"row": [1, 2], "score": [0.25, 0.75], "predicted_click": [0, 1]}
    assert table.schema.types == [pa.int64(), pa.float32(), pa.int8()]
    assert one.head(1).to_pydict() == {"row": [1], "score": [0.25], "predicted_click": [0]}
    # The same bytes under another name are not scored again.
    one.csv.write_text(LINES.replace("0.25", "0.125"))
    score_and_store(tiny[0], run.id, path, "other.tsv", "reject")
    (again,) = list_scorings(tiny[0], run.id)
    assert (
        again.file == "other.tsv"
        and again.created > one.created
        and "0.125" in again.csv.read_text()
    )
    delete_artifact(again)
    assert list_scorings(tiny[0], run.id) == []


def test_a_refused_file_leaves_nothing_and_is_called_by_its_own_name(
    tiny: tuple[Workspace, Dataset], run: Run, scored: Callable[[str], Path]
) -> None:
    scored("rows")
    before = sorted(path for path in tiny[0].root.rglob("*") if "sqlite" not in path.name)
    with pytest.raises(BadInput, match=r"Row 1 of 'mine\.tsv' is bad"):
        scored("bad rows")
    assert sorted(path for path in tiny[0].root.rglob("*") if "sqlite" not in path.name) == before


def test_the_oldest_scorings_go(
    tiny: tuple[Workspace, Dataset], run: Run, scored: Callable[[str], Path]
) -> None:
    paths = [scored("x" * (1 + number)) for number in range(MAX_SCORINGS + 2)]
    assert [one.id for one in list_scorings(tiny[0], run.id)] == [
        scoring_id(path, "reject") for path in paths[:1:-1]
    ]


def test_nothing_comes_back_of_a_run_that_was_deleted_meanwhile(
    tiny: tuple[Workspace, Dataset], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tiny[0]

    def export(
        workspace: Workspace, run_id: str, target: Path, calibration: str | None
    ) -> dict[str, Any]:
        target.write_bytes(b"zip")
        return {"onnx": {"checked": True}}

    monkeypatch.setattr(module, "export_in_subprocess", export)
    export_and_store(workspace, run.id)
    found = find_artifact(workspace, run.id, EXPORT)
    assert found and found.output == {"onnx": {"checked": True}}
    assert export_path(found.folder, run.id).read_bytes() == b"zip"
    assert json.loads((found.folder / "said.json").read_text())["created"] == found.created
    RunStore(workspace).delete(run.id)
    assert find_artifact(workspace, run.id, EXPORT) is None
    with pytest.raises(BadInput, match="There is no run"):
        export_and_store(workspace, run.id)
    assert not (workspace.runs / run.id).exists() and not any(workspace.uploads.glob(".part-*"))
