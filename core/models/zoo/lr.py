"""LR: logistic regression, one weight per field value and one per numeric.

The baseline of every click model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.models.card import HeadSettings
from core.models.network import Activations, Embedding, Network


@dataclass(frozen=True)
class Settings:
    """There is nothing to set."""


class FirstOrderWeights(Embedding):
    """The embedding stage with vectors of one weight.

    Returns ``(sum, numerics)`` of shapes ``(n_rows, 1)`` and ``(n_rows, dense)``.
    """

    def __init__(self, field_sizes: Sequence[int]) -> None:
        super().__init__(field_sizes, 1)
        self.title = "Weights"

    def forward(self, state: Activations) -> Activations:
        ids, numerics = state
        return (self.vectors(ids).sum(1), numerics)


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """The stage embedding alone; the head's linear layer makes it a logistic regression.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    return Network([FirstOrderWeights(field_sizes)], 1 + dense, head)
