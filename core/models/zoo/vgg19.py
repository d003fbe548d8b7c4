"""VGG19 on pictures of the features.

Simonyan and Zisserman: Very Deep Convolutional Networks, ICLR 2015. This is
keras.applications.VGG19 without its top. Shapes at 32 x 32: (rows, 64, 16, 16), (rows, 128, 8, 8),
(rows, 256, 4, 4), (rows, 512, 2, 2), (rows, 512).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.models.card import HeadSettings
from core.models.network import Network
from core.models.zoo.keras_stages import build_stages

CUTS = (
    ("block1", "Image + block 1", "block1_pool"),
    ("block2", "Block 2", "block2_pool"),
    ("block3", "Block 3", "block3_pool"),
    ("block4", "Block 4", "block4_pool"),
    ("block5", "Block 5", "block5_pool"),
)


@dataclass(frozen=True)
class Settings:
    """There is nothing to set: the published weights fit one network alone."""


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Return a network with stages block1 to block5, each with its pooling.

    Takes ids and numerics; the last stage returns (rows, 512). The picture is drawn in block1, so
    that freeze depth counts blocks of convolutions.
    """
    return build_stages("VGG19", CUTS, field_sizes, head)
