"""The process that trains: takes its lane's lock, then one queued run after another; exits when
idle for long.

Started by core.runs.launch as `python -m core.runs.worker --workspace DIR --lane cpu`.
"""

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from filelock import Timeout

from core.files.permissions import private_files
from core.files.write_guard import guard_writes
from core.jobs.database import is_busy
from core.jobs.filesystems import shared_filesystem
from core.jobs.reporter import Reporter
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.runs.cluster import local_processes, run_jobs_in_parallel
from core.runs.cluster import run_one_job as run_one_job
from core.runs.cluster import run_sweep_here as run_sweep_here
from core.runs.heartbeat import Heartbeat
from core.runs.launch import (
    LOCK_TIMEOUT,
    QUEUES,
    ensure_worker,
    is_worker_alive,
    max_parallel_runs,
    threads_per_run,
    worker_heartbeat,
    worker_lock,
)
from core.runs.run_jobs import GPU_FAILED_MESSAGE, Execute, run_job
from core.runs.run_jobs import OUT_OF_MEMORY_MESSAGE as OUT_OF_MEMORY_MESSAGE
from core.runs.run_jobs import StoreReporter as StoreReporter
from core.runs.run_jobs import explain_failure as explain_failure
from core.runs.workspace_identity import WorkspaceIdentity, WorkspaceReplaced
from core.workspace import Workspace, WorkspaceMissing, remove_leftovers, workspace_root

IDLE_TIMEOUT = 600.0
POLL_INTERVAL = 0.05
SHARED_POLL_INTERVAL = 0.5
"""Seconds between two looks at the queue, on a disk of this machine and over a network."""


def run_worker(
    workspace: Workspace,
    queue: str,
    execute: Execute,
    idle_timeout: float = IDLE_TIMEOUT,
    warm_up: Callable[[], None] = lambda: None,
) -> None:
    """Claims and carries out the lane's runs until none has come for `linger` seconds; returns at
    once when another worker holds the lane, and once another workspace lies where this one lay.
    After a GPU has failed a fresh worker goes on, since this process cannot use it again.

    warm_up: called once the lane is held, so that workers started beside this one find it taken and
    cost little.
    """
    lock = worker_lock(workspace, queue)
    try:
        with (
            WorkspaceIdentity(workspace) as identity,
            lock.acquire(timeout=LOCK_TIMEOUT),
            # Moved away since the lock was taken, the folder is not made anew for the heartbeat.
            guard_writes(identity.check),
            Heartbeat(worker_heartbeat(workspace, queue), queue),
        ):
            identity.add(Path(lock.lock_file))
            # The lock that is at that path now is the one that this process holds.
            if not is_worker_alive(workspace, queue):
                raise WorkspaceReplaced(identity.message)
            remove_leftovers(workspace)
            warm_up()
            try:
                Worker(workspace, queue, execute, identity).run_until_idle(idle_timeout)
            except (WorkspaceReplaced, WorkspaceMissing, OSError, sqlite3.Error) as error:
                if not (isinstance(error, WorkspaceReplaced) or identity.is_replaced()):
                    raise
                print(identity.message, file=sys.stderr)
            same_lane = not identity.is_replaced(ignoring=workspace.database)
    except (Timeout, WorkspaceReplaced):
        return
    except FileNotFoundError:
        # The lock could not be taken, since the folder has gone in this moment.
        if workspace.root.exists():
            raise
        return
    # Whoever queued a run while the lock was still held found this worker alive, and started none.
    if same_lane and has_queued_runs(workspace, queue):
        ensure_worker(workspace, queue)


class Worker:
    """What carries out a lane's runs in one process, while that process holds the lane's lock."""

    def __init__(
        self, workspace: Workspace, queue: str, execute: Execute, identity: WorkspaceIdentity
    ) -> None:
        self._workspace = workspace
        self._queue = queue
        self._execute = execute
        self._identity = identity
        self._arms = max_parallel_runs(queue)
        self._poll = SHARED_POLL_INTERVAL if shared_filesystem(workspace.root) else POLL_INTERVAL
        self._store: RunStore | None = None
        self._token = ""

    def run_until_idle(self, idle_timeout: float) -> None:
        """Carries out what is queued until nothing has come for `linger` seconds, or the GPU has
        failed.

        Replaced once the workspace is another, or its store no longer knows this worker.
        """
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < idle_timeout:
            self._identity.check()
            try:
                message = self._run_next()
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                # Another process keeps the store; so long as it does nothing can be claimed.
                continue
            if message is None:
                time.sleep(self._poll)
                continue
            if message == GPU_FAILED_MESSAGE:
                return
            idle_since = time.monotonic()

    def _run_next(self) -> str | None:
        """Carries out the next run, or the arms of the next sweep, and says how it ended; None
        where none waits."""
        if self._store is None:
            # Where nothing was ever queued there is no store, and a worker makes none.
            if not self._identity.has_store(self._workspace):
                return None
            self._store = RunStore(self._workspace, create=False)
            self._token = self._store.register_worker(self._queue)
        store = self._store
        active = store.active_statuses(self._queue)
        if active and not store.is_worker_registered(self._queue, self._token):
            raise WorkspaceReplaced(self._identity.message)
        if "running" in active:
            # This process holds the lane, and runs nothing now.
            store.interrupt_stale(self._queue)
        if "queued" not in active:
            return None
        group, waiting = store.waiting_ids(self._queue) if self._arms > 1 else ("", ())
        if group and len(waiting) > 1:
            with local_processes():
                run_jobs_in_parallel(
                    self._workspace, waiting, self._arms, self._execute, self._token
                )
            return ""
        run = store.claim(self._queue, os.getpid(), self._token)
        return (
            None
            if run is None
            else run_job(self._workspace, store, run, self._execute, self._identity)
        )


def has_queued_runs(workspace: Workspace, queue: str) -> bool:
    """Whether a run of the lane waits; no store is made to look."""
    try:
        return "queued" in RunStore(workspace, create=False).active_statuses(queue)
    except (WorkspaceMissing, OSError, sqlite3.Error):
        return False


def main() -> int:
    """Entry of the worker process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--lane", choices=QUEUES, required=True)
    options = parser.parse_args()
    linger = float(os.environ.get("THAW_WORKER_LINGER", IDLE_TIMEOUT))
    # Not opened on purpose: what was removed since it was started is not made again.
    workspace = Workspace(workspace_root(options.workspace))
    with private_files():
        if workspace.root.is_dir():
            run_worker(workspace, options.lane, execute_run, linger, preload_torch)
    return 0


def preload_torch() -> None:
    """Imports what training takes, so that a claimed run starts at once; the first optimiser takes
    torch._dynamo."""
    import torch
    import torch._dynamo

    import core.runs.dispatch  # noqa: F401

    torch.set_num_threads(threads_per_run())


def execute_run(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
    """An Execute: core.runs.dispatch's, imported once it is needed."""
    from core.runs.dispatch import execute

    return execute(workspace, run, reporter)


if __name__ == "__main__":
    sys.exit(main())
