"""Tabular ResNet: residual blocks with BatchNorm (Gorishniy et al.: Revisiting Deep Learning
Models, NeurIPS 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from core.models.card import HeadSettings
from core.models.layers import Linear
from core.models.network import Embedding, Network, Stage, State, concat_width


@dataclass(frozen=True)
class Settings:
    """embedding: floats a vector. layers: residual blocks. width: floats they hand on. hidden:
    units inside.

    dropout: after the ReLU inside each block.
    """

    embedding: int
    layers: int
    width: int
    hidden: int
    dropout: float


class Projection(Stage):
    """The linear layer to the width of the blocks: (rows, inputs) to (rows, width).

    It and each block's last layer have no bias: the BatchNorms above take it out again, and its
    gradient, rounding noise, would be blown up to full steps by Adam.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__("projection", "Projection")
        self.linear = Linear(inputs, width, bias=False)

    def forward(self, state: State) -> State:
        return (self.linear(state[0]),)


class ResidualBlock(Stage):
    """x + Linear(Dropout(ReLU(Linear(BatchNorm(x))))); the last block also has the paper's closing
    ReLU(BatchNorm)."""

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

    def forward(self, state: State) -> State:
        (x,) = state
        return (self.close(x + self.layers(x)),)


def build(settings: Settings, field_sizes: Sequence[int], head: HeadSettings) -> Network:
    """Stages embedding, projection, block1, block2, … : ids and numerics to (rows, width)."""
    projection = Projection(concat_width(len(field_sizes), settings.embedding), settings.width)
    blocks = [ResidualBlock(number, settings) for number in range(1, settings.layers + 1)]
    return Network(
        [Embedding(field_sizes, settings.embedding), projection, *blocks], settings.width, head
    )
