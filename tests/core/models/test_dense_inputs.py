"""Floats of a row beside its ids: 13 numbers as always, or target statistics after them."""

import numpy as np
import pytest
import torch
from torch import nn

from core.models.backbone import build_network, describe_stages
from core.models.card import HeadSettings
from core.models.measure_stats import measure_stats
from core.models.network import click_loss
from tests.core.models.references import CLICK_MODELS
from tests.core.models.small_networks import (
    FIELD_SIZES,
    ROWS,
    build_small_network,
    inputs,
    small_settings,
)

LOGITS_OF_0_12 = {
    "lr": (-0.937324, 0.394532, 0.899294),
    "fm": (-0.062096, 0.453385, 2.686638),
    "dnn": (0.768842, 0.83677, 0.86484),
    "widedeep": (-1.280774, -1.130264, -1.192123),
    "deepfm": (1.840893, 1.676949, 1.989665),
    "dcnv2": (0.572332, 0.505125, 0.560618),
    "autoint": (-1.287695, -1.063972, -1.064025),
    "finalmlp": (1.357354, 1.138301, 1.178071),
    "finalnet": (1.113379, 1.466138, -0.044286),
    "fcn": (0.468865, 3.181467, 1.055107),
    "resnet": (0.500556, 0.632507, 0.213874),
    "fttransformer": (-1.053478, -1.111771, -0.99008),
    "tabm": (-0.347301, -0.186147, -0.668885),
}
"""The first logits of each small network on `inputs()`, as version 0.12 computed them."""


def state(dense: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in inputs(dense))


@pytest.mark.parametrize("architecture", CLICK_MODELS)
def test_thirteen_floats_score_as_before(architecture: str) -> None:
    with torch.no_grad():
        logits = build_small_network(architecture)(state(13)).flatten()[:3]
    np.testing.assert_allclose(logits, LOGITS_OF_0_12[architecture], atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("architecture", CLICK_MODELS)
def test_every_further_float_reaches_the_logit_and_its_gradient_the_weights(
    architecture: str,
) -> None:
    dense = 20
    network = build_small_network(architecture, dense=dense).train()
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    ids, numerics = state(dense)
    numerics.requires_grad_(True)
    click_loss(network((ids, numerics)), torch.tensor([0.0, 1, 0, 1, 1, 0])).backward()
    assert numerics.grad is not None
    assert (numerics.grad.abs().amax(dim=0) > 0).all()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("architecture", CLICK_MODELS)
def test_a_frozen_prefix_of_wider_rows_can_be_cached(architecture: str) -> None:
    network = build_small_network(architecture, dense=95)
    with torch.no_grad():
        whole = network(state(95))
        for depth in range(len(network.stages) + 1):
            cached = network.run_stages(state(95), 0, depth)
            assert all(len(tensor) == ROWS for tensor in cached)
            torch.testing.assert_close(network(cached, depth), whole, rtol=0, atol=0)


@pytest.mark.parametrize("architecture", CLICK_MODELS)
def test_cards_and_costs_count_the_wider_network(architecture: str) -> None:
    settings = small_settings(architecture)
    network = build_network(architecture, settings, FIELD_SIZES, HeadSettings(), 95)
    cards = describe_stages(network, len(FIELD_SIZES), 95)
    head = HeadSettings().parameters(network.representation, network.members)
    assert sum(card.parameters for card in cards) + head == sum(
        parameter.numel() for parameter in network.parameters()
    )
    assert measure_stats(architecture, settings, FIELD_SIZES, 95).stages == cards
