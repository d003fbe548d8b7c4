"""DeepFM: a factorisation machine and a multilayer perceptron on shared embeddings.

Guo et al., IJCAI 2017.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

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


def pairwise_interactions(vectors: Tensor) -> Tensor:
    """Sum over all pairs of fields of the elementwise products of their vectors.

    Half the square of the sum minus the sum of squares, in linear time (Rendle 2010).

    Args:
        vectors: shape ``(n_rows, n_fields, size)``.

    Returns:
        Shape ``(n_rows, size)``.
    """
    return 0.5 * (vectors.sum(1).square() - vectors.square().sum(1))


class FactorisationEmbedding(Embedding):
    """The embedding stage together with the factorisation machine.

    The machine shares the embedding table, so both freeze together. Returns ``(machine, deep)``:
    the pairwise interactions and the sum of one first-order weight per value, shape
    ``(n_rows, size + 1)``, and the input of the perceptron, ``(n_rows, n_fields * size + dense)``.
    """

    def __init__(self, field_sizes: Sequence[int], size: int) -> None:
        super().__init__(field_sizes, size)
        self.title = "Embedding + FM"
        self.first_order = EmbeddingTable(sum(field_sizes), 1)
        nn.init.zeros_(self.first_order.weight)

    def reset_parameters(self) -> None:
        """Draw every weight anew, as the constructor does."""
        super().reset_parameters()
        nn.init.zeros_(self.first_order.weight)

    def forward(self, state: Activations) -> Activations:
        ids, numerics = state
        vectors = self.vectors(ids)
        linear = self.first_order(ids + self.offsets).sum(1)
        return (
            torch.cat([pairwise_interactions(vectors), linear], dim=1),
            concat_features(vectors, numerics),
        )


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Stages embedding (with the machine), block1, block2, …; the machine bypasses the blocks.

    The paper adds machine and perceptron; the head's linear layer over both contains that sum, with
    all weights of the machine equal to 1.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    blocks = mlp_stages(concat_width(len(field_sizes), settings.embedding, dense), settings.blocks)
    stages = [FactorisationEmbedding(field_sizes, settings.embedding), *blocks]
    return Network(stages, settings.embedding + 1 + settings.widths[-1], head)
