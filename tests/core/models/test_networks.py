"""Every architecture against a forward pass written in numpy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from core.models.backbone import build_network, describe_stages
from core.models.card import HeadSettings
from core.models.network import Network, loss_of, scores_of
from core.models.registry import ARCHITECTURES

SIZES = (5, 3, 7)
ROWS = 6
SETTINGS = {"embedding": 4, "widths": [8, 6], "dropout": 0.3, "batch_norm": True}


def network_of(architecture: str, head: HeadSettings | None = None) -> Network:
    torch.manual_seed(1)
    network = build_network(architecture, SETTINGS, SIZES, head or HeadSettings())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def inputs() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    ids = np.stack([generator.integers(0, size, ROWS) for size in SIZES], axis=1)
    return ids.astype(np.int32), generator.normal(size=(ROWS, 13)).astype(np.float32)


def weights(network: Network) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().astype(np.float64) for name, tensor in network.state_dict().items()}


def embed(w: dict[str, np.ndarray], ids: np.ndarray, table: str = "stages.0.table.weight") -> np.ndarray:
    starts = np.concatenate([[0], np.cumsum(SIZES)[:-1]])
    return np.stack([[w[table][starts[f] + row[f]] for f in range(len(SIZES))] for row in ids])


def blocks(w: dict[str, np.ndarray], x: np.ndarray, stages: range) -> np.ndarray:
    for i in stages:
        x = x @ w[f"stages.{i}.layers.0.weight"].T + w[f"stages.{i}.layers.0.bias"]
        mean, variance = w[f"stages.{i}.layers.1.running_mean"], w[f"stages.{i}.layers.1.running_var"]
        x = (x - mean) / np.sqrt(variance + 1e-5) * w[f"stages.{i}.layers.1.weight"] + w[f"stages.{i}.layers.1.bias"]
        x = np.maximum(x, 0)
    return x


def dnn(w: dict[str, np.ndarray], ids: np.ndarray, numerics: np.ndarray) -> np.ndarray:
    return blocks(w, np.hstack([embed(w, ids).reshape(ROWS, -1), numerics]), range(1, 3))


def deepfm(w: dict[str, np.ndarray], ids: np.ndarray, numerics: np.ndarray) -> np.ndarray:
    vectors = embed(w, ids)
    pairs = [vectors[:, i] * vectors[:, j] for i in range(len(SIZES)) for j in range(i + 1, len(SIZES))]
    first = embed(w, ids, "stages.0.first_order.weight").sum(axis=1)
    deep = blocks(w, np.hstack([vectors.reshape(ROWS, -1), numerics]), range(1, 3))
    return np.hstack([np.sum(pairs, axis=0), first, deep])


def dcnv2(w: dict[str, np.ndarray], ids: np.ndarray, numerics: np.ndarray) -> np.ndarray:
    x0 = x = np.hstack([embed(w, ids).reshape(ROWS, -1), numerics])
    for i in (1, 2):
        x = x0 * (x @ w[f"stages.{i}.linear.weight"].T + w[f"stages.{i}.linear.bias"]) + x
    return blocks(w, x, range(3, 5))


REFERENCES: dict[str, Callable[[dict[str, np.ndarray], np.ndarray, np.ndarray], np.ndarray]] = {
    "dnn": dnn,
    "deepfm": deepfm,
    "dcnv2": dcnv2,
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_forward_equals_numpy(architecture: str) -> None:
    network = network_of(architecture)
    ids, numerics = inputs()
    w = weights(network)
    expected = REFERENCES[architecture](w, ids, numerics) @ w["head.layers.0.weight"].T + w["head.layers.0.bias"]
    with torch.no_grad():
        actual = network((torch.from_numpy(ids), torch.from_numpy(numerics))).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stages_in_parts_equal_the_whole(architecture: str) -> None:
    network = network_of(architecture)
    state = tuple(torch.from_numpy(array) for array in inputs())
    with torch.no_grad():
        whole = network(state)
        for depth in range(len(network.stages) + 1):
            torch.testing.assert_close(network(network.run_stages(state, 0, depth), depth), whole, rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cards_count_every_parameter_and_width(architecture: str) -> None:
    network = network_of(architecture)
    cards = describe_stages(network, len(SIZES))
    assert sum(card.parameters for card in cards) + HeadSettings().parameters(network.representation) == sum(
        parameter.numel() for parameter in network.parameters()
    )
    assert cards[-1].outputs == network.representation
    assert cards[0].name == "embedding" and cards[0].flops == 0
    width = len(SIZES) * 4 + 13
    first = cards[1]
    assert first.flops == 2 * width * (width if architecture == "dcnv2" else 8)


@pytest.mark.parametrize("output", ["logit", "softmax"])
def test_head_is_xavier_with_zero_biases_and_counts_itself(output: str) -> None:
    settings = HeadSettings((64, 32), "gelu", output)
    torch.manual_seed(0)
    network = build_network("dnn", SETTINGS, SIZES, settings)
    linears = [layer for layer in network.head.layers if isinstance(layer, torch.nn.Linear)]
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
        np.testing.assert_allclose(scores_of(torch.from_numpy(outputs)).numpy(), p, rtol=1e-5)
        expected = -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))
        assert loss_of(torch.from_numpy(outputs), torch.from_numpy(labels)).item() == pytest.approx(expected, rel=1e-5)
