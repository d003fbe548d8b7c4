"""The architectures Thaw can pretrain, in one dict. Torch-free: the module named is imported when one is built."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """An architecture as a page offers it; `module` holds its Settings and `build(settings, field_sizes, head)`.

    defaults: a value for every field of Settings.
    """

    title: str
    summary: str
    source: str
    module: str
    defaults: dict[str, Any]


ARCHITECTURES: dict[str, Architecture] = {
    "dnn": Architecture(
        title="DNN",
        summary="Embeddings and numerics into a plain multilayer perceptron: the floor every click model must beat.",
        source="Covington, Adams, Sargin: Deep Neural Networks for YouTube Recommendations, RecSys 2016",
        module="core.models.dnn",
        defaults={"embedding": 16, "widths": [256, 256, 256], "dropout": 0.3, "batch_norm": False},
    ),
    "deepfm": Architecture(
        title="DeepFM",
        summary="A factorisation machine and a perceptron side by side on shared embeddings.",
        source="Guo et al.: DeepFM, IJCAI 2017",
        module="core.models.deepfm",
        defaults={"embedding": 16, "widths": [256, 256, 256], "dropout": 0.3, "batch_norm": False},
    ),
    "dcnv2": Architecture(
        title="DCNv2",
        summary="Cross layers multiply the input with itself (explicit feature crosses), then a perceptron.",
        source="Wang et al.: DCN V2, WWW 2021 (stacked form)",
        module="core.models.dcnv2",
        defaults={"embedding": 16, "crosses": 2, "widths": [256, 256], "dropout": 0.3, "batch_norm": False},
    ),
}
