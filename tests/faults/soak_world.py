"""The environment of a soak test: a workspace on a small disk, its processes, and the results of
uninterrupted runs."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.data.datasets import find_dataset
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.requests import FinetuneRequest, PretrainRequest, Request, TrainSettings
from core.jobs.store import RunStore
from core.models.backbone_store import list_backbones
from core.workspace import open_workspace
from tests.core.models.references import SMALL
from tests.faults.outcomes import outcome
from tests.faults.processes import Processes

ROWS = 300
DISK_MEGABYTES = 192
STRATEGIES = {
    "frozen 0": ("depth", 0),
    "frozen 1": ("depth", 1),
    "frozen 2": ("depth", 2),
    "linear probe": ("linear-probe", 0),
    "gradual": ("gradual", 0),
    "LoRA": ("lora", 0),
    "L2-SP": ("l2-sp", 0),
    "AutoFreeze": ("autofreeze", 0),
    "scratch": ("scratch", 0),
    "zero-shot": ("zero-shot", 0),
}
SEEDS = (0, 1)
Key = tuple[str, int]
"""A name in STRATEGIES and a seed: what decides a run's numbers."""


@dataclass(frozen=True)
class Template:
    """A workspace with one dataset, one backbone and no runs; what each kind of run comes to when
    nothing happens."""

    root: Path
    dataset: str
    backbone: str
    unbroken: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def request(self, key: Key) -> Request:
        """The run of that key: some 0.03 s, its epochs of eight steps."""
        name, seed = key
        strategy, depth = STRATEGIES[name]
        epochs = 4 if strategy == "gradual" else 2
        train = TrainSettings(
            epochs=epochs, batch_size=8, early_stopping=0, plateau=0, seed=seed, device="cpu"
        )
        return FinetuneRequest(self.dataset, self.backbone, strategy, depth, train=train)


def make_template(folder: Path, processes: Processes) -> Template:
    """Makes it at `folder`/template; every key is run there once, by a worker that nothing
    befalls."""

    def work_off() -> None:
        assert processes.wait(processes.start("worker", str(workspace.root), "0.1"), 300) == 0

    workspace = open_workspace(folder / "template")
    rows = workspace.uploads / "tiny.tsv"
    simulate(rows, ROWS, "both", seed=3)
    dataset = prepare(
        workspace, ingest(workspace, rows, "tiny", simulated=True), SplitSpec(), "tiny", min_count=5
    )
    store = RunStore(workspace)
    settings = {name: SMALL[name] for name in ("embedding", "widths", "dropout", "batch_norm")}
    train = TrainSettings(epochs=1, batch_size=64, early_stopping=0, plateau=0, device="cpu")
    store.submit(PretrainRequest(dataset.id, "dnn", "small", train, settings), "small", "cpu")
    work_off()
    backbone = next(card.id for card in list_backbones(workspace) if not card.bundled)
    template = Template(workspace.root, dataset.id, backbone)
    keys = [(name, seed) for name in STRATEGIES for seed in SEEDS]
    ids = [
        run.id
        for run in store.submit_all([(template.request(key), "unbroken") for key in keys], "cpu")
    ]
    work_off()
    template.unbroken.update(
        {key: outcome(workspace, store, store.get(one)) for key, one in zip(keys, ids, strict=True)}
    )
    for run in store.list():
        store.delete(run.id)
    for entry in [*workspace.cache.iterdir(), *workspace.root.glob("*.lock")]:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    assert find_dataset(workspace, "tiny").id == dataset.id
    return template


class World:
    """One workspace that is killed, filled up, put to sleep and swapped. No rule of what must hold:
    see soak.py."""

    def __init__(self, folder: Path, template: Template) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        self.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(self.disk)]
        self.has_disk = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self.root = self.disk / "workspace"
        self.uploads = folder / "uploads"
        self.uploads.mkdir()
        shutil.copytree(template.root, self.root)
        self.workspace = open_workspace(self.root)
        self.store = RunStore(self.workspace)

    def fill(self, left: int) -> None:
        """Fills the disk up to `left` bytes."""
        with (self.disk / "ballast").open("wb") as stream, contextlib.suppress(OSError):
            os.posix_fallocate(stream.fileno(), 0, max(1, shutil.disk_usage(self.disk).free - left))

    def free(self) -> None:
        """Makes room again."""
        (self.disk / "ballast").unlink(missing_ok=True)

    def may_be_written(self) -> bool:
        """Whether no process is within a transaction of the store."""
        with contextlib.closing(sqlite3.connect(self.workspace.database, timeout=0)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                return "locked" not in str(error)
            return True

    def copy(self, name: str) -> Path:
        """A copy of the workspace beside it."""
        return Path(shutil.copytree(self.root, self.disk / name))

    def rows_file(self, number: int) -> Path:
        """A file of rows that no other number has."""
        path = self.uploads / f"rows{number}.tsv"
        if not path.exists():
            simulate(path, ROWS, "both", seed=100 + number)
        return path

    def files(self) -> list[str]:
        """Everything below the workspace, relative to it."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))

    def close(self) -> None:
        """Takes the disk away."""
        if self.has_disk:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
