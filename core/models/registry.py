"""The architectures that Thaw can pretrain, in one dict.

Free of torch: the module of an architecture is imported when a network is built.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from core.errors import BadInput


@dataclass(frozen=True)
class Architecture:
    """An architecture; its key in ARCHITECTURES is its name in cards and on the command line.

    Args:
        title, summary, source: its name on a page, a sentence, and the paper it is from.
        module: holds ``Settings`` and ``build(settings, field_sizes, head, dense)``.
        defaults: a value for every field of ``Settings``.
        initialisations: what its weights may start from, keys of core.models.objectives.ORIGINS.
        objectives: what it may be trained by, keys of core.models.objectives.OBJECTIVES.
        required_package: the optional package without which it cannot be built; "" for none.
    """

    title: str
    summary: str
    source: str
    module: str
    defaults: dict[str, Any]
    initialisations: tuple[str, ...] = ("random", "word2vec", "vectors")
    objectives: tuple[str, ...] = ("supervised", "rfd", "mfp", "none")
    required_package: str = ""


_DEEP = {"embedding": 16, "widths": [256, 256, 256], "dropout": 0.3, "batch_norm": False}

ARCHITECTURES: dict[str, Architecture] = {
    "lr": Architecture(
        title="LR",
        summary="Logistic regression: one weight a value. The floor under everything else.",
        source="Richardson, Dominowska, Ragno: Predicting Clicks, WWW 2007",
        module="core.models.zoo.lr",
        defaults={},
        # Its weights are no vectors, and it has no layer in which a pretext task could leave
        # anything.
        initialisations=("random",),
        objectives=("supervised", "none"),
    ),
    "fm": Architecture(
        title="FM",
        summary="Factorisation machine: weights, and a dot product for every pair of fields.",
        source="Rendle: Factorization Machines, ICDM 2010",
        module="core.models.zoo.fm",
        defaults={"embedding": 16},
    ),
    "dnn": Architecture(
        title="DNN",
        summary=(
            "Embeddings and numerics into a plain multilayer perceptron: what every deep click"
            " model must beat."
        ),
        source=(
            "Covington, Adams, Sargin: Deep Neural Networks for YouTube Recommendations, RecSys"
            " 2016"
        ),
        module="core.models.zoo.dnn",
        defaults=_DEEP,
    ),
    "widedeep": Architecture(
        title="Wide & Deep",
        summary="A logistic regression and a perceptron side by side, trained together.",
        source="Cheng et al.: Wide & Deep Learning for Recommender Systems, DLRS 2016",
        module="core.models.zoo.widedeep",
        defaults=_DEEP,
    ),
    "deepfm": Architecture(
        title="DeepFM",
        summary="A factorisation machine and a perceptron side by side on shared embeddings.",
        source="Guo et al.: DeepFM, IJCAI 2017",
        module="core.models.zoo.deepfm",
        defaults=_DEEP,
    ),
    "dcnv2": Architecture(
        title="DCNv2",
        summary=(
            "Cross layers multiply the input with itself (explicit feature crosses), then a"
            " perceptron."
        ),
        source="Wang et al.: DCN V2, WWW 2021 (stacked form)",
        module="core.models.zoo.dcnv2",
        defaults=_DEEP | {"widths": [256, 256], "crosses": 2, "rank": 0},
    ),
    "autoint": Architecture(
        title="AutoInt+",
        summary="Self-attention between the fields beside a perceptron.",
        source="Song et al.: AutoInt, CIKM 2019 (with the perceptron)",
        module="core.models.zoo.autoint",
        defaults=_DEEP | {"layers": 3, "heads": 2, "attention": 32},
    ),
    "finalmlp": Architecture(
        title="FinalMLP",
        summary="Two perceptrons that see the input through gates of their own, fused bilinearly.",
        source="Mao et al.: FinalMLP, AAAI 2023",
        module="core.models.zoo.finalmlp",
        defaults=_DEEP | {"widths": [256, 256], "heads": 16, "gate": 64},
    ),
    "finalnet": Architecture(
        title="FinalNet",
        summary=(
            "Two towers of layers that multiply two halves of their output: quadratic, without"
            " activations."
        ),
        source="Zhu et al.: FINAL, SIGIR 2023 (two blocks)",
        module="core.models.zoo.finalnet",
        defaults=_DEEP | {"widths": [256, 256], "batch_norm": True},
    ),
    "fcn": Architecture(
        title="FCN (DCNv3)",
        summary=(
            "Crosses of exponentially and of linearly growing order, with LayerNorm and a "
            "self-mask against noise."
        ),
        source="Li et al.: DCNv3, 2024, arXiv 2407.13349",
        module="core.models.zoo.fcn",
        defaults={"embedding": 16, "crosses": 3, "dropout": 0.2},
    ),
    "resnet": Architecture(
        title="ResNet (tabular)",
        summary="Residual blocks with BatchNorm: the article's kind of backbone, made for tables.",
        source="Gorishniy et al.: Revisiting Deep Learning Models for Tabular Data, NeurIPS 2021",
        module="core.models.zoo.resnet",
        defaults={"embedding": 16, "layers": 3, "width": 192, "hidden": 256, "dropout": 0.2},
    ),
    "fttransformer": Architecture(
        title="FT-Transformer",
        summary=(
            "Every feature becomes a token, and a transformer reads them all. The slowest click"
            " model here."
        ),
        source="Gorishniy et al.: Revisiting Deep Learning Models for Tabular Data, NeurIPS 2021",
        module="core.models.zoo.fttransformer",
        defaults={"embedding": 16, "layers": 3, "heads": 4, "hidden": 64, "dropout": 0.1},
    ),
    "tabm": Architecture(
        title="TabM",
        summary=(
            "One perceptron that stands for an ensemble: members share its matrices and differ in"
            " small vectors."
        ),
        source="Gorishniy et al.: TabM, ICLR 2025",
        module="core.models.zoo.tabm",
        defaults=_DEEP | {"widths": [256, 256], "members": 8},
    ),
    "vgg19": Architecture(
        title="VGG19 (images)",
        summary=(
            "The article's: rows drawn as small images for a network pretrained on ImageNet. Slow"
            " on a CPU."
        ),
        source=(
            "Simonyan, Zisserman: Very Deep Convolutional Networks, ICLR 2015 (keras.applications)"
        ),
        module="core.models.zoo.vgg19",
        defaults={},
        initialisations=("imagenet", "weights", "random"),
        objectives=("none", "supervised"),
        required_package="keras",
    ),
    "resnet50": Architecture(
        title="ResNet50 (images)",
        summary=(
            "The article's: rows drawn as small images for a residual network pretrained on "
            "ImageNet. Slow on a CPU."
        ),
        source=(
            "He et al.: Deep Residual Learning for Image Recognition, CVPR 2016"
            " (keras.applications)"
        ),
        module="core.models.zoo.resnet50",
        defaults={},
        initialisations=("imagenet", "weights", "random"),
        objectives=("none", "supervised"),
        required_package="keras",
    ),
}

FITTED_ARCHITECTURES: dict[str, Architecture] = {
    "trees": Architecture(
        title="Gradient boosting",
        summary="Decision trees, each fitted to what those before it leave unexplained.",
        source="Ke et al.: LightGBM, NeurIPS 2017",
        module="core.models.zoo.trees",
        defaults={"trees": 1, "nodes": 1, "depth": 1},
        initialisations=(),
        objectives=(),
    )
}
"""Models that a control fits whole: they are no backbones and cannot be pretrained. Their settings
are what was fitted."""


def find_architecture(name: str) -> Architecture | None:
    """Return the architecture of a stored model, also of one that a control has fitted."""
    return ARCHITECTURES.get(name) or FITTED_ARCHITECTURES.get(name)


@dataclass(frozen=True)
class SettingField:
    """A setting as a page and the command line offer it; `low` and `high` bound a number."""

    label: str
    description: str
    low: float = 0
    high: float = 0


SETTING_FIELDS: dict[str, SettingField] = {
    "embedding": SettingField("Embedding size", "floats per embedding vector", 1, 256),
    "widths": SettingField("Block widths", "widths of the blocks: 256,256"),
    "crosses": SettingField("Cross layers", "cross layers", 1, 8),
    "rank": SettingField(
        "Rank of the crosses", "rank of the cross layers' matrices; 0 for full ones", 0, 1024
    ),
    "layers": SettingField("Layers", "attention, residual or transformer layers", 1, 12),
    "heads": SettingField("Heads", "attention heads, or heads of the fusion", 1, 64),
    "attention": SettingField(
        "Attention size", "floats per field that the attention heads share", 1, 512
    ),
    "gate": SettingField("Gate units", "hidden units of the feature gates", 1, 4096),
    "width": SettingField("Width", "floats that residual blocks return", 1, 4096),
    "hidden": SettingField(
        "Hidden units", "units inside a residual or a feed-forward block", 1, 4096
    ),
    "members": SettingField("Members", "members of the ensemble", 2, 64),
    "dropout": SettingField("Dropout", "share of activations dropped in training", 0, 0.95),
    "batch_norm": SettingField("BatchNorm in the blocks", "BatchNorm in the blocks"),
}
"""Every setting that an architecture may have, in the order in which they are shown.

The type of its default in ARCHITECTURES says which kind it is.
"""
LATER_SETTINGS = frozenset({"rank"})
"""Settings that cards of earlier versions lack; their default means what those versions did."""


def is_installed(architecture: str) -> bool:
    """Whether the optional package of an architecture is installed; it is not imported."""
    package = ARCHITECTURES[architecture].required_package
    return not package or find_spec(package) is not None


def settings_to_flags(settings: dict[str, Any]) -> list[str]:
    """Settings as flags of the command line.

    >>> settings_to_flags({"embedding": 16, "widths": [64, 32], "batch_norm": False})
    ['--embedding', '16', '--widths', '64,32', '--no-batch-norm']
    """
    parts: list[str] = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            parts += [
                f"--{flag}",
                ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value),
            ]
    return parts


def complete_settings(architecture: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return every setting of an architecture: `settings` where given, else its default.

    Raises:
        BadInput: a setting is unknown, has another type than its default, or is out of bounds.
    """
    if architecture in FITTED_ARCHITECTURES:
        return settings
    defaults = ARCHITECTURES[architecture].defaults
    if unknown := set(settings) - set(defaults):
        raise BadInput(
            f"{architecture!r} has no settings {sorted(unknown)}; it has {sorted(defaults)}."
        )
    for name, value in settings.items():
        _check_setting(SETTING_FIELDS[name], value, defaults[name])
    return defaults | settings


def _check_setting(field: SettingField, value: Any, default: Any) -> None:
    """Check a setting against the type of its default and the bounds of its field."""
    if isinstance(default, list):
        fits = isinstance(value, list | tuple) and all(type(one) is int for one in value)
        expected = "a list of whole numbers, such as [256, 128]"
    elif isinstance(default, bool):
        fits, expected = isinstance(value, bool), "True or False"
    else:
        typed = type(value) is int or (isinstance(default, float) and isinstance(value, float))
        fits = typed and field.low <= value <= field.high
        kind = "a whole number of " if isinstance(default, int) and not typed else ""
        expected = f"{kind}{field.low:g} to {field.high:g}"
    if not fits:
        raise BadInput(f"{field.label} is {value!r}; it must be {expected}.")
