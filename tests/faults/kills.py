"""A worker killed by SIGKILL again and again, at a random moment or inside a named place, while two
apps watch.

`python -m tests.faults.kills WORKSPACE KILLS SEED ROUND` prints one JSON object; ROUND is a name in
kill_rounds.ROUNDS. WORKSPACE holds the dataset tiny, a backbone that was pretrained on it, and no
runs. A process of its own: workers are forked from it once torch is imported, so that a kill costs
a second and not ten.
"""

import collections
import contextlib
import fcntl
import json
import multiprocessing
import multiprocessing.process
import os
import random
import select
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from core.jobs.reporter import Reporter
from core.jobs.requests import TrainSettings
from core.jobs.run_result import RunResult
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.models.backbone_store import list_backbones
from core.runs import dispatch, launch, run_jobs
from core.runs import worker as worker_module
from core.runs.launch import refresh_statuses
from core.training import batched_heads, finetune, loop, prefix_cache, pretrain
from core.workspace import Workspace, open_workspace
from tests.faults.kill_rounds import ROUNDS, every, submit
from tests.faults.outcomes import outcome, require_same

Place = tuple[Any, str, int]
PLACES: dict[str, Place] = {
    "while claiming a run": (RunStore, "claim", 1),
    "while caching the frozen prefix": (prefix_cache, "_write_arrays", 1),
    "between rows of metrics": (run_jobs.StoreReporter, "points", 40),
    "during a checkpoint": (loop, "save_checkpoint", 20),
    "while storing the model": (finetune, "save_backbone", 1),
    "while writing the result": (dispatch, "write_json", 1),
    "while marking a run as done": (RunStore, "finish", 1),
}
"""Owner and name of a function, and up to which of its calls, by chance, the worker is killed in
it."""
MORE_PLACES: dict[str, dict[str, Place]] = {
    "pretrainings and a mixing": {"while storing a backbone": (pretrain, "save_backbone", 1)},
    "heads trained together": {
        "while keeping heads that train together": (batched_heads.BatchedHeads, "save", 3)
    },
}
ANY = "at any moment"
IN_ONE = "one of its processes, at any moment"
"""For a worker that carries several arms out at a time; it does so in processes that know none of
the places."""
SLOWEST_SECONDS = 0.004
"""Until a kill inside a place, by chance: most of these functions take longer."""


def forked(action: Callable[[], object]) -> multiprocessing.process.BaseProcess:
    """`action` in a process of its own, started."""
    process = multiprocessing.get_context("fork").Process(target=action)
    process.start()
    return process


def watched_execute(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
    """The worker's job, behind a lock of the run's own: two at once would be seen."""
    with (workspace.logs / f"{run.id}.alone").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            (workspace.logs / "twice").touch()
        return dispatch.execute(workspace, run, reporter)


def worker(
    workspace: Workspace, arms: int = 1, place: Place | None = None, call: int = 1, tell: int = -1
) -> Callable[[], None]:
    """A worker that writes a byte to the file descriptor `tell` as it enters `place` for the
    call-th time."""

    def main() -> None:
        # Checkpoints by time within an epoch as well, though these runs take a second.
        loop.CHECKPOINT_SECONDS = batched_heads.CHECKPOINT_SECONDS = 0.02
        os.environ["THAW_ARMS"] = str(arms)
        if place:
            owner, name, _ = place
            real, left = getattr(owner, name), [call]

            def entered(*arguments: Any, **named: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os.write(tell, b"x")
                return real(*arguments, **named)

            setattr(owner, name, entered)
        worker_module.run_worker(
            workspace, "cpu", watched_execute, idle_timeout=0.2 if arms == 1 else 1.0
        )
        # Not by way of multiprocessing, which would wait for joblib's processes until they are
        # tired of waiting.
        os._exit(0)

    return main


def app(workspace: Workspace) -> Callable[[], None]:
    """What every open page of an app does, without end."""

    def main() -> None:
        store = RunStore(workspace)
        while True:
            refresh_statuses(workspace, store)
            for run in store.list():
                store.points(run.id)
            time.sleep(0.05)

    return main


def remove(workspace: Workspace, store: RunStore, ids: list[str]) -> None:
    """Runs and the backbones they made, so that the next round may make them again."""
    for one in ids:
        store.delete(one)
        shutil.rmtree(workspace.backbones / f"b-{one.removeprefix('r-')}", ignore_errors=True)


def campaign(workspace: Workspace, kills: int, seed: int, name: str) -> dict[str, Any]:
    """Kills a worker this many times; raises AssertionError at the first thing lost, doubled or
    different."""
    # Whoever finds a dead worker's run would start a worker for those behind it; here that is the
    # campaign's part.
    launch.ensure_worker = worker_module.ensure_worker = lambda *_: None
    dice, store = random.Random(seed), RunStore(workspace)
    dataset = next(workspace.datasets.glob("d-*")).name
    backbone = next(card.id for card in list_backbones(workspace) if not card.bundled)
    arms = ROUNDS[name].arms
    train = TrainSettings(
        epochs=4, batch_size=64, early_stopping=0, plateau=3, seed=seed, device="cpu"
    )
    wanted = ROUNDS[name].wanted(dataset, backbone, train)
    ids = submit(store, wanted)
    began = time.monotonic()
    forked(worker(workspace, arms)).join()
    whole = time.monotonic() - began
    unbroken = [outcome(workspace, store, store.get(one)) for one in ids]
    remove(workspace, store, ids)

    counted: collections.Counter[str] = collections.Counter()
    ids, compared, tried = submit(store, wanted), 0, 0
    apps = [forked(app(workspace)) for _ in range(2)]
    places = (PLACES | MORE_PLACES.get(name, {})) if arms == 1 else {}
    kinds = [*places, ANY] if arms == 1 else [ANY, IN_ONE]
    while sum(counted[kind] for kind in kinds) < kills:
        tried += 1
        place = kinds[tried % len(kinds)]
        if place == "while caching the frozen prefix":
            for entry in workspace.cache.glob("prefix-*"):
                shutil.rmtree(entry)
        counted[place] += killed_once(
            workspace, place, places.get(place), arms, dice, whole / len(wanted)
        )
        if dice.random() < 0.2:
            killed(apps.pop(0))
            apps.append(forked(app(workspace)))
            counted["of an app"] += 1
        while store.count_by_status().get("running"):
            refresh_statuses(workspace, store)
        states = {run.id: run.status for run in every(store)}
        assert sorted(states) == sorted(ids), f"runs were lost or made: {states}"
        assert set(states.values()) <= {"queued", "interrupted", "done"}, states
        for one, status in states.items():
            if status in RESUMABLE_STATUSES:
                store.resume(one)
        if all(status == "done" for status in states.values()):
            compared += compare(workspace, store, ids, unbroken)
            ids = submit(store, wanted)
    forked(worker(workspace, arms)).join()
    compared += compare(workspace, store, ids, unbroken)
    for watcher in apps:
        killed(watcher)
    assert not (workspace.logs / "twice").exists(), "a run was executed twice at once"
    left = [path for path in workspace.root.rglob(".part-*") if path.exists()]
    assert not left, f"left after the last worker had started: {left}"
    return {
        "kills": dict(counted),
        "runs_compared": compared,
        "seconds": round(time.monotonic() - began),
    }


def killed_once(
    workspace: Workspace,
    name: str,
    place: Place | None,
    arms: int,
    dice: random.Random,
    run_seconds: float,
) -> bool:
    """A worker killed at a place, with a second one trying its luck beside it; False when it had
    ended before that."""
    hears, tell = os.pipe()
    call = dice.randint(1, place[2]) if place else 1
    process = forked(worker(workspace, arms, place, call, tell))
    os.close(tell)
    rival = forked(worker(workspace, arms)) if dice.random() < 0.1 else None
    if place is None:
        select.select([hears], [], [], dice.uniform(0, 1.5 * run_seconds * arms))
    else:
        # Ends at the byte, or when the worker has ended without entering the place.
        os.read(hears, 1)
        time.sleep(dice.uniform(0, SLOWEST_SECONDS))
    os.close(hears)
    alive = process.is_alive()
    if rival:
        # First, since it would take over the queue as soon as its lock is free.
        killed(rival)
    if name == IN_ONE:
        alive = kill_one_of(process, dice)
        process.join(0.5)
    children = (
        psutil.Process(process.pid).children(recursive=True)
        if arms > 1 and process.is_alive()
        else []
    )
    killed(process)
    left = psutil.wait_procs(children, timeout=30)[1]
    assert not left, f"processes have outlived their worker: {left}"
    return alive


def kill_one_of(process: multiprocessing.process.BaseProcess, dice: random.Random) -> bool:
    """Kills one of the processes that a worker has started; False where it has none."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if children := psutil.Process(process.pid).children(recursive=True):
            dice.choice(children).kill()
            return True
    return False


def killed(process: multiprocessing.process.BaseProcess) -> None:
    """Ends it by SIGKILL and waits until it is dead."""
    process.kill()
    process.join()


def compare(
    workspace: Workspace, store: RunStore, ids: list[str], unbroken: list[dict[str, Any]]
) -> int:
    """Compare every run with the uninterrupted one, remove them, and return how many there were."""
    for one, expected in zip(ids, unbroken, strict=True):
        require_same(
            outcome(workspace, store, store.get(one)), expected, f"{store.get(one).request}"
        )
        assert not (workspace.runs / one / "checkpoint.pt").exists()
    remove(workspace, store, ids)
    return len(ids)


if __name__ == "__main__":
    print(
        json.dumps(
            campaign(
                open_workspace(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
            )
        )
    )
