"""Counting the parameters and operations of a network, for core.models.model_stats."""

from collections.abc import Sequence
from typing import Any

import torch

from core.data.schema import NUMERIC
from core.models.backbone import build_network, describe_stages
from core.models.card import HeadSettings
from core.models.model_stats import ModelStats
from core.models.registry import ARCHITECTURES


def measure_stats(
    architecture: str,
    settings: dict[str, Any],
    field_sizes: Sequence[int],
    dense: int = len(NUMERIC),
) -> ModelStats:
    """Build a network and count its stages.

    Args:
        architecture: a key of ARCHITECTURES.
        settings: those that differ from its defaults.
        field_sizes: number of values of each field.
        dense: floats of a row beside its ids.

    Raises:
        BadInput: the settings make no network.
    """
    # On the meta device weights take no memory, and counting reads none. Keras allocates its own.
    with torch.device("cpu" if ARCHITECTURES[architecture].required_package else "meta"):
        network = build_network(architecture, settings, field_sizes, HeadSettings(), dense)
    stages = describe_stages(network, len(field_sizes), dense)
    return ModelStats(
        architecture, stages, sum(field_sizes), network.representation, network.members
    )
