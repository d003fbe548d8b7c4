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
from core.training.lazy_adam import LazyAdamW
from core.training.loop import CancelledError, fit
from core.training.lora import add_lora
from core.training.param_groups import L2SPPull, parameter_groups, reset_embeddings
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


@pytest.mark.parametrize("keep_head", [False, True])
def test_l2_sp_pulls_beside_adam_stages_to_their_start_and_a_new_head_to_zero(
    keep_head: bool, strategy_setup: StrategySetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPTIONS, "l2-sp", {"pull": 3.0, "head_decay": 5.0})
    network = strategy_setup.network(keep_head)
    plan = strategy_setup.plan("l2-sp", keep_head)
    groups = parameter_groups(network, plan)
    optimiser = LazyAdamW(groups, lr=0.01, weight_decay=0)
    pull = L2SPPull(optimiser.param_groups, plan)
    rates = {group["stage"]: 0.01 * (1 + group["stage"]) for group in groups}
    for group in optimiser.param_groups:
        group["lr"] = rates[group["stage"]]
    start = {id(one): one.detach().clone() for group in groups for one in group["params"]}
    # Gradients far from 1, by which the pull of a penalty in the loss would be divided.
    torch.manual_seed(1)
    for step in range(2):
        before = {}
        for group in groups:
            for one in group["params"]:
                one.grad = 1e3 * torch.randn_like(one)
                before[id(one)] = one.detach().clone()
        pull.step(optimiser)
        pulled = {id(one): one.detach().clone() for group in groups for one in group["params"]}
        optimiser.step()
        for group in groups:
            head = group["stage"] == len(network.stages)
            rate = rates[group["stage"]]
            for one in group["params"]:
                began, was = start[id(one)].double(), before[id(one)].double()
                if head and not keep_head:
                    expected = was - rate * 5.0 * was
                else:
                    expected = was - rate * 3.0 * (was - began)
                torch.testing.assert_close(pulled[id(one)].double(), expected, rtol=1e-5, atol=1e-8)
                # Adam's own step: in the first one the sign of the gradient times the rate.
                if step == 0:
                    assert one.grad is not None
                    steps = -rate * one.grad.double().sign()
                    torch.testing.assert_close(
                        one.detach().double() - pulled[id(one)].double(),
                        steps,
                        rtol=1e-3,
                        atol=1e-6,
                    )


def test_a_strong_pull_keeps_the_backbone_and_a_weak_one_changes_nothing(
    strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    began = strategy_setup.network().state_dict()["stages.1.linear.weight"]
    moved: dict[int, float] = {}
    for strategy, options in (
        ("full", {}),
        ("l2-sp", {"pull": 1e-6, "head_decay": 0}),
        ("l2-sp", {"pull": 1000.0, "head_decay": 0}),
    ):
        plan = make_plan(strategy_setup.card, strategy, 0, HEAD, options)
        network = strategy_setup.network()
        fit(
            network,
            plan,
            strategy_setup.train,
            strategy_setup.validation,
            QUICK,
            ListReporter(),
            tmp_path / f"{len(moved)}.pt",
        )
        end = network.state_dict()["stages.1.linear.weight"]
        moved[len(moved)] = float((end - began).norm())
    assert moved[1] == pytest.approx(moved[0], rel=1e-3)
    # At a rate of 0.003 a pull of 1000 undoes every step but the last.
    assert moved[2] < 0.1 * moved[0]


def test_only_embeddings_are_reset_and_from_the_second_epoch_on(
    strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    spy = WeightSpy()
    settings = dataclasses.replace(QUICK, epochs=3, batch_size=512)
    strategy_setup.run("meda", tmp_path / "c.pt", settings, ListReporter(), spy)
    each = len(epoch_batches(strategy_setup.train, settings, 0))
    tables = [spy.seen[epoch * each]["stages.0.table.weight"] for epoch in range(3)]
    # The first epoch goes on from the backbone's vectors (MEDA trains the first ones for an epoch).
    backbone = strategy_setup.network().state_dict()["stages.0.table.weight"]
    assert torch.equal(tables[0], backbone)
    for epoch, table in enumerate(tables[1:], start=1):
        fresh = strategy_setup.network()
        reset_embeddings(fresh, epoch)
        assert torch.equal(table, fresh.state_dict()["stages.0.table.weight"])
        assert table.std().item() == pytest.approx(0.01, rel=0.05)
    assert not torch.equal(tables[1], tables[2])
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
