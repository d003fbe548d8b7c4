"""Commands killed by SIGKILL at a random moment, then given again: what they make is what the
unbroken ones make.

`python -m tests.faults.command_kills TEMPLATE KILLS SEED [COMMAND …]` prints one JSON object.
TEMPLATE is a workspace with the dataset tiny and a backbone that was pretrained on it; the commands
are all of COMMANDS unless some are named.
"""

import collections
import contextlib
import hashlib
import json
import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from core.data.datasets import list_datasets
from core.data.samples import list_samples, read_sample_rows
from core.data.simulate import simulate
from core.jobs.requests import FinetuneRequest, TrainSettings, request_to_json
from core.jobs.store import RunStore
from core.models.backbone import load_backbone
from core.models.backbone_store import list_backbones
from core.workspace import Workspace, open_workspace
from tests.faults.processes import Processes

COMMANDS = {
    "simulate": "simulate --rows 3000 --seed 5 --out {out}/simulated.tsv",
    "ingest": "ingest {rows} --name taken --min-count 5",
    "prepare": "prepare --sample tiny --name again --min-count 3",
    "prepare in place": "prepare --sample tiny --name tiny --min-count 5",
    "score": "score --run {run} --input {rows} --output {out}/scores.csv",
    "export": "export --run {run} --out {out}/exported",
    "report": "report --runs {run} --out {out}/report.html",
    "export-tracking": "export-tracking --run {run} --format mlflow --out {out}/tracking",
    "export-backbone": "export-backbone --backbone {backbone} --out {out}/backbone.zip",
    "import-backbone": "import-backbone {archive} --name brought",
    "verify": "verify --run {run}",
    "moved": "moved --run {run}",
    "evaluate": "evaluate --run {run}",
    "demo": "demo",
}
"""The words of each: {out} is a folder outside the workspace, {run} a run that is done."""
MAKES_FILES = ("simulate", "score", "export", "report", "export-tracking", "export-backbone")
AGES = re.compile(rb'"(created|seconds|modified|started|finished)": *("[^"]*"|[0-9.]+)')


class Stage:
    """A copy of the template with one run that is done, on which a command is given."""

    def __init__(self, folder: Path, template: Path, processes: Processes) -> None:
        self.processes = processes
        self.root, self.out = folder / "workspace", folder / "out"
        shutil.copytree(template, self.root)
        self.out.mkdir(exist_ok=True)
        self.workspace = Workspace(self.root)

    def start(self, words: list[str]) -> int:
        """Starts a command."""
        return self.processes.start("command", "--workspace", str(self.root), *words)

    def made(self, name: str) -> Any:
        """What a command has made, as far as it must be the same each time."""
        if name in MAKES_FILES:
            return {
                str(path.relative_to(self.out)): _content(path)
                for path in sorted(self.out.rglob("*"))
            }
        rows = {
            one.name: (one.rows, _hash(str(read_sample_rows(one).to_pydict()).encode()))
            for one in list_samples(self.workspace)
        }
        sets = {
            one.name: (one.rows, one.content_hash, one.preprocessing_hash)
            for one in list_datasets(self.workspace)
        }
        weights = {}
        for card in list_backbones(self.workspace):
            load_backbone(card)
            weights[card.name] = card.weights_sha256
        runs = sorted(
            (one.name, json.dumps(request_to_json(one.request), sort_keys=True))
            for one in RunStore(self.workspace).list()
        )
        # A group's id is drawn by chance.
        return (
            rows,
            sets,
            weights,
            [(one, re.sub(r'"group": "[^"]*"', "", request)) for one, request in runs],
        )


def _content(path: Path) -> str:
    if path.is_dir():
        return "folder"
    return _hash(AGES.sub(b"", path.read_bytes()))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def campaign(template: Path, kills: int, seed: int, names: list[str]) -> dict[str, Any]:
    """Kills each command in turn this many times in all; AssertionError at the first thing lost or
    different."""
    dice, began = random.Random(seed), time.monotonic()
    counted: collections.Counter[str] = collections.Counter()
    with (
        tempfile.TemporaryDirectory() as held,
        contextlib.closing(Processes(Path(held))) as processes,
    ):
        folder = Path(held)
        values, start = furnish(folder, template, processes)
        for name in names:
            words = [word.format(**values) for word in COMMANDS[name].split()]
            counted[name] = kill_command(
                name, words, start, folder, processes, dice, max(1, kills // len(names))
            )
    return {"kills": dict(counted), "seconds": round(time.monotonic() - began)}


def furnish(folder: Path, template: Path, processes: Processes) -> tuple[dict[str, str], Path]:
    """What the words of COMMANDS name, and a template with a run that is done."""
    start = folder / "start"
    shutil.copytree(template, start)
    workspace = open_workspace(start)
    backbone = next(card for card in list_backbones(workspace) if not card.bundled)
    train = TrainSettings(epochs=1, batch_size=256, early_stopping=0, plateau=0, device="cpu")
    request = FinetuneRequest(list_datasets(workspace)[0].id, backbone.id, "depth", 1, train=train)
    run = RunStore(workspace).submit(request, "done", "cpu")
    assert processes.wait(processes.start("worker", str(start), "0.1"), 300) == 0
    assert RunStore(workspace).get(run.id).status == "done", RunStore(workspace).get(run.id).message
    simulate(folder / "rows.tsv", 2000, "both", seed=9)
    archive = folder / "brought.zip"
    words = [
        "--workspace",
        str(start),
        "export-backbone",
        "--backbone",
        backbone.name,
        "--out",
        str(archive),
    ]
    assert processes.wait(processes.start("command", *words), 300) == 0
    values = {
        "run": run.id,
        "rows": str(folder / "rows.tsv"),
        "backbone": backbone.name,
        "archive": str(archive),
    }
    return values | {"out": str(folder / "stage" / "out")}, start


def kill_command(
    name: str,
    words: list[str],
    start: Path,
    folder: Path,
    processes: Processes,
    dice: random.Random,
    kills: int,
) -> int:
    """Kills one command `kills` times, each on a copy of its own; how often it was alive then."""
    stage = fresh(folder, start, processes)
    began = time.monotonic()
    assert processes.wait(stage.start(words), 600) == 0, (
        f"{name} failed: {(folder / 'log').read_text()[-1000:]}"
    )
    whole, unbroken = time.monotonic() - began, stage.made(name)
    alive = 0
    for _ in range(kills):
        stage = fresh(folder, start, processes)
        pid = stage.start(words)
        if processes.wait(pid, dice.uniform(0, whole)) is None:
            processes.kill(pid)
            alive += 1
        before = stage.made("lists")
        assert {"tiny"} <= set(before[0]) and {"tiny"} <= set(before[1]), (
            f"{name} killed: tiny is lost"
        )
        assert processes.wait(processes.start("worker", str(stage.root), "0.0"), 60) == 0
        assert not (left := leftovers(stage.root)), (
            f"{name} killed, then a worker started: {left} left"
        )
        # Killed after it had done all, a command may refuse to do it again.
        ended = stage.made(name) == unbroken
        again = processes.wait(stage.start(words), 600)
        assert again == 0 or (ended and again == 2), (
            f"{name} again: {(folder / 'log').read_text()[-1000:]}"
        )
        assert not (left := leftovers(stage.out)), f"{name} killed, then given again: {left} left"
        found = stage.made(name)
        assert found == unbroken, (
            f"{name} killed, then given again: {found!r:.600}, unbroken {unbroken!r:.600}"
        )
    return alive


def fresh(folder: Path, start: Path, processes: Processes) -> Stage:
    """A new stage in place of the last one."""
    shutil.rmtree(folder / "stage", ignore_errors=True)
    (folder / "stage").mkdir()
    return Stage(folder / "stage", start, processes)


def leftovers(folder: Path) -> list[str]:
    """What is half-written below a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".part-*")]


if __name__ == "__main__":
    kills_and_seed = int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(campaign(Path(sys.argv[1]), *kills_and_seed, sys.argv[4:] or [*COMMANDS])))
