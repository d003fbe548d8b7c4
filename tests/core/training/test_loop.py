"""The loop compared with plain torch, with Adam written out, and with itself after an
interruption."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.datasets import Dataset
from core.errors import BadInput, RunError
from core.jobs.requests import TrainSettings
from core.models.backbone import load_backbone
from core.models.card import HeadSettings
from core.training import loop
from core.training.batches import RowTensors, count_steps_per_epoch, epoch_batches
from core.training.default_settings import PRESETS
from core.training.loop import CancelledError
from core.training.losses import CLICK_TASK
from core.workspace import Workspace
from tests.core.training.fit_setup import Setup, run, same
from tests.core.training.helpers import QUICK, ListReporter, pretrained, target_rows


@pytest.fixture
def setup(tiny: tuple[Workspace, Dataset]) -> Setup:
    workspace, dataset = tiny
    card = pretrained(workspace, "deepfm")
    return card, *target_rows(workspace, dataset, card.folder / "preprocessing")


def weights_of(layer: torch.nn.Module) -> np.ndarray:
    """Weights and bias of a linear layer with one output, float64."""
    return np.append(
        layer.get_parameter("weight")[0].detach().double(),
        layer.get_parameter("bias").detach().double(),
    )


def test_linear_probe_equals_plain_adam_by_hand(setup: Setup, tmp_path: Path) -> None:
    """Depth all, one epoch: Kingma and Ba's update in numpy on the closed-form logistic
    gradient."""
    card, train, _ = setup
    settings = dataclasses.replace(QUICK, epochs=1, batch_size=100)
    network, result = run(
        setup, tmp_path / "c.pt", settings, ListReporter(), depth=len(card.stages)
    )
    assert result.best_epoch == 1

    torch.manual_seed(settings.seed)
    start = load_backbone(card)
    start.replace_head(HeadSettings())
    with torch.no_grad():
        x = torch.cat(start.run_stages(train.state, 0, len(card.stages)), dim=1).double().numpy()
    x = np.hstack([x, np.ones((len(x), 1))])
    y = train.labels.double().numpy()
    head = start.head.get_submodule("layers.0")
    w = weights_of(head)
    m = v = np.zeros_like(w)
    for t, batch in enumerate(epoch_batches(train, settings, 0), start=1):
        rows = batch.numpy()
        p = 1 / (1 + np.exp(-x[rows] @ w))
        gradient = x[rows].T @ (p - y[rows]) / len(rows)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = w - settings.learning_rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    trained = network.head.get_submodule("layers.0")
    actual = weights_of(trained)
    np.testing.assert_allclose(actual, w, atol=2e-5)


def test_stopped_and_resumed_equals_uninterrupted(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(QUICK, epochs=4, batch_size=64, early_stopping=3, plateau=1)
    whole_reporter = ListReporter()
    whole, result = run(setup, tmp_path / "whole.pt", settings, whole_reporter)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    steps = len(epoch_batches(setup[1], settings, 0))
    for stop_at in (1, steps + 3):
        reporter = ListReporter(stop_at)
        with pytest.raises(CancelledError):
            run(setup, tmp_path / f"{stop_at}.pt", settings, reporter)
        reporter.stop_at = None
        broken, resumed = run(setup, tmp_path / f"{stop_at}.pt", settings, reporter)
        assert same(broken, whole)
        assert (resumed.best_epoch, resumed.epochs_run) == (result.best_epoch, result.epochs_run)
        for name in ("train_loss", "validation_loss", "validation_auc"):
            points = [[row for row in r.rows if row[1] == name] for r in (reporter, whole_reporter)]
            assert points[0] == points[1], name


def test_a_checkpoint_holds_what_training_changes_and_nothing_frozen(
    setup: Setup, tmp_path: Path
) -> None:
    network, _ = run(setup, tmp_path / "c.pt", QUICK, ListReporter(), depth=1)
    held = set(torch.load(tmp_path / "c.pt", weights_only=True)["network"])
    assert held == {name for name in network.state_dict() if not name.startswith("stages.0.")}


def test_every_epoch_but_the_last_ends_with_a_checkpoint(setup: Setup, tmp_path: Path) -> None:
    run(setup, tmp_path / "one.pt", dataclasses.replace(QUICK, epochs=1), ListReporter())
    assert not (tmp_path / "one.pt").exists()
    run(setup, tmp_path / "three.pt", dataclasses.replace(QUICK, epochs=3), ListReporter())
    assert torch.load(tmp_path / "three.pt", weights_only=True)["progress"]["epoch"] == 2


def test_same_seed_same_bits_and_another_seed_differs(setup: Setup, tmp_path: Path) -> None:
    first, _ = run(setup, tmp_path / "1.pt", QUICK, ListReporter())
    again, _ = run(setup, tmp_path / "2.pt", QUICK, ListReporter())
    other, _ = run(setup, tmp_path / "3.pt", dataclasses.replace(QUICK, seed=1), ListReporter())
    assert same(first, again)
    assert not same(first, other)


def test_best_epoch_is_kept_and_early_stopping_stops(setup: Setup, tmp_path: Path) -> None:
    settings = dataclasses.replace(
        QUICK, epochs=30, learning_rate=0.03, early_stopping=2, plateau=1
    )
    reporter = ListReporter()
    network, result = run(setup, tmp_path / "c.pt", settings, reporter, depth=0)
    losses = [value for _, name, value in reporter.rows if name == "validation_loss"]
    assert result.best_epoch == int(np.argmin(losses))
    assert result.stopped_early and result.epochs_run == result.best_epoch + 2
    assert CLICK_TASK.validate(network, setup[2])[0] == pytest.approx(min(losses), abs=1e-6)
    rates = [value for _, name, value in reporter.rows if name == "learning_rate"]
    # A tenth after every epoch without an improvement: the rate logged in an epoch is its own.
    expected = [0.03]
    for epoch in range(1, result.epochs_run):
        improved = losses[epoch] < min(losses[:epoch])
        expected.append(expected[-1] * (1.0 if improved else 0.1))
    assert rates == pytest.approx(expected) and rates[-1] < rates[0]


def test_epochs_cover_every_row_once_in_an_order_of_their_own() -> None:
    settings = TrainSettings(batch_size=4)
    rows = RowTensors((), torch.zeros(9))
    first, second = (epoch_batches(rows, settings, epoch) for epoch in (0, 1))
    assert [len(batch) for batch in first] == [4, 5]
    assert sorted(torch.cat(first).tolist()) == list(range(9))
    assert torch.cat(first).tolist() != torch.cat(second).tolist()
    for number in range(2, 14):
        rows = RowTensors((), torch.zeros(number))
        assert len(epoch_batches(rows, settings, 0)) == count_steps_per_epoch(rows, settings)


def test_a_nan_loss_gives_a_message(setup: Setup, tmp_path: Path) -> None:
    card, train, validation = setup
    broken = dataclasses.replace(train, state=(train.state[0], train.state[1] * float("inf")))
    with pytest.raises(RunError, match="lower the learning rate"):
        run((card, broken, validation), tmp_path / "c.pt", QUICK, ListReporter())


def test_one_row_is_refused(setup: Setup, tmp_path: Path) -> None:
    card, train, validation = setup
    one = RowTensors(tuple(tensor[:1] for tensor in train.state), train.labels[:1])
    with pytest.raises(BadInput, match="at least 2 rows"):
        run((card, one, validation), tmp_path / "c.pt", QUICK, ListReporter())


def test_article_preset_is_as_the_article_says() -> None:
    article = PRESETS["article"]
    assert (article.batch_size, article.epochs, article.learning_rate) == (32, 10, 1e-3)
    assert article.early_stopping == 0 and article.plateau == 0
