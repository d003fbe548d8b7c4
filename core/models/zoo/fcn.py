"""FCN (DCNv3): exponential and linear cross networks side by side.

Li et al.: DCNv3, 2024, arXiv 2407.13349.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.models.card import HeadSettings
from core.models.layers import Linear
from core.models.network import Activations, Embedding, Network, Stage, concat_width


@dataclass(frozen=True)
class Settings:
    """Settings of FCN.

    Args:
        embedding: floats of an embedding vector.
        crosses: layers of both cross networks.
        dropout: share of activations dropped after every layer.
    """

    embedding: int
    crosses: int
    dropout: float


class MaskedCross(nn.Module):
    """The factor of one cross layer, ``[c, c * relu(LayerNorm(c))] + b`` with ``c = W x``.

    c has half the width; its second, masked half filters noise (self-mask). Maps
    ``(n_rows, width)`` to the same shape; of an odd width the last column is cut off.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half = (width + 1) // 2
        self.linear = Linear(width, half, bias=False)
        self.norm = nn.LayerNorm(half)
        self.bias = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        c = self.linear(x)
        return torch.cat([c, c * torch.relu(self.norm(c))], dim=1)[:, : x.shape[1]] + self.bias


class CrossPair(Stage):
    """Layer k of both cross networks.

    Exponential: ``e' = e * factor(e) + e``; linear: ``l' = x0 * factor(l) + l``. Takes ``(x0,)`` as
    the first layer, where e = l = x0, and ``(x0, e, l)`` after it. Returns ``(x0, e', l')``, or
    ``(e', l')`` as the last one. All have the shape ``(n_rows, width)``.
    """

    def __init__(self, number: int, width: int, dropout: float, last: bool) -> None:
        parts = (f"Exponential cross {number}", f"Linear cross {number}")
        super().__init__(f"cross{number}", " ‖ ".join(parts), parts)
        self.exponential = MaskedCross(width)
        self.linear = MaskedCross(width)
        self.dropout = nn.Dropout(dropout)
        self.last = last

    def forward(self, state: Activations) -> Activations:
        x0, e, linear = (state[0], state[0], state[0]) if len(state) == 1 else state
        e = self.dropout(e * self.exponential(e) + e)
        linear = self.dropout(x0 * self.linear(linear) + linear)
        return (e, linear) if self.last else (x0, e, linear)


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Stages embedding, then layer k of both cross networks together; the head reads both.

    The paper averages the logits of the two networks, which one linear layer over both contains.
    Its Tri-BCE loss, which weighs a loss of each network by how far it lags behind, is left out:
    every arm of a comparison trains on the same loss.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    width = concat_width(len(field_sizes), settings.embedding, dense)
    crosses = [
        CrossPair(i, width, settings.dropout, i == settings.crosses)
        for i in range(1, settings.crosses + 1)
    ]
    return Network([Embedding(field_sizes, settings.embedding), *crosses], 2 * width, head)
