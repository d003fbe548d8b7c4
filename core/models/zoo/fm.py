"""FM: factorisation machine, weights and pairwise interactions of vectors (Rendle, ICDM 2010)."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.data.schema import NUMERIC
from core.models.card import HeadSettings
from core.models.network import Network, State
from core.models.zoo.deepfm import FactorisationEmbedding, pairwise_interactions


@dataclass(frozen=True)
class Settings:
    """embedding: floats a vector."""

    embedding: int


class FactorisationMachine(FactorisationEmbedding):
    """The whole machine: hands on (interactions (rows, 1), first order (rows, 1), numerics (rows,
    13)).

    interactions is the sum over pairs of fields of the dot products of their vectors.
    """

    def forward(self, state: State) -> State:
        ids, numerics = state
        interactions = pairwise_interactions(self.vectors(ids)).sum(1, keepdim=True)
        return (interactions, self.first_order(ids + self.offsets).sum(1), numerics)


def build(settings: Settings, field_sizes: Sequence[int], head: HeadSettings) -> Network:
    """Stage embedding alone; the head's linear layer adds its three parts up, as equation 1 of the
    paper does."""
    return Network([FactorisationMachine(field_sizes, settings.embedding)], 2 + len(NUMERIC), head)
