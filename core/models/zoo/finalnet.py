"""FinalNet: two towers of factorised interaction layers, the form with two blocks.

Zhu et al.: FINAL, SIGIR 2023.
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
    BlockSettings,
    DeepSettings,
    Embedding,
    Network,
    concat_width,
    parallel_stages,
)


@dataclass(frozen=True)
class Settings(DeepSettings):
    """Settings of FinalNet.

    Args:
        widths: of the layers of both towers, even numbers.
        embedding, dropout, batch_norm: see DeepSettings.
    """

    def __post_init__(self) -> None:
        if odd := [width for width in self.widths if width % 2]:
            raise BadInput(
                f"The widths {odd} are odd; a factorised interaction layer needs even ones."
            )


class TwinEmbedding(Embedding):
    """The embedding stage of two towers: returns the same tensor for each of them."""

    def forward(self, state: Activations) -> Activations:
        (x,) = super().forward(state)
        return (x, x)


class FactorisedInteraction(nn.Module):
    """``h = W x + b``, halved into h2 and h1 and returned as ``[h2, h1 * h2]`` (equation 3).

    Then BatchNorm if set, and dropout. The layer is quadratic, so it needs no other activation.
    Maps ``(n_rows, inputs)`` to ``(n_rows, outputs)``.
    """

    def __init__(self, inputs: int, outputs: int, settings: BlockSettings) -> None:
        super().__init__()
        self.linear = Linear(inputs, outputs)
        norm = [nn.BatchNorm1d(outputs)] if settings.batch_norm else []
        self.after = nn.Sequential(*norm, nn.Dropout(settings.dropout))

    def forward(self, x: Tensor) -> Tensor:
        second, first = self.linear(x).chunk(2, dim=1)
        return self.after(torch.cat([second, first * second], dim=1))


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Stages embedding, then layer k of both towers together; the head reads both.

    The paper averages the logits of the towers, which one linear layer over both contains. Its
    self-distillation between the towers is left out: every head trains on labels alone.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    widths = [concat_width(len(field_sizes), settings.embedding, dense), *settings.widths]
    towers = [
        [
            FactorisedInteraction(widths[i - 1], widths[i], settings.blocks)
            for i in range(1, len(widths))
        ],
        [
            FactorisedInteraction(widths[i - 1], widths[i], settings.blocks)
            for i in range(1, len(widths))
        ],
    ]
    stages = parallel_stages(towers, ["FINAL A", "FINAL B"])
    return Network([TwinEmbedding(field_sizes, settings.embedding), *stages], 2 * widths[-1], head)
