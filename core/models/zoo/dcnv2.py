"""DCNv2: cross layers, then a perceptron, the stacked form (Wang et al.: DCN V2, WWW 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from core.models.card import HeadSettings
from core.models.layers import Linear
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
        rank: of the cross layers' matrices; 0 for full ones.
        embedding, widths, dropout, batch_norm: see DeepSettings.
    """

    crosses: int
    rank: int


class LowRankLinear(nn.Module):
    """``U (V^T x) + b``: a linear layer whose matrix is the product of two thin ones.

    Maps ``(n_rows, width)`` to the same shape with ``2 * width * rank`` multiply-adds per row.
    Weights are Xavier-uniform, biases 0.

    Args:
        width: columns of the input and of the output.
        rank: of the matrix.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.v = Linear(width, rank, bias=False)
        nn.init.xavier_uniform_(self.v.weight)
        self.u = xavier_linear(rank, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.u(self.v(x))


class CrossLayer(Stage):
    """``x' = x0 * (W x + b) + x`` with a matrix W that is full or, with a rank, of low rank.

    The paper's mixture of several low-rank crosses is not built.

    Takes ``(x,)`` as the first cross layer, where x0 = x, and ``(x0, x)`` after it. Returns
    ``(x0, x')``, or ``(x',)`` as the last one. All have the shape ``(n_rows, width)``.
    """

    def __init__(self, number: int, width: int, rank: int, last: bool) -> None:
        super().__init__(f"cross{number}", f"Cross {number}")
        self.linear = LowRankLinear(width, rank) if rank else xavier_linear(width, width)
        self.last = last

    def forward(self, state: Activations) -> Activations:
        x0, x = state[0], state[-1]
        crossed = x0 * self.linear(x) + x
        return (crossed,) if self.last else (x0, crossed)


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Stages embedding, cross1, …, block1, …; cross layers keep the width of the embedding.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    width = concat_width(len(field_sizes), settings.embedding, dense)
    crosses = [
        CrossLayer(i, width, settings.rank, i == settings.crosses)
        for i in range(1, settings.crosses + 1)
    ]
    blocks = mlp_stages(width, settings.blocks)
    return Network(
        [Embedding(field_sizes, settings.embedding), *crosses, *blocks], settings.widths[-1], head
    )
