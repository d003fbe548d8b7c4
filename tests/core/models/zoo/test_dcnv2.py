"""Cross layers of low rank, against the explicit product of their two matrices."""

import pytest
import torch

from core.errors import BadInput
from core.models.backbone import build_network, describe_stages
from core.models.card import HeadSettings
from core.models.network import biases_and_norms, linear_layers
from core.models.zoo.dcnv2 import CrossLayer, LowRankLinear
from tests.core.models.small_networks import FIELD_SIZES, build_small_network, inputs

WIDTH, RANK = len(FIELD_SIZES) * 4 + 13, 3


def test_a_cross_of_low_rank_is_the_full_cross_with_the_product_of_its_matrices() -> None:
    torch.manual_seed(0)
    thin, full = CrossLayer(1, WIDTH, RANK, True), CrossLayer(1, WIDTH, 0, True)
    assert isinstance(thin.linear, LowRankLinear) and isinstance(full.linear, torch.nn.Linear)
    torch.nn.init.normal_(thin.linear.u.bias)
    with torch.no_grad():
        # [width, rank] times [rank, width]
        full.linear.weight.copy_(thin.linear.u.weight @ thin.linear.v.weight)
        full.linear.bias.copy_(thin.linear.u.bias)
        x0, x = torch.randn(2, 5, WIDTH)
        torch.testing.assert_close(thin((x0, x)), full((x0, x)), rtol=1e-5, atol=1e-5)
    assert torch.linalg.matrix_rank(full.linear.weight) == RANK


def test_rank_shrinks_parameters_and_operations_as_its_formula_says() -> None:
    network = build_small_network("dcnv2", rank=RANK)
    cross = describe_stages(network, len(FIELD_SIZES))[1]
    assert (cross.name, cross.title) == ("cross1", "Cross 1")
    assert cross.parameters == 2 * WIDTH * RANK + WIDTH
    assert cross.flops == 2 * 2 * WIDTH * RANK
    assert cross.biases_norms == WIDTH, "BitFit trains the bias alone"
    assert cross.linear_widths == 2 * (WIDTH + RANK), "LoRA adapts both matrices"


def test_every_weight_of_a_low_rank_cross_learns() -> None:
    network = build_small_network("dcnv2", rank=RANK)
    network(tuple(torch.from_numpy(array) for array in inputs())).sum().backward()
    stage = network.stage_list()[1]
    assert len(linear_layers(stage)) == 2 and len(biases_and_norms(stage)) == 1
    assert all(part.grad is not None and part.grad.any() for part in stage.parameters())


def test_settings_without_a_rank_mean_full_matrices_as_they_always_did() -> None:
    network = build_network("dcnv2", {"embedding": 4}, FIELD_SIZES, HeadSettings())
    assert network.stage_list()[1].get_parameter("linear.weight").shape == (WIDTH, WIDTH)


@pytest.mark.parametrize("rank", [-1, 1025, 2.5])
def test_an_impossible_rank_is_refused(rank: object) -> None:
    with pytest.raises(BadInput, match=r"Rank of the crosses is .*; it must be"):
        build_network("dcnv2", {"rank": rank}, FIELD_SIZES, HeadSettings())
