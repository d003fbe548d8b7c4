"""Tabular ResNet: residual blocks with BatchNorm.

Gorishniy et al.: Revisiting Deep Learning Models, NeurIPS 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from core.models.card import HeadSettings
from core.models.layers import Linear
from core.models.network import Activations, Embedding, Network, Stage, concat_width


@dataclass(frozen=True)
class Settings:
    """Settings of the tabular ResNet.

    Args:
        embedding: floats of an embedding vector.
        layers: residual blocks.
        width: columns that the blocks take and return.
        hidden: units inside a block.
        dropout: after the ReLU inside each block.
    """

    embedding: int
    layers: int
    width: int
    hidden: int
    dropout: float


class Projection(Stage):
    """The linear layer to the width of the blocks: ``(n_rows, inputs)`` to ``(n_rows, width)``.

    It and the last layer of each block have no bias: the BatchNorm above subtracts any bias again,
    so its gradient is rounding noise, which Adam would scale up to full steps.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__("projection", "Projection")
        self.linear = Linear(inputs, width, bias=False)

    def forward(self, state: Activations) -> Activations:
        return (self.linear(state[0]),)


class ResidualBlock(Stage):
    """``x + Linear(Dropout(ReLU(Linear(BatchNorm(x)))))``, shape ``(n_rows, width)``.

    The last block adds the paper's closing ``ReLU(BatchNorm(x))``.
    """

    def __init__(self, number: int, settings: Settings) -> None:
        super().__init__(f"block{number}", f"Residual {number}")
        width, hidden = settings.width, settings.hidden
        self.layers = nn.Sequential(
            nn.BatchNorm1d(width),
            Linear(width, hidden),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            Linear(hidden, width, bias=False),
        )
        last = number == settings.layers
        self.close = nn.Sequential(nn.BatchNorm1d(width), nn.ReLU()) if last else nn.Identity()

    def forward(self, state: Activations) -> Activations:
        (x,) = state
        return (self.close(x + self.layers(x)),)


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Stages embedding, projection, block1, block2, ….

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    projection = Projection(
        concat_width(len(field_sizes), settings.embedding, dense), settings.width
    )
    blocks = [ResidualBlock(number, settings) for number in range(1, settings.layers + 1)]
    return Network(
        [Embedding(field_sizes, settings.embedding), projection, *blocks], settings.width, head
    )
