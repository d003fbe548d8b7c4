"""Small networks with random weights, and rows for them."""

import numpy as np
import torch
from torch import nn

from core.models.backbone import build_network
from core.models.card import HeadSettings
from core.models.network import Network
from core.models.registry import ARCHITECTURES
from tests.core.models.references import SMALL

FIELD_SIZES = (5, 3, 7)
ROWS = 6


def small_settings(architecture: str) -> dict[str, object]:
    return {
        name: value for name, value in SMALL.items() if name in ARCHITECTURES[architecture].defaults
    }


def inputs(dense: int = 13) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    ids = np.stack([generator.integers(0, size, ROWS) for size in FIELD_SIZES], axis=1)
    return ids.astype(np.int32), generator.normal(size=(ROWS, dense)).astype(np.float32)


def build_small_network(
    architecture: str,
    head: HeadSettings | None = None,
    field_sizes: tuple[int, ...] = FIELD_SIZES,
    dense: int = 13,
    **settings: object,
) -> Network:
    torch.manual_seed(1)
    network = build_network(
        architecture,
        small_settings(architecture) | settings,
        field_sizes,
        head or HeadSettings(),
        dense,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return network.eval()
