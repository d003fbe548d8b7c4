"""The demo: a simulated dataset and five runs that tell the whole story. `python -m core.demo` makes the dataset."""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from core.access import require_writable
from core.data.datasets import Dataset, list_datasets, prepare
from core.data.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.errors import BadInput, ThawError
from core.models.card import BackboneCard
from core.models.library import list_backbones
from core.runs.store import Run, RunStore
from core.runs.submit import submit_finetune
from core.training.settings import FinetuneRequest, TrainSettings
from core.workspace import Workspace, open_workspace

ROWS = 60_000
SAMPLE = "Simulated Criteo"
DATASET = "Simulated demo"
ARCHITECTURE = "dcnv2"
GROUP = "demo"
TRAIN = TrainSettings(epochs=10, batch_size=512)
"""The dataset has some 10,000 target training rows: the default batch would make three steps of an epoch."""


def ensure_demo(workspace: Workspace, progress: Callable[[float], None] | None = None) -> Dataset:
    """The simulated dataset, made when absent: 60,000 rows of both domains, split by order. progress: 0..1."""
    report = progress or (lambda share: None)
    # Two tabs, or the page and `make app`, may ask at once: the second waits and finds it made.
    with FileLock(workspace.root / "demo.lock"):
        for dataset in list_datasets(workspace):
            if dataset.simulated and dataset.name == DATASET:
                return dataset
        with tempfile.TemporaryDirectory(dir=workspace.uploads, prefix=".part-") as folder:
            path = Path(folder) / "simulated_criteo.tsv.gz"
            simulate(path, ROWS, "both", 0, lambda share: report(0.4 * share))
            sample = ingest(workspace, path, SAMPLE, progress=lambda share: report(0.4 + 0.3 * share), simulated=True)
        return prepare(workspace, sample, SplitSpec(), DATASET, progress=lambda share: report(0.7 + 0.3 * share))


def demo_backbone(workspace: Workspace) -> BackboneCard:
    """The bundled DCNv2 backbone, pretrained on the simulated source domain."""
    for card in list_backbones(workspace):
        if card.bundled and card.architecture == ARCHITECTURE:
            return card
    raise BadInput("The bundled DCNv2 backbone is not in assets/backbones; restore that folder from the repository.")


def demo_requests(dataset: Dataset, card: BackboneCard) -> list[FinetuneRequest]:
    """Full fine-tuning, half frozen, all frozen, and the controls: the backbone as it is, and from scratch."""
    stages = len(card.stages)
    base = FinetuneRequest(dataset.id, card.id, train=TRAIN, group=GROUP)
    depths = [dataclasses.replace(base, freeze_depth=depth) for depth in (0, stages // 2, stages)]
    return depths + [dataclasses.replace(base, strategy=strategy) for strategy in ("zero-shot", "scratch")]


def demo_runs(store: RunStore) -> list[Run]:
    """The demo's runs that wait, run or are done, oldest first."""
    return [run for run in reversed(store.list()) if run.group == GROUP and (run.active or run.status == "done")]


def run_demo(workspace: Workspace, progress: Callable[[float], None] | None = None) -> list[Run]:
    """Makes the dataset and queues those of the five runs that neither wait, run nor are done; gives all five."""
    require_writable()
    dataset = ensure_demo(workspace, progress)
    card = demo_backbone(workspace)
    store = RunStore(workspace)
    with FileLock(workspace.root / "demo.lock"):
        there = {_key(run.request) for run in demo_runs(store)}
        for request in demo_requests(dataset, card):
            if _key(dataclasses.asdict(request)) not in there:
                submit_finetune(workspace, request)
    return demo_runs(store)


def _key(request: dict[str, object]) -> tuple[object, ...]:
    return tuple(request[name] for name in ("dataset", "backbone", "strategy", "freeze_depth"))


def main() -> int:
    """Makes the demo's dataset in the workspace and, with --run, queues its runs; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m core.demo", description=main.__doc__)
    parser.add_argument("--run", action="store_true", help="queue the five runs as well")
    options = parser.parse_args()
    try:
        dataset = ensure_demo(open_workspace())
        print(f"Dataset {dataset.name!r} is ready: {dataset.rows:,} simulated rows.")
        if options.run:
            runs = run_demo(open_workspace())
            print("\n".join(f"{run.id}  {run.status:<11}  {run.name}" for run in runs))
    except ThawError as error:
        print(f"thaw: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
