"""A workspace on a folder that two machines share: two mounts of one server that support locks but
share no memory."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import BadInput
from core.jobs.filesystems import shared_filesystem
from core.jobs.process_location import current_location
from core.jobs.requests import FinetuneRequest
from core.jobs.run_result import RunResult
from core.jobs.store import RunStore
from core.runs import worker
from core.runs.cluster import run_one_job
from core.runs.launch import CLUSTER_QUEUE, is_worker_alive, worker_lock
from core.runs.worker import run_worker
from core.workspace import PROJECT, Workspace, open_workspace
from tests.core.jobs.mounts import journal_mode, pretend_local
from tests.core.runs.processes import ENVIRONMENT, start_pretender, wait_for

REQUEST = FinetuneRequest("d-1", "b-1")
WRITES = 300
WRITER = """
import sys
from pathlib import Path
from core.jobs.store import RunStore
from core.workspace import Workspace

store = RunStore(Workspace(Path(sys.argv[1])))
print("begun", flush=True)
sys.stdin.readline()
for step in range(int(sys.argv[3])):
    store.add_points(sys.argv[2], [(step, "train_loss", step / 7)])
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """The same folder as two machines see it."""
    folder, first, second = (tmp_path / name for name in ("export", "first", "second"))
    for path in (folder, first, second):
        path.mkdir()
    command = [
        sys.executable,
        "-m",
        "tests.faults.shared_folder",
        str(folder),
        str(first),
        str(second),
    ]
    server = subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin and server.stdout
    try:
        if server.stdout.readline() != "ready\n":
            pytest.skip("no file system can be mounted here by /dev/fuse: that takes root")
        yield first, second
    finally:
        server.stdin.close()
        server.wait(30)


@pytest.fixture
def shared(mounts: tuple[Path, Path]) -> tuple[Workspace, Workspace]:
    """A workspace, at its path on each of two machines."""
    return open_workspace(mounts[0] / "workspace"), Workspace(mounts[1] / "workspace")


def start_writer(workspace: Workspace, run_id: str) -> subprocess.Popen[str]:
    """A process that writes when asked to."""
    command = [sys.executable, "-c", WRITER, str(workspace.root), run_id, str(WRITES)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=PROJECT, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True
    )


def test_two_machines_write_and_nothing_is_lost(shared: tuple[Workspace, Workspace]) -> None:
    first, second = shared
    assert shared_filesystem(first.root) == "fuse.shared"
    store = RunStore(first)
    runs = [store.submit(REQUEST, name, "cpu").id for name in ("one", "two")]
    writers = [
        start_writer(workspace, run_id) for workspace, run_id in zip(shared, runs, strict=True)
    ]
    for one in writers:
        assert one.stdout and one.stdout.readline() == "begun\n"
    for one in writers:
        assert one.stdin
        one.stdin.write("\n")
        one.stdin.close()
    assert [one.wait(120) for one in writers] == [0, 0]
    for workspace in shared:
        for run_id in runs:
            steps, values = RunStore(workspace).points(run_id)["train_loss"]
            assert steps.tolist() == [*range(WRITES)] and values.tolist() == [
                step / 7 for step in range(WRITES)
            ]
    assert journal_mode(first) != "wal"
    assert not [*first.root.glob("thaw.sqlite-[ws]*")]
    with sqlite3.connect(second.database) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_machine_that_dies_in_a_write_leaves_a_whole_store(
    shared: tuple[Workspace, Workspace],
) -> None:
    first, second = shared
    run, store = RunStore(first).submit(REQUEST, "a run", "cpu"), RunStore(second)
    for _ in range(4):
        writer = start_writer(first, run.id)
        assert writer.stdin and writer.stdout and writer.stdout.readline() == "begun\n"
        writer.stdin.write("\n")
        writer.stdin.close()
        store.drop_points_after(run.id, -1)
        wait_for(lambda: "train_loss" in store.points(run.id))
        writer.kill()
        writer.wait()
        steps = store.points(run.id)["train_loss"][0]
        # None is missing between two that are there.
        assert steps.tolist() == [*range(int(steps[0]), int(steps[-1]) + 1)]
        with sqlite3.connect(second.database) as db:
            assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_without_it_the_store_would_not_work(
    mounts: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder behaves as one on a network: a write-ahead log needs memory that it does not
    share."""
    pretend_local(monkeypatch, tmp_path)
    with pytest.raises(sqlite3.OperationalError):
        RunStore(open_workspace(mounts[0] / "workspace")).submit(REQUEST, "a run", "cpu")


def test_one_worker_serves_a_queue_on_both_machines(shared: tuple[Workspace, Workspace]) -> None:
    first, second = shared
    runs = [RunStore(first).submit(REQUEST, "a run", "cpu") for _ in range(3)]
    process = start_pretender(first, "quick")
    try:
        wait_for(lambda: is_worker_alive(second, "cpu"))
        # Another machine's worker finds the queue's lock taken, and interrupts none of its runs.
        run_worker(second, "cpu", lambda *_: pytest.fail("it was executed twice"), idle_timeout=0.1)
        wait_for(lambda: {RunStore(second).get(run.id).status for run in runs} == {"done"})
    finally:
        process.kill()
        process.wait()
    done = (second.root / "carried-out").read_text().split()
    assert sorted(done[::2]) == sorted(run.id for run in runs) and {*done[1::2]} == {
        str(process.pid)
    }
    wait_for(lambda: not is_worker_alive(second, "cpu"))


def test_a_worker_notices_what_another_machine_does_to_the_workspace(
    shared: tuple[Workspace, Workspace], mounts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shared
    RunStore(first).submit(REQUEST, "a run", "cpu")
    process = start_pretender(first, "obedient")
    try:
        wait_for((second.root / "started").exists)
        second.root.rename(mounts[1] / "away")
        other = open_workspace(second.root)
        queued = RunStore(other).submit(REQUEST, "another", "cpu")
        assert process.wait(60) == 0
        assert RunStore(other).get(queued.id).status == "queued"
    finally:
        process.kill()
        process.wait()


def test_a_cluster_whose_machines_do_not_see_each_other_s_locks_is_refused(
    shared: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process asks for itself whether the lock that the sweep's command holds is held."""
    first, second = shared
    run = RunStore(first).submit(REQUEST, "a run", CLUSTER_QUEUE)
    elsewhere = f"elsewhere/{current_location().partition('/')[2]}"

    def done(*_: object) -> RunResult:
        return RunResult()

    with pytest.raises(BadInput, match="does not see the file locks of elsewhere"):
        run_one_job(str(second.root), run.id, 1, done, elsewhere)
    assert RunStore(second).get(run.id).status == "queued"
    monkeypatch.setattr(worker, "ensure_worker", lambda *_: None)
    with worker_lock(first, CLUSTER_QUEUE):
        run_one_job(str(second.root), run.id, 1, done, elsewhere)
    assert RunStore(first).get(run.id).status == "done"
    with pytest.raises(BadInput, match="does not see the workspace"):
        run_one_job(str(second.root.with_name("not-there")), run.id, 1, done, elsewhere)
