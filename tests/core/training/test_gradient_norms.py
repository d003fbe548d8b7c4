"""Auto-RGN and AutoFreeze compared with closed forms."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from core.training.batches import epoch_batches
from core.training.gradient_norms import (
    GradientSums,
    add_gradients,
    auto_rgn_scales,
    stage_norms,
    update_autofreeze_depth,
)
from core.training.losses import ClickTask
from core.training.param_groups import parameter_groups
from tests.core.training.helpers import QUICK, ListReporter
from tests.core.training.strategy_setup import StrategySetup, WeightSpy


def test_auto_rgn_scales_stages_by_relative_norm_and_leaves_the_head_at_its_rate(
    strategy_setup: StrategySetup,
) -> None:
    network = strategy_setup.network().eval()
    groups = parameter_groups(network, strategy_setup.plan("auto-rgn"))
    groups[-1]["lr_scale"] = 7.0
    ClickTask().loss(network, strategy_setup.train, torch.arange(100), 0).backward()
    expected = []
    for group in groups[:-1]:
        gradient = np.concatenate(
            [one.grad.numpy().ravel() for one in group["params"] if one.grad is not None]
        )
        weight = np.concatenate([one.detach().numpy().ravel() for one in group["params"]])
        expected.append(np.linalg.norm(gradient) / np.linalg.norm(weight))
    np.testing.assert_allclose(
        auto_rgn_scales(groups), [*(np.array(expected) / max(expected)), 7.0], rtol=1e-5
    )


def test_auto_rgn_trains_the_head_at_the_full_rate(
    strategy_setup: StrategySetup, tmp_path: Path
) -> None:
    """Adam's first step is the rate, whatever the gradient is."""
    spy = WeightSpy()
    settings = dataclasses.replace(QUICK, epochs=1, batch_size=128)
    strategy_setup.run("auto-rgn", tmp_path / "c.pt", settings, ListReporter(), spy)
    # The first 3 entries or so measure the gradients; the weights are still the same.
    heads = [one["head.layers.0.weight"] for one in spy.seen]
    steps = [float((b - a).abs().max()) for a, b in itertools.pairwise(heads)]
    assert next(step for step in steps if step) == pytest.approx(settings.learning_rate, rel=1e-3)


def test_autofreeze_takes_the_norm_of_the_gradients_of_an_epoch_summed() -> None:
    """Gradients that cancel out count nothing, as in the paper, however long each of them is."""
    one, two = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))
    groups = [{"params": [one], "stage": 0}, {"params": [two], "stage": 2}]
    sums: GradientSums = {}
    for sign in (1.0, -1.0, 1.0):
        one.grad, two.grad = sign * torch.tensor([3.0, -4.0]), torch.tensor([1.0, -2.0, sign])
        add_gradients(sums, groups)
    assert stage_norms(sums, 3) == [7.0, 0.0, 3.0 + 6.0 + 1.0]


@pytest.mark.parametrize(
    ("before", "now", "closed", "expected"),
    [
        ([1, 1, 1, 1], [1.0, 1.1, 1.5, 1.9], 0, 2),
        ([1, 1, 1], [1.1, 1.5, 1.9], 0, 1),
        ([1, 1, 1, 1], [1.9, 1.1, 1.0, 1.0], 0, 0),
        ([2, 1, 1], [9, 1.1, 1.5], 1, 2),
        ([1], [3], 0, 0),
        ([1, 1], [1, 1], 2, 2),
    ],
)
def test_autofreeze_freezes_leading_stages_below_the_median(
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
