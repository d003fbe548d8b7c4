"""DNN: embeddings and numerics into a multilayer perceptron (Covington, Adams, Sargin, RecSys 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.data.schema import NUMERIC
from core.models.card import HeadSettings
from core.models.network import BlockSettings, Embedding, Network, perceptron


@dataclass(frozen=True)
class Settings:
    """embedding: floats a vector. widths, dropout, batch_norm: of the blocks (BlockSettings)."""

    embedding: int
    widths: tuple[int, ...]
    dropout: float
    batch_norm: bool

    @property
    def blocks(self) -> BlockSettings:
        """What the blocks need of these settings."""
        return BlockSettings(self.widths, self.dropout, self.batch_norm)


def build(settings: Settings, field_sizes: Sequence[int], head: HeadSettings) -> Network:
    """Stages embedding, block1, block2, … : (rows, fields) ids and (rows, 13) numerics to (rows, widths[-1])."""
    inputs = len(field_sizes) * settings.embedding + len(NUMERIC)
    stages = [Embedding(field_sizes, settings.embedding), *perceptron(inputs, settings.blocks)]
    return Network(stages, settings.widths[-1], head)
