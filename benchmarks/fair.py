"""The fair comparison: every arm trained and tuned alike, against strong controls.

`python -m benchmarks.fair --page docs/results.md` runs the protocol and writes its section there;
without `--page` the section is printed and kept beside the results, in `--out`. `--rows` runs the
same protocol on any file of Criteo rows in order of time.

The first 60 % of the rows pretrain (the product's defaults), the next 20 % are the target that arms
adapt to, the last 20 % test. Every arm is a sweep of the API with the rate chosen on validation
rows. The work is cut into cells, each a process with one thread; a cell that fails is reported, and
the others go on. What is done after `--minutes` is what the page shows; a second call with the same
`--out` and `--work` does what is left, and `--render` makes the page again from the output folder.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.fair_cells import ARMS, BASE, PRETRAINING, Cell, Folders, run_cell
from benchmarks.fair_page import HEADING, render
from benchmarks.page_section import put_section
from core.freezing.strategies import STRATEGIES
from core.workspace import PROJECT

ROWS = PROJECT.parent / "shared" / "data" / "criteo_real_100k.tsv.gz"
NOT_ARMS = ("depth", "linear-probe", "full", "surgical")
"""Strategies that depths stand for, or that need names of stages."""
KEPT_STRATEGIES = tuple(
    name for name, one in STRATEGIES.items() if not one.control and name not in NOT_ARMS
)
CONTROLS = (
    ("retrain", "both"),
    ("gradient-boosting", "both"),
    ("gradient-boosting", "source"),
    ("gradient-boosting", "target"),
    ("logistic-regression", "both"),
    ("logistic-regression", "source"),
    ("logistic-regression", "target"),
    ("scratch", ""),
    ("zero-shot", ""),
)


def first_cells(architectures: Sequence[str], backbones: int) -> list[Cell]:
    """Preparation and pretraining, those first that arms begin with."""
    first = [Cell("pretrain", architecture, ARMS) for architecture in architectures]
    further = [
        Cell("pretrain", architecture, dataset, seed)
        for seed in range(backbones)
        for dataset in PRETRAINING
        for architecture in architectures
    ]
    return [Cell("prepare"), *first, *further]


def arm_cells(
    architecture: str, n_stages: int, sizes: Sequence[int], seeds: int, all_arms: bool
) -> Iterator[Cell]:
    """Every arm of a backbone, the largest size first, since it takes longest."""
    for size in sorted(sizes, key=lambda one: -(one or sys.maxsize)):
        cell = Cell("arm", architecture, ARMS, seeds, size)
        if all_arms:
            for strategy, rows in CONTROLS:
                yield dataclasses.replace(cell, strategy=strategy, rows=rows)
        depths = range(n_stages + 1) if all_arms else (0, n_stages)
        for depth in depths:
            yield dataclasses.replace(cell, strategy="depth", depth=depth, head="keep")
        for depth in (0, n_stages) if all_arms else ():
            probe = depth == n_stages and size == min(one or sys.maxsize for one in sizes)
            yield dataclasses.replace(
                cell, strategy="depth", depth=depth, head="new", probe_check=probe
            )
        for strategy in KEPT_STRATEGIES if all_arms else ():
            yield dataclasses.replace(cell, strategy=strategy, head="keep")


class Scheduler:
    """Runs cells in processes, as many at a time as there are jobs, until the time is up."""

    def __init__(self, options: argparse.Namespace, folders: Folders) -> None:
        self.options, self.folders = options, folders
        self.queue: list[Cell] = []
        self.running: dict[Cell, subprocess.Popen[bytes]] = {}
        self.failures: dict[str, str] = {}
        self.deadline = time.monotonic() + options.minutes * 60

    def run(self) -> None:
        """Run what is not done yet; what is left at the deadline is ended and reported."""
        self.queue = [
            one
            for one in first_cells(self.options.architectures, self.options.backbones)
            if not self._is_done(one)
        ]
        for architecture in self.options.architectures:
            if self._is_done(Cell("pretrain", architecture)):
                self._queue_arms(architecture)
        while (self.queue or self.running) and time.monotonic() < self.deadline:
            self._collect()
            for cell in [one for one in self.queue if self._is_ready(one)]:
                if len(self.running) < self.options.jobs:
                    self.queue.remove(cell)
                    self._start(cell)
            if not self.running and not any(map(self._is_ready, self.queue)):
                break
            time.sleep(0.2)
        for cell, process in self.running.items():
            process.kill()
            process.wait()
            self.failures[cell.name] = "ended by the time limit"
        for cell in self.queue:
            self.failures[cell.name] = "not started"

    def _is_done(self, cell: Cell) -> bool:
        """Whether an earlier call did it, and left what others need of it."""
        needed = {
            Cell("prepare"): self.folders.work / BASE,
            Cell("pretrain", cell.architecture): self.folders.backbone(cell.architecture),
        }
        return self.folders.result(cell).exists() and needed.get(cell, self.folders.work).exists()

    def _is_ready(self, cell: Cell) -> bool:
        if cell.kind == "prepare":
            return True
        if not self._is_done(Cell("prepare")):
            return False
        return cell.kind == "pretrain" or self.folders.backbone(cell.architecture).exists()

    def _start(self, cell: Cell) -> None:
        logs = self.folders.work / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.fair", "--rows", str(self.options.rows)]
        command += ["--out", str(self.folders.out), "--work", str(self.folders.work)]
        retrains = cell.strategy == "retrain" and self.options.retrain_device
        command += ["--device", retrains or self.options.device]
        command += ["--cell", json.dumps(dataclasses.asdict(cell))]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        with (logs / f"{cell.name}.txt").open("wb") as log:
            self.running[cell] = subprocess.Popen(
                command,
                cwd=PROJECT,
                env={**os.environ, **threads},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _collect(self) -> None:
        for cell, process in [*self.running.items()]:
            if process.poll() is None:
                continue
            del self.running[cell]
            if process.returncode or not self.folders.result(cell).exists():
                log = (self.folders.work / "logs" / f"{cell.name}.txt").read_text(errors="replace")
                self.failures[cell.name] = (log.strip().splitlines() or ["no output"])[-1][:300]
                print(f"FAILED {cell.name}: {self.failures[cell.name]}", flush=True)
                continue
            seconds = json.loads(self.folders.result(cell).read_text())["seconds"]
            print(f"{cell.name}: {seconds:.0f} s", flush=True)
            if cell.kind == "pretrain" and cell.dataset == ARMS:
                self._queue_arms(cell.architecture)
        failures = self.folders.out / "failures.json"
        failures.write_text(json.dumps(self.failures, indent=1))

    def _queue_arms(self, architecture: str) -> None:
        """Queue what begins with a backbone, before the pretraining of further seeds."""
        found = json.loads(self.folders.result(Cell("pretrain", architecture)).read_text())
        first = architecture == self.options.architectures[0]
        seeds = self.options.seeds
        cells = list(arm_cells(architecture, found["stages"], self.options.sizes, seeds, first))
        if first:
            cells = [Cell("boost", architecture, name, seeds) for name in PRETRAINING] + cells
        self.queue = [one for one in cells if not self._is_done(one)] + self.queue


def main() -> None:
    """Run the protocol, or render what a run of it left, and write the section."""
    options = parse_options()
    if options.cell:
        cell = Cell(**json.loads(options.cell))
        run_cell(cell, Folders(options.out, options.work), options.rows, options.device)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.render:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            scheduler = Scheduler(options, Folders(options.out, options.work or Path(folder)))
            scheduler.run()
            failures = json.dumps(scheduler.failures, indent=1)
            (options.out / "failures.json").write_text(failures)
    if options.no_page:
        return
    text = render(options.out)
    (options.out / "fair.md").write_text(f"## {HEADING}\n\n{text}\n")
    if options.page:
        put_section(options.page, HEADING, text)
    print(text)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--backbones", type=int, default=3, help="seeds of pretraining")
    parser.add_argument("--sizes", type=_numbers, default=(1000, 5000, 20000))
    parser.add_argument("--architectures", type=_names, default=("dcnv2", "dnn"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=600.0, help="end after this long")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="cpu")
    parser.add_argument(
        "--retrain-device",
        choices=("auto", "cuda", "cpu"),
        help="of the slowest arm, which trains on source and target rows at every rate",
    )
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "thaw-fair")
    parser.add_argument("--page", type=Path, help="Markdown page that gets the section")
    parser.add_argument("--render", action="store_true", help="only the page, from --out")
    parser.add_argument("--no-page", action="store_true", help="only the runs; render later")
    parser.add_argument("--cell", default="", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help="folder of workspaces; temporary if not given")
    options = parser.parse_args()
    options.rows, options.out = options.rows.absolute(), options.out.absolute()
    options.work = options.work and options.work.absolute()
    return options


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


if __name__ == "__main__":
    main()
