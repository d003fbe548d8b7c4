"""FM: factorisation machine, weights and pairwise interactions of vectors (Rendle, ICDM 2010)."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.models.card import HeadSettings
from core.models.network import Activations, Network
from core.models.zoo.deepfm import FactorisationEmbedding, pairwise_interactions


@dataclass(frozen=True)
class Settings:
    """Settings of FM.

    Args:
        embedding: floats of an embedding vector.
    """

    embedding: int


class FactorisationMachine(FactorisationEmbedding):
    """The whole machine.

    Returns ``(interactions, first_order, numerics)`` of shapes ``(n_rows, 1)``, ``(n_rows, 1)`` and
    ``(n_rows, dense)``; `interactions` is the sum over pairs of fields of the dot products of their
    vectors.
    """

    def forward(self, state: Activations) -> Activations:
        ids, numerics = state
        interactions = pairwise_interactions(self.vectors(ids)).sum(1, keepdim=True)
        return (interactions, self.first_order(ids + self.offsets).sum(1), numerics)


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """The stage embedding alone; the head's linear layer adds its parts as equation 1 does.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    return Network([FactorisationMachine(field_sizes, settings.embedding)], 2 + dense, head)
