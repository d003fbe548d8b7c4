"""The moving average of weights against the recurrence written out, rows of tables included."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.data.datasets import Dataset
from core.freezing.plan import make_plan
from core.jobs.requests import TrainSettings
from core.models.backbone import load_backbone
from core.models.card import HeadSettings
from core.training import lazy_adam, loop
from core.training.batches import epoch_batches
from core.training.lazy_adam import LazyAdamW
from core.training.loop import CancelledError, fit
from core.training.losses import CLICK_TASK
from core.training.weight_average import (
    FULL_DECAY_STEP,
    average_weights,
    decay_at,
    log_decay_product,
)
from core.workspace import Workspace
from tests.core.training.fit_setup import Setup, run, same
from tests.core.training.helpers import QUICK, ListReporter, pretrained, target_rows
from tests.core.training.strategy_setup import StrategySetup, WeightSpy

EMA = dataclasses.replace(QUICK, ema=True, epochs=2, batch_size=64)


@pytest.fixture
def setup(tiny: tuple[Workspace, Dataset]) -> Setup:
    workspace, dataset = tiny
    card = pretrained(workspace, "deepfm")
    return card, *target_rows(workspace, dataset, card.folder / "preprocessing")


def test_product_of_decays_in_closed_form() -> None:
    steps = np.arange(1, FULL_DECAY_STEP + 50)
    logs = np.cumsum(np.log([decay_at(int(step)) for step in steps]))
    found = log_decay_product(torch.as_tensor(np.append(0, steps))).numpy()
    np.testing.assert_allclose(found, np.append(0.0, logs), atol=1e-9)
    assert decay_at(FULL_DECAY_STEP - 1) < decay_at(FULL_DECAY_STEP) == 0.999


def test_kept_weights_are_the_recurrence_over_all_steps(setup: Setup, tmp_path: Path) -> None:
    """One epoch with one validation, at its end: what is kept is the average of all steps."""
    card, train, validation = setup
    settings = dataclasses.replace(EMA, epochs=1)
    torch.manual_seed(settings.seed)
    network, spy = load_backbone(card), WeightSpy()
    network.replace_head(HeadSettings())
    plan = make_plan(card, "depth", 1, HeadSettings())
    path = tmp_path / "c.pt"
    assert fit(network, plan, train, validation, settings, ListReporter(), path, spy).best_step

    # The weights train on as they do without an average, which gives those after the last step.
    plain = dataclasses.replace(settings, ema=False)
    raw, _ = run(setup, tmp_path / "plain.pt", plain, ListReporter())
    states = [*spy.seen, raw.state_dict()]
    for name, parameter in network.named_parameters():
        average = states[0][name].double().numpy()
        for step, state in enumerate(states[1:], start=1):
            d = decay_at(step)
            average = d * average + (1 - d) * state[name].double().numpy()
        np.testing.assert_allclose(parameter.detach().numpy(), average, atol=1e-5)
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, raw.get_buffer(name)), name


def test_rows_of_a_sparse_table_have_the_dense_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_adam, "SPARSE_MIN_ROWS", 4)
    torch.manual_seed(0)
    table = nn.Embedding(50, 3)
    lazy_adam.use_sparse_gradients(table)
    group = {"params": [table.weight], "lr_scale": 1.0, "stage": 0}
    optimiser, average = LazyAdamW([group], lr=0.1), average_weights(table, [group])
    optimiser.before_rows_change = average.rows_change
    dense = table.weight.detach().double().numpy().copy()
    for step in range(1, 41):
        ids = torch.randint(0, 49, (4,))
        optimiser.zero_grad()
        table(ids).pow(2).sum().backward()
        optimiser.step()
        average.update()
        d = decay_at(step)
        dense = d * dense + (1 - d) * table.weight.detach().double().numpy()
        if step in (7, 8, 40):
            raw = table.weight.detach().clone()
            with average.applied():
                np.testing.assert_allclose(table.weight.detach().numpy(), dense, atol=1e-6)
            assert torch.equal(table.weight, raw)
    average.restart()
    with average.applied():
        assert torch.equal(table.weight, raw)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_break_changes_no_bit(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sparse: bool
) -> None:
    """Inside an epoch, before and after a validation there, and between two epochs."""
    if sparse:
        monkeypatch.setattr(lazy_adam, "SPARSE_MIN_ROWS", 4)
    settings = dataclasses.replace(
        EMA, validations_per_epoch=2, weight_decay=0.1, decay_scope="matrices"
    )
    reporter = ListReporter()
    whole, result = run(setup, tmp_path / "whole.pt", settings, reporter, depth=0)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    steps = len(epoch_batches(setup[1], settings, 0))
    for stop_at in (1, steps // 2 + 1, steps, steps + 1):
        broken = ListReporter(stop_at)
        with pytest.raises(CancelledError):
            run(setup, tmp_path / f"{stop_at}.pt", settings, broken, depth=0)
        broken.stop_at = None
        resumed, found = run(setup, tmp_path / f"{stop_at}.pt", settings, broken, depth=0)
        assert same(resumed, whole) and found == result
        points = [[row for row in one.rows if row[1] != "seconds"] for one in (broken, reporter)]
        assert points[0] == points[1]


@pytest.mark.parametrize("strategy", ["gradual", "lora", "meda", "autofreeze", "bitfit", "lp-ft"])
def test_every_kind_of_plan_keeps_what_it_validated(
    tiny: tuple[Workspace, Dataset], tmp_path: Path, strategy: str
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    train, validation = target_rows(workspace, dataset, card.folder / "preprocessing")
    setup = StrategySetup(workspace, dataset, card, None, train, validation)  # type: ignore[arg-type]
    settings: TrainSettings = dataclasses.replace(EMA, epochs=5, batch_size=128)
    reporter = ListReporter()
    network, result = setup.run(strategy, tmp_path / "c.pt", settings, reporter)
    losses = [value for _, name, value in reporter.rows if name == "validation_loss"]
    assert result.best_epoch == int(np.argmin(losses))
    assert CLICK_TASK.validate(network, validation)[0] == pytest.approx(min(losses), abs=1e-6)
