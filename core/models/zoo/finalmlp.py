"""FinalMLP: two multilayer perceptrons with feature gates, fused bilinearly.

Mao et al., AAAI 2023.
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
    Stage,
    concat_width,
    dense_layer,
    parallel_stages,
)


@dataclass(frozen=True)
class Settings(DeepSettings):
    """Settings of FinalMLP.

    Args:
        widths: of the blocks of both streams; the last one a multiple of `heads`.
        heads: of the bilinear fusion.
        gate: hidden units of the feature gates.
        embedding, dropout, batch_norm: see DeepSettings.
    """

    heads: int
    gate: int

    def __post_init__(self) -> None:
        if self.widths and self.widths[-1] % self.heads:
            raise BadInput(
                f"{self.heads} fusion heads cannot share {self.widths[-1]} outputs; take a divisor"
                " of it."
            )


class FeatureGate(nn.Module):
    """Scale every column by twice the sigmoid of a perceptron on a learned context (equation 5).

    The context is a parameter, as in the paper's Criteo setting, where no field marks a user or an
    item. Maps ``(n_rows, width)`` to the same shape.
    """

    def __init__(self, width: int, context: int, hidden: int) -> None:
        super().__init__()
        self.context = nn.Parameter(torch.zeros(context))
        self.layers = nn.Sequential(
            Linear(context, hidden), nn.ReLU(), Linear(hidden, width), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * (2 * self.layers(self.context))


class FeatureSelection(Stage):
    """Two feature gates on the same input, one for each stream.

    Takes ``(x,)``; returns one tensor for each stream, all of the same shape.
    """

    def __init__(self, width: int, context: int, hidden: int) -> None:
        super().__init__("selection", "Gate A ‖ Gate B", ("Gate A", "Gate B"))
        self.gates = nn.ModuleList(FeatureGate(width, context, hidden) for _ in range(2))

    def forward(self, state: Activations) -> Activations:
        return tuple(gate(state[0]) for gate in self.gates)


class BilinearFusion(Stage):
    """Bilinear fusion of both streams in `heads` parts (equations 8 and 9).

    Takes ``(a, b)``, both ``(n_rows, width)``; returns ``(a, b, products)``, the last of shape
    ``(n_rows, heads)``.
    """

    matrix_names = ("weight",)

    def __init__(self, width: int, heads: int) -> None:
        super().__init__("fusion", "Fusion")
        self.weight = nn.Parameter(torch.empty(heads, width // heads, width // heads))
        for matrix in self.weight:
            nn.init.xavier_normal_(matrix)

    def forward(self, state: Activations) -> Activations:
        # shape[0], not len(): a trace would record that as the number of its example.
        heads = self.weight.shape[0]
        a, b = (stream.view(stream.shape[0], heads, -1) for stream in state)
        products = torch.einsum("rhi,hij,rhj->rh", a, self.weight, b)
        return (*state, products)


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Stages embedding, selection, block k of both streams together, fusion.

    The head's linear layer over ``[a, b, products]`` contains the paper's sum, with all weights of
    the products equal to 1.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    widths = [concat_width(len(field_sizes), settings.embedding, dense), *settings.widths]
    streams = [
        [dense_layer(widths[i - 1], widths[i], settings.blocks) for i in range(1, len(widths))],
        [dense_layer(widths[i - 1], widths[i], settings.blocks) for i in range(1, len(widths))],
    ]
    stages = [
        Embedding(field_sizes, settings.embedding),
        FeatureSelection(widths[0], settings.embedding, settings.gate),
        *parallel_stages(streams, ["Block A", "Block B"]),
        BilinearFusion(widths[-1], settings.heads),
    ]
    return Network(stages, 2 * widths[-1] + settings.heads, head)
