"""Waiting for runs that a worker trains, and training them in this process, with progress."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from core.errors import BadInput
from core.files.permissions import private_files
from core.freezing.strategies import iteration_word
from core.jobs.run import Run
from core.jobs.store import RunStore
from core.runs.cluster import run_here
from core.runs.launch import (
    CLUSTER_QUEUE,
    check_stall,
    is_worker_alive,
    refresh_statuses,
    stall_message,
)
from core.workspace import Workspace
from thaw.display import Progress

POLL_SECONDS = 0.2


def load_torch() -> None:
    """Import torch such that its threads sleep while they wait for work.

    Spinning ones, its default, slow a busy machine tenfold. It is decided when torch is loaded, so
    a process that has loaded it before keeps what it has.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch  # noqa: F401


def wait_for_run(workspace: Workspace, run_id: str, timeout: float | None) -> None:
    """Return once the run has ended, well or not.

    Raises:
        TimeoutError: it has not ended after `timeout` seconds.
    """
    store, began, warning = RunStore(workspace), time.monotonic(), ""
    require_worker(workspace, [store.get(run_id)])
    with Progress(store.get(run_id).name) as report:
        while (run := store.get(run_id)).active:
            report(share_done(run), progress_words(run))
            if timeout is not None and time.monotonic() - began > timeout:
                raise TimeoutError(
                    f"Run {run.id} is still {run.status} after {timeout:g} s; it goes on."
                )
            time.sleep(POLL_SECONDS)
            refresh_statuses(workspace, store)
            stall = check_stall(workspace, run).stall
            # Once for each stall, not at every look.
            if stall and warning != (warning := stall_message(stall, run)):
                print(f"{run.id}  {run.name}: {warning}", file=sys.stderr)


def require_worker(workspace: Workspace, runs: Sequence[Run]) -> None:
    """Raise BadInput where runs wait for a process that asked to train them itself, and is gone."""
    waiting = [run for run in runs if run.status == "queued" and run.queue == CLUSTER_QUEUE]
    if waiting and not is_worker_alive(workspace, CLUSTER_QUEUE):
        raise BadInput(
            f"No worker takes the run {waiting[0].id}: it was to be trained by the process that"
            " asked for it. train_here() trains it in this one."
        )


def require_own(runs: Sequence[Run]) -> None:
    """Raise BadInput where runs wait for a worker, so that this process may not train them."""
    waiting = [run for run in runs if run.status == "queued" and run.queue != CLUSTER_QUEUE]
    if waiting:
        raise BadInput(f"Run {waiting[0].id} waits for the worker, which trains it; see wait().")


def train_here(workspace: Workspace, run_id: str) -> None:
    """Train a queued run of the cluster queue in this process.

    Raises:
        BadInput: another process trains runs of this queue; the run is cancelled then.
    """
    store = RunStore(workspace)
    require_own([store.get(run_id)])

    def look() -> tuple[float, str]:
        run = store.get(run_id)
        return share_done(run), progress_words(run)

    load_torch()
    with private_files(), watched(store.get(run_id).name, look):
        try:
            run_here(workspace, [run_id])
        except BadInput:
            # No worker takes it from this queue, so it would wait for ever.
            store.request_cancel(run_id)
            raise


@contextmanager
def watched(title: str, look: Callable[[], tuple[float, str]]) -> Iterator[None]:
    """Show progress while this thread is busy: another one asks `look` for (share done, words)."""
    ended = threading.Event()
    with Progress(title) as report:

        def watch() -> None:
            while not ended.wait(POLL_SECONDS):
                report(*look())

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def share_done(run: Run) -> float:
    """How much of its optimiser steps a run has done, 0 to 1."""
    return run.step / run.steps if run.steps else 0.0


def progress_words(run: Run) -> str:
    """What a run does now, such as "training, epoch 2 of 10"."""
    word = iteration_word(run.strategy)
    counted = f", {word} {run.epoch} of {run.epochs}" if run.epochs else ""
    return f"{run.phase or run.status}{counted}"
