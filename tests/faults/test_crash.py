"""Crashes: a killed worker, what it leaves behind, a machine that went down. benchmarks/kills.py
kills 200 times."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.jobs.run_result import RunResult
from core.jobs.store import RunStore
from core.models import backbone
from core.models.backbone import load_backbone, save_backbone
from core.runs.dispatch import execute
from core.runs.launch import worker_lock
from core.runs.worker import run_worker
from core.workspace import PROJECT, Workspace, write_json
from tests.core.training.helpers import ListReporter, pretrained, run_request
from tests.faults.kills import PLACES


def test_killed_at_every_step_and_resumed(tiny: tuple[Workspace, Dataset]) -> None:
    """Weights, metrics and points as in the uninterrupted run; no run lost or executed twice at
    once."""
    workspace, _ = tiny
    pretrained(workspace, "dnn")
    for run in RunStore(workspace).list():
        RunStore(workspace).delete(run.id)
    command = [sys.executable, "-m", "tests.faults.kills", str(workspace.root), "8", "1", "light"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert sum(count for kind, count in told["kills"].items() if kind != "of an app") == 8
    assert told["runs_compared"] >= 2
    assert set(told["kills"]) >= set(PLACES)


def test_killed_commands_run_again(tiny: tuple[Workspace, Dataset]) -> None:
    """They make what uninterrupted ones make and leave nothing half-written; benchmarks/kills.py
    kills every command."""
    workspace, _ = tiny
    pretrained(workspace, "dnn")
    for run in RunStore(workspace).list():
        RunStore(workspace).delete(run.id)
    words = [str(workspace.root), "2", "1", "prepare in place", "export-backbone"]
    command = [sys.executable, "-m", "tests.faults.command_kills", *words]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert set(json.loads(ended.stdout)["kills"]) == {"prepare in place", "export-backbone"}


def test_a_damaged_checkpoint_loses_nothing(tiny: tuple[Workspace, Dataset]) -> None:
    """A machine that lost its power may leave half a file: the run begins again, to the same
    result."""
    workspace, dataset = tiny
    train = TrainSettings(epochs=2, batch_size=256, early_stopping=0, device="cpu")
    request = FinetuneRequest(dataset.id, pretrained(workspace, "dnn").id, "depth", 0, train=train)
    whole = run_request(workspace, request)
    store = RunStore(workspace)
    for damage in (b"", b"PK\x03\x04 half a checkpoint"):
        run = store.submit(request, "broken", "cpu")
        folder = workspace.runs / run.id
        folder.mkdir()
        (folder / "checkpoint.pt").write_bytes(damage)
        result = execute(workspace, run, ListReporter())
        assert whole.result is not None and result.metrics == whole.result.metrics


def test_a_backbone_stored_again_is_complete_at_every_moment(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run killed after it stored its backbone stores it again; dying in that leaves the first one
    readable."""
    workspace, _ = tiny
    card = pretrained(workspace, "dnn")

    def write_half(tensors: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backbone, "save_file", write_half)
    network = load_backbone(card)
    with pytest.raises(OSError, match="No space"):
        save_backbone(network, card, card.folder / "preprocessing", card.folder)
    assert load_backbone(card).state_dict().keys() == network.state_dict().keys()
    assert not list(card.folder.glob(".part-*"))


def test_a_new_worker_clears_what_dead_ones_left(workspace: Workspace) -> None:
    """What was being written when a process died stays for a day, since someone may be writing it
    now."""
    (workspace.runs / "r-1").mkdir()
    old = [
        workspace.cache / ".part-old",
        workspace.samples / ".part-old",
        workspace.runs / "r-1" / ".part-old.pt",
    ]
    new = workspace.cache / ".part-new"
    for folder in (*old[:2], new):
        folder.mkdir()
        (folder / "0.npy").touch()
    old[2].touch()
    yesterday = time.time() - 25 * 3600
    for path in old:
        os.utime(path, (yesterday, yesterday))
    run_worker(workspace, "cpu", lambda *_: RunResult(), idle_timeout=0.0)
    assert not any(path.exists() for path in old) and new.exists()


def test_after_a_restart_of_the_machine_one_click_resumes(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes gone, lock file left behind: the page says interrupted, and its button queues
    the run again."""
    workspace, dataset = tiny
    monkeypatch.setenv("THAW_HOME", str(workspace.root))
    st.cache_resource.clear()
    store = RunStore(workspace)
    run = store.submit(FinetuneRequest(dataset.id, "b-1"), "left running", "cpu")
    store.claim("cpu", 2**22 + 1)
    Path(worker_lock(workspace, "cpu").lock_file).write_text("4194305")
    woken: list[str] = []
    monkeypatch.setattr("core.runs.submit.ensure_worker", lambda space, queue: woken.append(queue))
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=30)
    app.query_params["run"] = run.id
    app.switch_page(str(PROJECT / "pages" / "run.py"))
    app.run()
    assert not app.exception
    assert any("The worker died. Resume goes on" in warning.value for warning in app.warning)
    next(button for button in app.button if button.label == "Resume").click().run()
    assert not app.exception
    assert store.get(run.id).status == "queued" and woken == ["cpu"]
    st.cache_resource.clear()


def test_half_written_json_is_never_seen(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dying in a write leaves the file as it was, and nothing beside it."""
    path = workspace.root / "one.json"
    write_json(path, {"a": 1})

    def die(self: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", die)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"a": 2})
    assert path.read_text() == '{\n  "a": 1\n}' and [*workspace.root.glob(".part-*")] == []
