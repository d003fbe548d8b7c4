"""A store that replaces another whose write-ahead log is still there."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from core.jobs.database import keep_connection
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RunStore
from core.workspace import PROJECT, Workspace, WorkspaceMissing, open_workspace

KEEPS_OPEN = """
import sys
from core.jobs.database import keep_connection
from core.jobs.store import RunStore
from core.workspace import open_workspace
workspace = open_workspace(sys.argv[1])
with keep_connection(workspace):
    store = RunStore(workspace)
    run = store.list()[0].id
    for step in range(300):
        store.add_points(run, [(step, f"metric_{one}", 0.5) for one in range(8)])
    print("written", flush=True)
    sys.stdin.read()
"""


def submit(workspace: Workspace, name: str = "a run") -> str:
    return RunStore(workspace).submit(FinetuneRequest("d-1", "b-1"), name, "cpu").id


def leave_log(workspace: Workspace) -> None:
    """Has a process write some hundred rows and end without emptying its log."""
    command = [sys.executable, "-c", KEEPS_OPEN, str(workspace.root)]
    with subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)


def is_whole(path: Path) -> bool:
    with sqlite3.connect(path) as db:
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def remove_log(workspace: Workspace) -> None:
    """Does as the sentence says."""
    for ending in ("-wal", "-shm"):
        workspace.database.with_name(workspace.database.name + ending).unlink()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "w")


def test_a_store_restored_alone_is_not_damaged_by_the_log_of_its_predecessor(
    workspace: Workspace, tmp_path: Path
) -> None:
    run = submit(workspace)
    shutil.copy(workspace.database, tmp_path / "copy")
    leave_log(workspace)
    kept = (tmp_path / "copy").read_bytes()
    shutil.move(tmp_path / "copy", workspace.database)

    with pytest.raises(WorkspaceMissing, match="thaw.sqlite-wal"):
        RunStore(workspace).list()
    assert workspace.database.read_bytes() == kept

    remove_log(workspace)
    assert [one.id for one in RunStore(workspace).list()] == [run]
    assert is_whole(workspace.database)
    second = submit(workspace)
    assert {one.id for one in RunStore(workspace).list()} == {run, second}


def test_a_store_is_not_opened_while_its_predecessor_is_in_use(
    workspace: Workspace, tmp_path: Path
) -> None:
    run = submit(workspace)
    shutil.copy(workspace.database, tmp_path / "copy")
    with keep_connection(workspace):
        RunStore(workspace).add_points(run, [(step, "loss", 0.5) for step in range(500)])
        (tmp_path / "copy").replace(workspace.database)
        with pytest.raises(WorkspaceMissing):
            submit(workspace)
    remove_log(workspace)
    submit(workspace)
    assert RunStore(workspace).points(run) == {}
    assert is_whole(workspace.database)


def test_a_log_that_was_left_goes_with_its_store_also_in_a_copy_of_the_folder(
    workspace: Workspace, tmp_path: Path
) -> None:
    run = submit(workspace)
    leave_log(workspace)
    shutil.copytree(workspace.root, tmp_path / "copied")
    for root in (workspace.root, tmp_path / "copied"):
        assert len(RunStore(open_workspace(root)).points(run)["metric_0"][0]) == 300
