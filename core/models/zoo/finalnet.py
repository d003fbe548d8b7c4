"""FinalNet: two towers of factorised interaction layers (Zhu et al.: FINAL, SIGIR 2023), the form
with two blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.errors import BadInput
from core.models.card import HeadSettings
from core.models.layers import Linear
from core.models.network import (
    BlockSettings,
    DeepSettings,
    Embedding,
    Network,
    State,
    concat_width,
    parallel_stages,
)


@dataclass(frozen=True)
class Settings(DeepSettings):
    """widths: of the layers of both towers, even numbers; the rest as DeepSettings."""

    def __post_init__(self) -> None:
        if odd := [width for width in self.widths if width % 2]:
            raise BadInput(
                f"The widths {odd} are odd; a factorised interaction layer needs even ones."
            )


class TwinEmbedding(Embedding):
    """The embedding stage of two towers: hands on the same (rows, fields * size + 13) twice."""

    def forward(self, state: State) -> State:
        (x,) = super().forward(state)
        return (x, x)


class FactorisedInteraction(nn.Module):
    """h = W x + b, halved into h2 and h1, handed on as [h2, h1 * h2] (equation 3, residual by
    concatenation).

    Then BatchNorm where asked for, and dropout; the layer is quadratic, so there is no other
    activation.
    """

    def __init__(self, inputs: int, outputs: int, settings: BlockSettings) -> None:
        super().__init__()
        self.linear = Linear(inputs, outputs)
        norm = [nn.BatchNorm1d(outputs)] if settings.batch_norm else []
        self.after = nn.Sequential(*norm, nn.Dropout(settings.dropout))

    def forward(self, x: Tensor) -> Tensor:
        second, first = self.linear(x).chunk(2, dim=1)
        return self.after(torch.cat([second, first * second], dim=1))


def build(settings: Settings, field_sizes: Sequence[int], head: HeadSettings) -> Network:
    """Stages embedding, then layer k of both towers together; the head reads the ends of both.

    The paper averages the logits of the towers, which one linear layer over both contains. Its
    self-distillation between the towers during training is left out: the head trains on labels
    alone, as every other one does.
    """
    widths = [concat_width(len(field_sizes), settings.embedding), *settings.widths]
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
