"""Parameter groups, learning-rate scales and L2-SP compared with closed forms."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from core.freezing.plan import make_plan
from core.models.backbone import build_network
from core.models.network import biases_and_norms
from core.training.batches import epoch_batches
from core.training.loop import CancelledError, fit
from core.training.lora import add_lora
from core.training.param_groups import L2SPPenalty, parameter_groups, reset_embeddings
from tests.core.models.references import SMALL
from tests.core.training.helpers import QUICK, ListReporter
from tests.core.training.strategy_setup import HEAD, OPTIONS, TRAINING, StrategySetup, WeightSpy


@pytest.mark.parametrize("strategy", TRAINING)
def test_every_strategy_trains_what_its_plan_announces(
    strategy: str, strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    before = {
        name: tensor.clone() for name, tensor in strategy_setup.network().state_dict().items()
    }
    settings = dataclasses.replace(QUICK, epochs=7, batch_size=512)
    plan = strategy_setup.plan(strategy)
    network, result = strategy_setup.run(strategy, tmp_path / "c.pt", settings, ListReporter())
    assert result.epochs_run == 7
    after = network.state_dict()
    assert [*after] == [*before], "adapters are merged, nothing else is left behind"
    for index, stage in enumerate(plan.stages[:-1]):
        names = [name for name in before if name.startswith(f"stages.{index}.")]
        moved = [name for name in names if not torch.equal(after[name], before[name])]
        if stage.frozen:
            assert not moved
    fresh = strategy_setup.network()
    if plan.scope == "adapters":
        add_lora(fresh, plan)
    groups = parameter_groups(fresh, plan)
    counts = {group["stage"]: sum(one.numel() for one in group["params"]) for group in groups}
    assert counts == {
        i: stage.trained_parameters for i, stage in enumerate(plan.stages) if not stage.frozen
    }
    assert sum(counts.values()) == plan.trained_parameters


def test_stages_do_not_change_before_their_first_epoch(
    strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    for strategy in ("gradual", "lp-ft"):
        spy = WeightSpy()
        settings = dataclasses.replace(
            QUICK, epochs=len(strategy_setup.card.stages) + 1, batch_size=512
        )
        strategy_setup.run(strategy, tmp_path / f"{strategy}.pt", settings, ListReporter(), spy)
        each = len(epoch_batches(strategy_setup.train, settings, 0))
        for index, stage in enumerate(strategy_setup.plan(strategy).stages[:-1]):
            names = [
                name
                for name in spy.seen[0]
                if name.startswith(f"stages.{index}.") and "num_batches" not in name
            ]
            opened = stage.from_epoch * each
            for name in names:
                assert torch.equal(spy.seen[opened][name], spy.seen[0][name])
            assert any(
                not torch.equal(spy.seen[opened + 1][name], spy.seen[0][name]) for name in names
            )


def test_stages_that_start_to_train_later_are_computed_once(
    strategy_setup: StrategySetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = "lp-ft"
    monkeypatch.setitem(OPTIONS, strategy, {"probe_epochs": 3})
    settings = dataclasses.replace(QUICK, epochs=6, batch_size=128)
    usual = ListReporter()
    network, _ = strategy_setup.run(strategy, tmp_path / "usual.pt", settings, usual)
    reporter, whole = ListReporter(), tmp_path / "whole.pt"
    cached, depths = strategy_setup.run_after_prefix(strategy, whole, settings, reporter)
    assert depths == [5, 0]
    for (name, a), b in zip(
        network.state_dict().items(), cached.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5, msg=name)
    losses = [
        [value for _, name, value in one.rows if name == "validation_loss"]
        for one in (usual, reporter)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)

    broken, each = tmp_path / "broken.pt", len(epoch_batches(strategy_setup.train, settings, 0))
    for stop in (each - 1, 2):
        # Within the first epoch, and just after the first stage has joined.
        with pytest.raises(CancelledError):
            strategy_setup.run_after_prefix(strategy, broken, settings, ListReporter(stop_at=stop))
    again, _ = strategy_setup.run_after_prefix(strategy, broken, settings, ListReporter())
    for a, b in zip(cached.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_first_adam_step_has_the_size_of_the_learning_rate(
    strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    spy = WeightSpy()
    settings = dataclasses.replace(QUICK, epochs=1, batch_size=512, learning_rate=1e-3)
    strategy_setup.run("decay", tmp_path / "c.pt", settings, ListReporter(), spy)
    for index, stage in enumerate(strategy_setup.plan("decay").stages[:-1]):
        name = next(
            one
            for one in spy.seen[0]
            if one.startswith(f"stages.{index}.") and one.endswith("weight")
        )
        longest = (spy.seen[1][name] - spy.seen[0][name]).abs().max().item()
        # Where the gradient dwarfs Adam's epsilon, its first step is the learning rate.
        assert longest == pytest.approx(1e-3 * stage.lr_scale, rel=1e-2)
        assert stage.lr_scale == pytest.approx(0.65 ** (len(strategy_setup.card.stages) - index))


def test_bitfit_trains_only_biases_and_norms(strategy_setup: StrategySetup, tmp_path: Path) -> None:
    before = strategy_setup.network().state_dict()
    network, _ = strategy_setup.run("bitfit", tmp_path / "c.pt", QUICK, ListReporter())
    allowed = {id(one) for stage in network.stages for one in biases_and_norms(stage)}
    moved = [
        name
        for name, one in network.named_parameters()
        if not name.startswith("head") and not torch.equal(one, before[name])
    ]
    assert moved
    assert all(id(network.get_parameter(name)) in allowed for name in moved)
    assert any(name.endswith("linear.bias") for name in moved) and any(
        "layers.1." in name for name in moved
    )


def test_l2_sp_is_half_the_squared_distance_and_its_gradient_the_distance(
    strategy_setup: StrategySetup,
) -> None:
    network = strategy_setup.network()
    plan = strategy_setup.plan("l2-sp")
    pull = L2SPPenalty(parameter_groups(network, plan), len(network.stages), plan.l2_sp)
    assert pull.penalty().item() == 0
    head = network.head.get_submodule("layers.0").get_parameter("weight")
    weight = network.stages[1].get_parameter("linear.weight")
    began = weight.detach().clone()
    with torch.no_grad():
        weight.add_(0.01 * torch.randn_like(weight))
        head.add_(1)
    penalty = pull.penalty()
    distance = (weight - began).detach().double()
    assert penalty.item() == pytest.approx(0.05 * float((distance**2).sum()), rel=1e-4)
    penalty.backward()
    assert weight.grad is not None and head.grad is None
    torch.testing.assert_close(weight.grad.double(), 0.1 * distance, rtol=1e-4, atol=1e-7)


def test_a_strong_l2_sp_penalty_keeps_the_backbone(
    strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    began = strategy_setup.network().state_dict()["stages.1.linear.weight"]
    moved = {}
    for strength in (1e-6, 10):
        plan = make_plan(strategy_setup.card, "l2-sp", 0, HEAD, {"pull": strength})
        network = strategy_setup.network()
        fit(
            network,
            plan,
            strategy_setup.train,
            strategy_setup.validation,
            QUICK,
            ListReporter(),
            tmp_path / f"{strength}.pt",
        )
        moved[strength] = float((network.state_dict()["stages.1.linear.weight"] - began).norm())
    assert moved[10] < 0.5 * moved[1e-6]


def test_only_embeddings_are_reset_each_epoch(
    strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    spy = WeightSpy()
    settings = dataclasses.replace(QUICK, epochs=3, batch_size=512)
    strategy_setup.run("meda", tmp_path / "c.pt", settings, ListReporter(), spy)
    each = len(epoch_batches(strategy_setup.train, settings, 0))
    tables = [spy.seen[epoch * each]["stages.0.table.weight"] for epoch in range(3)]
    for epoch, table in enumerate(tables):
        fresh = strategy_setup.network()
        reset_embeddings(fresh, epoch)
        assert torch.equal(table, fresh.state_dict()["stages.0.table.weight"])
    assert table.std().item() == pytest.approx(0.01, rel=0.05) and not torch.equal(
        tables[0], tables[1]
    )
    fresh = strategy_setup.network()
    random = torch.get_rng_state()
    reset_embeddings(fresh, 5)
    assert torch.equal(torch.get_rng_state(), random)


def test_every_click_model_can_reset_its_embeddings() -> None:
    for architecture in ("lr", "fm", "widedeep", "deepfm", "fttransformer", "autoint", "finalnet"):
        settings = {key: value for key, value in SMALL.items() if key in _defaults(architecture)}
        torch.manual_seed(3)
        network = build_network(architecture, settings, (5, 3, 7), HEAD)
        before = {name: tensor.clone() for name, tensor in network.stages[0].state_dict().items()}
        reset_embeddings(network, 1)
        after = network.stages[0].state_dict()
        assert not torch.equal(after["table.weight"], before["table.weight"])
        for name in ("first_order.weight", "wide.weight"):
            assert name not in after or not after[name].any()


def _defaults(architecture: str) -> dict[str, object]:
    from core.models.registry import ARCHITECTURES

    return ARCHITECTURES[architecture].defaults
