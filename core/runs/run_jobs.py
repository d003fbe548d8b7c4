"""Run one claimed run: what it reports goes to the store, and so does how it ended."""

import contextlib
import math
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

from core.errors import (
    ThawError,
    caused_by_gpu_failure,
    caused_by_out_of_memory,
    explain_system_error,
)
from core.files.write_guard import guard_writes
from core.jobs.database import is_busy, keep_connection
from core.jobs.queue import ClaimLost
from core.jobs.reporter import Decision, Point, Reporter
from core.jobs.run_result import RunResult
from core.jobs.store import CANCELLED_MESSAGE, Run, RunStore
from core.runs.halving import decide
from core.runs.heartbeat import Heartbeat
from core.runs.launch import run_heartbeat
from core.runs.search import decide_trial
from core.runs.workspace_identity import WorkspaceIdentity, WorkspaceReplaced
from core.training.start_model import WAITS_FOR_WINDOW, waits_for_start_run
from core.workspace import Workspace

CANCEL_CHECK_INTERVAL = 0.25
FLUSH_INTERVAL = 0.25
BUSY_RETRY_SECONDS = 600.0
"""Seconds for which a write is tried again while another process locks the store."""
OUT_OF_MEMORY_MESSAGE = (
    "The device ran out of memory. Halve the batch size, freeze more stages, or choose the CPU. "
    "The last checkpoint is kept."
)

GPU_FAILED_MESSAGE = (
    "The GPU failed or vanished while the run computed on it. Resume goes on from the last"
    " checkpoint; choose the CPU if the GPU does not come back."
)

Execute = Callable[[Workspace, Run, Reporter], RunResult]


class StoreReporter:
    """The reporter of a run, which writes to the store and reads the cancel flag.

    It does so at most four times a second. Points and progress are buffered meanwhile. A small
    network has hundreds of steps a second; if each were written by itself, a process that is
    stopped would most likely hold the store's lock, and block all others.

    Raises:
        WorkspaceReplaced: another workspace is in the place of this one.
        ClaimLost: the run belongs to another process now.
    """

    def __init__(
        self, store: RunStore, run: Run, identity: WorkspaceIdentity, heartbeat: Heartbeat
    ) -> None:
        self._store = store
        self._run = run.id
        self._claim = run.claim
        self._identity = identity
        self._heartbeat = heartbeat
        self._checked = 0.0
        self._points: list[Point] = []
        self._progress: tuple[int, int, int, int] | None = None
        self._flushed = -math.inf
        self.stop_requested = False
        self.paused = False

    def phase(self, name: str) -> None:
        """See Reporter."""
        self.flush()
        self._write(lambda: self._store.set_phase(self._run, name, self._claim))

    def progress(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """See Reporter."""
        self._progress = epoch, epochs, step, steps
        self._flush_if_due()

    def points(self, rows: Sequence[Point]) -> None:
        """See Reporter."""
        self._points += rows
        self._flush_if_due()

    def rewind(self, step: int) -> None:
        """See Reporter."""
        self.flush()
        self._write(lambda: self._store.drop_points_after(self._run, step, self._claim))

    def rung(self, epoch: int) -> Decision:
        """See Reporter."""
        self.flush()
        self._identity.check()
        run = self._store.get(self._run)
        if run.is_trial:
            decision = decide_trial(self._store.workspace, run, epoch)
        else:
            decision = decide(self._store, run, epoch)
        self.paused = decision == "pause"
        return decision

    def should_stop(self) -> bool:
        """See Reporter."""
        now = time.monotonic()
        if not self.stop_requested and now - self._checked > CANCEL_CHECK_INTERVAL:
            self._checked = now
            self._heartbeat.record_progress()
            self._identity.check()
            self.flush()
            self.stop_requested = self._store.cancel_requested(self._run)
        return self.stop_requested

    def flush(self) -> None:
        """Write what is buffered.

        Also called before a file is published, since a checkpoint assumes that the points before it
        are stored.
        """
        if points := self._points:
            self._write(lambda: self._store.add_points(self._run, points, self._claim))
            self._points = []
        if progress := self._progress:
            self._write(lambda: self._store.set_progress(self._run, *progress, self._claim))
            self._progress = None
        self._flushed = time.monotonic()

    def _flush_if_due(self) -> None:
        self._heartbeat.record_progress()
        if time.monotonic() - self._flushed > FLUSH_INTERVAL:
            self.flush()

    def _write(self, write: Callable[[], None]) -> None:
        self._heartbeat.record_progress()
        self._identity.check()
        retry_while_busy(write)


def retry_while_busy(write: Callable[[], None]) -> None:
    """Call `write`, and repeat it while another process locks the store.

    No run fails only because the store is locked.
    """
    end = time.monotonic() + BUSY_RETRY_SECONDS
    while True:
        try:
            return write()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > end:
                raise


def run_job(
    workspace: Workspace,
    store: RunStore,
    run: Run,
    execute: Execute,
    identity: WorkspaceIdentity | None = None,
) -> str:
    """Run one claimed run and record how it ended.

    A run that belongs to another process by then is left as it is.

    Args:
        workspace, store: of the run.
        run: as it was claimed.
        execute: what runs it.
        identity: of the workspace in which the run was claimed; None for the one that is there now.

    Returns:
        "" where it ended well, else the message that is stored with it.

    Raises:
        WorkspaceReplaced: another workspace is in the place of this one.
    """
    if identity is None:
        with WorkspaceIdentity(workspace) as identity:
            return run_job(workspace, store, run, execute, identity)
    heartbeat = Heartbeat(run_heartbeat(workspace, run.id), run.claim or "")
    reporter = StoreReporter(store, run, identity, heartbeat)

    def request_stop(*_: object) -> None:
        reporter.stop_requested = True

    def before_write() -> None:
        identity.check()
        reporter.flush()

    # Only the main thread may set signal handlers; a cluster's worker may call from another one.
    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, request_stop) if in_main_thread else None
    try:
        with guard_writes(before_write), heartbeat:
            return _run_job(workspace, store, run, execute, identity, reporter)
    except ClaimLost as error:
        identity.check()
        print(error, file=sys.stderr)
        return str(error)
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous)


def _run_job(
    workspace: Workspace,
    store: RunStore,
    run: Run,
    execute: Execute,
    identity: WorkspaceIdentity,
    reporter: StoreReporter,
) -> str:
    status, message, result = "done", "", None
    if waits_for_start_run(workspace, run):
        # Only where several runs train at a time: the queue's order puts that run first.
        retry_while_busy(lambda: store.pause(run.id, run.claim, WAITS_FOR_WINDOW))
        return ""
    try:
        with keep_connection(workspace):
            result = execute(workspace, run, reporter)
            reporter.flush()
    except (WorkspaceReplaced, ClaimLost):
        raise
    except Exception as error:
        # Raises first where the workspace was replaced: then a missing file is not a failure.
        identity.check()
        with contextlib.suppress(OSError, sqlite3.Error):
            reporter.flush()
        if reporter.stop_requested:
            status, message = "cancelled", CANCELLED_MESSAGE
        elif reporter.paused:
            retry_while_busy(lambda: store.pause(run.id, run.claim))
            return ""
        else:
            status, message = "failed", explain_failure(error, workspace, run)
    identity.check()
    retry_while_busy(lambda: store.finish(run.id, status, message, result, run.claim))
    return message


def explain_failure(error: Exception, workspace: Workspace, run: Run) -> str:
    """Return one sentence for the page that explains the error.

    The traceback of an unexpected error goes to a log that the sentence names.
    """
    if isinstance(error, ThawError):
        return str(error)
    if caused_by_out_of_memory(error):
        return OUT_OF_MEMORY_MESSAGE
    if sentence := explain_system_error(error, workspace.root):
        return sentence
    if caused_by_gpu_failure(error):
        return GPU_FAILED_MESSAGE
    log = workspace.logs / f"{run.id}.log"
    with contextlib.suppress(OSError):
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return (
        f"An unforeseen {type(error).__name__} stopped the run: {str(error)[:200]} Details are in"
        f" {log}."
    )
