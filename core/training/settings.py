"""What a run is asked to do: plain, validated settings, stored as JSON with the run."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from core.errors import BadInput
from core.freezing.strategies import STRATEGIES, complete_options
from core.models.card import HeadSettings
from core.models.registry import ARCHITECTURES
from core.training.objectives import INITIALISATIONS

DEVICES = ("auto", "cuda", "cpu")
PLAIN_HEAD_STRATEGIES = ("depth", "linear-probe")
"""Strategies whose head trains as it is, without a pull, a rule or stages that join."""


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise BadInput(f"{name} is {value!r}; it must be {expected}.")


@dataclass(frozen=True)
class TrainSettings:
    """How to train. Adam (Kingma and Ba 2015) with its default betas.

    epochs, batch_size: counts. learning_rate: Adam's step size. validation_share: share of the
    domain's training and validation rows that validates; None keeps the dataset's own cut.
    early_stopping: epochs without a lower validation loss before the run stops, 0 never; the best
    epoch's weights are kept either way. plateau: epochs without a lower validation loss before the
    learning rate is multiplied by 0.1, 0 never. seed: of the new head, the row order and dropout.
    device: auto takes a GPU when there is one. amp: bfloat16 autocast. weight_decay: decoupled from
    the gradient (AdamW, Loshchilov and Hutter 2019). cosine: the learning rate falls to zero along
    half a cosine over all steps (Loshchilov and Hutter 2017).
    """

    epochs: int = 20
    batch_size: int = 4096
    learning_rate: float = 1e-3
    validation_share: float | None = None
    early_stopping: int = 3
    plateau: int = 1
    seed: int = 0
    device: str = "auto"
    amp: bool = False
    weight_decay: float = 0.0
    cosine: bool = False

    def __post_init__(self) -> None:
        _require(1 <= self.epochs <= 1000, "epochs", self.epochs, "1 to 1000")
        _require(1 <= self.batch_size <= 1_000_000, "batch size", self.batch_size, "1 to 1,000,000")
        _require(
            0 < self.learning_rate <= 1,
            "learning rate",
            self.learning_rate,
            "above 0 and at most 1",
        )
        share = self.validation_share
        _require(share is None or 0 < share < 1, "validation share", share, "between 0 and 1")
        _require(
            0 <= self.early_stopping <= 1000,
            "early stopping",
            self.early_stopping,
            "0 to 1000 epochs",
        )
        _require(0 <= self.plateau <= 1000, "plateau", self.plateau, "0 to 1000 epochs")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "0 to 2147483647")
        _require(self.device in DEVICES, "device", self.device, f"one of {list(DEVICES)}")
        _require(0 <= self.weight_decay <= 1, "weight decay", self.weight_decay, "0 to 1")
        _require(
            not (self.cosine and self.plateau),
            "plateau",
            self.plateau,
            "0 where the rate follows a cosine",
        )


PRESETS: dict[str, TrainSettings] = {
    "fast": TrainSettings(),
    "small": TrainSettings(epochs=10, batch_size=256, learning_rate=3e-4, early_stopping=2),
    "article": TrainSettings(epochs=10, batch_size=32, early_stopping=0, plateau=0),
    "map": TrainSettings(
        epochs=20, batch_size=256, early_stopping=0, plateau=0, weight_decay=5e-2, cosine=True
    ),
}
"""Fixed settings by name. What the default is, one of them or others, is decided by
core.training.default_settings alone."""

MASK_SHARE = 0.2
"""Share of fields that RFD replaces and MFP hides unless told otherwise (the paper tries 0.1 to
0.3)."""


@dataclass(frozen=True)
class PretrainRequest:
    """Train a fresh backbone called `name` on the source rows of a dataset (by id).

    settings: fields of the architecture's own Settings that differ from its defaults. objective,
    start: names in core.training.objectives. start_file: path of the file that the start reads.
    mask_share: share of fields that RFD replaces and MFP hides.
    """

    dataset: str
    architecture: str
    name: str
    train: TrainSettings = field(default_factory=TrainSettings)
    settings: dict[str, Any] = field(default_factory=dict)
    objective: str = "supervised"
    start: str = "random"
    start_file: str = ""
    mask_share: float = MASK_SHARE

    def __post_init__(self) -> None:
        _require(
            self.architecture in ARCHITECTURES,
            "architecture",
            self.architecture,
            f"one of {[*ARCHITECTURES]}",
        )
        about = ARCHITECTURES[self.architecture]
        _require(
            self.objective in about.objectives,
            "objective",
            self.objective,
            f"one of {list(about.objectives)}",
        )
        _require(
            self.start in about.initialisations,
            "start",
            self.start,
            f"one of {list(about.initialisations)}",
        )
        needed = INITIALISATIONS[self.start].file_type
        _require(
            bool(self.start_file) == bool(needed),
            "start file",
            self.start_file,
            needed or "left out",
        )
        _require(0 < self.mask_share < 1, "mask share", self.mask_share, "between 0 and 1")


@dataclass(frozen=True)
class FinetuneRequest:
    """Adapt a backbone (by id) to the target rows of a dataset (by id).

    strategy: a name in core.freezing.strategies.STRATEGIES. freeze_depth: stages frozen from the
    input; only the strategy "depth" reads it. options: the strategy's own, where they differ from
    its defaults. target_rows: so many of the last training and validation rows of the target, 0 for
    all. group: runs launched by one click share it. rungs: (epoch, arms that go on after it) of a
    sweep with successive halving (core.runs.halving). rates: learning rates of the sweep's runs
    that are this one but for the rate, its own among them; they may train together
    (core.training.batched_heads).
    """

    dataset: str
    backbone: str
    strategy: str = "depth"
    freeze_depth: int = 0
    head: HeadSettings = field(default_factory=HeadSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    group: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    target_rows: int = 0
    rungs: tuple[tuple[int, int], ...] = ()
    rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _require(self.strategy in STRATEGIES, "strategy", self.strategy, f"one of {[*STRATEGIES]}")
        _require(self.freeze_depth >= 0, "freeze depth", self.freeze_depth, "0 or more")
        _require(self.target_rows >= 0, "target rows", self.target_rows, "0 for all, or how many")
        rate, known = self.train.learning_rate, [*self.rates]
        _require(
            not known or rate in known,
            "learning rate",
            rate,
            f"one of {known}, the rates it trains with",
        )
        complete_options(self.strategy, self.options)

    @property
    def can_batch_heads(self) -> bool:
        """Whether its head, where that alone trains, may train in one product with those of the
        other rates."""
        plain = (
            self.strategy in PLAIN_HEAD_STRATEGIES
            and not self.head.hidden
            and self.head.classes == 1
        )
        return len(self.rates) > 1 and plain and not self.train.amp


@dataclass(frozen=True)
class InterpolateRequest:
    """Mix the network of a fine-tuning run (by id) with its backbone. train: the device is all that
    is read of it."""

    dataset: str
    run: str
    train: TrainSettings = field(default_factory=TrainSettings)


Request = PretrainRequest | FinetuneRequest | InterpolateRequest
REQUEST_TYPES: dict[str, type[Request]] = {
    "pretrain": PretrainRequest,
    "finetune": FinetuneRequest,
    "interpolate": InterpolateRequest,
}


def request_to_json(request: Request) -> dict[str, Any]:
    """The request as JSON-ready data, with its kind."""
    kind = next(name for name, one in REQUEST_TYPES.items() if isinstance(request, one))
    return {"kind": kind, **dataclasses.asdict(request)}


def request_from_json(values: dict[str, Any]) -> Request:
    """The request that `request_to_json` made `values` from."""
    rest = {key: value for key, value in values.items() if key != "kind"}
    rest["train"] = TrainSettings(**rest["train"])
    if "rungs" in rest:
        rest["rungs"] = tuple((epoch, left) for epoch, left in rest["rungs"])
    if "rates" in rest:
        rest["rates"] = tuple(rest["rates"])
    if "head" in rest:
        rest["head"] = head_from_json(rest["head"])
    return REQUEST_TYPES[values["kind"]](**rest)


def head_from_json(values: dict[str, Any]) -> HeadSettings:
    """The head that `dataclasses.asdict` and JSON made `values` from."""
    return HeadSettings(**{**values, "hidden": tuple(values["hidden"])})
