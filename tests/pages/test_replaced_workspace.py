"""An app whose workspace is replaced, and one whose worker has stalled."""

import json
import shutil

import pytest

from core.data.datasets import Dataset
from core.jobs.process_location import current_location
from core.jobs.store import RunStore
from core.runs import heartbeat
from core.runs.launch import run_heartbeat, worker_heartbeat, worker_lock
from core.workspace import Workspace
from tests.pages.helpers import open_page, page_text, submit_finetune

Tiny = tuple[Workspace, Dataset]


def test_the_workspace_that_is_put_back_is_shown_without_a_restart(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    before = submit_finetune(workspace, dataset, "before the copy")
    copy, away = (workspace.root.with_name(name) for name in ("copy", "away"))
    shutil.copytree(workspace.root, copy)
    submit_finetune(workspace, dataset, "after the copy")
    app = open_page(workspace, "run", monkeypatch)
    assert "after the copy" in page_text(app) and not app.exception
    workspace.root.rename(away)
    app.run()
    assert not app.exception and any("is not there any more" in error.value for error in app.error)
    # Else the copy would come to lie within it.
    assert not workspace.root.exists()
    copy.rename(workspace.root)
    app.run()
    assert not app.exception and not app.error
    assert "before the copy" in page_text(app) and "after the copy" not in page_text(app)
    assert [run.id for run in RunStore(workspace).list()] == [before.id]


@pytest.mark.parametrize("page", ["run", "home"])
def test_a_worker_that_does_not_respond_is_reported(
    page: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    run = submit_finetune(workspace, dataset)
    claimed = RunStore(workspace).claim("cpu", 4711)
    assert claimed is not None
    monkeypatch.setattr(heartbeat, "CONFIRMED_AFTER", 0.0)
    said = {
        "key": claimed.claim,
        "host": current_location(),
        "pid": 4711,
        "beats": 5,
        "clock": -3600.0,
        "idle": 0.0,
    }
    run_heartbeat(workspace, run.id).parent.mkdir()
    for path in (run_heartbeat(workspace, run.id), worker_heartbeat(workspace, "cpu")):
        path.write_text(json.dumps(said))
    with worker_lock(workspace, "cpu"):
        app = open_page(workspace, page, monkeypatch)
        assert not app.exception
        assert any(
            "Stalled since" in one.value and "(`kill -CONT 4711`)" in one.value
            for one in app.warning
        )
        if page == "home":
            assert {one.label: one.value for one in app.metric}["Worker"] == "stalled"
            assert "stalled since" in page_text(app)
