"""LR: logistic regression, one weight a field value and one a numeric; the floor under every click
model."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.data.schema import NUMERIC
from core.models.card import HeadSettings
from core.models.network import Embedding, Network, State


@dataclass(frozen=True)
class Settings:
    """Nothing to set."""


class FirstOrderWeights(Embedding):
    """The embedding stage with vectors of one weight: hands on (their sum (rows, 1), numerics
    (rows, 13))."""

    def __init__(self, field_sizes: Sequence[int]) -> None:
        super().__init__(field_sizes, 1)
        self.title = "Weights"

    def forward(self, state: State) -> State:
        ids, numerics = state
        return (self.vectors(ids).sum(1), numerics)


def build(settings: Settings, field_sizes: Sequence[int], head: HeadSettings) -> Network:
    """Stage embedding alone; the head's linear layer over the sum and the numerics makes it a
    logistic regression."""
    return Network([FirstOrderWeights(field_sizes)], 1 + len(NUMERIC), head)
