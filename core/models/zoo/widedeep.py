"""Wide & Deep: first-order weights beside a perceptron (Cheng et al., DLRS 2016)."""

from collections.abc import Sequence

from torch import nn

from core.models.card import HeadSettings
from core.models.layers import EmbeddingTable
from core.models.network import (
    Activations,
    DeepSettings,
    Embedding,
    Network,
    concat_features,
    concat_width,
    mlp_stages,
)

Settings = DeepSettings


class WideEmbedding(Embedding):
    """The embedding stage together with the wide part, one weight per field value.

    Both look up the same ids, so they freeze together. Returns ``(wide, deep)`` of shapes
    ``(n_rows, 1)`` and ``(n_rows, n_fields * size + dense)``.
    """

    def __init__(self, field_sizes: Sequence[int], size: int) -> None:
        super().__init__(field_sizes, size)
        self.title = "Embedding + wide"
        self.wide = EmbeddingTable(sum(field_sizes), 1)
        nn.init.zeros_(self.wide.weight)

    def reset_parameters(self) -> None:
        """Draw every weight anew, as the constructor does."""
        super().reset_parameters()
        nn.init.zeros_(self.wide.weight)

    def forward(self, state: Activations) -> Activations:
        ids, numerics = state
        return (self.wide(ids + self.offsets).sum(1), concat_features(self.vectors(ids), numerics))


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Stages embedding (with the wide part), block1, block2, …; the wide part bypasses the blocks.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    blocks = mlp_stages(concat_width(len(field_sizes), settings.embedding, dense), settings.blocks)
    return Network(
        [WideEmbedding(field_sizes, settings.embedding), *blocks], 1 + settings.widths[-1], head
    )
