"""TabM: one multilayer perceptron with adapters per member, which acts as an ensemble.

Gorishniy et al.: TabM, ICLR 2025.

The form with BatchEnsemble layers (Wen, Tran, Ba, ICLR 2020): members share every weight matrix W
and differ in the vectors r, s and b of s * (W (r * x)) + b, and in the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.models.card import HeadSettings
from core.models.layers import Linear
from core.models.network import Activations, DeepSettings, Embedding, Network, Stage, concat_width


@dataclass(frozen=True)
class Settings(DeepSettings):
    """Settings of TabM.

    Args:
        members: of the ensemble.
        embedding, widths, dropout, batch_norm: see DeepSettings.
    """

    members: int


class EnsembleLinear(nn.Module):
    """``s * (W (r * x)) + b`` for every member.

    Maps ``(n_rows, members, inputs)`` to ``(n_rows, members, outputs)``.

    Args:
        members, inputs, outputs: sizes.
        first: whether r starts at random signs, so that the members differ from the first step;
            all other adapters start at 1.
        bias: whether there is a b; BatchNorm would subtract it again.
    """

    def __init__(self, members: int, inputs: int, outputs: int, first: bool, bias: bool) -> None:
        super().__init__()
        self.linear = Linear(inputs, outputs, bias=False)
        signs = torch.randint(0, 2, (members, inputs)).float() * 2 - 1
        self.r = nn.Parameter(signs if first else torch.ones(members, inputs))
        self.s = nn.Parameter(torch.ones(members, outputs))
        bound = inputs**-0.5
        b = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound).repeat(members, 1))
        self.b = b if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x * self.r) * self.s
        return y if self.b is None else y + self.b


class EnsembleBlock(Stage):
    """EnsembleLinear, BatchNorm if set, ReLU and dropout.

    The first block takes ``(n_rows, inputs)``, the same for all members.
    """

    def __init__(self, number: int, inputs: int, outputs: int, settings: Settings) -> None:
        super().__init__(f"block{number}", f"Ensemble block {number}")
        norm = settings.batch_norm
        self.linear = EnsembleLinear(settings.members, inputs, outputs, number == 1, bias=not norm)
        self.norm = nn.BatchNorm1d(settings.members * outputs) if norm else nn.Identity()
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, state: Activations) -> Activations:
        (x,) = state
        x = self.linear(x if x.ndim == 3 else x.unsqueeze(1))
        return (self.dropout(torch.relu(self.norm(x.flatten(1)).view(x.shape))),)


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Stages embedding, block1, block2, …; the state is ``(n_rows, members, widths[-1])``.

    Each member has a head of its own. Training averages their losses, a score their probabilities.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    # Asked for here so that widths and dropout are refused in the same words as everywhere.
    widths = [concat_width(len(field_sizes), settings.embedding, dense), *settings.blocks.widths]
    blocks = [EnsembleBlock(i, widths[i - 1], widths[i], settings) for i in range(1, len(widths))]
    return Network(
        [Embedding(field_sizes, settings.embedding), *blocks], widths[-1], head, settings.members
    )
