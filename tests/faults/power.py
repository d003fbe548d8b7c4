"""Work on a recorded disk, and what must be there whenever its power is cut: nothing listed that is
not whole, nothing lost that was said to be done, and all the rest to be done again.

`python -m tests.faults.power FOLDER CUTS SEED PAUSE STEPS` prints one JSON object. FOLDER: empty.
PAUSE: seconds between two pieces of work; the file system commits names every second, so that more
than one lets names reach the disk that were given too early. STEPS: how many of `steps`, the first
ones. Only root may mount.
"""

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from core.data.datasets import find_dataset, list_datasets
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.samples import delete_sample, find_sample, list_samples, read_sample_rows
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.errors import BadInput
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.models.backbone_store import find_backbone, list_backbones
from core.runs import artifacts, launch
from core.runs.renaming import rename_run
from core.runs.worker import execute_run, run_worker
from core.workspace import BUNDLED_BACKBONES, Workspace, open_workspace, remove_leftovers
from tests.faults.recorded_disk import RecordedDisk, mounted, recorded_disk

State = dict[str, str]
"""Everything that is listed, by kind and name, and a digest of what it holds."""
TRAIN = TrainSettings(epochs=2, batch_size=256, early_stopping=0, plateau=0, device="cpu")
ROWS = 2000
REDONE = 10
"""One of this many cuts is followed by doing all of the work again."""


@dataclass(frozen=True)
class Mark:
    """step: what was said to be done. place: how much the disk had been asked to write by then.
    state: then."""

    step: str
    place: int
    state: State


def files_made(folder: Path) -> None:
    """What the work takes in: two files of rows and a backbone."""
    for seed in (1, 2):
        simulate(folder / f"{seed}.tsv", ROWS, "both", seed)
    shutil.copytree(next(BUNDLED_BACKBONES.glob("*dnn*")), folder / "backbone")


def steps(workspace: Workspace, files: Path) -> dict[str, Callable[[], object]]:
    """Pieces of work, each of which is done when its call returns, and can be done again."""
    store = RunStore(workspace)

    def sample(name: str) -> None:
        ingest(workspace, files / f"{name}.tsv", name, simulated=True)

    def dataset(name: str, of: str) -> None:
        prepare(workspace, find_sample(workspace, of), SplitSpec(), name)

    def imported() -> None:
        # These take torch, which takes seconds to import.
        from core.models.backbone_import import import_backbone

        if "taken in" not in {card.name for card in list_backbones(workspace)}:
            import_backbone(workspace, files / "backbone", "taken in")

    def submitted() -> None:
        if not _run(store):
            backbone, rows = (
                find_backbone(workspace, "taken in").id,
                find_dataset(workspace, "one").id,
            )
            store.submit(FinetuneRequest(rows, backbone, "depth", 2, train=TRAIN), "a run", "cpu")

    def trained() -> None:
        # As who looks at the run does: no worker is alive.
        store.interrupt_stale("cpu")
        run = _run(store)
        assert run is not None
        if run.status in RESUMABLE_STATUSES:
            store.resume(run.id)
        run_worker(workspace, "cpu", execute_run, idle_timeout=0.1)
        run = _run(store)
        assert run is not None and run.status == "done", run

    def scored() -> None:
        run = _run(store)
        assert run is not None
        artifacts.score_and_store(workspace, run.id, files / "2.tsv", "2.tsv", "reject")

    def exported() -> None:
        run = _run(store)
        assert run is not None
        artifacts.export_and_store(workspace, run.id)

    def written() -> None:
        simulate(workspace.root.parent / "out.tsv", ROWS, "both", 3)

    def renamed() -> None:
        run = _run(store)
        assert run is not None
        rename_run(workspace, run.id, "a run, renamed")

    def deleted(name: str) -> None:
        if name in {one.name for one in list_samples(workspace)}:
            delete_sample(find_sample(workspace, name))

    return {
        "ingest": lambda: sample("1"),
        "prepare": lambda: dataset("one", "1"),
        "prepare again": lambda: dataset("one", "1"),
        "ingest another": lambda: sample("2"),
        "delete a sample": lambda: deleted("2"),
        "write an output": written,
        "ingest it again": lambda: sample("2"),
        "prepare another": lambda: dataset("two", "2"),
        "import a backbone": imported,
        "submit a run": submitted,
        "train": trained,
        "score": scored,
        "export": exported,
        "rename the run": renamed,
    }


def _run(store: RunStore) -> Run | None:
    return next((run for run in store.list() if run.name.startswith("a run")), None)


def state_of(workspace: Workspace) -> State:
    """What is listed; ids that chance makes up are left out."""
    found: State = {}
    for sample in list_samples(workspace):
        # By values: the bytes of the same rows differ where Arrow leaves gaps.
        rows = repr(read_sample_rows(sample).to_pydict()).encode()
        found[f"sample {sample.name}"] = hashlib.sha256(rows).hexdigest()[:16]
    for dataset in list_datasets(workspace):
        arrays = ("parts.npy", "order.npy", "labels.npy", "preprocessing/*")
        found[f"dataset {dataset.name}"] = digest(dataset.folder, *arrays)
        for folder in dataset.folder.glob("encoded-*"):
            found[f"{folder.name} of {dataset.name}"] = digest(folder, "*")
    for card in list_backbones(workspace):
        if not card.bundled:
            found[f"backbone {card.name}"] = digest(
                card.folder, "model.safetensors", "preprocessing/*"
            )
    if workspace.database.exists():
        for run in RunStore(workspace).list():
            found[f"run {run.name}"] = "queued"
            if run.status == "done":
                found[f"run {run.name}"] = digest(
                    workspace.runs / run.id, "predictions.npz", "model/model.safetensors"
                )
            for one in artifacts.list_scorings(workspace, run.id):
                found[f"scoring of {run.name}"] = digest(one.folder, "predictions.csv")
            if export := artifacts.find_artifact(workspace, run.id, artifacts.EXPORT):
                found[f"export of {run.name}"] = digest(export.folder, "*.zip")
    if (output := workspace.root.parent / "out.tsv").exists():
        found["output"] = digest(output.parent, output.name)
    return found


def digest(folder: Path, *patterns: str) -> str:
    """Of the bytes of these files, by their names."""
    found = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:16]


def in_this_process() -> None:
    """Has scores and exports made by this process, not by one that takes seconds to import torch;
    starts no worker."""

    def score(
        workspace: Workspace, run_id: str, source: Path, target: Path, *_: object
    ) -> dict[str, Any]:
        from core.inference.score_file import score_file

        return score_file(workspace, RunStore(workspace).get(run_id), source, target)

    def export_run(workspace: Workspace, run_id: str, target: Path) -> dict[str, Any]:
        from core.inference.export import export_model

        return export_model(workspace, RunStore(workspace).get(run_id), target)

    artifacts.score_in_subprocess, artifacts.export_in_subprocess = score, export_run  # type: ignore[assignment]
    launch.ensure_worker = lambda *_: None


def do_all(root: Path, files: Path, pause: float, most: int, tell: Connection) -> None:
    """Do the first steps on the disk of `root`; report each and, once received, what is there."""
    in_this_process()
    workspace = open_workspace(root)
    for step, do in [*steps(workspace, files).items()][:most]:
        do()
        tell.send(step)
        tell.recv()
        tell.send(state_of(workspace))
        time.sleep(pause)
    tell.send("")


def record(disk: RecordedDisk, files: Path, pause: float, most: int) -> list[Mark]:
    """Does all of the work on the disk; what was said, and when."""
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(
        target=do_all, args=(disk.folder / "workspace", files, pause, most, theirs)
    )
    worker.start()
    theirs.close()
    marks = [Mark("", 0, {})]
    while step := ours.recv():
        place = disk.written()
        ours.send(None)
        marks.append(Mark(step, place, ours.recv()))
    worker.join()
    return marks


def check(root: Path, marks: list[Mark], place: int) -> str:
    """What is wrong with what is left of the workspace when the power went at that place; "" for
    nothing."""
    before = [mark for mark in marks if mark.place <= place][-1]
    after = marks[min(marks.index(before) + 1, len(marks) - 1)]
    known = {(what, held) for mark in marks for what, held in mark.state.items()}
    try:
        workspace = open_workspace(root)
        remove_leftovers(workspace)
        found = state_of(workspace)
    except BadInput as error:
        return f"after {before.step!r}: {error}"
    wrong = [
        f"{what} is listed and not whole"
        for what, held in found.items()
        if (what, held) not in known
    ]
    for what, held in before.state.items():
        if found.get(what) not in (held, after.state.get(what)):
            wrong.append(f"{what} was there and is {'other' if what in found else 'gone'}")
    for what in found:
        if what not in before.state and what not in after.state and not what.startswith("run"):
            wrong.append(f"{what} came back")
    left = [str(path.relative_to(root)) for path in root.rglob(".part-*")]
    wrong += [f"{one} was left" for one in left]
    return f"after {before.step!r}: {'; '.join(wrong)}" if wrong else ""


def redo(root: Path, files: Path, marks: list[Mark]) -> str:
    """Does all of the work on what a cut has left; what came out other than it did the first
    time."""
    in_this_process()
    workspace = open_workspace(root)
    for step, do in [*steps(workspace, files).items()][: len(marks) - 1]:
        try:
            do()
        except Exception as error:
            return f"{step!r} cannot be done again: {type(error).__name__}: {error}"
    # An export holds the id of its run, and rows are encoded when someone asks for them.
    found, first = (
        {
            what: "" if what.startswith("export") else held
            for what, held in state.items()
            if "encoded-" not in what
        }
        for state in (state_of(workspace), marks[-1].state)
    )
    return "" if found == first else f"done again, it is {found} and not {first}"


def checked_apart(look: Callable[..., str], *given: Any) -> str:
    """What `look` says, from a fork, which cannot keep the disk in use."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=lambda: theirs.send(look(*given)))
    process.start()
    theirs.close()
    try:
        return str(ours.recv())
    except EOFError:
        return "the look at it died"
    finally:
        process.join()


def chosen(disk: RecordedDisk, marks: list[Mark], cuts: int, dice: random.Random) -> list[int]:
    """Places to cut at: as many behind something that was said as anywhere, where there are so
    many."""
    said = [mark.place for mark in marks[1:]]
    places = [*said, *dice.choices(disk.places(), k=max(0, cuts - len(said)))]
    return sorted(dice.sample(places, cuts))


def campaign(folder: Path, cuts: int, seed: int, pause: float, most: int) -> dict[str, Any]:
    """Records the work once and cuts the power so often; what was found."""
    dice = random.Random(seed)
    files_made(folder)
    began = time.monotonic()
    with recorded_disk(folder / "disk") as disk:
        marks = record(disk, folder, pause, most)
    recorded = time.monotonic() - began
    wrong: list[str] = []
    redone = 0
    for number, place in enumerate(chosen(disk, marks, cuts, dice)):
        # Half of the disks lose some of what they had in their own cache.
        disk.cut_at(place, folder / "cut", random.Random(seed + number) if number % 2 else None)
        with mounted(folder / "cut", folder / "after"):
            root = folder / "after" / "workspace"
            if not root.exists():
                found = "the workspace is gone" if marks[1].place <= place else ""
            else:
                found = checked_apart(check, root, marks, place)
                if not found and number % REDONE == 0:
                    redone += 1
                    found = checked_apart(redo, root, folder, marks)
        if found:
            wrong.append(f"{place} of {disk.written()}: {found}")
    return {
        "cuts": cuts,
        "wrong": wrong,
        "redone": redone,
        "steps": [mark.step for mark in marks[1:]],
        "writes": len(disk.places()),
        "megabytes": round(disk.written() / 1e6, 1),
        "recorded": round(recorded, 1),
        "seconds": round(time.monotonic() - began),
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    where, number, start, rest, first = sys.argv[1:6]
    print(json.dumps(campaign(Path(where), int(number), int(start), float(rest), int(first))))
