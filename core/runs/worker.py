"""The worker: the process that trains.

It takes its queue's lock, runs one queued run after another, and exits when idle. core.runs.launch
starts it as ``python -m core.runs.worker --workspace DIR --lane cpu``.
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
from core.runs.default_blend import queue_blends_after
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
from core.runs.search import continue_or_stop
from core.runs.workspace_identity import WorkspaceIdentity, WorkspaceReplaced
from core.workspace import Workspace, WorkspaceMissing, remove_leftovers, workspace_root

IDLE_TIMEOUT = 600.0
POLL_INTERVAL = 0.05
SHARED_POLL_INTERVAL = 0.5
"""Seconds between two looks at the queue, on a local disk and on a network file system."""


def run_worker(
    workspace: Workspace,
    queue: str,
    execute: Execute,
    idle_timeout: float = IDLE_TIMEOUT,
    warm_up: Callable[[], None] = lambda: None,
) -> None:
    """Claim and run the queue's runs until none has come for `idle_timeout` seconds.

    Returns at once where another worker holds the queue's lock, and as soon as another workspace is
    in the place of this one. After a GPU failure a new worker is started, because CUDA cannot be
    used any more in a process in which it has failed.

    Args:
        workspace: whose runs to run.
        queue: "cuda" or "cpu".
        execute: runs one claimed run.
        idle_timeout: seconds without a run after which the worker ends.
        warm_up: called once the lock is held, so that a second worker, which finds it held, does
            not spend seconds on it.
    """
    lock = worker_lock(workspace, queue)
    try:
        with (
            WorkspaceIdentity(workspace) as identity,
            lock.acquire(timeout=LOCK_TIMEOUT),
            # The folder may have been moved away since: it is not created again for the heartbeat.
            guard_writes(identity.check),
            Heartbeat(worker_heartbeat(workspace, queue), queue),
        ):
            identity.add(Path(lock.lock_file))
            # Whether the file at that path is the one that this process has locked.
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
            same_queue = not identity.is_replaced(ignoring=workspace.database)
    except (Timeout, WorkspaceReplaced):
        return
    except FileNotFoundError:
        # The folder was removed while the lock was being taken.
        if workspace.root.exists():
            raise
        return
    # A process that queued a run while this one still held the lock did not start a worker.
    if same_queue and has_queued_runs(workspace, queue):
        ensure_worker(workspace, queue)


class Worker:
    """Runs a queue's runs in one process, while that process holds the queue's lock."""

    def __init__(
        self, workspace: Workspace, queue: str, execute: Execute, identity: WorkspaceIdentity
    ) -> None:
        self._workspace = workspace
        self._queue = queue
        self._execute = execute
        self._identity = identity
        self._parallel_runs = max_parallel_runs(queue)
        self._poll_interval = (
            SHARED_POLL_INTERVAL if shared_filesystem(workspace.root) else POLL_INTERVAL
        )
        self._store: RunStore | None = None
        self._token = ""

    def run_until_idle(self, idle_timeout: float) -> None:
        """Run queued runs until none has come for `idle_timeout` seconds or the GPU has failed.

        Raises:
            WorkspaceReplaced: the workspace is another, or its store does not know this worker any
                more.
        """
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < idle_timeout:
            self._identity.check()
            try:
                message = self._run_next()
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                # Another process has locked the store; try again.
                continue
            if message is None:
                time.sleep(self._poll_interval)
                continue
            if message == GPU_FAILED_MESSAGE:
                return
            idle_since = time.monotonic()

    def _run_next(self) -> str | None:
        """Run the next run, or the waiting runs of the next sweep in parallel.

        Returns:
            "" or the message with which the run ended; None where none waits.
        """
        if self._store is None:
            # There is no store where nothing was ever queued, and a worker does not create one.
            if not self._identity.has_store(self._workspace):
                return None
            self._store = RunStore(self._workspace, create=False)
            self._token = self._store.register_worker(self._queue)
        store = self._store
        active = store.active_statuses(self._queue)
        if active and not store.is_worker_registered(self._queue, self._token):
            raise WorkspaceReplaced(self._identity.message)
        if "running" in active:
            # This process holds the lock and runs nothing: they are runs of a worker that died.
            store.interrupt_stale(self._queue)
        if "queued" not in active:
            return None
        group, waiting = store.waiting_ids(self._queue) if self._parallel_runs > 1 else ("", ())
        if group and len(waiting) > 1:
            with local_processes():
                run_jobs_in_parallel(
                    self._workspace, waiting, self._parallel_runs, self._execute, self._token
                )
            ended = [one for one in store.list_group(group) if one.id in waiting]
            queue_blends_after(self._workspace, ended)
            continue_or_stop(self._workspace, group)
            return ""
        run = store.claim(self._queue, os.getpid(), self._token)
        if run is None:
            return None
        message = run_job(self._workspace, store, run, self._execute, self._identity)
        queue_blends_after(self._workspace, [run])
        continue_or_stop(self._workspace, run.group)
        return message


def has_queued_runs(workspace: Workspace, queue: str) -> bool:
    """Return whether a run of the queue waits; no store is created for it."""
    try:
        return "queued" in RunStore(workspace, create=False).active_statuses(queue)
    except (WorkspaceMissing, OSError, sqlite3.Error):
        return False


def main() -> int:
    """Run the worker process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--lane", choices=QUEUES, required=True)
    options = parser.parse_args()
    idle_timeout = float(os.environ.get("THAW_WORKER_LINGER", IDLE_TIMEOUT))
    # Not by open_workspace: a workspace that was removed meanwhile must not be created again.
    workspace = Workspace(workspace_root(options.workspace))
    with private_files():
        if workspace.root.is_dir():
            run_worker(workspace, options.lane, execute_run, idle_timeout, preload_torch)
    return 0


def preload_torch() -> None:
    """Import what training needs, so that a claimed run starts at once.

    The first optimiser imports torch._dynamo, which takes seconds.
    """
    import torch
    import torch._dynamo

    import core.runs.dispatch  # noqa: F401

    torch.set_num_threads(threads_per_run())


def execute_run(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
    """Run one claimed run by core.runs.dispatch.

    That module is imported only here because it needs torch.
    """
    from core.runs.dispatch import execute

    return execute(workspace, run, reporter)


if __name__ == "__main__":
    sys.exit(main())
