"""A reporter that keeps everything in lists, and a small backbone to fine-tune."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from core.data.datasets import Dataset, select_test_rows, select_training_rows
from core.inference.score_file import score_file
from core.jobs.reporter import Decision, Point
from core.jobs.requests import PretrainRequest, Request, TrainSettings
from core.jobs.store import Run, RunStore
from core.models.card import BackboneCard, load_card
from core.models.registry import ARCHITECTURES
from core.runs.dispatch import execute
from core.training.batches import RowTensors
from core.training.training_rows import load_rows
from core.workspace import Workspace
from tests.core.models.references import SMALL

QUICK = TrainSettings(
    epochs=2, batch_size=256, learning_rate=3e-3, early_stopping=0, plateau=0, device="cpu"
)


class ListReporter:
    """Keeps points; asks to stop at optimiser step `stop_at`."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.rows: list[Point] = []
        self.phases: list[str] = []
        self.stop_at = stop_at
        self.asked = 0

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def progress(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        assert 1 <= epoch <= epochs and step <= steps

    def points(self, rows: Sequence[Point]) -> None:
        self.rows += rows

    def rewind(self, step: int) -> None:
        self.rows = [row for row in self.rows if row[0] <= step]

    def rung(self, epoch: int) -> Decision:
        return "continue"

    def should_stop(self) -> bool:
        self.asked += 1
        return self.stop_at is not None and self.asked > self.stop_at


def run_request(
    workspace: Workspace, request: Request, reporter: ListReporter | None = None
) -> Run:
    """Run a request in this process and return the finished run."""
    store = RunStore(workspace)
    run = store.submit(request, "test", "cpu")
    store.claim("cpu", 1)
    store.finish(run.id, "done", result=execute(workspace, run, reporter or ListReporter()))
    return store.get(run.id)


def pretrained(
    workspace: Workspace, architecture: str, train: TrainSettings = QUICK
) -> BackboneCard:
    """A small backbone with BatchNorm and dropout, pretrained on the source rows of the dataset
    tiny."""
    dataset = next(workspace.datasets.glob("d-*")).name
    settings = {
        name: value for name, value in SMALL.items() if name in ARCHITECTURES[architecture].defaults
    }
    run = run_request(
        workspace, PretrainRequest(dataset, architecture, f"small {architecture}", train, settings)
    )
    assert run.result is not None
    return load_card(workspace.backbones / run.result.backbone)


CPU = torch.device("cpu")


def target_rows(
    workspace: Workspace, dataset: Dataset, preprocessing: Path
) -> tuple[RowTensors, RowTensors]:
    table = load_rows(workspace, dataset, preprocessing, ("target_train", "target_validation"))
    train, validation = select_training_rows(dataset, "target", None)
    return table.take(train, CPU), table.take(validation, CPU)


def load_predictions(workspace: Workspace, run: Run) -> dict[str, np.ndarray]:
    with np.load(workspace.runs / run.id / "predictions.npz") as arrays:
        return dict(arrays)


def check_scored_file(
    workspace: Workspace, dataset: Dataset, run_id: str, folder: Path, scores: np.ndarray
) -> None:
    """A file of the rows gets the scores that the run stored."""
    sample = next(workspace.samples.glob("s-*"))
    score_file(
        workspace,
        RunStore(workspace).get(run_id),
        next(sample.glob("rows.*")),
        folder / "scores.csv",
    )
    scored = pd.read_csv(folder / "scores.csv")["score"].to_numpy()
    found = scored[np.sort(select_test_rows(dataset, "target"))]
    assert found == pytest.approx(scores, abs=1e-5)
