"""Keyword arguments that methods share, and the core's settings made from them.

Each keyword is an option of the command line: `batch_size=256` is `--batch-size 256`.
"""

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

import pandas as pd

from core.data.split import SplitSpec
from core.errors import BadInput
from core.files.typed_json import to_builtin
from core.freezing.heads import choose_head
from core.freezing.strategies import STRATEGIES
from core.jobs.requests import TrainSettings
from core.models.card import BackboneCard, HeadSettings
from core.models.registry import SETTING_FIELDS
from core.training.default_settings import AS_PREPARED

Wait = bool | Literal["here"]
"""When a method returns: False once the run is queued, True once the worker has ended it, "here"
once this process has trained it itself, without a worker."""


class TrainingOptions(TypedDict, total=False):
    """Training settings; what is left out is the preset's.

    They are explained at `core.jobs.requests.TrainSettings`. ``validation_share="dataset"`` keeps
    the dataset's own split; by default fine-tuning validates on a share that grows as target rows
    get few.
    """

    epochs: int
    batch_size: int
    lr: float
    validation_share: float | Literal["dataset"]
    early_stopping: int
    plateau: int
    seed: int
    device: Literal["auto", "cuda", "cpu"]
    weight_decay: float
    decay_scope: Literal["all", "matrices"]
    ema: bool
    validations_per_epoch: int
    head_learning_rate: float
    min_steps: int
    cosine: bool
    amp: bool
    tf32: bool


class SweepOptions(TrainingOptions, total=False):
    """Settings of training, of the head and of its strategy: what `Workspace.sweep` takes."""

    head: Literal["keep", "new"]
    head_hidden: Sequence[int]
    head_activation: Literal["relu", "gelu", "tanh"]
    head_output: Literal["logit", "softmax"]
    inputs: Literal["kept", "refitted"]
    probe_epochs: int
    factor: float
    decay: float
    pull: float
    head_decay: float
    rank: int
    rows: Literal["source", "target", "both"]


class FinetuneOptions(SweepOptions, total=False):
    """What `Workspace.finetune` takes: as a sweep, and the stages that "surgical" trains."""

    stages: Sequence[str] | str


class PretrainOptions(TrainingOptions, total=False):
    """Settings of training and of the architecture.

    Each architecture has some of these, with defaults of its own.
    """

    embedding: int
    widths: Sequence[int]
    crosses: int
    rank: int
    layers: int
    heads: int
    attention: int
    gate: int
    width: int
    hidden: int
    members: int
    dropout: float
    batch_norm: bool


class PartOptions(TypedDict, total=False):
    """How the rows of each domain are cut into training, validation and test rows."""

    target_test_share: float
    target_validation_share: float
    source_test_share: float
    source_validation_share: float
    shuffle: bool
    split_seed: int


class SplitOptions(PartOptions, total=False):
    """How a sample is split into source and target domain, and each of them into its parts."""

    split: Literal["order", "column", "random"]
    source_share: float
    column: str
    target_values: Sequence[Any] | str | float


def training_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The training settings among `options`, by field of TrainSettings.

    None stands for the preset's value.
    """
    fields = {field.name for field in dataclasses.fields(TrainSettings)}
    renamed = {
        "learning_rate" if name == "lr" else name: to_builtin(value)
        for name, value in options.items()
    }
    given = {name: value for name, value in renamed.items() if name in fields and value is not None}
    if given.get("validation_share") == AS_PREPARED:
        given["validation_share"] = None
    return given


def head_settings(
    options: Mapping[str, Any], card: BackboneCard, preset: str
) -> tuple[bool, HeadSettings]:
    """Whether the backbone's head is kept, and the settings of the head that trains.

    Args:
        options: keyword arguments, of which those of the head are read; None is as if left out.
        card: the backbone.
        preset: of the training settings; the article's asks for a new head.
    """
    given = {
        name: to_builtin(options[f"head_{name}"])
        for name in ("hidden", "activation", "output")
        if options.get(f"head_{name}") is not None
    }
    head = HeadSettings(**given) if given else None
    return choose_head(card, head, options.get("head"), preset)


def strategy_options(options: Mapping[str, Any], strategy: str = "") -> dict[str, Any]:
    """The options of strategies among `options`; with `strategy` those of that one alone."""
    names = dict.fromkeys(
        name for key, one in STRATEGIES.items() for name in one.options if strategy in ("", key)
    )
    given = {name: to_builtin(options[name]) for name in names if options.get(name) is not None}
    if isinstance(given.get("stages"), str):
        given["stages"] = [given["stages"]]
    return given


def architecture_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an architecture among `options`."""
    return {
        name: to_builtin(options[name]) for name in SETTING_FIELDS if options.get(name) is not None
    }


def split_spec(options: Mapping[str, Any], several_files: bool = False) -> SplitSpec:
    """The split that `options` ask for.

    Raises:
        BadInput: a share is no share, rows in file order should be shuffled, or a column is named
            for a split that uses none.
    """
    method, shuffle = options.get("split", "order"), bool(options.get("shuffle", False))
    if shuffle and method == "order" and not several_files:
        raise BadInput(
            "shuffle=True is for split='column' and for several files; for rows at random "
            "use split='random'."
        )
    named = [one for one in ("column", "target_values") if options.get(one) is not None]
    if named and method != "column":
        raise BadInput(
            f"split is {method!r}, which does not use {' and '.join(named)}; add split='column' to "
            "tell the domains apart by a column."
        )
    seed = options.get("split_seed")
    if seed is not None and seed < 0:
        raise BadInput(f"split_seed is {seed}; it must be 0 or more.")
    fields = {field.name for field in dataclasses.fields(SplitSpec)}
    given = {
        name: to_builtin(value)
        for name, value in options.items()
        if name in fields and value is not None
    }
    values = given.pop("target_values", ())
    values = values if isinstance(values, list | tuple) else [values]
    return SplitSpec(
        **{**given, "shuffle": shuffle and method != "random"},
        method=method,
        target_values=tuple(map(_value_text, values)),
        seed=int(seed or 0),
    )


def _value_text(value: Any) -> str:
    """A value of a column as the split compares it: 0.0, as pandas reads it, is the value 0.

    >>> _value_text(0.0), _value_text(0.5), _value_text("0.0"), _value_text(float("nan"))
    ('0', '0.5', '0.0', '')
    """
    if value is None or value is pd.NA or value != value:
        return ""
    whole = isinstance(value, numbers.Real) and float(value).is_integer()
    return str(int(value)) if whole and not isinstance(value, bool) else str(value)
