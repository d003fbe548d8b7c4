"""DNN: a multilayer perceptron on embeddings and numerics.

Covington, Adams, Sargin, RecSys 2016.
"""

from collections.abc import Sequence

from core.models.card import HeadSettings
from core.models.network import DeepSettings, Embedding, Network, concat_width, mlp_stages

Settings = DeepSettings


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Stages embedding, block1, block2, ….

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    inputs = concat_width(len(field_sizes), settings.embedding, dense)
    stages = [Embedding(field_sizes, settings.embedding), *mlp_stages(inputs, settings.blocks)]
    return Network(stages, settings.widths[-1], head)
