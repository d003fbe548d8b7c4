"""DCNv2: cross layers, then a perceptron, the stacked form (Wang et al.: DCN V2, WWW 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.models.card import HeadSettings
from core.models.network import (
    Activations,
    DeepSettings,
    Embedding,
    Network,
    Stage,
    concat_width,
    mlp_stages,
    xavier_linear,
)


@dataclass(frozen=True)
class Settings(DeepSettings):
    """Settings of DCNv2.

    Args:
        crosses: cross layers.
        embedding, widths, dropout, batch_norm: see DeepSettings.
    """

    crosses: int


class CrossLayer(Stage):
    """``x' = x0 * (W x + b) + x`` with a full matrix W (equation 1 of the paper).

    Takes ``(x,)`` as the first cross layer, where x0 = x, and ``(x0, x)`` after it. Returns
    ``(x0, x')``, or ``(x',)`` as the last one. All have the shape ``(n_rows, width)``.
    """

    def __init__(self, number: int, width: int, last: bool) -> None:
        super().__init__(f"cross{number}", f"Cross {number}")
        self.linear = xavier_linear(width, width)
        self.last = last

    def forward(self, state: Activations) -> Activations:
        x0, x = state[0], state[-1]
        crossed = x0 * self.linear(x) + x
        return (crossed,) if self.last else (x0, crossed)


def build(settings: Settings, field_sizes: Sequence[int], head: HeadSettings) -> Network:
    """Stages embedding, cross1, …, block1, …; cross layers keep the width of the embedding.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
    """
    width = concat_width(len(field_sizes), settings.embedding)
    crosses = [CrossLayer(i, width, i == settings.crosses) for i in range(1, settings.crosses + 1)]
    blocks = mlp_stages(width, settings.blocks)
    return Network(
        [Embedding(field_sizes, settings.embedding), *crosses, *blocks], settings.widths[-1], head
    )
