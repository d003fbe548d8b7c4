"""The demo: a simulated dataset and one sweep over freeze depths with its controls.

`python -m core.demo` prepares the dataset.
"""

import secrets
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from core.data.datasets import Dataset, list_datasets, prepare
from core.data.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.errors import BadInput
from core.models.card import BackboneCard
from core.models.library import list_backbones
from core.runs.store import Run
from core.runs.submit import CONTROLS, submit_finetune
from core.training.settings import FinetuneRequest
from core.workspace import Workspace, open_workspace

SAMPLE_NAME = "Simulated Criteo"
DATASET_NAME = "Simulated demo"
ROWS = 100_000
SEED = 0
ARCHITECTURE = "dcnv2"


def find_demo(workspace: Workspace) -> Dataset | None:
    """The demo's dataset, or None before `ensure_demo` has made it."""
    made = (dataset for dataset in list_datasets(workspace) if dataset.name == DATASET_NAME and dataset.simulated)
    return next(made, None)


def ensure_demo(workspace: Workspace, progress: Callable[[float], None] | None = None, rows: int = ROWS) -> Dataset:
    """The demo's dataset: `rows` simulated rows of both domains under the default split; made when absent.

    progress: called with 0..1. Seconds when absent, milliseconds when there.
    """
    if dataset := find_demo(workspace):
        return dataset
    report = progress or (lambda share: None)
    with tempfile.TemporaryDirectory(dir=workspace.uploads) as folder:
        path = Path(folder) / f"simulated-both-{rows}-seed-{SEED}.tsv.gz"
        simulate(path, rows, "both", SEED, lambda share: report(0.5 * share))
        sample = ingest(workspace, path, SAMPLE_NAME, progress=lambda share: report(0.5 + 0.25 * share), simulated=True)
    return prepare(workspace, sample, SplitSpec(), DATASET_NAME, progress=lambda share: report(0.75 + 0.25 * share))


def demo_backbone(workspace: Workspace) -> BackboneCard:
    """The bundled backbone the demo fine-tunes; BadInput when it is not installed."""
    for card in list_backbones(workspace):
        if card.bundled and card.architecture == ARCHITECTURE:
            return card
    raise BadInput(
        "The bundled DCNv2 backbone is not in assets/backbones/, so the demo has nothing to fine-tune; "
        "run `python -m assets.build_backbones`, or pretrain a backbone of your own."
    )


def launch_demo(workspace: Workspace) -> list[Run]:
    """Queues the demo's runs as one group: nothing, half and all of the backbone frozen, and both controls.

    The first run is full fine-tuning. BadInput when the bundled backbone is absent.
    """
    card = demo_backbone(workspace)
    dataset = ensure_demo(workspace)
    group = f"g-{secrets.token_hex(4)}"
    stages = len(card.stages)
    runs: list[Run] = []
    for depth in sorted({0, (stages + 1) // 2, stages}):
        request = FinetuneRequest(dataset.id, card.id, "depth", depth, group=group)
        runs += submit_finetune(workspace, request, CONTROLS if depth == 0 else ())
    return runs


def main() -> None:
    """Prepares the demo in the workspace, showing progress on a terminal."""

    def show(share: float) -> None:
        if sys.stderr.isatty():
            print(f"\rPreparing the simulated demo: {share:4.0%}", end="", file=sys.stderr, flush=True)

    workspace = open_workspace()
    there = find_demo(workspace)
    dataset = ensure_demo(workspace, show)
    if not there and sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"{dataset.name!r} is ready: {dataset.rows:,} simulated rows in {workspace.root}.")


if __name__ == "__main__":
    main()
