"""The process that trains: takes its lane's lock, then one queued run after another; exits when idle for long.

Started by core.runs.launch as `python -m core.runs.worker --workspace DIR --lane cpu`.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import Timeout
from joblib import Parallel, delayed, parallel_config

from core.errors import BadInput, ThawError, device_failed, out_of_memory, system_sentence
from core.rights import private_files
from core.runs.database import held_open
from core.runs.halving import decide
from core.runs.launch import CLUSTER, LANES, arms_at_once, ensure_worker, lane_lock, threads_a_run
from core.runs.reporter import Decision, Point, Reporter
from core.runs.store import CANCELLED, Run, RunStore
from core.runs.sweep import Sweep
from core.workspace import Workspace, clear_leftovers, open_workspace

LINGER_SECONDS = 600.0
POLL_SECONDS = 0.05
LOCK_PATIENCE = 2.0
"""Seconds a starting worker waits for the lock: watchers hold it for an instant to see whether anyone lives."""
CLUSTER_PATIENCE = 10.0
"""Seconds until a cluster that does not answer is given up."""
CANCEL_CHECK_SECONDS = 0.25
MEMORY_SENTENCE = (
    "The device ran out of memory. Halve the batch size, freeze more stages, or choose the CPU. "
    "The last checkpoint is kept."
)

DEVICE_SENTENCE = (
    "The GPU failed or vanished while the run computed on it. Resume goes on from the last checkpoint; choose the CPU "
    "if the GPU does not come back."
)

Execute = Callable[[Workspace, Run, Reporter], dict[str, Any]]


class StoreReporter:
    """A run's reporter: everything goes to the store; the cancel flag is read at most four times a second."""

    def __init__(self, store: RunStore, run_id: str) -> None:
        self._store = store
        self._run = run_id
        self._checked = 0.0
        self.stop = False
        self.waits = False

    def phase(self, name: str) -> None:
        """See Reporter."""
        self._store.phase(self._run, name)

    def progress(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """See Reporter."""
        self._store.progress(self._run, epoch, epochs, step, steps)

    def points(self, rows: Sequence[Point]) -> None:
        """See Reporter."""
        self._store.add_points(self._run, rows)

    def rewind(self, step: int) -> None:
        """See Reporter."""
        self._store.drop_points_after(self._run, step)

    def rung(self, epoch: int) -> Decision:
        """See Reporter."""
        decision = decide(self._store, self._store.get(self._run), epoch)
        self.waits = decision == "wait"
        return decision

    def should_stop(self) -> bool:
        """See Reporter."""
        now = time.monotonic()
        if not self.stop and now - self._checked > CANCEL_CHECK_SECONDS:
            self._checked = now
            self.stop = self._store.cancel_requested(self._run)
        return self.stop


def work(
    workspace: Workspace,
    lane: str,
    execute: Execute,
    linger: float = LINGER_SECONDS,
    warm_up: Callable[[], None] = lambda: None,
) -> None:
    """Claims and carries out the lane's runs until none has come for `linger` seconds; returns at once when another
    worker holds the lane. After a GPU has failed a fresh worker goes on, since this process cannot use it again.

    warm_up: called once the lane is held, so that workers started beside this one find it taken and cost little.
    """
    try:
        with lane_lock(workspace, lane).acquire(timeout=LOCK_PATIENCE):
            store = RunStore(workspace)
            store.interrupt_stale(lane)
            clear_leftovers(workspace)
            warm_up()
            idle_since = time.monotonic()
            arms = arms_at_once(lane)
            while time.monotonic() - idle_since < linger:
                group, waiting = store.waiting(lane) if arms > 1 else ("", ())
                if group and len(waiting) > 1:
                    carry_out_together(workspace, waiting, arms, execute)
                    idle_since = time.monotonic()
                    continue
                run = store.claim(lane, os.getpid())
                if run is None:
                    time.sleep(POLL_SECONDS)
                    continue
                carry_out(workspace, store, run, execute)
                idle_since = time.monotonic()
                if store.get(run.id).message == DEVICE_SENTENCE:
                    break
            else:
                return
    except Timeout:
        return
    ensure_worker(workspace, lane)


def carry_out(workspace: Workspace, store: RunStore, run: Run, execute: Execute) -> None:
    """Runs one job and records how it ended, in a sentence where it did not end well."""
    reporter = StoreReporter(store, run.id)

    def ask_to_stop(*_: object) -> None:
        reporter.stop = True

    # Signals reach a process's main thread alone; a cluster's worker may call this from another.
    own = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, ask_to_stop) if own else None
    try:
        with held_open(workspace):
            result = execute(workspace, run, reporter)
        store.finish(run.id, "done", result=result)
    except Exception as error:
        if reporter.stop:
            store.finish(run.id, "cancelled", CANCELLED)
        elif reporter.waits:
            store.pause(run.id)
        else:
            store.finish(run.id, "failed", explain(error, workspace, run))
    finally:
        if own:
            signal.signal(signal.SIGTERM, previous)


def work_here(workspace: Workspace, sweep: Sweep, arms: int, cluster: str) -> None:
    """Carries a sweep of the cluster lane out from this process, so many runs at a time; BadInput when another does.

    cluster: address of a Dask scheduler, or ray://… of a Ray cluster, whose workers must see the same workspace folder;
    empty for processes of this machine.
    """
    from core.training.job import execute

    try:
        with lane_lock(workspace, CLUSTER).acquire(timeout=LOCK_PATIENCE):
            store = RunStore(workspace)
            store.interrupt_stale(CLUSTER)
            with _backend(cluster):
                # Successive halving sends runs back to the queue.
                while ids := [run.id for run in store.group(sweep.id) if run.status == "queued"]:
                    carry_out_together(workspace, ids, arms or -1, execute)
    except Timeout:
        raise BadInput("Another command carries out a sweep in this workspace; wait until it has ended.") from None


@contextmanager
def _backend(cluster: str) -> Iterator[None]:
    if not cluster:
        yield
        return
    with contextlib.ExitStack() as held:
        try:
            kind = _connect(cluster, held)
        except (ImportError, OSError, ValueError) as error:
            raise BadInput(
                f"The cluster {cluster!r} could not be reached ({str(error).splitlines()[0]}). The sweep waits: start "
                "the cluster (Dask: tcp://HOST:PORT; Ray: ray://HOST:PORT, and `pip install 'ray[default,client]'` "
                "here), then give the same command again."
            ) from error
        with parallel_config(kind):
            yield


def _connect(cluster: str, held: contextlib.ExitStack) -> str:
    """Makes this process the cluster's client for as long as `held`; joblib's name for that kind of cluster."""
    address = urlsplit(cluster)
    # Both libraries would go on asking for half a minute, and leave threads behind.
    socket.create_connection((address.hostname or cluster, address.port or 0), CLUSTER_PATIENCE).close()
    if address.scheme == "ray":
        import ray
        from ray.util.joblib import register_ray

        held.enter_context(ray.init(cluster))
        register_ray()
        return "ray"
    from distributed import Client

    held.enter_context(Client(cluster))
    return "dask"


def carry_out_together(workspace: Workspace, ids: Sequence[str], arms: int, execute: Execute) -> None:
    """Carries out waiting runs, so many at a time, each in a process of its own or on a worker of the cluster that
    `joblib.parallel_config` names."""
    # Joblib gives its processes an $OMP_NUM_THREADS of its own, so they are told.
    threads = threads_a_run()
    job = delayed(carry_out_one)
    Parallel(n_jobs=arms)(job(str(workspace.root), run_id, threads, execute, os.getpid()) for run_id in ids)


def carry_out_one(root: str, run_id: str, threads: int, execute: Execute, parent: int) -> None:
    """One run of several, on so many threads; does nothing when it no longer waits."""
    import torch

    torch.set_num_threads(threads)
    if os.getppid() == parent:
        # Without the worker that holds the lane, a run that went on could be started a second time.
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    workspace = open_workspace(root)
    store = RunStore(workspace)
    run = store.claim_run(run_id, os.getpid())
    if run is not None:
        carry_out(workspace, store, run, execute)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


def explain(error: Exception, workspace: Workspace, run: Run) -> str:
    """One sentence for the page; an unforeseen error's traceback goes to a file that the sentence names."""
    if isinstance(error, ThawError):
        return str(error)
    if out_of_memory(error):
        return MEMORY_SENTENCE
    if sentence := system_sentence(error, workspace.root):
        return sentence
    if device_failed(error):
        return DEVICE_SENTENCE
    log = workspace.logs / f"{run.id}.log"
    with contextlib.suppress(OSError):
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return f"An unforeseen {type(error).__name__} stopped the run: {str(error)[:200]} Details are in {log}."


def main() -> int:
    """Entry of the worker process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--lane", choices=LANES, required=True)
    options = parser.parse_args()
    linger = float(os.environ.get("THAW_WORKER_LINGER", LINGER_SECONDS))
    with private_files():
        work(open_workspace(options.workspace), options.lane, execute_run, linger, load_torch)
    return 0


def load_torch() -> None:
    """Imports what training takes, so that a claimed run starts at once; the first optimiser takes torch._dynamo."""
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
