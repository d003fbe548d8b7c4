"""Counting what an architecture costs: the half of core.models.model_stats that builds networks."""

from collections.abc import Sequence
from typing import Any

import torch

from core.models.backbone import build_network, describe_stages
from core.models.card import HeadSettings
from core.models.model_stats import ModelStats
from core.models.registry import ARCHITECTURES


def measure_stats(
    architecture: str, settings: dict[str, Any], field_sizes: Sequence[int]
) -> ModelStats:
    """The cost of a network built from `settings` over the defaults; BadInput when they make no
    network.

    Built without memory for its weights, which no count looks at; other packages' layers know no
    such thing.
    """
    with torch.device("cpu" if ARCHITECTURES[architecture].required_package else "meta"):
        network = build_network(architecture, settings, field_sizes, HeadSettings())
    stages = describe_stages(network, len(field_sizes))
    return ModelStats(
        architecture, stages, sum(field_sizes), network.representation, network.members
    )
