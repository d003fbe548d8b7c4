"""ResNet50 on pictures of the features.

He et al.: Deep Residual Learning for Image Recognition, CVPR 2016. This is
keras.applications.ResNet50 without its top. Shapes at 32 x 32: (rows, 64, 8, 8), (rows, 256, 8, 8),
(rows, 512, 4, 4), (rows, 1024, 2, 2), (rows, 2048).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.models.card import HeadSettings
from core.models.network import Network
from core.models.zoo.keras_stages import build_stages

CUTS = (
    ("conv1", "Image + conv 1", "pool1_pool"),
    ("conv2", "Conv 2", "conv2_block3_out"),
    ("conv3", "Conv 3", "conv3_block4_out"),
    ("conv4", "Conv 4", "conv4_block6_out"),
    ("conv5", "Conv 5", "conv5_block3_out"),
)


@dataclass(frozen=True)
class Settings:
    """There is nothing to set: the published weights fit one network alone."""


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Return a network with stages conv1 to conv5, as the paper numbers them.

    Takes ids and numerics; the last stage returns (rows, 2048). conv1 includes its pooling. The
    picture is drawn in conv1, so that freeze depth counts groups of convolutions.
    """
    return build_stages("ResNet50", CUTS, field_sizes, head)
