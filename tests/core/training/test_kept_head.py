"""A run that keeps the backbone's head starts as the backbone and never ends below it."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from sklearn.metrics import log_loss

from core.data.datasets import Dataset, find_dataset
from core.inference.run_model import load_model_card
from core.jobs.requests import FinetuneRequest
from core.jobs.run_result import MetricsByPart
from core.models.backbone import load_backbone
from core.models.card import HeadSettings
from core.training.losses import predict
from core.training.training_rows import load_rows
from core.workspace import Workspace, open_workspace
from tests.core.training.helpers import (
    QUICK,
    ListReporter,
    pretrained,
    run_request,
    target_rows,
)
from tests.core.training.strategy_setup import TRAINING, StrategySetup


def validation_loss(metrics: MetricsByPart) -> float:
    loss = metrics["target_validation"].as_dict()["log_loss"]
    assert loss is not None
    return loss


@pytest.fixture(scope="module")
def kept(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> StrategySetup:
    """A backbone that all tests of this module may train, as none changes it."""
    root = tmp_path_factory.mktemp("kept") / "tiny"
    shutil.copytree(tiny_template, root)
    workspace = open_workspace(root)
    dataset = find_dataset(workspace, "tiny")
    card = pretrained(workspace, "dcnv2")
    folder = card.folder / "preprocessing"
    table = load_rows(workspace, dataset, folder, ("target_train", "target_validation"))
    return StrategySetup(workspace, dataset, card, table, *target_rows(workspace, dataset, folder))


@pytest.mark.parametrize("strategy", TRAINING)
def test_every_strategy_starts_from_zero_shot_and_may_end_there(
    strategy: str, kept: StrategySetup, tmp_path: Path
) -> None:
    backbone = load_backbone(kept.card)
    labels = kept.validation.labels.numpy()
    zero_shot = log_loss(labels, predict(backbone, kept.validation).astype("float64"))
    # A rate that ruins whatever trains, so that no epoch is better than none.
    settings = dataclasses.replace(QUICK, epochs=5, batch_size=512, learning_rate=0.5)
    reporter = ListReporter()
    network, result = kept.run(strategy, tmp_path / "c.pt", settings, reporter, keep_head=True)
    first = next(value for _, name, value in reporter.rows if name == "validation_loss")
    assert first == pytest.approx(zero_shot, rel=1e-5)
    losses = [value for _, name, value in reporter.rows if name == "validation_loss"]
    assert result.best_epoch == losses.index(min(losses))
    ended = log_loss(labels, predict(network, kept.validation).astype("float64"))
    assert ended <= zero_shot * (1 + 1e-6)
    if result.best_epoch == 0:
        start = backbone.state_dict()
        assert all(
            torch.equal(tensor, start[name]) for name, tensor in network.state_dict().items()
        )


def test_a_finished_run_says_that_its_head_was_kept(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    settings = dataclasses.replace(QUICK, learning_rate=1e-4)
    card = pretrained(workspace, "deepfm", dataclasses.replace(QUICK, epochs=1))
    request = FinetuneRequest(
        dataset.id, card.id, "depth", len(card.stages), card.head, settings, keep_head=True
    )
    run = run_request(workspace, request)
    assert run.result is not None and run.result.before is not None
    head = run.result.stages[-1]
    assert (head.title, head.origin, head.frozen) == ("Head (kept)", "supervised", False)
    assert validation_loss(run.result.metrics) <= validation_loss(run.result.before)
    model = load_model_card(workspace, run)
    assert model.head == card.head and model.trained_on["head"] == "kept"
    # The stages of a probe are the backbone's to the bit; its head started from the backbone's.
    start, end = load_backbone(card), load_backbone(load_model_card(workspace, run))
    for name, tensor in end.state_dict().items():
        if name.startswith("stages."):
            assert torch.equal(tensor, start.state_dict()[name])
        else:
            assert (tensor - start.state_dict()[name]).abs().max() < 0.01


def test_rates_that_train_together_all_start_from_the_kept_head(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn", dataclasses.replace(QUICK, epochs=1))
    request = FinetuneRequest(
        dataset.id, card.id, "linear-probe", 0, HeadSettings(), QUICK, keep_head=True
    )
    rates = QUICK.learning_rate, 0.9
    together = [
        run_request(
            workspace,
            dataclasses.replace(
                request, rates=rates, train=dataclasses.replace(QUICK, learning_rate=rate)
            ),
        ).result
        for rate in rates
    ]
    alone = run_request(workspace, request).result
    assert together[0] and together[1] and alone and alone.before
    losses = [validation_loss(one.metrics) for one in (*together, alone) if one]
    assert losses[0] == pytest.approx(losses[2], rel=1e-5)
    assert max(losses) <= validation_loss(alone.before) + 1e-7
