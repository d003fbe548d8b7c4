"""Gradient-boosted decision trees as a network: what LightGBM has fitted, computed by torch.

Thus a boosted model is stored, scored and exported as every network is, without LightGBM. It is
fitted by core.training.controls.gradient_boosting and never by gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.data.schema import NUMERIC
from core.errors import BadInput
from core.models.card import HeadSettings
from core.models.network import Activations, Network, Stage

TREES_PER_STEP = 64
"""Trees that are walked at a time; all of them at once would take gigabytes for a batch."""


@dataclass(frozen=True)
class Settings:
    """Sizes of the stored trees.

    Args:
        trees: number of trees.
        nodes: inner nodes and leaves of all trees together.
        depth: most decisions on a way from a root to a leaf.

    Raises:
        BadInput: a number is not positive.
    """

    trees: int
    nodes: int
    depth: int

    def __post_init__(self) -> None:
        if min(self.trees, self.nodes, self.depth) < 1:
            raise BadInput(
                f"Boosted trees of the sizes {self.trees}, {self.nodes} and {self.depth} cannot be;"
                " trees, nodes and depth must be 1 or more."
            )


class Trees(Stage):
    """The sum of the leaves that a row falls into, one leaf a tree.

    Maps ``(ids, numerics)`` to ``(sum,)`` of shape ``(n_rows, 1)``. A node sends a row to the left
    where its feature, a column of the numerics, is at most the threshold. A leaf sends every row to
    itself, so that all rows may take as many steps as the deepest tree has.
    """

    roots: Tensor
    features: Tensor
    next_nodes: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__("trees", "Trees")
        self.depth = settings.depth
        self.thresholds = nn.Parameter(torch.zeros(settings.nodes), requires_grad=False)
        self.values = nn.Parameter(torch.zeros(settings.nodes), requires_grad=False)
        self.register_buffer("roots", torch.zeros(settings.trees, dtype=torch.int64))
        self.register_buffer("features", torch.zeros(settings.nodes, dtype=torch.int64))
        # Left and right child of node k at 2 k and 2 k + 1.
        self.register_buffer("next_nodes", torch.zeros(2 * settings.nodes, dtype=torch.int64))

    def forward(self, state: Activations) -> Activations:
        ids, numerics = state
        # The ids decide nothing, but an ONNX model without them would have one input less.
        total = ids[:, :1].to(numerics.dtype) * 0
        for roots in self.roots.split(TREES_PER_STEP):
            # [n_rows, trees of this step]
            node = roots.unsqueeze(0) + torch.zeros_like(numerics[:, :1], dtype=torch.int64)
            for _ in range(self.depth):
                value = numerics.gather(1, self.features[node])
                node = self.next_nodes[2 * node + (value > self.thresholds[node]).long()]
            total = total + self.values[node].sum(1, keepdim=True)
        return (total,)


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int = len(NUMERIC)
) -> Network:
    """The trees, and a head whose weight is 1 and whose bias is 0.

    Args:
        settings: sizes of the trees.
        field_sizes, dense: not read; the trees decide by the numerics that they were fitted on.
        head: settings of the head.
    """
    network = Network([Trees(settings)], 1, head)
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.fill_(1.0 if parameter.ndim == 2 else 0.0)
    return network
