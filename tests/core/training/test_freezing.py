"""Frozen stages are bit-identical, out of the optimiser and without gradients, statistics
included."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.data.datasets import Dataset, select_training_rows
from core.freezing.plan import make_plan
from core.models.backbone import load_backbone
from core.models.card import HeadSettings
from core.models.network import Activations, Network
from core.training import prefix_cache
from core.training.loop import fit
from core.training.losses import predict
from core.training.param_groups import parameter_groups, set_trainable
from core.training.training_rows import apply_frozen_prefix, load_rows
from core.workspace import Workspace
from tests.core.models.references import CLICK_MODELS
from tests.core.training.helpers import CPU, QUICK, ListReporter, pretrained, target_rows


@pytest.mark.parametrize("architecture", CLICK_MODELS)
def test_depth_trains_exactly_what_the_plan_announces(
    architecture: str, tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, architecture)
    train, validation = target_rows(workspace, dataset, card.folder / "preprocessing")
    for depth in range(len(card.stages) + 1):
        network = load_backbone(card)
        network.replace_head(HeadSettings((5,)))
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        plan = make_plan(card, "depth", depth, HeadSettings((5,)))
        fit(network, plan, train, validation, QUICK, ListReporter(), tmp_path / f"{depth}.pt")

        frozen = tuple(f"stages.{index}." for index in range(depth))
        for name, tensor in network.state_dict().items():
            if name.startswith(frozen) and frozen:
                assert torch.equal(tensor, before[name]), f"{name} moved at depth {depth}"
        for index in range(depth, len(card.stages)):
            moved = [n for n, t in network.state_dict().items() if n.startswith(f"stages.{index}.")]
            assert any(not torch.equal(network.state_dict()[n], before[n]) for n in moved), (
                f"stage {index} stood still"
            )
        for name, parameter in network.named_parameters():
            assert parameter.requires_grad == (not (frozen and name.startswith(frozen)))
            assert parameter.requires_grad or parameter.grad is None

        groups = parameter_groups(network, plan)
        assert (
            sum(one.numel() for group in groups for one in group["params"])
            == plan.trained_parameters
        )
        everything = sum(parameter.numel() for parameter in network.parameters())
        assert plan.trained_parameters + plan.frozen_parameters == everything
        set_trainable(network, plan, groups, epoch=0)
        for stage, planned in zip([*network.stages, network.head], plan.stages, strict=True):
            assert all(module.training is not planned.frozen for module in stage.modules())


@pytest.mark.parametrize("architecture", CLICK_MODELS)
def test_cached_prefix_equals_the_uncached_run(
    architecture: str, tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, architecture)
    parts = ("target_train", "target_validation")
    raw = load_rows(workspace, dataset, card.folder / "preprocessing", parts)
    train, validation = select_training_rows(dataset, "target", None)
    for depth in range(1, len(card.stages) + 1):
        results = []
        for cached in (False, True):
            torch.manual_seed(0)
            network = load_backbone(card)
            network.replace_head(HeadSettings())
            plan = make_plan(card, "depth", depth, HeadSettings())
            table = apply_frozen_prefix(workspace, network, depth, raw, "key") if cached else raw
            assert table.first_stage == (depth if cached else 0)
            path = tmp_path / f"{depth}-{cached}.pt"
            fit(
                network,
                plan,
                table.take(train, CPU),
                table.take(validation, CPU),
                QUICK,
                ListReporter(),
                path,
            )
            results.append(predict(network, raw.take(validation, CPU)))
        np.testing.assert_allclose(results[1], results[0], atol=2e-6)


def test_cache_entries_are_keyed_by_weights_data_and_depth(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    raw = load_rows(workspace, dataset, card.folder / "preprocessing", ("target_train",))
    network = load_backbone(card)

    def entries(depth: int, data_key: str) -> int:
        apply_frozen_prefix(workspace, network, depth, raw, data_key)
        return len(list(workspace.cache.glob("prefix-*")))

    assert entries(1, "a") == 1
    assert entries(1, "a") == 1
    assert entries(2, "a") == 2
    assert entries(1, "b") == 3
    with torch.no_grad():
        network.stages[0].get_parameter("table.weight").add_(1)
    assert entries(1, "a") == 4


@pytest.mark.parametrize("stored", [(), (1,), (1, 2), (3,)], ids=lambda depths: f"stored {depths}")
def test_a_prefix_is_computed_from_the_deepest_shallower_one(
    stored: tuple[int, ...], tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dcnv2")
    raw = load_rows(workspace, dataset, card.folder / "preprocessing", ("target_train",))
    network = load_backbone(card)
    for depth in stored:
        apply_frozen_prefix(workspace, network, depth, raw, "key")
    run: list[tuple[int, int]] = []
    whole = Network.run_stages

    def counted(self: Network, state: Activations, first: int, last: int) -> Activations:
        run.append((first, last))
        return whole(self, state, first, last)

    monkeypatch.setattr(Network, "run_stages", counted)
    state = apply_frozen_prefix(workspace, network, 3, raw, "key").state
    assert set(run) == ({(max(stored, default=0), 3)} if 3 not in stored else set())
    expected = whole(network.eval(), raw.state, 0, 3)
    for ours, right in zip(state, expected, strict=True):
        torch.testing.assert_close(ours, right.detach(), rtol=0, atol=2e-6)

    # Other weights below: nothing of it may be used, though the stages above are the same.
    run.clear()
    with torch.no_grad():
        network.stages[0].get_parameter("table.weight").add_(1)
    apply_frozen_prefix(workspace, network, 3, raw, "key")
    assert set(run) == {(0, 3)}


def test_an_entry_that_is_taken_away_while_read_counts_as_missing(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    raw = load_rows(workspace, dataset, card.folder / "preprocessing", ("target_train",))
    network = load_backbone(card)
    first = apply_frozen_prefix(workspace, network, 1, raw, "key").state
    load = np.load

    def slow(file: Path, mmap_mode: Any) -> np.ndarray:
        monkeypatch.setattr(np, "load", load)
        prefix_cache.evict(workspace.cache, keep=workspace.cache, max_bytes=0)
        return load(file, mmap_mode=mmap_mode)

    monkeypatch.setattr(np, "load", slow)
    again = apply_frozen_prefix(workspace, network, 1, raw, "key").state
    assert all(torch.equal(ours, right) for ours, right in zip(again, first, strict=True))
    assert len(list(workspace.cache.glob("prefix-*"))) == 1
    assert not list(workspace.cache.glob(".part-*"))
