"""LoRA: low-rank additions compared with closed forms."""

import dataclasses
from pathlib import Path

import torch
from torch import nn

from core.training.lora import LoRALinear, add_lora, merge_lora
from tests.core.training.helpers import QUICK, ListReporter
from tests.core.training.strategy_setup import StrategySetup


def test_lora_starts_at_the_layer_and_merges_to_equal_outputs(
    strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    network = strategy_setup.network().eval()
    state = tuple(tensor[:50] for tensor in strategy_setup.train.state)
    with torch.no_grad():
        before = network(state)
        add_lora(network, strategy_setup.plan("lora"))
        assert torch.equal(network(state), before)
        for part in network.modules():
            if isinstance(part, LoRALinear):
                nn.init.normal_(part.lora_B, std=0.1)
        adapted = network(state)
        merge_lora(network)
        assert not any(isinstance(part, LoRALinear) for part in network.modules())
        torch.testing.assert_close(network(state), adapted, rtol=1e-4, atol=1e-5)
    before_training = strategy_setup.network().state_dict()
    settings = dataclasses.replace(QUICK, epochs=6, learning_rate=1e-2)
    trained, result = strategy_setup.run("lora", tmp_path / "c.pt", settings, ListReporter())
    assert result.best_epoch > 0
    change = (
        trained.state_dict()["stages.1.linear.weight"] - before_training["stages.1.linear.weight"]
    ).double()
    singular = torch.linalg.svdvals(change)
    assert singular[1] > 0 and singular[2] < 1e-4 * singular[0]
