"""Workspaces that are moved, removed or restored from a copy while a worker or the app uses
them."""

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from core.errors import BadInput
from core.jobs.queue import ClaimLost
from core.jobs.reporter import Reporter
from core.jobs.requests import FinetuneRequest
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore, ValidationSummary
from core.runs import worker
from core.runs.launch import is_worker_alive
from core.runs.worker import run_worker
from core.workspace import Workspace, open_workspace, write_atomic
from tests.core.runs.processes import wait_for


def submit(workspace: Workspace) -> Run:
    return RunStore(workspace).submit(FinetuneRequest("d-1", "b-1"), "a run", "cpu")


def tree(root: Path) -> dict[str, bytes]:
    """Every file below `root` with its bytes; of the store its rows, since a look at it may make a
    log beside it."""
    files = {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith("thaw.sqlite")
    }
    with sqlite3.connect(root / "thaw.sqlite") as db:
        return files | {"rows": "\n".join(db.iterdump()).encode()}


class Job:
    """A job that trains until it is let go: it reports and writes a checkpoint over and over."""

    def __init__(self) -> None:
        self.steps = 0
        self.over = threading.Event()

    def __call__(self, workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        while not self.over.wait(0.01):
            reporter.points([(self.steps, "train_loss", 0.5)])
            reporter.should_stop()
            write_atomic(
                workspace.runs / run.id / "checkpoint.pt", lambda part: part.write_bytes(b"x")
            )
            self.steps += 1
        return RunResult()


class DeafJob(Job):
    """A job that says nothing while it computes, and then writes what it has."""

    def __call__(self, workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        self.steps = 1
        self.over.wait(60)
        write_atomic(
            workspace.runs / run.id / "predictions.npz", lambda part: part.write_bytes(b"x")
        )
        return RunResult()


@pytest.fixture
def started(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[Workspace, Job], threading.Thread]]:
    """Starts a worker in a thread; workers that it would start are only counted."""
    monkeypatch.setattr(worker, "ensure_worker", lambda *_: None)
    jobs: list[tuple[Job, threading.Thread]] = []

    def start(workspace: Workspace, job: Job) -> threading.Thread:
        thread = threading.Thread(
            target=run_worker,
            args=(workspace, "cpu", job),
            kwargs={"idle_timeout": 60.0},
            daemon=True,
        )
        thread.start()
        jobs.append((job, thread))
        return thread

    yield start
    for job, thread in jobs:
        job.over.set()
        thread.join(1)


def copied(workspace: Workspace) -> Path:
    """A copy of the workspace as a whole, with the times of its files, as `cp -a` makes it."""
    copy = workspace.root.with_name("copy")
    shutil.copytree(workspace.root, copy)
    return copy


@pytest.mark.parametrize("job_type", [Job, DeafJob])
def test_a_worker_leaves_a_workspace_that_replaced_its_own(
    job_type: type[Job], workspace: Workspace, started: Callable[[Workspace, Job], threading.Thread]
) -> None:
    waiting = submit(workspace)
    copy = copied(workspace)
    job = job_type()
    thread = started(workspace, job)
    wait_for(lambda: job.steps > 0)
    workspace.root.rename(workspace.root.with_name("away"))
    copy.rename(workspace.root)
    before = tree(workspace.root)
    if job_type is DeafJob:
        job.over.set()
    thread.join(30)
    assert not thread.is_alive()
    assert tree(workspace.root) == before
    assert not (workspace.runs / waiting.id).exists()

    assert not is_worker_alive(workspace, "cpu")
    run_worker(workspace, "cpu", lambda *_: RunResult(), idle_timeout=0.3)
    assert RunStore(workspace).get(waiting.id).status == "done"


def test_an_idle_worker_claims_nothing_from_another_workspace(
    workspace: Workspace, started: Callable[[Workspace, Job], threading.Thread]
) -> None:
    RunStore(workspace)
    thread = started(workspace, Job())
    wait_for(lambda: is_worker_alive(workspace, "cpu"))
    other = open_workspace(workspace.root.with_name("other"))
    queued = submit(other)
    workspace.root.rename(workspace.root.with_name("away"))
    other.root.rename(workspace.root)
    thread.join(30)
    assert not thread.is_alive()
    assert RunStore(workspace).get(queued.id).status == "queued"
    assert not is_worker_alive(workspace, "cpu")


@pytest.mark.parametrize("running", [True, False])
def test_nothing_is_made_where_a_workspace_was_removed(
    running: bool, workspace: Workspace, started: Callable[[Workspace, Job], threading.Thread]
) -> None:
    if running:
        submit(workspace)
    RunStore(workspace)
    job = Job()
    thread = started(workspace, job)
    wait_for(lambda: job.steps > 0 if running else is_worker_alive(workspace, "cpu"))
    # In one step: a job may write into a folder that is being emptied.
    gone = workspace.root.with_name("gone")
    workspace.root.rename(gone)
    shutil.rmtree(gone)
    thread.join(30)
    assert not thread.is_alive() and not workspace.root.exists()


def test_a_worker_creates_no_store_where_its_own_was_deleted(
    workspace: Workspace, started: Callable[[Workspace, Job], threading.Thread]
) -> None:
    submit(workspace)
    job = Job()
    thread = started(workspace, job)
    wait_for(lambda: job.steps > 0)
    for path in workspace.root.glob("thaw.sqlite*"):
        path.unlink()
    thread.join(30)
    assert not thread.is_alive() and not [*workspace.root.glob("thaw.sqlite*")]


def test_a_worker_started_on_a_missing_folder_creates_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    monkeypatch.setattr("sys.argv", ["worker", "--workspace", str(gone), "--lane", "cpu"])
    assert worker.main() == 0
    assert not gone.exists()


def test_a_copy_put_over_the_store_is_served_by_a_worker_of_its_own(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cp -a copy/. workspace/` leaves folder, lock and store in their places: the worker is not in
    that store."""
    left = submit(workspace)
    RunStore(workspace).claim("cpu", 1)
    copy = copied(workspace)
    fresh: list[str] = []
    monkeypatch.setattr(worker, "ensure_worker", lambda _, queue: fresh.append(queue))

    def put_back(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        inode = workspace.database.stat().st_ino
        with (
            sqlite3.connect(copy / "thaw.sqlite") as source,
            sqlite3.connect(workspace.database) as target,
        ):
            source.execute("UPDATE runs SET status = 'queued'")
            source.commit()
            source.backup(target)
        assert workspace.database.stat().st_ino == inode
        reporter.points([(1, "train_loss", 0.5)])
        return RunResult()

    later = submit(workspace)
    run_worker(workspace, "cpu", put_back, idle_timeout=20)
    store = RunStore(workspace)
    assert [run.id for run in store.list()] == [left.id] and later.id != left.id
    assert store.get(left.id).status == "queued" and store.points(left.id) == {}
    assert fresh == ["cpu"]


def test_runs_marked_running_in_a_copy_are_interrupted_by_the_queues_worker(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ensure_worker", lambda *_: None)
    run = submit(workspace)
    RunStore(workspace).claim("cpu", 1)
    run_worker(workspace, "cpu", lambda *_: RunResult(), idle_timeout=0.3)
    assert RunStore(workspace).get(run.id).status == "interrupted"


def test_writes_under_an_ended_claim_are_refused(workspace: Workspace) -> None:
    run, store = submit(workspace), RunStore(workspace)
    first = store.claim("cpu", 1)
    assert first is not None and first.claim
    store.interrupt_stale("cpu")
    store.resume(run.id)
    second = store.claim("cpu", 2)
    assert second is not None and second.claim not in (None, first.claim)
    for write in (
        lambda: store.set_phase(run.id, "training", first.claim),
        lambda: store.set_progress(run.id, 1, 2, 3, 4, first.claim),
        lambda: store.add_points(run.id, [(1, "train_loss", 0.5)], first.claim),
        lambda: store.drop_points_after(run.id, 0, first.claim),
        lambda: store.pause(run.id, first.claim),
        lambda: store.finish(run.id, "done", result=RunResult(), claim=first.claim),
    ):
        with pytest.raises(ClaimLost):
            write()
    assert store.get(run.id) == second and store.points(run.id) == {}
    store.add_points(run.id, [(1, "train_loss", 0.5)], second.claim)
    store.finish(run.id, "done", result=RunResult(), claim=second.claim)
    assert store.get(run.id).status == "done"


def test_only_the_registered_worker_claims(workspace: Workspace) -> None:
    run, store = submit(workspace), RunStore(workspace)
    first, second = store.register_worker("cpu"), store.register_worker("cpu")
    assert store.claim("cpu", 1, first) is None and store.claim_run(run.id, 1, first) is None
    assert not store.is_worker_registered("cpu", first) and store.is_worker_registered(
        "cpu", second
    )
    assert store.claim("cpu", 1, second) is not None


def test_a_missing_store_is_reported_and_not_created(workspace: Workspace) -> None:
    run, store = submit(workspace), RunStore(workspace)
    workspace.database.unlink()
    for look in (
        lambda: store.get(run.id),
        store.list,
        store.count_by_status,
        lambda: store.add_points(run.id, []),
    ):
        with pytest.raises(BadInput, match="is not there any more"):
            look()
    assert not workspace.database.exists()


def test_the_app_shows_the_workspace_that_is_there_now(workspace: Workspace) -> None:
    """Whoever looks keeps what was read: of a copy with the same runs in other states, nothing of
    it counts."""
    run, store = submit(workspace), RunStore(workspace)
    store.claim("cpu", 1)
    store.add_points(run.id, [(1, "validation_loss", 0.5)])
    copy = copied(workspace)
    store.add_points(run.id, [(2, "validation_loss", 0.1)])
    store.finish(run.id, "done", result=RunResult(threshold=0.5))
    assert store.validation_summaries(store.list())[run.id] == ValidationSummary(0.1, 0.1)
    workspace.root.rename(workspace.root.with_name("away"))
    copy.rename(workspace.root)
    store = RunStore(workspace)
    assert [one.status for one in store.list()] == ["running"]
    assert store.validation_summaries(store.list())[run.id] == ValidationSummary(0.5, 0.5)


def test_a_store_with_a_reused_inode_is_distinguished(workspace: Workspace) -> None:
    run = submit(workspace)
    store = RunStore(workspace)
    store.claim("cpu", 1)
    store.add_points(run.id, [(1, "validation_loss", 0.5)])
    store.finish(run.id, "done", result=RunResult())
    copy = workspace.root / "copy.sqlite"
    shutil.copyfile(workspace.database, copy)
    assert store.validation_summaries(store.list())[run.id] == ValidationSummary(0.5, 0.5)
    with sqlite3.connect(copy) as db:
        db.execute("UPDATE runs SET finished = '2020-01-01T00:00:00+00:00'")
        db.execute("UPDATE points SET value = 0.7")
    db.close()
    # In place, so that device and inode stay.
    workspace.database.write_bytes(copy.read_bytes())
    os.utime(workspace.database)
    assert store.validation_summaries(store.list())[run.id] == ValidationSummary(0.7, 0.7)


@pytest.mark.parametrize("held", [False, True])
def test_a_folder_moved_while_its_lock_is_taken_is_not_created_again(
    held: bool, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = workspace.root.with_name("away")

    class Late(FileLock):
        def _acquire(self) -> None:
            if held:
                super()._acquire()
            workspace.root.rename(away)
            if not held:
                super()._acquire()

    monkeypatch.setattr(
        "core.runs.worker.worker_lock", lambda *_: Late(workspace.root / "worker-cpu.lock")
    )
    run_worker(workspace, "cpu", Job(), idle_timeout=0.1)
    assert away.exists() and not workspace.root.exists()
