"""The store: claims, points, cancel, resume, delete, schema."""

import json
import math
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from core.errors import BadInput
from core.evaluation.metrics import Metrics
from core.jobs import database, queue
from core.jobs.database import MIGRATIONS, keep_connection
from core.jobs.process_location import current_location
from core.jobs.requests import FinetuneRequest, request_to_json
from core.jobs.run_result import RunResult
from core.jobs.store import PAUSED_PHASE, Run, RunStore, ValidationSummary
from core.workspace import Workspace

REQUEST = FinetuneRequest("d-1", "b-1", group="g-1")


@pytest.fixture
def store(workspace: Workspace) -> RunStore:
    return RunStore(workspace)


def submit(store: RunStore, queue: str = "cpu") -> Run:
    return store.submit(REQUEST, "a run", queue)


def test_the_oldest_run_of_the_queue_is_claimed(store: RunStore) -> None:
    first, other_lane, second = submit(store), submit(store, "cuda"), submit(store)
    claimed = store.claim("cpu", 42)
    assert claimed is not None and (claimed.id, claimed.status, claimed.worker_pid) == (
        first.id,
        "running",
        42,
    )
    assert claimed.started is not None and claimed.finetune_request.group == claimed.group == "g-1"
    again = store.claim("cpu", 42)
    assert again is not None and again.id == second.id
    assert store.claim("cpu", 42) is None
    assert store.get(other_lane.id).status == "queued"
    assert [run.id for run in store.list()] == [second.id, other_lane.id, first.id]
    assert [run.id for run in store.list("running")] == [second.id, first.id]
    assert store.list(kind="pretrain") == []
    assert store.count_by_status() == {"running": 2, "queued": 1}


def test_racing_claims_never_take_the_same_run(workspace: Workspace) -> None:
    store = RunStore(workspace)
    ids = {submit(store).id for _ in range(40)}
    barrier = threading.Barrier(4)

    def claim_all(pid: int) -> list[str]:
        own = RunStore(workspace)
        barrier.wait()
        taken = []
        while run := own.claim("cpu", pid):
            taken.append(run.id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [run_id for part in pool.map(claim_all, range(4)) for run_id in part]
    assert len(taken) == 40 and set(taken) == ids


def test_the_log_stays_while_a_worker_holds_the_store_open(
    store: RunStore, workspace: Workspace
) -> None:
    run, log = submit(store), workspace.database.with_name(f"{workspace.database.name}-wal")
    store.add_points(run.id, [(1, "train_loss", 0.7)])
    assert not log.exists()
    with keep_connection(workspace):
        store.add_points(run.id, [(2, "train_loss", 0.6)])
        assert log.stat().st_size > 0
        assert RunStore(workspace).points(run.id)["train_loss"][1].tolist() == [0.7, 0.6]
    assert not log.exists()


def test_points_are_replaced_not_doubled_and_rewound(store: RunStore) -> None:
    run = submit(store)
    store.add_points(run.id, [(step, "train_loss", 1 / step) for step in range(1, 6)])
    store.add_points(
        run.id, [(5, "train_loss", 0.7), (5, "validation_auc", 0.8), (6, "train_loss", 0.6)]
    )
    steps, values = store.points(run.id)["train_loss"]
    assert steps.tolist() == [1, 2, 3, 4, 5, 6] and values[4] == 0.7
    store.drop_points_after(run.id, 4)
    points = store.points(run.id)
    assert points["train_loss"][0].tolist() == [1, 2, 3, 4] and "validation_auc" not in points
    assert store.points("r-none") == {}
    store.add_points(run.id, [(4, "validation_auc", 0.8)])
    assert list(store.points(run.id, "validation_auc", "never_reported")) == ["validation_auc"]


def test_cancel_resume_and_finish(store: RunStore) -> None:
    queued, running = submit(store), submit(store)
    store.request_cancel(queued.id)
    assert store.get(queued.id).status == "cancelled"
    claimed = store.claim("cpu", 1)
    assert claimed is not None and claimed.id == running.id
    assert not store.cancel_requested(running.id)
    store.request_cancel(running.id)
    assert store.cancel_requested(running.id) and store.get(running.id).status == "running"
    with pytest.raises(BadInput, match=r"is running; only interrupted, failed, cancelled runs"):
        store.resume(running.id)
    store.finish(running.id, "cancelled", "Cancelled.")
    assert not store.get(running.id).active
    store.resume(running.id)
    again = store.get(running.id)
    assert (again.status, again.cancel_requested, again.message, again.finished) == (
        "queued",
        None,
        "",
        None,
    )
    assert store.claim("cpu", 2) is not None
    store.finish(running.id, "done", result=RunResult(threshold=1.5))
    assert store.get(running.id).result == RunResult(threshold=1.5)
    store.finish(running.id, "failed", "too late")
    assert store.get(running.id).status == "done"


def test_stale_runs_are_interrupted_or_cancelled(store: RunStore) -> None:
    left, cancelled, other = submit(store), submit(store), submit(store, "cuda")
    for name in ("cpu", "cpu", "cuda"):
        store.claim(name, 1)
    store.request_cancel(cancelled.id)
    store.interrupt_stale("cpu")
    assert [store.get(run.id).status for run in (left, cancelled, other)] == [
        "interrupted",
        "cancelled",
        "running",
    ]


def test_cancelled_in_the_moment_it_goes_back_to_the_queue(store: RunStore) -> None:
    """Successive halving sends a run back while someone cancels it: it ends, and says so, as any
    other one."""
    going, cancelled = submit(store), submit(store)
    for _ in range(2):
        store.claim("cpu", 1)
    store.request_cancel(cancelled.id)
    store.pause(going.id)
    store.pause(cancelled.id)
    waits, ended = store.get(going.id), store.get(cancelled.id)
    assert (waits.status, waits.phase, waits.message, waits.finished) == (
        "queued",
        PAUSED_PHASE,
        "",
        None,
    )
    assert (ended.status, ended.phase, ended.worker_pid) == ("cancelled", "", None)
    assert (
        "Cancelled" in ended.message
        and ended.finished is not None
        and ended.finished > ended.created
    )


def test_the_newest_are_listed_first_and_as_many_as_asked_for(store: RunStore) -> None:
    ids = [submit(store).id for _ in range(4)]
    assert [run.id for run in store.list()] == ids[::-1]
    assert [run.id for run in store.list(limit=2)] == ids[:1:-1]
    assert store.list("done", limit=2) == []


def test_delete_takes_everything_but_not_a_running_run(
    store: RunStore, workspace: Workspace
) -> None:
    run = submit(store)
    store.claim("cpu", 1)
    store.add_points(run.id, [(1, "train_loss", 1.0)])
    (workspace.runs / run.id).mkdir()
    with pytest.raises(BadInput, match="is running; cancel it before"):
        store.delete(run.id)
    assert (workspace.runs / run.id).exists()
    store.finish(run.id, "done")
    store.delete(run.id)
    assert store.points(run.id) == {} and not (workspace.runs / run.id).exists()
    for act in (store.get, store.delete, store.resume):
        with pytest.raises(BadInput, match="There is no run"):
            act(run.id)


def test_name_tags_and_note(store: RunStore) -> None:
    run = submit(store)
    hostile = "'; DROP TABLE runs; --"
    store.annotate(run.id, hostile, [" b", "a", "a", ""], "note")
    changed = store.get(run.id)
    assert (changed.name, changed.tags, changed.note) == (hostile, ("a", "b"), "note")
    store.annotate(run.id, "  ", [], "")
    assert store.get(run.id).name == hostile


def test_opened_again_everything_is_there_and_a_newer_schema_is_refused(
    workspace: Workspace,
) -> None:
    run = submit(RunStore(workspace))
    assert RunStore(workspace).get(run.id) == run
    with sqlite3.connect(workspace.database) as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(BadInput, match=r"schema version \d+, newer than"):
        RunStore(workspace)


def test_best_and_last_validation_metrics_of_every_run(store: RunStore) -> None:
    falling, rising, none = submit(store), submit(store), submit(store)
    store.add_points(
        falling.id,
        [(step, "validation_loss", loss) for step, loss in ((0, 0.7), (10, 0.5), (20, 0.6))],
    )
    store.add_points(
        falling.id,
        [(step, "validation_auc", auc) for step, auc in ((0, 0.5), (10, 0.8), (20, 0.7))],
    )
    store.add_points(falling.id, [(20, "train_loss", 0.1)])
    store.add_points(rising.id, [(5, "validation_loss", 0.4)])
    found = store.validation_summaries([falling, rising, none])
    assert found == {
        falling.id: ValidationSummary(0.5, 0.6, 0.8, 0.7),
        rising.id: ValidationSummary(0.4, 0.4, None, None),
        none.id: ValidationSummary(),
    }
    assert store.validation_summaries([rising]) == {rising.id: found[rising.id]}


def test_validation_metrics_of_a_running_run_are_read_again(store: RunStore) -> None:
    run = submit(store)
    store.claim("cpu", 1)
    store.add_points(run.id, [(5, "validation_loss", 0.4)])
    assert store.validation_summaries(store.list())[run.id].last_loss == 0.4
    store.add_points(run.id, [(6, "validation_loss", 0.3)])
    store.finish(run.id, "done", result=RunResult(threshold=0.5))
    assert store.validation_summaries(store.list())[run.id].last_loss == 0.3


def test_lists_follow_every_change_whoever_makes_it(store: RunStore, workspace: Workspace) -> None:
    first, second = submit(store), submit(store)

    def listed() -> list[Run]:
        found = store.list()
        assert found == [store.get(run.id) for run in found]
        assert store.list_group("g-1") == found[::-1]
        return found

    assert [run.id for run in listed()] == [second.id, first.id]
    changes = [
        lambda other: other.claim("cpu", 7),
        lambda other: other.set_phase(first.id, "training"),
        lambda other: other.set_progress(first.id, 1, 2, 3, 4),
        lambda other: other.request_cancel(first.id),
        lambda other: other.finish(first.id, "interrupted", "why"),
        lambda other: other.resume(first.id),
        lambda other: other.claim("cpu", 8),
        lambda other: other.finish(first.id, "done", result=RunResult(threshold=0.5)),
        lambda other: other.annotate(first.id, "another", ["tag"], "note"),
    ]
    for change in changes:
        before = listed()
        change(RunStore(workspace))
        after = listed()
        assert after[1] != before[1] and after[0] == before[0]
    assert after[1].result == RunResult(threshold=0.5)
    store.delete(second.id)
    assert [run.id for run in listed()] == [first.id]


def test_more_runs_than_are_kept_are_read_all_the_same(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.jobs.run_cache.MAX_CACHED_RUNS", 2)
    ids = [submit(store).id for _ in range(5)]
    for _ in range(2):
        assert [run.id for run in store.list()] == ids[::-1]
        assert [*store.validation_summaries(store.list())] == ids[::-1]


def test_a_number_that_does_not_exist_is_stored_as_missing(
    store: RunStore, workspace: Workspace
) -> None:
    run = submit(store)
    store.claim("cpu", 1)
    # Validation rows of one class have a loss and no AUC.
    store.add_points(run.id, [(1, "validation_loss", 0.5), (1, "validation_auc", float("nan"))])
    assert set(store.points(run.id)) == {"validation_loss"}
    assert store.validation_summaries([run])[run.id] == ValidationSummary(0.5, 0.5)
    store.finish(
        run.id,
        "done",
        result=RunResult(metrics={"target_test": Metrics({"auc": math.nan, "log_loss": 0.5})}),
    )
    result = store.get(run.id).result
    assert result is not None and result.metrics["target_test"].as_dict() == {
        "auc": None,
        "log_loss": 0.5,
    }
    with sqlite3.connect(workspace.database) as db:
        assert "NaN" not in db.execute("SELECT result FROM runs").fetchone()[0]


def test_results_of_older_versions_with_nan_are_read_as_missing(
    store: RunStore, workspace: Workspace
) -> None:
    run = submit(store)
    with sqlite3.connect(workspace.database) as db:
        db.execute(
            "UPDATE runs SET status = 'done', result = ?",
            ('{"metrics": {"target_test": {"a": NaN, "b": -Infinity, "c": 1}}}',),
        )
    for found in (store.get(run.id), store.list()[0]):
        assert found.result is not None
        assert found.result.metrics["target_test"].as_dict() == {"a": None, "b": None, "c": 1}


def test_a_clock_that_is_set_back_changes_no_order(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = iter(range(28, 0, -1))
    monkeypatch.setattr(
        "core.jobs.store.utc_now", lambda: f"2026-01-{next(days):02d}T00:00:00.000000+00:00"
    )
    ids = [submit(store).id for _ in range(4)]
    assert [run.id for run in store.list()] == ids[::-1]
    assert [run.id for run in store.list(limit=1)] == ids[3:]
    assert [run.id for run in store.list_group("g-1")] == ids
    assert store.waiting_ids("cpu") == ("g-1", tuple(ids))
    assert [store.count_ahead([store.get(run_id)]) for run_id in ids] == [0, 1, 2, 3]
    claimed = [run.id for _ in ids if (run := store.claim("cpu", 1))]
    assert claimed == ids
    for name in ("first", "second", "third"):
        store.save_sweep(name, name, {})
    store.save_sweep("first", "renamed", {})
    assert [sweep[0] for sweep in store.sweeps()] == ["third", "second", "first"]


def test_a_run_is_claimed_with_where_it_runs_and_loses_it_at_its_end(store: RunStore) -> None:
    run = submit(store)
    claimed = store.claim("cpu", 1)
    assert claimed is not None and claimed.worker_host == current_location() and claimed.claim
    store.finish(run.id, "failed", "why")
    ended = store.get(run.id)
    assert (ended.worker_pid, ended.worker_host, ended.claim) == (None, None, None)


def test_a_store_of_an_older_version_gains_what_is_new_and_keeps_its_runs(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", MIGRATIONS[:3])
        patch.setattr(database, "_set_journal_mode", lambda *_: None)
        RunStore(workspace)
    values = json.dumps(request_to_json(REQUEST))
    with sqlite3.connect(workspace.database) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 3
        db.execute(
            "INSERT INTO runs (id, kind, name, status, request, lane, dataset, grouping, created,"
            " worker_pid) VALUES ('r-1', 'finetune', 'old', 'running', ?, 'cpu', 'd-1', 'g-1',"
            " '2026-01-01T00:00:00+00:00', 7)",
            (values,),
        )
    db.close()
    old = RunStore(workspace).get("r-1")
    assert (old.name, old.worker_pid, old.worker_host, old.claim) == ("old", 7, None, None)
    assert RunStore(workspace).list() == [old]


def test_finished_work_survives_a_power_cut(
    store: RunStore, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a write-ahead log that takes FULL; how far a run has come may be lost, its points may
    not."""
    asked: list[int] = []
    real = queue.connect

    @contextmanager
    def watched(*given: Any, **named: Any) -> Iterator[sqlite3.Connection]:
        with real(*given, **named) as db:
            asked.append(db.execute("PRAGMA synchronous").fetchone()[0])
            yield db

    monkeypatch.setattr(queue, "connect", watched)
    run = store.submit(FinetuneRequest("d", "b"), "a", "cpu")
    with watched(workspace):
        pass
    store.claim("cpu", 1)
    store.add_points(run.id, [(1, "loss", 0.5)])
    store.finish(run.id, "done", result=RunResult())
    assert {*asked} == {2}
    asked.clear()
    store.set_progress(run.id, 1, 2, 1, 2)
    store.set_phase(run.id, "training")
    assert asked == [1, 1]
