"""Run several runs at a time: in processes of this machine, or on a Dask or Ray cluster."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import Timeout
from joblib import Parallel, delayed, parallel_config

from core.errors import BadInput
from core.jobs.process_location import current_location, machine_name
from core.jobs.store import RunStore
from core.runs.default_blend import queue_default_blends
from core.runs.launch import (
    CLUSTER_QUEUE,
    LOCK_TIMEOUT,
    is_worker_alive,
    threads_per_run,
    worker_lock,
)
from core.runs.run_jobs import Execute, run_job
from core.runs.search import continue_or_stop
from core.runs.sweep import Sweep
from core.runs.workspace_identity import WorkspaceIdentity
from core.workspace import Workspace

CLUSTER_TIMEOUT = 10.0
"""Seconds for which to wait for a cluster's answer."""
PARENT_POLL_INTERVAL = 0.05
"""Seconds between two checks of a run's process whether its worker still lives."""


def run_sweep_here(workspace: Workspace, sweep: Sweep, n_jobs: int, cluster: str) -> None:
    """Run a sweep of the cluster queue from this process.

    Args:
        workspace, sweep: what to run.
        n_jobs: how many runs at a time; 0 for as many as there are cores or workers.
        cluster: address of a Dask scheduler, or ray://… of a Ray cluster, whose workers must see
            the same workspace folder; "" for processes of this machine.

    Raises:
        BadInput: another process runs the queue, or the cluster cannot be reached.
    """
    from core.runs.dispatch import execute

    try:
        with worker_lock(workspace, CLUSTER_QUEUE).acquire(timeout=LOCK_TIMEOUT):
            store = RunStore(workspace)
            store.interrupt_stale(CLUSTER_QUEUE)
            token = store.register_worker(CLUSTER_QUEUE)
            with _backend(cluster):

                def run_queued() -> None:
                    # In a loop, because successive halving puts runs back into the queue.
                    while ids := [
                        run.id for run in store.list_group(sweep.id) if run.status == "queued"
                    ]:
                        run_jobs_in_parallel(workspace, ids, n_jobs or -1, execute, token)
                        # A search queues its next run only now.
                        continue_or_stop(workspace, sweep.id)

                run_queued()
                queue_default_blends(workspace, sweep)
                run_queued()
    except Timeout:
        raise BadInput(
            "Another command runs a sweep in this workspace; wait until it has ended."
        ) from None


def run_here(workspace: Workspace, run_ids: Sequence[str]) -> None:
    """Train queued runs of the cluster queue in this process, one after another.

    A run that Ctrl-C breaks off is interrupted: resumed, it goes on from its last checkpoint.

    Raises:
        BadInput: another process trains runs of this queue in the same workspace.
    """
    import torch

    from core.runs.dispatch import execute

    store, threads_before = RunStore(workspace), torch.get_num_threads()
    # As many as a worker takes: sums over other numbers of threads differ in their last digits.
    torch.set_num_threads(threads_per_run())
    try:
        with (
            worker_lock(workspace, CLUSTER_QUEUE).acquire(timeout=LOCK_TIMEOUT),
            WorkspaceIdentity(workspace) as identity,
        ):
            store.interrupt_stale(CLUSTER_QUEUE)
            token = store.register_worker(CLUSTER_QUEUE)
            try:
                for run_id in run_ids:
                    run = store.claim_run(run_id, os.getpid(), token)
                    if run is not None:
                        run_job(workspace, store, run, execute, identity)
            finally:
                store.interrupt_stale(CLUSTER_QUEUE)
    except Timeout:
        raise BadInput(
            "Another process trains runs of its own in this workspace; wait until it has ended, or"
            " have the worker train this one."
        ) from None
    finally:
        torch.set_num_threads(threads_before)


@contextmanager
def _backend(cluster: str) -> Iterator[None]:
    if not cluster:
        with local_processes():
            yield
        return
    with contextlib.ExitStack() as held:
        try:
            kind = _connect(cluster, held)
        except (ImportError, OSError, ValueError) as error:
            raise BadInput(
                f"The cluster {cluster!r} could not be reached ({str(error).splitlines()[0]}). The"
                " sweep waits: start the cluster (Dask: tcp://HOST:PORT; Ray: ray://HOST:PORT, and"
                " `pip install 'ray[default,client]'` here), then give the same command again."
            ) from error
        with parallel_config(kind):
            yield


@contextmanager
def local_processes() -> Iterator[None]:
    """Have joblib use processes of this machine that end when this process ends.

    They hold no lock themselves: if they went on without the worker that holds it, a run could be
    started a second time.
    """
    with parallel_config("loky", initializer=_watch_parent, initargs=(os.getpid(),)):
        yield


def _watch_parent(parent: int) -> None:
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _connect(cluster: str, held: contextlib.ExitStack) -> str:
    """Connect this process to the cluster for as long as `held` is open.

    Return joblib's name for that kind of cluster.
    """
    address = urlsplit(cluster)
    # Tried here first: both libraries retry for half a minute and leave threads behind.
    socket.create_connection(
        (address.hostname or cluster, address.port or 0), CLUSTER_TIMEOUT
    ).close()
    if address.scheme == "ray":
        import ray
        from ray.util.joblib import register_ray

        held.enter_context(ray.init(cluster))
        register_ray()
        return "ray"
    from distributed import Client

    held.enter_context(Client(cluster))
    return "dask"


def run_jobs_in_parallel(
    workspace: Workspace, ids: Sequence[str], n_jobs: int, execute: Execute, token: str
) -> None:
    """Run waiting runs, `n_jobs` at a time.

    Each runs in its own process or on a worker of the cluster that `joblib.parallel_config` names.

    Args:
        workspace: of the runs.
        ids: of the runs.
        n_jobs: as in joblib: -1 for all cores.
        execute: what runs each of them.
        token: of the worker that holds their queue, see RunStore.register_worker.
    """
    # Passed on, because joblib sets $OMP_NUM_THREADS of its processes itself.
    threads = threads_per_run()
    job = delayed(run_one_job)
    rest = (threads, execute, current_location(), token)
    Parallel(n_jobs=n_jobs)(job(str(workspace.root), run_id, *rest) for run_id in ids)


def run_one_job(
    root: str,
    run_id: str,
    threads: int,
    execute: Execute,
    place: str = "",
    token: str | None = None,
) -> None:
    """Claim and run one of several runs; does nothing where it does not wait any more.

    Args:
        root: folder of the workspace.
        run_id: the run.
        threads: how many threads torch uses.
        execute: what runs it.
        place: where the process is that holds the queue's lock (core.jobs.process_location).
        token: of the worker, see RunStore.register_worker.
    """
    import torch

    torch.set_num_threads(threads)
    workspace = Workspace(Path(root))
    if place not in ("", current_location()):
        check_lock_visible(workspace, place)
    with WorkspaceIdentity(workspace) as identity:
        store = RunStore(workspace, create=False)
        run = store.claim_run(run_id, os.getpid(), token)
        if run is not None:
            run_job(workspace, store, run, execute, identity)


def check_lock_visible(workspace: Workspace, place: str) -> None:
    """Check that this machine sees the lock that the sweep's command holds at another `place`.

    Raises:
        BadInput: it does not see the workspace, or not the lock.
    """
    if not workspace.database.exists():
        raise BadInput(
            f"{machine_name(current_location())} does not see the workspace {str(workspace.root)!r}"
            f" of {machine_name(place)}: all machines of a sweep must see the same folder at the"
            " same path."
        )
    if not is_worker_alive(workspace, CLUSTER_QUEUE):
        raise BadInput(
            f"{machine_name(current_location())} does not see the file locks of"
            f" {machine_name(place)} in {str(workspace.root)!r}: both could write the run store at"
            " once. Put the workspace on a file system that passes locks on, such as NFS 4."
        )


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_INTERVAL)
    os._exit(1)
