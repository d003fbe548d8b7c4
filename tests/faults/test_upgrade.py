"""Workspaces of earlier versions open today with everything in them, and continue."""

import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.data.dataset_rows import read_dataset_rows
from core.data.datasets import list_datasets, select_test_rows
from core.data.preprocessing import load_preprocessing
from core.data.samples import list_samples
from core.inference.score_file import load_scorer
from core.jobs.database import MIGRATIONS
from core.jobs.predictions import read_predictions
from core.jobs.store import RunStore
from core.models.backbone_store import list_backbones
from core.runs.dispatch import execute
from core.runs.worker import run_worker
from core.workspace import PROJECT, Workspace, open_workspace

KEPT = sorted((Path(__file__).parent / "workspaces").glob("schema-*.zip"))


@pytest.fixture(params=KEPT, ids=lambda path: path.stem)
def old(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(tmp_path / "old")
    monkeypatch.setenv("THAW_HOME", str(tmp_path / "old"))
    monkeypatch.setattr("core.runs.launch.ensure_worker", lambda *_: None)
    st.cache_resource.clear()
    yield open_workspace(tmp_path / "old")
    st.cache_resource.clear()


def version(workspace: Workspace) -> int:
    with sqlite3.connect(workspace.database) as database:
        return database.execute("PRAGMA user_version").fetchone()[0]


def test_there_is_one_of_every_version() -> None:
    """A migration without a workspace that needs it fails here: run
    tests/faults/keep_workspace.py."""
    assert [path.stem for path in KEPT] == [
        f"schema-{number + 1}" for number in range(len(MIGRATIONS))
    ]


def test_an_older_workspace_loses_nothing_and_continues(old: Workspace) -> None:
    before = version(old)
    with sqlite3.connect(old.database) as database:
        raw = database.execute(
            "SELECT id, name, status, tags, note, result FROM runs ORDER BY id"
        ).fetchall()
        points = database.execute("SELECT count(*) FROM points").fetchone()[0]
    store = RunStore(old)
    assert version(old) == len(MIGRATIONS) >= before
    runs = {run.id: run for run in store.list()}
    assert sorted(runs) == [row[0] for row in raw] and len(raw) == 4 and points > 10
    for run_id, name, status, *_ in raw:
        assert (runs[run_id].name, runs[run_id].status) == (name, status)
    assert sum(len(steps) for run in runs for steps, _ in store.points(run).values()) == points
    noted = next(run for run in runs.values() if run.status == "failed")
    assert (noted.tags, noted.note, noted.name) == (
        ("kept", "old"),
        "looked at on Monday",
        "A run with a note",
    )
    assert store.sweeps() == []
    assert (
        [sample.name for sample in list_samples(old)]
        == ["kept"]
        == [one.name for one in list_datasets(old)]
    )
    assert "small dnn" in [card.name for card in list_backbones(old)]

    # What was queued then is executed now, and what had failed resumes, to what the run of then
    # gave.
    store.resume(noted.id)
    run_worker(old, "cpu", execute, idle_timeout=0.1)
    ends = [run for run in store.list(kind="finetune") if run.result]
    assert len(ends) == 3, [run.message for run in store.list()]
    assert len({run.result.metrics["target_test"]["rows"] for run in ends if run.result}) == 1


def test_backbones_and_models_of_then_score_as_then(old: Workspace) -> None:
    """Their cards know nothing of statistics, ranks or kept heads; their scores were stored."""
    store = RunStore(old)
    (dataset,) = list_datasets(old)
    numbers = {"source_test": select_test_rows(dataset, "source")}
    numbers["target_test"] = select_test_rows(dataset, "target")
    rows = read_dataset_rows(old, dataset)
    done = [run for run in store.list() if run.status == "done"]
    assert {run.kind for run in done} == {"pretrain", "finetune"}
    for run in done:
        stored = read_predictions(old, run.id)
        part = "source_test" if run.kind == "pretrain" else "target_test"
        scores, _ = load_scorer(old, run).score(rows.take(numbers[part]))
        np.testing.assert_allclose(scores, stored[f"{part}_score"], atol=1e-6)
    (card,) = (card for card in list_backbones(old) if not card.bundled)
    assert card.n_dense == 13
    assert load_preprocessing(card.folder / "preprocessing").hash == card.preprocessing_hash


@pytest.mark.parametrize(
    "file", ["home.py", "data.py", "backbones.py", "run.py", "compare.py", "sweep.py"]
)
def test_every_page_opens(file: str, old: Workspace) -> None:
    with sqlite3.connect(old.database) as database:
        done = database.execute(
            "SELECT id FROM runs WHERE status = 'done' AND kind = 'finetune'"
        ).fetchone()[0]
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=60)
    app.query_params["run"] = done
    app.query_params["runs"] = done
    app.switch_page(str(PROJECT / "pages" / file))
    app.run()
    assert not app.exception and not app.error
