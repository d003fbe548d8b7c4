"""Workers that stop, sleep or hang are reported, and setting a clock has no effect."""

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.cli.output import StallNotices
from core.cli.parser import main
from core.data.datasets import Dataset
from core.errors import explain_system_error
from core.jobs import database
from core.jobs.process_location import current_location
from core.jobs.reporter import Reporter
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.runs import heartbeat, launch, worker
from core.runs.dispatch import execute
from core.runs.heartbeat import ChangeWatcher, Heartbeat, StallCheck, check_heartbeat
from core.runs.launch import (
    check_stall,
    find_stalls,
    refresh_statuses,
    run_heartbeat,
    worker_heartbeat,
)
from core.runs.worker import run_job, run_worker
from core.training import loop
from core.workspace import Workspace
from tests.core.runs.processes import start_pretender, wait_for
from tests.core.training.helpers import pretrained


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(heartbeat.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    with monkeypatch.context() as patch:
        yield Clock(patch)


def submit(workspace: Workspace) -> Run:
    return RunStore(workspace).submit(FinetuneRequest("d-1", "b-1"), "a run", "cpu")


def beat(path: Path, beats: int, clock: float, host: str = "", idle: float = 0.0) -> None:
    said = {
        "key": "k",
        "host": host or current_location(),
        "pid": 7,
        "beats": beats,
        "clock": clock,
        "idle": idle,
    }
    path.write_text(json.dumps(said))


def looks(
    path: Path, clock: Clock, watcher: ChangeWatcher, seconds: float, step: float = 1.0
) -> StallCheck:
    """The last of the looks of a watcher over some seconds."""
    end = clock.now + seconds
    while clock.now < end:
        check_heartbeat(path, "k", watcher)
        clock.now += step
    return check_heartbeat(path, "k", watcher)


def test_a_process_without_a_heartbeat_has_stalled_until_it_beats_again(
    tmp_path: Path, clock: Clock
) -> None:
    path, watcher = tmp_path / "beat", ChangeWatcher()
    beat(path, 1, clock.now)
    assert looks(path, clock, watcher, 10) == StallCheck()
    found = looks(path, clock, watcher, 10).stall
    assert found is not None and not found.beats and found.pid == 7 and found.seconds >= 15
    assert "kill -CONT 7" in found.message("r-1") and "cancel --run r-1" in found.message("r-1")
    beat(path, 2, clock.now)
    assert looks(path, clock, watcher, 3) == StallCheck()


def test_an_old_beat_is_believed_once_it_was_watched_for_some_seconds(
    tmp_path: Path, clock: Clock
) -> None:
    """As after a sleep of the machine, or where the watcher's own clock is another."""
    path, watcher = tmp_path / "beat", ChangeWatcher()
    beat(path, 1, clock.now - 86400)
    assert check_heartbeat(path, "k", watcher) == StallCheck(suspected=True)
    beat(path, 2, clock.now - 86400)
    assert check_heartbeat(path, "k", watcher) == StallCheck(suspected=True)
    found = looks(path, clock, watcher, 4).stall
    assert found is not None and found.seconds >= 86400


@pytest.mark.parametrize("shift", [-86400.0, 86400.0])
def test_of_another_machine_only_observed_heartbeats_count(
    shift: float, tmp_path: Path, clock: Clock
) -> None:
    path, watcher = tmp_path / "beat", ChangeWatcher()
    beat(path, 1, clock.now + shift, host="elsewhere/boot/1")
    assert looks(path, clock, watcher, 14) == StallCheck()
    found = looks(path, clock, watcher, 3).stall
    assert found is not None and "on elsewhere" in found.message()


def test_a_watcher_that_slept_starts_over(tmp_path: Path, clock: Clock) -> None:
    path, watcher = tmp_path / "beat", ChangeWatcher()
    beat(path, 1, clock.now, host="elsewhere/boot/1")
    check_heartbeat(path, "k", watcher)
    clock.now += 3600
    assert check_heartbeat(path, "k", watcher) == StallCheck()


def test_a_heartbeat_without_progress_is_reported(tmp_path: Path, clock: Clock) -> None:
    path, watcher = tmp_path / "beat", ChangeWatcher()
    beat(path, 1, clock.now, idle=heartbeat.NO_PROGRESS_AFTER - 1)
    assert check_heartbeat(path, "k", watcher) == StallCheck()
    beat(path, 2, clock.now, idle=heartbeat.NO_PROGRESS_AFTER + 1)
    found = check_heartbeat(path, "k", watcher).stall
    assert found is not None and found.beats and "No progress since" in found.message("r-1")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"key": "k"}', '{"key": "other", "beats": 1}', "\x00" * 512]
)
def test_a_file_that_is_not_a_heartbeat_is_ignored(text: str, tmp_path: Path) -> None:
    path = tmp_path / "beat"
    assert check_heartbeat(path, "k", ChangeWatcher()) == StallCheck()
    path.write_text(text)
    assert check_heartbeat(path, "k", ChangeWatcher()) == StallCheck()


def test_beats_come_and_their_file_goes_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_INTERVAL", 0.01)
    path = tmp_path / "folder" / "beat"
    with Heartbeat(path, "k") as beating:
        beating.record_progress()
        wait_for(lambda: json.loads(path.read_text())["beats"] > 3)
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


def test_a_heartbeat_continues_in_its_own_file_after_a_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_INTERVAL", 0.01)
    path = tmp_path / "beat"
    with Heartbeat(path, "k"):
        path.rename(tmp_path / "away")
        path.write_text("another's")
        before = json.loads((tmp_path / "away").read_text())["beats"]
        wait_for(lambda: json.loads((tmp_path / "away").read_text())["beats"] > before)
    assert path.read_text() == "another's"


@pytest.fixture
def quick_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "STALLED_AFTER", 2.5)
    monkeypatch.setattr(heartbeat, "CONFIRMED_AFTER", 1.5)
    monkeypatch.setattr(launch, "CONFIRMED_AFTER", 1.5)


@pytest.mark.usefixtures("quick_bounds")
def test_a_stopped_worker_is_reported_and_others_keep_writing(workspace: Workspace) -> None:
    run, store = submit(workspace), RunStore(workspace)
    process = start_pretender(workspace, "obedient")
    try:
        wait_for((workspace.root / "started").exists)
        assert find_stalls(workspace, store.list()) == {}
        os.kill(process.pid, signal.SIGSTOP)
        behind = submit(workspace)
        store.annotate(run.id, note="written while it was stopped")

        def said() -> set[str]:
            return {*find_stalls(workspace, store.list())}

        wait_for(lambda: said() == {run.id, behind.id})
        stall = check_stall(workspace, store.get(run.id)).stall
        assert stall is not None and stall.pid == process.pid and stall.host == current_location()
        os.kill(process.pid, signal.SIGCONT)
        wait_for(lambda: said() == set())
        assert store.get(run.id).note == "written while it was stopped"
    finally:
        process.kill()
        process.wait()


def test_runs_without_a_worker_are_not_reported_as_stalled(workspace: Workspace) -> None:
    run, store = submit(workspace), RunStore(workspace)
    beat(worker_heartbeat(workspace, "cpu"), 1, 0.0)
    assert check_stall(workspace, run) == StallCheck()
    claimed = store.claim("cpu", 1)
    assert claimed is not None
    run_heartbeat(workspace, run.id).parent.mkdir()
    beat(run_heartbeat(workspace, run.id), 1, 0.0)
    with launch.worker_lock(workspace, "cpu"):
        # Beats of an earlier claim of the same run.
        assert check_stall(workspace, claimed) == StallCheck()


def can_write(workspace: Workspace) -> bool:
    """Whether another process could write the store at this very moment."""
    try:
        with database.connect(workspace, timeout=0.0) as db:
            db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


def test_the_store_is_free_while_a_run_computes(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    train = TrainSettings(epochs=2, batch_size=64, device="cpu")
    store = RunStore(workspace)
    store.submit(FinetuneRequest(dataset.id, card.id, "depth", 1, train=train), "a run", "cpu")
    free: list[bool] = []
    for name in ("set_lr", "log_train_loss", "save_checkpoint", "begin_epoch"):
        inner: Callable[..., Any] = getattr(loop, name)

        def watched(*args: Any, inner: Callable[..., Any] = inner) -> Any:
            free.append(can_write(workspace))
            return inner(*args)

        monkeypatch.setattr(loop, name, watched)
    run = store.claim("cpu", 1)
    assert run is not None and run_job(workspace, store, run, execute) == ""
    assert len(free) > 20 and all(free)


def test_a_run_waits_with_its_write_while_another_process_keeps_the_store(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was stopped within a transaction: no run fails by that."""
    monkeypatch.setattr(worker, "ensure_worker", lambda *_: None)
    run = submit(workspace)
    kept: list[sqlite3.Connection] = []
    tries: list[float] = []
    opened = database.connect

    def impatient(workspace: Workspace, **given: Any) -> Any:
        tries.append(0.01)
        if len(tries) > 60 and kept:
            kept.pop().close()
        return opened(workspace, **given | {"timeout": 0.01})

    def reports(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        db = sqlite3.connect(workspace.database, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        kept.append(db)
        tries.clear()
        reporter.points([(1, "train_loss", 0.5)])
        return RunResult()

    monkeypatch.setattr("core.jobs.queue.connect", impatient)
    run_worker(workspace, "cpu", reports, idle_timeout=0.3)
    store = RunStore(workspace)
    assert store.get(run.id).status == "done" and not kept
    assert store.points(run.id)["train_loss"][1].tolist() == [0.5]


def test_a_locked_store_is_reported_with_a_message(workspace: Workspace) -> None:
    submit(workspace)
    db = sqlite3.connect(workspace.database, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    with (
        pytest.raises(sqlite3.OperationalError) as caught,
        database.connect(workspace, timeout=0.0) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
    sentence = explain_system_error(caught.value, workspace.root)
    assert sentence is not None and "is busy" in sentence and "stalled" in sentence
    db.close()


@pytest.mark.parametrize("year", ["1999", "2200"])
def test_a_cancel_is_enforced_by_what_was_seen_and_not_by_the_clock(
    year: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = submit(workspace), RunStore(workspace)
    store.claim("cpu", os.getpid())
    store.request_cancel(run.id)
    with sqlite3.connect(workspace.database) as db:
        db.execute("UPDATE runs SET cancel_asked = ?", (f"{year}-01-01T00:00:00+00:00",))
    sent: list[signal.Signals] = []
    monkeypatch.setattr(launch, "_signal", lambda pid, number: sent.append(number))
    monkeypatch.setattr(launch, "_watcher", ChangeWatcher())
    clock = Clock(monkeypatch)
    with launch.worker_lock(workspace, "cpu"):
        refresh_statuses(workspace, store)
        assert sent == []
        for _ in range(9):
            clock.now += 1
            refresh_statuses(workspace, store)
        assert sent == []
        for _ in range(25):
            clock.now += 1
            refresh_statuses(workspace, store)
    assert set(sent) == {signal.SIGTERM, signal.SIGKILL} and sent[0] is signal.SIGTERM


def test_no_process_is_ended_by_the_id_that_another_machine_gave(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = submit(workspace), RunStore(workspace)
    with monkeypatch.context() as patch:
        patch.setattr("core.jobs.queue.current_location", lambda: "elsewhere/boot/1")
        store.claim("cpu", os.getpid())
    store.request_cancel(run.id)
    sent: list[int] = []
    monkeypatch.setattr(launch, "_signal", lambda pid, number: sent.append(pid))
    monkeypatch.setattr(launch, "TERMINATE_AFTER", -1.0)
    with launch.worker_lock(workspace, "cpu"):
        refresh_statuses(workspace, store)
        assert sent == []
        with sqlite3.connect(workspace.database) as db:
            db.execute("UPDATE runs SET worker_host = ?", (current_location(),))
        refresh_statuses(workspace, store)
    assert sent == [os.getpid()]


def test_a_stopped_worker_whose_run_is_cancelled_is_ended(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "TERMINATE_AFTER", 0.2)
    monkeypatch.setattr(launch, "KILL_AFTER", 0.6)
    run, store = submit(workspace), RunStore(workspace)
    process = start_pretender(workspace, "obedient")
    try:
        wait_for((workspace.root / "started").exists)
        os.kill(process.pid, signal.SIGSTOP)
        store.request_cancel(run.id)

        def ended() -> bool:
            refresh_statuses(workspace, store)
            return store.get(run.id).status == "cancelled"

        wait_for(ended, 20)
    finally:
        process.kill()
        process.wait()


def test_commands_say_that_a_run_has_stalled(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(heartbeat, "CONFIRMED_AFTER", 0.0)
    run, store = submit(workspace), RunStore(workspace)
    claimed, behind = store.claim("cpu", 4711), submit(workspace)
    assert claimed is not None and claimed.claim
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
    with launch.worker_lock(workspace, "cpu"):
        assert main(["--workspace", str(workspace.root), "runs", "--json"]) == 0
        found = {one["id"]: one["stalled"] for one in json.loads(capsys.readouterr().out)["runs"]}
        assert (
            "cancel --run" in found[run.id]["sentence"]
            and "kill -KILL 4711" in found[behind.id]["sentence"]
        )
        assert found[run.id]["since"].startswith("20")
        assert main(["--workspace", str(workspace.root), "runs"]) == 0
        assert capsys.readouterr().out.count("Stalled since") == 2
        notices = StallNotices(workspace)
        for _ in range(3):
            notices.print_new([store.get(run.id)])
        assert capsys.readouterr().err.count("Stalled since") == 1
    assert main(["--workspace", str(workspace.root), "runs", "--json"]) == 0
    found = {one["id"]: one["stalled"] for one in json.loads(capsys.readouterr().out)["runs"]}
    assert found == {run.id: None, behind.id: None}
