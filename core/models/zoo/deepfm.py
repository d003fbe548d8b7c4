"""DeepFM: a factorisation machine and a perceptron on shared embeddings (Guo et al., IJCAI
2017)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core.models.card import HeadSettings
from core.models.layers import EmbeddingTable
from core.models.network import (
    DeepSettings,
    Embedding,
    Network,
    State,
    concat_features,
    concat_width,
    mlp_stages,
)

Settings = DeepSettings


def pairwise_interactions(vectors: Tensor) -> Tensor:
    """Sum over all pairs of fields of their elementwise products: (rows, fields, size) to (rows,
    size).

    Rendle (2010): half the square of the sum less the sum of squares.
    """
    return 0.5 * (vectors.sum(1).square() - vectors.square().sum(1))


class FactorisationEmbedding(Embedding):
    """The embedding stage with the factorisation machine's parts, which share its table and so
    freeze with it.

    Hands on (machine (rows, size + 1), deep (rows, fields * size + 13)): the pairwise interactions
    of the vectors and the sum of one first-order weight a value, beside the input of the
    perceptron.
    """

    def __init__(self, field_sizes: Sequence[int], size: int) -> None:
        super().__init__(field_sizes, size)
        self.title = "Embedding + FM"
        self.first_order = EmbeddingTable(sum(field_sizes), 1)
        nn.init.zeros_(self.first_order.weight)

    def reset_parameters(self) -> None:
        """See Embedding."""
        super().reset_parameters()
        nn.init.zeros_(self.first_order.weight)

    def forward(self, state: State) -> State:
        ids, numerics = state
        vectors = self.vectors(ids)
        linear = self.first_order(ids + self.offsets).sum(1)
        return (
            torch.cat([pairwise_interactions(vectors), linear], dim=1),
            concat_features(vectors, numerics),
        )


def build(settings: Settings, field_sizes: Sequence[int], head: HeadSettings) -> Network:
    """Stages embedding (with the FM), block1, block2, … ; the FM's part bypasses the blocks to the
    head.

    The head's linear layer over [pairwise, first order, deep] contains the paper's plain sum of the
    three as the case where the weights of the FM's part are one.
    """
    blocks = mlp_stages(concat_width(len(field_sizes), settings.embedding), settings.blocks)
    stages = [FactorisationEmbedding(field_sizes, settings.embedding), *blocks]
    return Network(stages, settings.embedding + 1 + settings.widths[-1], head)
