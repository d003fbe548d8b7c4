"""Auto-RGN and AutoFreeze compared with closed forms."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from core.training.batches import epoch_batches
from core.training.gradient_norms import relative_gradient_norms, update_autofreeze_depth
from core.training.losses import ClickTask
from core.training.param_groups import parameter_groups
from tests.core.training.helpers import QUICK, ListReporter
from tests.core.training.strategy_setup import StrategySetup, WeightSpy


def test_auto_rgn_is_gradient_over_weight_norm_scaled_to_one(strategy_setup: StrategySetup) -> None:
    network = strategy_setup.network().eval()
    groups = parameter_groups(network, strategy_setup.plan("auto-rgn"))
    ClickTask().loss(network, strategy_setup.train, torch.arange(100), 0).backward()
    expected = []
    for group in groups:
        gradient = np.concatenate(
            [one.grad.numpy().ravel() for one in group["params"] if one.grad is not None]
        )
        weight = np.concatenate([one.detach().numpy().ravel() for one in group["params"]])
        expected.append(np.linalg.norm(gradient) / np.linalg.norm(weight))
    np.testing.assert_allclose(
        relative_gradient_norms(groups), np.array(expected) / max(expected), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("before", "now", "closed", "expected"),
    [
        ([1, 1, 1, 1], [1.0, 1.1, 1.5, 1.9], 0, 2),
        ([1, 1, 1, 1], [1.9, 1.1, 1.0, 1.0], 0, 0),
        ([2, 1, 1], [9, 1.1, 1.5], 1, 2),
        ([1], [3], 0, 1),
        ([1, 1], [1, 1], 2, 2),
    ],
)
def test_autofreeze_freezes_leading_stages_at_or_below_the_median(
    before: list[float], now: list[float], closed: int, expected: int
) -> None:
    assert update_autofreeze_depth(before, now, closed) == expected


def test_stages_that_autofreeze_froze_never_change_again(
    strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    spy, reporter = WeightSpy(), ListReporter()
    settings = dataclasses.replace(QUICK, epochs=10, batch_size=512)
    strategy_setup.run("autofreeze", tmp_path / "c.pt", settings, reporter, spy)
    each = len(epoch_batches(strategy_setup.train, settings, 0))
    closed = [int(value) for _, name, value in reporter.rows if name == "frozen_stages"]
    assert closed[0] == 0 and closed == sorted(closed) and closed[-1] > 0
    epoch = next(index for index, value in enumerate(closed) if value)
    if (epoch + 1) * each < len(spy.seen):
        frozen = spy.seen[(epoch + 1) * each]
        for name in [one for one in frozen if one.startswith("stages.0.")]:
            assert torch.equal(frozen[name], spy.seen[-1][name])
        assert not torch.equal(frozen["head.layers.0.weight"], spy.seen[-1]["head.layers.0.weight"])
