"""Every architecture compared with a forward pass written in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import BadInput
from core.models.backbone import build_network, describe_stages
from core.models.card import HeadSettings
from core.models.network import MemberLinear, Network, click_loss, click_probabilities
from core.models.registry import ARCHITECTURES, SETTING_FIELDS, complete_settings
from tests.core.models.references import CLICK_MODELS, REFERENCES, Weights
from tests.core.models.small_networks import (
    FIELD_SIZES,
    ROWS,
    build_small_network,
    inputs,
    small_settings,
)


def weights(network: Network) -> Weights:
    return {
        name: tensor.numpy().astype(np.float64) for name, tensor in network.state_dict().items()
    }


@pytest.mark.parametrize("dense", [13, 95])
@pytest.mark.parametrize("architecture", REFERENCES)
def test_forward_equals_numpy(architecture: str, dense: int) -> None:
    network = build_small_network(architecture, dense=dense)
    ids, numerics = inputs(dense)
    w = weights(network)
    x = REFERENCES[architecture](w, ids, numerics, FIELD_SIZES)
    if network.members > 1:
        by_member = [
            x[:, k] @ w["head.layers.0.weight"][k] + w["head.layers.0.bias"][k]
            for k in range(x.shape[1])
        ]
        expected = np.stack(by_member, axis=1)
    else:
        expected = x @ w["head.layers.0.weight"].T + w["head.layers.0.bias"]
    with torch.no_grad():
        actual = network((torch.from_numpy(ids), torch.from_numpy(numerics))).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_every_click_model_has_a_reference_and_every_setting_a_field() -> None:
    assert [*REFERENCES] == CLICK_MODELS
    for architecture in ARCHITECTURES.values():
        assert set(architecture.defaults) <= set(SETTING_FIELDS)


@pytest.mark.parametrize(
    ("architecture", "settings", "sentence"),
    [
        ("dnn", {"embedding": 0}, "Embedding size is 0; it must be 1 to 256."),
        ("dnn", {"crosses": 2}, "'dnn' has no settings"),
        ("dnn", {"widths": [8, 0]}, "Block widths"),
        ("autoint", {"heads": 3, "attention": 32}, "3 attention heads cannot share 32 floats"),
        ("fttransformer", {"heads": 3}, "3 attention heads cannot share 16 floats"),
        ("finalmlp", {"heads": 7}, "7 fusion heads cannot share 256 outputs"),
        ("finalnet", {"widths": [7]}, "are odd"),
        ("tabm", {"dropout": 1.0}, "Dropout is 1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_a_message(
    architecture: str, settings: dict[str, object], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        build_network(
            architecture, complete_settings(architecture, settings), FIELD_SIZES, HeadSettings()
        )


def test_parallel_parts_share_a_stage_and_say_so() -> None:
    cards = describe_stages(build_small_network("autoint"), len(FIELD_SIZES))
    assert [card.parts for card in cards] == [
        (),
        ("Attention 1", "Block 1"),
        ("Attention 2", "Block 2"),
    ]
    assert cards[1].title == "Attention 1 ‖ Block 1"
    network = build_network(
        "autoint", small_settings("autoint") | {"layers": 1}, FIELD_SIZES, HeadSettings()
    )
    assert [stage.title for stage in network.stage_list()] == [
        "Embedding",
        "Attention 1 ‖ Block 1",
        "Block 2",
    ]
    assert network.stage_list()[2].parts == ()


def test_members_start_different_and_learn_on_their_own() -> None:
    network = build_network(
        "tabm",
        small_settings("tabm") | {"dropout": 0.0, "batch_norm": False},
        FIELD_SIZES,
        HeadSettings(),
    )
    state = tuple(torch.from_numpy(array) for array in inputs())
    outputs = network(state)
    assert outputs.shape == (ROWS, 3, 1)
    assert not torch.allclose(outputs[:, 0], outputs[:, 1])
    labels = torch.tensor([0.0, 1, 0, 1, 1, 0])
    losses = [
        nn.functional.binary_cross_entropy_with_logits(outputs[:, k, 0], labels) for k in range(3)
    ]
    torch.testing.assert_close(click_loss(outputs, labels), torch.stack(losses).mean())
    torch.testing.assert_close(click_probabilities(outputs), outputs[:, :, 0].sigmoid().mean(dim=1))
    network.replace_head(HeadSettings((4,), output="softmax"))
    outputs = network(state)
    assert outputs.shape == (ROWS, 3, 2)
    torch.testing.assert_close(
        click_probabilities(outputs), outputs.softmax(dim=2)[:, :, 1].mean(dim=1)
    )
    assert sum(isinstance(module, MemberLinear) for module in network.head.modules()) == 2


@pytest.mark.parametrize("architecture", CLICK_MODELS)
def test_stages_in_parts_equal_the_whole(architecture: str) -> None:
    network = build_small_network(architecture)
    state = tuple(torch.from_numpy(array) for array in inputs())
    with torch.no_grad():
        whole = network(state)
        for depth in range(len(network.stages) + 1):
            torch.testing.assert_close(
                network(network.run_stages(state, 0, depth), depth), whole, rtol=0, atol=0
            )


@pytest.mark.parametrize("architecture", CLICK_MODELS)
def test_cards_count_every_parameter_and_width(architecture: str) -> None:
    network = build_small_network(architecture)
    cards = describe_stages(network, len(FIELD_SIZES))
    head = HeadSettings().parameters(network.representation, network.members)
    assert sum(card.parameters for card in cards) + head == sum(
        p.numel() for p in network.parameters()
    )
    assert cards[-1].outputs == network.representation * network.members
    assert cards[0].name == "embedding" and cards[0].flops == 0


@pytest.mark.parametrize(
    ("architecture", "per_input"), [("dnn", 8), ("dcnv2", 25), ("tabm", 3 * 8), ("finalnet", 16)]
)
def test_operations_are_two_a_multiply_add(architecture: str, per_input: int) -> None:
    width = len(FIELD_SIZES) * 4 + 13
    assert (
        describe_stages(build_small_network(architecture), len(FIELD_SIZES))[1].flops
        == 2 * width * per_input
    )


@pytest.mark.parametrize("output", ["logit", "softmax"])
def test_head_is_xavier_with_zero_biases_and_counts_itself(output: str) -> None:
    settings = HeadSettings((64, 32), "gelu", output)
    torch.manual_seed(0)
    network = build_network("dnn", small_settings("dnn"), FIELD_SIZES, settings)
    linears = [layer for layer in network.head.modules() if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in linears] == [6, 64, 32]
    for layer in linears:
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert layer.weight.abs().max() <= bound
        assert layer.weight.abs().max() > 0.8 * bound
        assert not layer.bias.any()
    assert sum(p.numel() for p in network.head.parameters()) == settings.parameters(6)


def test_losses_and_scores_equal_closed_forms() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 50).astype(np.float32)
    one = generator.normal(size=(50, 1)).astype(np.float32)
    two = generator.normal(size=(50, 2)).astype(np.float32)
    for outputs, logit in ((one, one[:, 0]), (two, two[:, 1] - two[:, 0])):
        p = 1 / (1 + np.exp(-logit.astype(np.float64)))
        np.testing.assert_allclose(
            click_probabilities(torch.from_numpy(outputs)).numpy(), p, rtol=1e-5
        )
        expected = -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))
        assert click_loss(
            torch.from_numpy(outputs), torch.from_numpy(labels)
        ).item() == pytest.approx(expected, rel=1e-5)
