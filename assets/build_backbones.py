"""Rebuilds the bundled backbones from seeds: `python -m assets.build_backbones`.

Simulates rows, prepares them as any user's file, pretrains each architecture on the source rows
with the app's own code and the settings that it recommends for their number, and puts the result in
assets/backbones/. One thing differs from what `pretrain` would choose: target statistics are those
of single fields, not of pairs of fields as well. Tables of pairs would make the bundled files
several times as large, in every clone and every wheel, for a gain that simulated rows have no use
for.

It depends on its seeds alone on one thread: run it with OMP_NUM_THREADS=1.
"""

import argparse
import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from core.data.datasets import Dataset
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.reporter import Decision, Point
from core.jobs.requests import PretrainRequest, TrainSettings
from core.jobs.store import RunStore
from core.models.card import BackboneCard, load_card, save_card
from core.models.recommended_settings import choose_settings, pretraining_rows
from core.models.registry import ARCHITECTURES
from core.runs.dispatch import execute
from core.training.default_settings import default_settings
from core.workspace import BUNDLED_BACKBONES, Workspace, open_workspace

ROWS = 300_000
MIN_COUNT = 10
SEED = 1
STATISTICS = "fields"


class PrintReporter:
    """Prints validation results."""

    def phase(self, name: str) -> None:
        """See core.jobs.reporter.Reporter."""
        print(name, flush=True)

    def progress(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """See core.jobs.reporter.Reporter."""

    def points(self, rows: Sequence[Point]) -> None:
        """See core.jobs.reporter.Reporter."""
        for step, name, value in rows:
            if name == "validation_auc":
                print(f"  step {step}: validation AUC {value:.4f}", flush=True)

    def rewind(self, step: int) -> None:
        """See core.jobs.reporter.Reporter."""

    def rung(self, epoch: int) -> Decision:
        """See core.jobs.reporter.Reporter."""
        return "continue"

    def should_stop(self) -> bool:
        """See core.jobs.reporter.Reporter."""
        return False


def prepare_rows(workspace: Workspace, rows: int, seed: int) -> Dataset:
    """The simulated dataset that the bundled backbones are pretrained on."""
    path = workspace.uploads / "simulated.tsv.gz"
    simulate(path, rows, "both", seed)
    sample = ingest(workspace, path, f"Simulated, {rows:,} rows, seed {seed}", simulated=True)
    return prepare(workspace, sample, SplitSpec(), sample.name, MIN_COUNT)


def recommended_training(dataset: Dataset) -> TrainSettings:
    """Return the default settings of pretraining on the dataset's clicks, on the CPU."""
    _, train = default_settings(pretraining_rows(dataset), "supervised")
    return dataclasses.replace(train, seed=SEED, device="cpu")


def build(
    workspace: Workspace, dataset: Dataset, architecture: str, train: TrainSettings
) -> BackboneCard:
    """Pretrain `architecture` on the dataset's source rows in this process.

    Returns:
        The card of the backbone, which is stored in the workspace.
    """
    name = f"Simulated {ARCHITECTURES[architecture].title}"
    settings = choose_settings(architecture, {}, pretraining_rows(dataset))
    request = PretrainRequest(
        dataset.id, architecture, name, train, settings, statistics=STATISTICS
    )
    store = RunStore(workspace)
    run = store.submit(request, name, "cpu")
    result = execute(workspace, run, PrintReporter())
    return load_card(workspace.backbones / result.backbone)


def bundle(card: BackboneCard, target: Path) -> None:
    """Copies a backbone into the project under a fixed id."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(card.folder, target)
    save_card(dataclasses.replace(card, id=target.name, bundled=True), target)


def main() -> None:
    """Rebuilds every bundled backbone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--out", type=Path, default=BUNDLED_BACKBONES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = open_workspace(folder)
        dataset = prepare_rows(workspace, options.rows, SEED)
        for architecture in ("dnn", "deepfm", "dcnv2", "finalmlp", "resnet"):
            print(architecture, flush=True)
            bundle(
                build(workspace, dataset, architecture, recommended_training(dataset)),
                options.out / f"simulated-{architecture}",
            )


if __name__ == "__main__":
    main()
