"""AutoInt+: self-attention over the fields beside a multilayer perceptron.

Song et al.: AutoInt, CIKM 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.errors import BadInput
from core.models.card import HeadSettings
from core.models.layers import Linear
from core.models.network import (
    Activations,
    DeepSettings,
    Embedding,
    Network,
    concat_features,
    concat_width,
    dense_layer,
    parallel_stages,
)


@dataclass(frozen=True)
class Settings(DeepSettings):
    """Settings of AutoInt+.

    Args:
        layers: attention layers.
        heads: attention heads of each layer.
        attention: floats per field that the heads share; a multiple of `heads`.
        embedding, widths, dropout, batch_norm: see DeepSettings.
    """

    layers: int
    heads: int
    attention: int

    def __post_init__(self) -> None:
        if self.attention % self.heads:
            raise BadInput(
                f"{self.heads} attention heads cannot share {self.attention} floats; take a "
                "divisor of it."
            )


class FieldEmbedding(Embedding):
    """Maps ``(ids, numerics)`` to the inputs of both towers.

    Returns ``(vectors, deep)`` of shapes ``(n_rows, n_fields, size)`` and
    ``(n_rows, n_fields * size + dense)``.
    """

    def forward(self, state: Activations) -> Activations:
        ids, numerics = state
        vectors = self.vectors(ids)
        return (vectors, concat_features(vectors, numerics))


class InteractingLayer(nn.Module):
    """Multi-head self-attention over fields, a residual and ReLU (equations 5 to 8).

    The attention scores are not scaled, as in the paper. Maps ``(n_rows, n_fields, inputs)`` to
    ``(n_rows, n_fields, outputs)``.
    """

    def __init__(self, inputs: int, outputs: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(inputs, outputs, bias=False)
        self.key = Linear(inputs, outputs, bias=False)
        self.value = Linear(inputs, outputs, bias=False)
        self.residual = Linear(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # [n_rows, n_fields, outputs] to [n_rows, heads, n_fields, outputs / heads]
        rows, fields, _ = x.shape
        query, key, value = (
            layer(x).view(rows, fields, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        return torch.relu(mixed.transpose(1, 2).flatten(2) + self.residual(x))


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Stages embedding, then attention layer k and block k together; the head reads both towers.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    sizes = [settings.embedding, *[settings.attention] * settings.layers]
    attention = [
        InteractingLayer(sizes[i - 1], sizes[i], settings.heads) for i in range(1, len(sizes))
    ]
    widths = [concat_width(len(field_sizes), settings.embedding, dense), *settings.widths]
    blocks = [dense_layer(widths[i - 1], widths[i], settings.blocks) for i in range(1, len(widths))]
    stages = parallel_stages([attention, blocks], ["Attention", "Block"])
    representation = len(field_sizes) * settings.attention + settings.widths[-1]
    return Network([FieldEmbedding(field_sizes, settings.embedding), *stages], representation, head)
