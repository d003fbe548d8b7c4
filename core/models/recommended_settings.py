"""Settings that an architecture is pretrained with where the user names none, by training rows.

They are chosen where a request is made: by commands, pages and the API. The defaults of
core.models.registry are something else: what a stored request or card means that lacks a setting.
Those never change, whatever is recommended. Free of torch.
"""

from typing import Any

from core.data.datasets import Dataset
from core.models.registry import ARCHITECTURES

_SMALL = {"embedding": 8, "widths": [128, 128], "dropout": 0.0}

SETTINGS_BELOW: tuple[tuple[int, dict[str, dict[str, Any]]], ...] = (
    (
        200_000,
        {
            "fm": {"embedding": 8},
            "dnn": _SMALL,
            "widedeep": _SMALL,
            "deepfm": _SMALL,
            "dcnv2": _SMALL | {"rank": 32},
            "autoint": _SMALL | {"layers": 2, "attention": 16},
            "finalmlp": _SMALL,
            "finalnet": _SMALL | {"batch_norm": False},
            "fcn": {"embedding": 8, "crosses": 2, "dropout": 0.0},
            "resnet": {"embedding": 8, "layers": 2, "width": 128, "hidden": 128, "dropout": 0.0},
            "fttransformer": {"embedding": 8, "layers": 2, "heads": 2, "hidden": 32},
            "tabm": _SMALL,
        },
    ),
)
"""(rows, by architecture the settings below that many training rows), fewest rows first. What is
not here is as in ARCHITECTURES. Vectors of 8, two blocks of 128, crosses of rank 32 and no dropout
were measured with DCNv2 and DNN at 54,000 and 75,000 rows of Criteo."""


def pretraining_rows(dataset: Dataset) -> int:
    """Source training rows of a dataset, by which settings are recommended."""
    return next(part.rows for part in dataset.parts if part.part == "source_train")


def recommended_settings(architecture: str, rows: int) -> dict[str, Any]:
    """Return a value for every setting of an architecture.

    The objective does not matter, so that backbones of several objectives can be compared.

    Args:
        architecture: a key of ARCHITECTURES.
        rows: training rows.

    >>> recommended_settings("dcnv2", 54_000)["rank"], recommended_settings("dcnv2", 10**6)["rank"]
    (32, 0)
    """
    defaults = ARCHITECTURES[architecture].defaults
    table = next((settings for limit, settings in SETTINGS_BELOW if rows < limit), {})
    return defaults | table.get(architecture, {})


def choose_settings(architecture: str, given: dict[str, Any], rows: int) -> dict[str, Any]:
    """Return the settings of a request: as given, else recommended; registry defaults left out.

    A setting that the architecture does not have is kept, so that it is refused by its name.

    Args:
        architecture: a key of ARCHITECTURES.
        given: settings that the user named.
        rows: training rows.

    >>> choose_settings("fm", {}, 54_000), choose_settings("fm", {"embedding": 16}, 54_000)
    ({'embedding': 8}, {})
    """
    if architecture not in ARCHITECTURES:
        return given
    defaults = ARCHITECTURES[architecture].defaults
    chosen = recommended_settings(architecture, rows) | given
    return {
        name: value
        for name, value in chosen.items()
        if name not in defaults or value != defaults[name]
    }
