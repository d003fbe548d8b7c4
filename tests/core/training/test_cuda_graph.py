"""Training by replayed passes and from rows in main memory, against plain training: every
strategy's kind of plan."""

import dataclasses
import warnings
from pathlib import Path

import pytest
import torch

from core.data.datasets import Dataset
from core.freezing.plan import make_plan
from core.models.backbone import load_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.network import Network
from core.training import loop
from core.training.batches import RowTensors
from core.training.cuda_graph import CudaGraphStep
from core.training.loop import CancelledError, fit
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, ListReporter, pretrained, target_rows

Setup = tuple[BackboneCard, RowTensors, RowTensors]
SETTINGS = dataclasses.replace(QUICK, epochs=3, batch_size=100, ema=True, validations_per_epoch=2)


@pytest.fixture
def setup(tiny: tuple[Workspace, Dataset]) -> Setup:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    return card, *target_rows(workspace, dataset, card.folder / "preprocessing")


def trained(
    setup: Setup,
    strategy: str,
    path: Path,
    device: str = "cpu",
    stop_at: int | None = None,
    resident: bool = True,
) -> tuple[Network, ListReporter]:
    card, *parts = setup
    torch.manual_seed(0)
    network = load_backbone(card)
    network.replace_head(HeadSettings())
    network.to(device)
    options = {"probe_epochs": 1} if strategy == "lp-ft" else {}
    plan = make_plan(card, strategy, 1, HeadSettings(), options)
    where = device if resident else "cpu"
    train, validation = (
        RowTensors(
            tuple(one.to(where) for one in part.state), part.labels.to(where), resident=resident
        )
        for part in parts
    )
    reporter = ListReporter(stop_at)
    fit(network, plan, train, validation, SETTINGS, reporter, path)
    return network, reporter


def assert_same(
    one: tuple[Network, ListReporter], other: tuple[Network, ListReporter], within: float
) -> None:
    for a, b in zip(one[0].state_dict().values(), other[0].state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=within)
    points = [[row for row in result[1].rows if row[1] != "seconds"] for result in (one, other)]
    assert [row[:2] for row in points[0]] == [row[:2] for row in points[1]]
    assert [row[2] for row in points[0]] == pytest.approx([row[2] for row in points[1]], abs=within)


@pytest.mark.parametrize("strategy", ["depth", "lp-ft", "gradual", "autofreeze", "l2-sp", "lora"])
def test_replayed_passes_train_as_plain_ones_do(
    setup: Setup, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout and BatchNorm are in the backbone; a last batch is smaller than the others."""
    assert len(setup[1]) % SETTINGS.batch_size
    plain = trained(setup, strategy, tmp_path / "plain.pt")
    replayed: list[int] = []
    call = CudaGraphStep.__call__

    def counted(self: CudaGraphStep, rows: RowTensors, batch: torch.Tensor) -> torch.Tensor:
        replayed.append(len(batch))
        return call(self, rows, batch)

    monkeypatch.setattr(CudaGraphStep, "__call__", counted)
    monkeypatch.setattr(loop, "GRAPH_DEVICES", ("cpu",))
    assert_same(plain, trained(setup, strategy, tmp_path / "replayed.pt"), 0.0)
    assert len(replayed) == SETTINGS.epochs * (len(setup[1]) // SETTINGS.batch_size)

    with pytest.raises(CancelledError):
        trained(setup, strategy, tmp_path / "broken.pt", stop_at=len(replayed) // 2)
    resumed = trained(setup, strategy, tmp_path / "broken.pt")
    assert_same((plain[0], ListReporter()), (resumed[0], ListReporter()), 0.0)


@pytest.mark.parametrize("strategy", ["depth", "auto-rgn"])
def test_rows_in_main_memory_train_as_resident_ones_do(
    setup: Setup, strategy: str, tmp_path: Path
) -> None:
    resident = trained(setup, strategy, tmp_path / "resident.pt")
    assert_same(resident, trained(setup, strategy, tmp_path / "away.pt", resident=False), 0.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("strategy", ["depth", "lp-ft", "gradual", "autofreeze", "l2-sp", "lora"])
def test_a_gpu_replays_every_pass_with_the_same_result(
    setup: Setup, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorded = trained(setup, strategy, tmp_path / "recorded.pt", "cuda")
        away = trained(setup, strategy, tmp_path / "away.pt", "cuda", resident=False)
    monkeypatch.setattr(loop, "GRAPH_DEVICES", ())
    plain = trained(setup, strategy, tmp_path / "plain.pt", "cuda")
    assert_same(plain, recorded, 1e-3)
    assert_same(plain, away, 1e-3)
