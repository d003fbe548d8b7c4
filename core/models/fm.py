"""FM: factorisation machine, weights and pairwise interactions of vectors (Rendle, ICDM 2010)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from core.data.schema import NUMERIC
from core.models.card import HeadSettings
from core.models.deepfm import pairwise
from core.models.network import Embedding, Network, State


@dataclass(frozen=True)
class Settings:
    """embedding: floats a vector."""

    embedding: int


class Machine(Embedding):
    """The whole machine: hands on (interactions (rows, 1), first order (rows, 1), numerics (rows, 13)).

    interactions is the sum over pairs of fields of the dot products of their vectors.
    """

    def __init__(self, field_sizes: Sequence[int], size: int) -> None:
        super().__init__(field_sizes, size)
        self.title = "Embedding + FM"
        self.first_order = nn.Embedding(sum(field_sizes), 1)
        nn.init.zeros_(self.first_order.weight)

    def renew(self) -> None:
        """See Embedding."""
        super().renew()
        nn.init.zeros_(self.first_order.weight)

    def forward(self, state: State) -> State:
        ids, numerics = state
        interactions = pairwise(self.vectors(ids)).sum(1, keepdim=True)
        return (interactions, self.first_order(ids + self.offsets).sum(1), numerics)


def build(settings: Settings, field_sizes: Sequence[int], head: HeadSettings) -> Network:
    """Stage embedding alone; the head's linear layer adds its three parts up, as equation 1 of the paper does."""
    return Network([Machine(field_sizes, settings.embedding)], 2 + len(NUMERIC), head)
