"""Runs that resume from a checkpoint, of this version or of 0.11."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.training.checkpoint import RENAMED_FIELDS, RENAMED_PARAMETERS
from core.training.loop import CancelledError
from tests.core.training.helpers import QUICK, ListReporter
from tests.core.training.strategy_setup import StrategySetup


@pytest.mark.parametrize("strategy", ["gradual", "auto-rgn", "l2-sp", "lora", "meda", "autofreeze"])
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    strategy: str, strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    settings = dataclasses.replace(QUICK, epochs=6, batch_size=512)
    whole, _ = strategy_setup.run(strategy, tmp_path / "whole.pt", settings, ListReporter())
    path = tmp_path / "broken.pt"
    with pytest.raises(CancelledError):
        strategy_setup.run(strategy, path, settings, ListReporter(stop_at=9))
    again, _ = strategy_setup.run(strategy, path, settings, ListReporter())
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("strategy", ["auto-rgn", "lora"])
def test_a_checkpoint_of_version_0_11_ends_like_an_uninterrupted_run(
    strategy: str, strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    settings = dataclasses.replace(QUICK, epochs=6, batch_size=512)
    whole, _ = strategy_setup.run(strategy, tmp_path / "whole.pt", settings, ListReporter())
    path = tmp_path / "broken.pt"
    with pytest.raises(CancelledError):
        strategy_setup.run(strategy, path, settings, ListReporter(stop_at=9))
    write_as_version_0_11(path)
    again, _ = strategy_setup.run(strategy, path, settings, ListReporter())
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def write_as_version_0_11(path: Path) -> None:
    """Rewrite a checkpoint with the names that version 0.11 gave to its entries."""
    values = torch.load(path, weights_only=True)
    old_fields = {new: old for old, new in RENAMED_FIELDS.items()}
    progress = {old_fields.get(name, name): one for name, one in values["progress"].items()}
    # Version 0.11 summed norms of gradients for AutoFreeze, which has another rule now.
    del progress["gradient_sums"]
    progress["norms"] = torch.zeros(1)
    assert {"rate", "closed", "norms_before"} <= progress.keys()

    def old_parameters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        for old, new in RENAMED_PARAMETERS.items():
            weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
        return weights

    progress["best_weights"] = old_parameters(progress["best_weights"])
    for group in values["optimiser"]["param_groups"]:
        group["part"] = group.pop("lr_scale")
    network = old_parameters(values["network"])
    torch.save(values | {"progress": progress, "network": network}, path)
