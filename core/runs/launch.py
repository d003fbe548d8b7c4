"""Start and watch workers.

A worker lives as long as it holds its queue's file lock. A process id proves nothing: another
process may have it by now.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from core.jobs.process_location import current_location
from core.jobs.store import Run, RunStore
from core.runs.heartbeat import CONFIRMED_AFTER, ChangeWatcher, Stall, StallCheck, check_heartbeat
from core.workspace import PROJECT, Workspace

CLUSTER_QUEUE = "cluster"
"""The queue of sweeps that the command line runs itself, here or on a cluster, without a worker."""
QUEUES = ("cuda", "cpu")
LOCK_TIMEOUT = 2.0
"""Seconds for which a new worker waits for the lock: `is_worker_alive` holds it for an instant."""
TERMINATE_AFTER = 10.0
KILL_AFTER = 20.0
"""Seconds after a cancel until a worker that still runs gets SIGTERM, then SIGKILL."""

_watcher = ChangeWatcher()
_children: list[subprocess.Popen[bytes]] = []


def queue_for_device(device: str) -> str:
    """Return the queue for a device setting.

    "auto" is "cuda" if the system shows an NVIDIA device. This does not import torch, which the
    app's process never does.
    """
    if device != "auto":
        return device
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = visible is not None and visible.strip() in ("", "-1")
    has_gpu = (
        Path("/dev/nvidia0").exists()
        or Path("/dev/dxg").exists()
        or shutil.which("nvidia-smi") is not None
    )
    return "cuda" if has_gpu and not hidden else "cpu"


def max_parallel_runs(queue: str) -> int:
    """Return how many runs of a sweep run at a time.

    It is $THAW_ARMS, else one per GPU or one per four cores.
    """
    if n_arms := os.environ.get("THAW_ARMS"):
        return max(1, int(n_arms)) if n_arms.isdecimal() else 1
    return 1 if queue == "cuda" else max(1, (os.cpu_count() or 1) // 4)


def threads_per_run() -> int:
    """Return the number of CPU threads of a run.

    It is $OMP_NUM_THREADS, else four, or all cores if there are fewer. It never depends on how many
    runs there are at a time: sums over another number of threads differ in their last digits, and a
    run must be repeatable.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() and int(threads) else min(4, os.cpu_count() or 1)


def worker_lock(workspace: Workspace, queue: str) -> FileLock:
    """Return the lock that the queue's worker holds."""
    return FileLock(workspace.root / f"worker-{queue}.lock")


def worker_heartbeat(workspace: Workspace, queue: str) -> Path:
    """Return the file in which the queue's worker counts its heartbeats (core.runs.heartbeat)."""
    return workspace.root / f"worker-{queue}.beat"


def run_heartbeat(workspace: Workspace, run_id: str) -> Path:
    """Return the file in which the process that runs a run counts its heartbeats."""
    return workspace.runs / run_id / "beat"


def is_worker_alive(workspace: Workspace, queue: str) -> bool:
    """Return whether a worker holds the queue's lock."""
    lock = worker_lock(workspace, queue)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def ensure_worker(workspace: Workspace, queue: str) -> None:
    """Start a worker for the queue unless one lives.

    Two processes may start one at the same time: the second worker finds the lock held, and exits.
    """
    _children[:] = [child for child in _children if child.poll() is None]
    if is_worker_alive(workspace, queue):
        return
    with (workspace.logs / f"worker-{queue}.log").open("ab") as log:
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "core.runs.worker",
                "--workspace",
                str(workspace.root),
                "--lane",
                queue,
            ],
            cwd=PROJECT,
            # OpenMP threads that wait actively slow a busy machine tenfold, and the app needs the
            # same cores.
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _children.append(child)


def refresh_statuses(workspace: Workspace, store: RunStore) -> None:
    """Update the store: mark the runs of workers that have died as interrupted.

    Workers that ignore a cancel for too long are ended. Where a worker died while runs are still
    waiting, a new one is started for them.
    """
    running = store.list(status="running") + store.list(status="running", kind="interpolate")
    # Those of runs that cannot be read as well, which the lists leave out.
    damaged = store.running_queues() & {*QUEUES, CLUSTER_QUEUE}
    for queue in {run.queue for run in running} | damaged:
        lock = worker_lock(workspace, queue)
        try:
            # Holding the lock meanwhile keeps a new worker from claiming a run in between.
            with lock.acquire(timeout=0):
                store.interrupt_stale(queue)
        except Timeout:
            continue
        if queue in QUEUES and store.waiting_ids(queue)[1]:
            ensure_worker(workspace, queue)
    for run in running:
        # A process id of another machine or container would name some other process here.
        if (
            run.cancel_requested
            and run.worker_pid
            and run.worker_host in (None, current_location())
        ):
            # Timed by this process: the clock may have been set since the cancel.
            waited = _watcher.unchanged_for(f"{workspace.database} {run.id}", run.claim)
            if waited > TERMINATE_AFTER and is_worker_alive(workspace, run.queue):
                _signal(run.worker_pid, signal.SIGKILL if waited > KILL_AFTER else signal.SIGTERM)


def check_stall(workspace: Workspace, run: Run) -> StallCheck:
    """Check whether the process that a run depends on has stalled.

    For a running run it is the run's own process, for a queued run the worker that it waits for.
    """
    if not run.active or not is_worker_alive(workspace, run.queue):
        return StallCheck()
    if run.status == "queued":
        return check_heartbeat(worker_heartbeat(workspace, run.queue))
    return check_heartbeat(run_heartbeat(workspace, run.id), run.claim or "")


def stall_message(stall: Stall, run: Run) -> str:
    """Return what a stall means for a run, and what to do."""
    return stall.message(run.id if run.status == "running" else "")


def find_stalls(workspace: Workspace, runs: Sequence[Run]) -> dict[str, Stall]:
    """Return what has stalled among these runs, by id.

    Where a heartbeat looks old it is watched for some seconds: the machine may just have woken up.
    """
    checks = {run.id: check_stall(workspace, run) for run in runs if run.active}
    end = time.monotonic() + 2 * CONFIRMED_AFTER
    while any(check.suspected for check in checks.values()) and time.monotonic() < end:
        time.sleep(0.5)
        checks = {run.id: check_stall(workspace, run) for run in runs if run.id in checks}
    return {run_id: check.stall for run_id, check in checks.items() if check.stall}


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
