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

from core.runs.heartbeat import CONFIRMED_AFTER, Look, Stall, Watcher, look_at
from core.runs.place import here
from core.runs.store import Run, RunStore
from core.workspace import PROJECT, Workspace

CLUSTER = "cluster"
"""The lane of sweeps that the command line carries out itself, here or on a cluster; no worker is
started for it."""
LANES = ("cuda", "cpu")
LOCK_PATIENCE = 2.0
"""Seconds a starting worker waits for the lock: watchers hold it for an instant to see whether
anyone lives."""
TERMINATE_AFTER = 10.0
KILL_AFTER = 20.0
"""Seconds after a cancel was asked for until a worker that goes on regardless gets SIGTERM, then
SIGKILL."""

_watcher = Watcher()
_children: list[subprocess.Popen[bytes]] = []


def preferred_lane(device: str) -> str:
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


def arms_at_once(lane: str) -> int:
    """Runs of a sweep that a lane carries out at the same time: $THAW_ARMS, else one to a GPU and
    to four cores."""
    if asked := os.environ.get("THAW_ARMS"):
        return max(1, int(asked)) if asked.isdecimal() else 1
    return 1 if lane == "cuda" else max(1, (os.cpu_count() or 1) // 4)


def threads_a_run() -> int:
    """Threads that a run computes with on the CPU: $OMP_NUM_THREADS, else four, or as many as there
    are cores.

    Never by how many runs there are at a time: sums over other numbers of threads differ in their
    last digits.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else min(4, os.cpu_count() or 1)


def lane_lock(workspace: Workspace, lane: str) -> FileLock:
    """The lock that the lane's worker holds."""
    return FileLock(workspace.root / f"worker-{lane}.lock")


def lane_heartbeat(workspace: Workspace, lane: str) -> Path:
    """The file into which the lane's worker beats (core.runs.heartbeat)."""
    return workspace.root / f"worker-{lane}.beat"


def run_heartbeat(workspace: Workspace, run_id: str) -> Path:
    """The file into which the process beats that carries the run out."""
    return workspace.runs / run_id / "beat"


def worker_alive(workspace: Workspace, lane: str) -> bool:
    """Whether a worker holds the lane's lock."""
    lock = lane_lock(workspace, lane)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def ensure_worker(workspace: Workspace, lane: str) -> None:
    """Starts a worker for the lane unless one lives. A second one started by chance finds the lock
    taken and exits."""
    _children[:] = [child for child in _children if child.poll() is None]
    if worker_alive(workspace, lane):
        return
    with (workspace.logs / f"worker-{lane}.log").open("ab") as log:
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "core.runs.worker",
                "--workspace",
                str(workspace.root),
                "--lane",
                lane,
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


def refresh(workspace: Workspace, store: RunStore) -> None:
    """Brings the store in line with the truth: runs of dead workers, cancels ignored for too long.

    Where a worker died, a new one goes on with the runs that wait behind its own.
    """
    running = store.list(status="running") + store.list(status="running", kind="interpolate")
    for lane in {run.lane for run in running}:
        lock = lane_lock(workspace, lane)
        try:
            # Holding the lock while marking keeps a new worker from claiming a run in between.
            with lock.acquire(timeout=0):
                store.interrupt_stale(lane)
        except Timeout:
            continue
        if lane in LANES and store.waiting(lane)[1]:
            ensure_worker(workspace, lane)
    for run in running:
        # A process id of another machine or container names some other process here.
        if run.cancel_asked and run.worker_pid and run.worker_host in (None, here()):
            # By what this process sees, since the clock may have been set after the cancel was
            # asked for.
            waited = _watcher.unchanged_for(f"{workspace.database} {run.id}", run.claim)
            if waited > TERMINATE_AFTER and worker_alive(workspace, run.lane):
                _signal(run.worker_pid, signal.SIGKILL if waited > KILL_AFTER else signal.SIGTERM)


def stall_of(workspace: Workspace, run: Run) -> Look:
    """Whether the process that carries a running run out, or for a queued one the worker it waits
    for, has stalled."""
    if not run.active or not worker_alive(workspace, run.lane):
        return Look()
    if run.status == "queued":
        return look_at(lane_heartbeat(workspace, run.lane))
    return look_at(run_heartbeat(workspace, run.id), run.claim or "")


def stall_sentence(stall: Stall, run: Run) -> str:
    """What a stall means for a run that it concerns, and what to do."""
    return stall.sentence(run.id if run.status == "running" else "")


def confirmed_stalls(workspace: Workspace, runs: Sequence[Run]) -> dict[str, Stall]:
    """What has stalled among `runs`, by id; looks on for some seconds where a heartbeat is old."""
    looks = {run.id: stall_of(workspace, run) for run in runs if run.active}
    end = time.monotonic() + 2 * CONFIRMED_AFTER
    while any(look.suspected for look in looks.values()) and time.monotonic() < end:
        time.sleep(0.5)
        looks = {run.id: stall_of(workspace, run) for run in runs if run.id in looks}
    return {run_id: look.stall for run_id, look in looks.items() if look.stall}


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
