"""The worker: how runs end, who lives, and that a killed run resumes to the same bits."""

import contextlib
import errno
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from core.data.datasets import Dataset
from core.errors import BadInput, RunError
from core.jobs.reporter import Point, Reporter
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.jobs.run_cache import damaged_runs
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.runs import launch
from core.runs import run_jobs as reporting
from core.runs.launch import (
    ensure_worker,
    is_worker_alive,
    queue_for_device,
    refresh_statuses,
    worker_lock,
)
from core.runs.removal import delete_runs
from core.runs.worker import run_worker
from core.workspace import Workspace, write_atomic
from tests.core.runs.processes import start_pretender, start_worker, wait_for
from tests.core.training.helpers import pretrained, run_request


@pytest.fixture(autouse=True)
def no_worker_outlives_its_test(workspace: Workspace) -> Iterator[None]:
    yield
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(workspace.root.parent) in command and process.pid != os.getpid():
            process.kill()


def submit(workspace: Workspace) -> Run:
    return RunStore(workspace).submit(FinetuneRequest("d-1", "b-1"), "a run", "cpu")


def test_a_failed_run_gets_a_message_and_the_queue_continues(workspace: Workspace) -> None:
    errors: list[BaseException | None] = [
        RunError("The loss became nan."),
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        OSError(errno.ENOSPC, "No space left on device"),
        KeyError("surprise"),
        None,
    ]
    runs = [submit(workspace) for _ in errors]
    by_id = dict(zip([run.id for run in runs], errors, strict=True))

    def execute(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        if error := by_id[run.id]:
            raise error
        return RunResult()

    run_worker(workspace, "cpu", execute, idle_timeout=0.3)
    store = RunStore(workspace)
    ends = [store.get(run.id) for run in runs]
    assert [run.status for run in ends] == ["failed"] * 5 + ["done"]
    for run, words in zip(
        ends,
        (
            "The loss became nan.",
            "Halve the batch size",
            "Halve the batch size",
            "is full. Free some space",
            "KeyError",
        ),
        strict=False,
    ):
        assert words in run.message
    log = Path(ends[4].message.rsplit(" ", 1)[1].removesuffix("."))
    assert "surprise" in log.read_text() and "Traceback" in log.read_text()


def test_a_second_worker_of_the_queue_exits(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.runs.worker.LOCK_TIMEOUT", 0.1)
    run = submit(workspace)
    assert not is_worker_alive(workspace, "cpu")
    with worker_lock(workspace, "cpu"):
        assert is_worker_alive(workspace, "cpu")
        run_worker(workspace, "cpu", lambda *_: RunResult(), idle_timeout=0.1)
    assert RunStore(workspace).get(run.id).status == "queued"


def test_many_workers_execute_every_run_once(workspace: Workspace) -> None:
    ids = [submit(workspace).id for _ in range(20)]
    workers = [start_pretender(workspace, "quick") for _ in range(3)]
    for worker in workers:
        assert worker.wait(60) == 0
    done = [line.split() for line in (workspace.root / "carried-out").read_text().splitlines()]
    assert sorted(run_id for run_id, _ in done) == sorted(ids)
    assert len({pid for _, pid in done}) == 1
    assert {run.status for run in RunStore(workspace).list()} == {"done"}


def test_cancelling_a_running_run(workspace: Workspace) -> None:
    run, after = submit(workspace), submit(workspace)
    worker = start_pretender(workspace, "obedient")
    store = RunStore(workspace)
    wait_for((workspace.root / "started").exists)
    store.request_cancel(run.id)
    wait_for(lambda: store.get(run.id).status == "cancelled")
    wait_for(lambda: store.get(after.id).status == "running")
    worker.kill()


def test_a_job_that_ignores_the_stop_flag_is_killed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "TERMINATE_AFTER", 0.2)
    monkeypatch.setattr(launch, "KILL_AFTER", 0.6)
    run = submit(workspace)
    worker = start_pretender(workspace, "stubborn")
    store = RunStore(workspace)
    wait_for((workspace.root / "started").exists)
    store.request_cancel(run.id)

    def ended() -> bool:
        refresh_statuses(workspace, store)
        return store.get(run.id).status == "cancelled"

    wait_for(ended, 20)
    assert worker.wait(5) == -signal.SIGKILL


def test_a_dead_workers_run_is_interrupted_and_later_ones_stay_queued(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "ensure_worker", lambda *_: None)
    run, after = submit(workspace), submit(workspace)
    worker = start_pretender(workspace, "stubborn")
    store = RunStore(workspace)
    wait_for((workspace.root / "started").exists)
    refresh_statuses(workspace, store)
    assert store.get(run.id).status == "running"
    worker.kill()
    worker.wait()
    refresh_statuses(workspace, store)
    assert store.get(run.id).status == "interrupted" and "Resume" in store.get(run.id).message
    assert store.get(after.id).status == "queued"
    store.resume(run.id)
    assert start_pretender(workspace, "quick").wait(60) == 0
    assert {one.status for one in store.list()} == {"done"}


def test_ensure_worker_starts_one_and_leaves_no_zombie(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THAW_WORKER_LINGER", "0.2")
    ensure_worker(workspace, "cpu")
    first = launch._children[-1]
    wait_for(lambda: is_worker_alive(workspace, "cpu") or first.poll() is not None)
    ensure_worker(workspace, "cpu")
    assert launch._children[-1] is first
    wait_for(lambda: first.poll() is not None)
    assert first.returncode == 0
    assert "Traceback" not in (workspace.logs / "worker-cpu.log").read_text()


def test_a_worker_locks_its_queue_before_it_imports_torch(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every look at a page in the seconds of the import starts one more that imports."""
    monkeypatch.setattr("core.runs.worker.LOCK_TIMEOUT", 0.1)
    warmed: list[str] = []

    def first() -> None:
        warmed.append("first")
        assert is_worker_alive(workspace, "cpu")
        run_worker(
            workspace,
            "cpu",
            lambda *_: RunResult(),
            idle_timeout=0.1,
            warm_up=lambda: warmed.append("second"),
        )

    run_worker(workspace, "cpu", lambda *_: RunResult(), idle_timeout=0.1, warm_up=first)
    assert warmed == ["first"] and not is_worker_alive(workspace, "cpu")


def test_the_queue_of_a_device_is_chosen_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (queue_for_device("cpu"), queue_for_device("cuda")) == ("cpu", "cuda")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert queue_for_device("auto") == "cuda"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert queue_for_device("auto") == "cpu"


@pytest.mark.parametrize("how", ["kill", "cancel"])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    how: str, tiny: tuple[Workspace, Dataset]
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    train = TrainSettings(
        epochs=40, batch_size=8, early_stopping=0, plateau=3, seed=5, device="cpu"
    )
    request = FinetuneRequest(dataset.id, card.id, "depth", 1, train=train)
    whole = run_request(workspace, request)
    store = RunStore(workspace)
    run = store.submit(request, "broken", "cpu")

    worker = start_worker(workspace)
    try:
        wait_for(lambda: store.get(run.id).epoch >= 4)
        at = store.get(run.id).step
        wait_for(lambda: store.get(run.id).step > at)
        if how == "kill":
            worker.kill()
            worker.wait()
            refresh_statuses(workspace, store)
            assert store.get(run.id).status == "interrupted"
        else:
            store.request_cancel(run.id)
            wait_for(lambda: store.get(run.id).status == "cancelled")
            worker.wait(30)
        assert store.get(run.id).epoch < 40
        store.resume(run.id)
        worker = start_worker(workspace)
        wait_for(lambda: store.get(run.id).status == "done")
    finally:
        worker.kill()
        worker.wait()

    resumed = store.get(run.id)
    weights = [
        (workspace.runs / one.id / "model" / "model.safetensors").read_bytes()
        for one in (whole, resumed)
    ]
    assert weights[0] == weights[1]
    assert resumed.result is not None and whole.result is not None
    assert resumed.result.metrics == whole.result.metrics
    assert (resumed.result.best_epoch, resumed.result.epochs_run) == (
        whole.result.best_epoch,
        40,
    )
    steps, losses = store.points(run.id)["train_loss"]
    assert (np.diff(steps) > 0).all() and steps[-1] == resumed.step == resumed.steps
    validations, _ = store.points(run.id)["validation_loss"]
    assert len(validations) == 41
    assert np.isfinite(losses).all()
    assert not (workspace.runs / run.id / "checkpoint.pt").exists()


def test_points_are_written_together_and_before_a_file_that_counts_on_them(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "FLUSH_INTERVAL", 3600.0)
    monkeypatch.setattr(reporting, "CANCEL_CHECK_INTERVAL", 3600.0)
    writes: list[int] = []
    add_points = RunStore.add_points

    def counted(store: RunStore, run_id: str, rows: list[Point], claim: str | None = None) -> None:
        writes.append(len(rows))
        add_points(store, run_id, rows, claim)

    monkeypatch.setattr(RunStore, "add_points", counted)
    store = RunStore(workspace)
    run = submit(workspace)
    seen: list[int] = []

    def job(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        for step in range(500):
            reporter.points([(step, "train_loss", 0.5)])
            reporter.progress(1, 2, step, 1000)
        write_atomic(workspace.runs / run.id / "checkpoint.pt", lambda part: part.write_bytes(b"x"))
        seen.append(len(store.points(run.id)["train_loss"][0]))
        seen.append(store.get(run.id).step)
        reporter.points([(500, "train_loss", 0.5)])
        return RunResult()

    run_worker(workspace, "cpu", job, idle_timeout=0.3)
    assert seen == [500, 499]
    assert sum(writes) == len(store.points(run.id)["train_loss"][0]) == 501
    assert len(writes) <= 3


def test_what_a_run_had_reported_when_it_failed_is_kept(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "FLUSH_INTERVAL", 3600.0)
    run = submit(workspace)

    def job(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        reporter.points([(step, "train_loss", 0.5) for step in range(2)])
        reporter.points([(2, "train_loss", 0.5)])
        raise BadInput("no")

    run_worker(workspace, "cpu", job, idle_timeout=0.3)
    assert RunStore(workspace).get(run.id).status == "failed"
    assert len(RunStore(workspace).points(run.id)["train_loss"][0]) == 3


def damage_row(workspace: Workspace, run_id: str, column: str, value: str) -> None:
    with contextlib.closing(sqlite3.connect(workspace.database)) as database, database:
        database.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (value, run_id))


def status_of(workspace: Workspace, run_id: str) -> tuple[str, str]:
    with contextlib.closing(sqlite3.connect(workspace.database)) as database:
        found = database.execute("SELECT status, message FROM runs WHERE id = ?", (run_id,))
        return tuple(map(str, found.fetchone()))  # type: ignore[return-value]


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("request", '{"kind": "finetune", "dataset": "d", "backbone": "b", "freeze_depth": 1.5}'),
        ("request", '{"kind": "finetune", "dataset": "d", "back'),
        ("tags", "3"),
    ],
)
def test_a_run_that_cannot_be_read_fails_and_the_next_is_trained(
    column: str, value: str, one_by_one: bool, workspace: Workspace
) -> None:
    runs = [submit(workspace) for _ in range(4)]
    for run in runs[:2]:
        damage_row(workspace, run.id, column, value)
    store = RunStore(workspace)
    if one_by_one:
        assert [store.claim_run(run.id, 1) is None for run in runs] == [True, True, False, False]
        store.interrupt_stale("cpu")
    else:
        run_worker(workspace, "cpu", lambda *_: RunResult(), idle_timeout=0.3)
        assert [store.get(run.id).status for run in runs[2:]] == ["done", "done"]
    for run in runs[:2]:
        status, message = status_of(workspace, run.id)
        assert status == "failed" and "damaged" in message and run.id in message
    delete_runs(workspace, [runs[0].id])
    store.list()
    assert [runs[1].id in str(one) for one in damaged_runs(workspace)] == [True]
    delete_runs(workspace, [runs[1].id])
    assert damaged_runs(workspace) == []


def test_a_damaged_run_left_running_by_a_worker_that_died_is_interrupted(
    workspace: Workspace,
) -> None:
    run, store = submit(workspace), RunStore(workspace)
    damage_row(workspace, run.id, "request", "{}")
    damage_row(workspace, run.id, "status", "running")
    with pytest.raises(BadInput, match="is running; cancel it"):
        delete_runs(workspace, [run.id])
    refresh_statuses(workspace, store)
    assert status_of(workspace, run.id)[0] == "interrupted"
    delete_runs(workspace, [run.id])
    with pytest.raises(BadInput, match="There is no run"):
        store.get_label(run.id)
