"""Starting and watching workers. A worker lives as long as it holds its lane's file lock; its pid
proves nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from core.jobs.process_place import current_place
from core.jobs.store import Run, RunStore
from core.runs.heartbeat import CONFIRMED_AFTER, ChangeWatcher, Stall, StallCheck, check_heartbeat
from core.workspace import PROJECT, Workspace

CLUSTER_QUEUE = "cluster"
"""The lane of sweeps that the command line carries out itself, here or on a cluster; no worker is
started for it."""
QUEUES = ("cuda", "cpu")
LOCK_TIMEOUT = 2.0
"""Seconds a starting worker waits for the lock: watchers hold it for an instant to see whether
anyone lives."""
TERMINATE_AFTER = 10.0
KILL_AFTER = 20.0
"""Seconds after a cancel was asked for until a worker that goes on regardless gets SIGTERM, then
SIGKILL."""

_watcher = ChangeWatcher()
_children: list[subprocess.Popen[bytes]] = []


def queue_for_device(device: str) -> str:
    """The lane for a device setting; `auto` is cuda where the system shows an NVIDIA device. Torch
    is not imported."""
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
    """Runs of a sweep that a lane carries out at the same time: $THAW_ARMS, else one to a GPU and
    to four cores."""
    if asked := os.environ.get("THAW_ARMS"):
        return max(1, int(asked)) if asked.isdecimal() else 1
    return 1 if queue == "cuda" else max(1, (os.cpu_count() or 1) // 4)


def threads_per_run() -> int:
    """Threads that a run computes with on the CPU: $OMP_NUM_THREADS, else four, or as many as there
    are cores.

    Never by how many runs there are at a time: sums over other numbers of threads differ in their
    last digits.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else min(4, os.cpu_count() or 1)


def worker_lock(workspace: Workspace, queue: str) -> FileLock:
    """The lock that the lane's worker holds."""
    return FileLock(workspace.root / f"worker-{queue}.lock")


def worker_heartbeat(workspace: Workspace, queue: str) -> Path:
    """The file into which the lane's worker beats (core.runs.heartbeat)."""
    return workspace.root / f"worker-{queue}.beat"


def run_heartbeat(workspace: Workspace, run_id: str) -> Path:
    """The file into which the process beats that carries the run out."""
    return workspace.runs / run_id / "beat"


def is_worker_alive(workspace: Workspace, queue: str) -> bool:
    """Whether a worker holds the lane's lock."""
    lock = worker_lock(workspace, queue)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def ensure_worker(workspace: Workspace, queue: str) -> None:
    """Starts a worker for the lane unless one lives. A second one started by chance finds the lock
    taken and exits."""
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
            # Threads that wait by spinning slow a busy machine tenfold, and the app runs on the
            # same cores.
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _children.append(child)


def refresh_statuses(workspace: Workspace, store: RunStore) -> None:
    """Brings the store in line with the truth: runs of dead workers, cancels ignored for too long.

    Where a worker died, a new one goes on with the runs that wait behind its own.
    """
    running = store.list(status="running") + store.list(status="running", kind="interpolate")
    for lane in {run.queue for run in running}:
        lock = worker_lock(workspace, lane)
        try:
            # Holding the lock while marking keeps a new worker from claiming a run in between.
            with lock.acquire(timeout=0):
                store.interrupt_stale(lane)
        except Timeout:
            continue
        if lane in QUEUES and store.waiting_ids(lane)[1]:
            ensure_worker(workspace, lane)
    for run in running:
        # A process id of another machine or container names some other process here.
        if run.cancel_requested and run.worker_pid and run.worker_host in (None, current_place()):
            # By what this process sees, since the clock may have been set after the cancel was
            # asked for.
            waited = _watcher.unchanged_for(f"{workspace.database} {run.id}", run.claim)
            if waited > TERMINATE_AFTER and is_worker_alive(workspace, run.queue):
                _signal(run.worker_pid, signal.SIGKILL if waited > KILL_AFTER else signal.SIGTERM)


def check_stall(workspace: Workspace, run: Run) -> StallCheck:
    """Whether the process that carries a running run out, or for a queued one the worker it waits
    for, has stalled."""
    if not run.active or not is_worker_alive(workspace, run.queue):
        return StallCheck()
    if run.status == "queued":
        return check_heartbeat(worker_heartbeat(workspace, run.queue))
    return check_heartbeat(run_heartbeat(workspace, run.id), run.claim or "")


def stall_message(stall: Stall, run: Run) -> str:
    """What a stall means for a run that it concerns, and what to do."""
    return stall.message(run.id if run.status == "running" else "")


def find_stalls(workspace: Workspace, runs: Sequence[Run]) -> dict[str, Stall]:
    """What has stalled among `runs`, by id; looks on for some seconds where a heartbeat is old."""
    looks = {run.id: check_stall(workspace, run) for run in runs if run.active}
    end = time.monotonic() + 2 * CONFIRMED_AFTER
    while any(look.suspected for look in looks.values()) and time.monotonic() < end:
        time.sleep(0.5)
        looks = {run.id: check_stall(workspace, run) for run in runs if run.id in looks}
    return {run_id: look.stall for run_id, look in looks.items() if look.stall}


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
