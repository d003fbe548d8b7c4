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
from typing import Any

from filelock import Timeout

from core.rights import private_files
from core.runs.carry_out import DEVICE_SENTENCE, Execute, carry_out
from core.runs.carry_out import MEMORY_SENTENCE as MEMORY_SENTENCE
from core.runs.carry_out import StoreReporter as StoreReporter
from core.runs.carry_out import explain as explain
from core.runs.cluster import carry_out_one as carry_out_one
from core.runs.cluster import carry_out_together, local_processes
from core.runs.cluster import work_here as work_here
from core.runs.database import is_busy
from core.runs.filesystems import shared_kind
from core.runs.heartbeat import Heartbeat
from core.runs.identity import Identity, Replaced
from core.runs.launch import (
    LANES,
    LOCK_PATIENCE,
    arms_at_once,
    ensure_worker,
    lane_heartbeat,
    lane_lock,
    threads_a_run,
    worker_alive,
)
from core.runs.reporter import Reporter
from core.runs.store import Run, RunStore
from core.workspace import Workspace, WorkspaceMissing, clear_leftovers, workspace_root
from core.write_guard import guard_writes

LINGER_SECONDS = 600.0
POLL_SECONDS = 0.05
SHARED_POLL_SECONDS = 0.5
"""Seconds between two looks at the queue, on a disk of this machine and over a network."""


def work(
    workspace: Workspace,
    lane: str,
    execute: Execute,
    linger: float = LINGER_SECONDS,
    warm_up: Callable[[], None] = lambda: None,
) -> None:
    """Claims and carries out the lane's runs until none has come for `linger` seconds; returns at
    once when another worker holds the lane, and once another workspace lies where this one lay.
    After a GPU has failed a fresh worker goes on, since this process cannot use it again.

    warm_up: called once the lane is held, so that workers started beside this one find it taken and
    cost little.
    """
    lock = lane_lock(workspace, lane)
    try:
        with (
            Identity(workspace) as identity,
            lock.acquire(timeout=LOCK_PATIENCE),
            # Moved away since the lock was taken, the folder is not made anew for the heartbeat.
            guard_writes(identity.check),
            Heartbeat(lane_heartbeat(workspace, lane), lane),
        ):
            identity.know(Path(lock.lock_file))
            # The lock that is at that path now is the one that this process holds.
            if not worker_alive(workspace, lane):
                raise Replaced(identity.sentence)
            clear_leftovers(workspace)
            warm_up()
            try:
                Worker(workspace, lane, execute, identity).work_off(linger)
            except (Replaced, WorkspaceMissing, OSError, sqlite3.Error) as error:
                if not (isinstance(error, Replaced) or identity.is_replaced()):
                    raise
                print(identity.sentence, file=sys.stderr)
            same_lane = not identity.is_replaced(but_for=workspace.database)
    except (Timeout, Replaced):
        return
    except FileNotFoundError:
        # The lock could not be taken, since the folder has gone in this moment.
        if workspace.root.exists():
            raise
        return
    # Whoever queued a run while the lock was still held found this worker alive, and started none.
    if same_lane and has_queued(workspace, lane):
        ensure_worker(workspace, lane)


class Worker:
    """What carries out a lane's runs in one process, while that process holds the lane's lock."""

    def __init__(
        self, workspace: Workspace, lane: str, execute: Execute, identity: Identity
    ) -> None:
        self._workspace = workspace
        self._lane = lane
        self._execute = execute
        self._identity = identity
        self._arms = arms_at_once(lane)
        self._poll = SHARED_POLL_SECONDS if shared_kind(workspace.root) else POLL_SECONDS
        self._store: RunStore | None = None
        self._token = ""

    def work_off(self, linger: float) -> None:
        """Carries out what is queued until nothing has come for `linger` seconds, or the GPU has
        failed.

        Replaced once the workspace is another, or its store no longer knows this worker.
        """
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < linger:
            self._identity.check()
            try:
                message = self._take_next()
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                # Another process keeps the store; so long as it does nothing can be claimed.
                continue
            if message is None:
                time.sleep(self._poll)
                continue
            if message == DEVICE_SENTENCE:
                return
            idle_since = time.monotonic()

    def _take_next(self) -> str | None:
        """Carries out the next run, or the arms of the next sweep, and says how it ended; None
        where none waits."""
        if self._store is None:
            # Where nothing was ever queued there is no store, and a worker makes none.
            if not self._identity.has_store(self._workspace):
                return None
            self._store = RunStore(self._workspace, create=False)
            self._token = self._store.register(self._lane)
        store = self._store
        active = store.active_in(self._lane)
        if active and not store.is_registered(self._lane, self._token):
            raise Replaced(self._identity.sentence)
        if "running" in active:
            # This process holds the lane, and runs nothing now.
            store.interrupt_stale(self._lane)
        if "queued" not in active:
            return None
        group, waiting = store.waiting(self._lane) if self._arms > 1 else ("", ())
        if group and len(waiting) > 1:
            with local_processes():
                carry_out_together(self._workspace, waiting, self._arms, self._execute, self._token)
            return ""
        run = store.claim(self._lane, os.getpid(), self._token)
        return (
            None
            if run is None
            else carry_out(self._workspace, store, run, self._execute, self._identity)
        )


def has_queued(workspace: Workspace, lane: str) -> bool:
    """Whether a run of the lane waits; no store is made to look."""
    try:
        return "queued" in RunStore(workspace, create=False).active_in(lane)
    except (WorkspaceMissing, OSError, sqlite3.Error):
        return False


def main() -> int:
    """Entry of the worker process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--lane", choices=LANES, required=True)
    options = parser.parse_args()
    linger = float(os.environ.get("THAW_WORKER_LINGER", LINGER_SECONDS))
    # Not opened on purpose: what was removed since it was started is not made again.
    workspace = Workspace(workspace_root(options.workspace))
    with private_files():
        if workspace.root.is_dir():
            work(workspace, options.lane, execute_run, linger, load_torch)
    return 0


def load_torch() -> None:
    """Imports what training takes, so that a claimed run starts at once; the first optimiser takes
    torch._dynamo."""
    import torch
    import torch._dynamo

    import core.training.job  # noqa: F401

    torch.set_num_threads(threads_a_run())


def execute_run(workspace: Workspace, run: Run, reporter: Reporter) -> dict[str, Any]:
    """An Execute: core.training.job's, imported once it is needed."""
    from core.training.job import execute

    return execute(workspace, run, reporter)


if __name__ == "__main__":
    sys.exit(main())
