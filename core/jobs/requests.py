"""What a run is asked to do: plain, validated settings, stored as JSON with the run.

A request names its dataset and backbone by id. Whether the backbone can have the strategy that a
fine-tuning run asks for is checked where its plan is made (core.freezing.plan): the store needs
neither strategies nor plans.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.errors import BadInput
from core.files.typed_json import check_types, from_json, to_json
from core.models.card import HeadSettings
from core.models.objectives import INITIALISATIONS
from core.models.registry import ARCHITECTURES

DEVICES = ("auto", "cuda", "cpu")
DECAY_SCOPES = ("all", "matrices")
STATISTICS: tuple[str, ...] = ("none", "fields", "pairs")
"""Target statistics and counts among the inputs of a network: none, those of every categorical
field, or also those of pairs of fields."""
FINETUNE_INPUTS = ("kept", "refitted")
"""Vocabulary and statistics of a fine-tuning run: the backbone's own, or extended by the target's
training rows."""
WINDOW_STARTS = ("backbone", "last")
"""What training on a window goes on from: the backbone, or the model of the window before."""
PLAIN_HEAD_STRATEGIES = ("depth", "linear-probe")
"""Strategies whose head trains without a penalty, a schedule or stages that join later."""
MASK_SHARE = 0.2
"""Default share of fields that RFD replaces and MFP masks (the MAP paper tries 0.1 to 0.3)."""


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise BadInput(f"{name} is {value!r}; it must be {expected}.")


@dataclass(frozen=True)
class TrainSettings:
    """How to train: Adam (Kingma and Ba 2015) with its default betas.

    Args:
        epochs: upper bound of the number of epochs.
        batch_size: rows per optimiser step.
        learning_rate: Adam's step size.
        validation_share: share of the domain's training and validation rows that validates; None
            keeps the dataset's own split.
        early_stopping: epochs without a lower validation loss before the run stops, 0 for never.
            The weights of the best epoch are kept either way.
        plateau: epochs without a lower validation loss before the learning rate is multiplied by
            0.1, 0 for never.
        seed: seed of the new head, the row order and dropout.
        device: "cuda", "cpu", or "auto" for a GPU where there is one.
        amp: whether to compute in bfloat16 (autocast).
        head_learning_rate: Adam's step size for a new head, and for all stages where all are new;
            None for `learning_rate`.
        min_steps: optimiser steps that whatever is new trains for before early stopping may end the
            run; there are more epochs than `epochs` where those have fewer steps.
        ema: whether an exponential moving average of the weights is validated and kept (Polyak and
            Juditsky 1992), with the decay min(0.999, (1 + step) / (10 + step)).
        validations_per_epoch: validations in every epoch, at equal distances; each may be the best
            one.
        weight_decay: decoupled weight decay (AdamW, Loshchilov and Hutter 2019).
        tf32: whether a GPU multiplies float32 matrices in TF32, in training and in scoring: several
            times faster, with factors rounded to 10 bits of mantissa. False is what runs up to
            version 0.13 had; new ones have True unless they are told otherwise.
        decay_scope: what weight decay reaches: "all" parameters, or "matrices": the weights of
            linear layers, neither embeddings nor biases nor normalisation layers.
        cosine: whether the learning rate falls to 0 along half a cosine over all steps (Loshchilov
            and Hutter 2017).

    Raises:
        BadInput: a value is out of its range or has another type, such as 256.0 where an int
            belongs; the message names it.

    >>> TrainSettings(epochs=0)
    Traceback (most recent call last):
    core.errors.BadInput: epochs is 0; it must be 1 to 1000.
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
    head_learning_rate: float | None = None
    min_steps: int = 0
    ema: bool = False
    validations_per_epoch: int = 1
    decay_scope: str = "all"
    tf32: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        _require(1 <= self.epochs <= 1000, "epochs", self.epochs, "1 to 1000")
        _require(1 <= self.batch_size <= 1_000_000, "batch size", self.batch_size, "1 to 1,000,000")
        _require(
            0 < self.learning_rate <= 1,
            "learning rate",
            self.learning_rate,
            "above 0 and at most 1",
        )
        rate = self.head_learning_rate
        # Wider than the other rate: it keeps its ratio to that one in a grid of rates.
        _require(
            rate is None or 0 < rate <= 100, "head learning rate", rate, "above 0 and at most 100"
        )
        _require(0 <= self.min_steps <= 1_000_000, "least steps", self.min_steps, "0 to 1,000,000")
        _require(
            1 <= self.validations_per_epoch <= 100,
            "validations per epoch",
            self.validations_per_epoch,
            "1 to 100",
        )
        _require(
            self.decay_scope in DECAY_SCOPES,
            "decay scope",
            self.decay_scope,
            f"one of {list(DECAY_SCOPES)}",
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
        _require(0 <= self.weight_decay <= 10, "weight decay", self.weight_decay, "0 to 10")
        _require(
            not (self.cosine and self.plateau),
            "plateau",
            self.plateau,
            "0 where the rate follows a cosine",
        )

    def with_learning_rate(self, rate: float) -> "TrainSettings":
        """Return the settings with another learning rate; the head's keeps its ratio to it.

        >>> train = TrainSettings(learning_rate=1e-3, head_learning_rate=1e-2)
        >>> train.with_learning_rate(3e-3).head_learning_rate
        0.03
        """
        head = self.head_learning_rate
        if head is not None:
            # The ratio of twelve digits: the head's rate is the same from whichever rate of a grid
            # one starts, which rounding the rate itself would not give (1e-2 to 3.3e-3 and back).
            head = rate * float(f"{head / self.learning_rate:.12g}")
        return replace(self, learning_rate=rate, head_learning_rate=head)


@dataclass(frozen=True)
class PretrainRequest:
    """Train a new backbone called `name` on the source rows of a dataset.

    Args:
        dataset: id.
        architecture: a name in core.models.registry.ARCHITECTURES.
        name: what the backbone will be called.
        train: how to train.
        settings: fields of the architecture's own Settings that differ from its defaults.
        objective, start: names in core.models.objectives.
        start_file: path of the file that the start reads, "" where it reads none.
        mask_share: share of fields that RFD replaces and MFP masks.
        statistics: one of STATISTICS; only "supervised" may have others than "none".

    Raises:
        BadInput: the architecture is unknown, or cannot have that objective or start; or a value
            has another type.
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
    statistics: str = "none"

    def __post_init__(self) -> None:
        check_types(self)
        names = [*ARCHITECTURES]
        _require(self.architecture in names, "architecture", self.architecture, f"one of {names}")
        architecture = ARCHITECTURES[self.architecture]
        objectives, starts = list(architecture.objectives), list(architecture.initialisations)
        _require(self.objective in objectives, "objective", self.objective, f"one of {objectives}")
        _require(self.start in starts, "start", self.start, f"one of {starts}")
        file_type = INITIALISATIONS[self.start].file_type
        _require(
            bool(self.start_file) == bool(file_type),
            "start file",
            self.start_file,
            file_type or "left out",
        )
        _require(0 < self.mask_share < 1, "mask share", self.mask_share, "between 0 and 1")
        # A corrupted field could be read off its own statistics.
        allowed = STATISTICS if self.objective == "supervised" else STATISTICS[:1]
        _require(
            self.statistics in allowed, "statistics", self.statistics, f"one of {list(allowed)}"
        )


@dataclass(frozen=True)
class Window:
    """The window of the target rows that a run trains on (core.data.windows).

    Args:
        number: from 1; the run is tested on the next window.
        windows: how many there are.
        column: extra column of the samples by whose values windows are cut; "" for row order.
        start: one of WINDOW_STARTS.
        start_run: id of the run on the window before, whose model training goes on from; "" for
            the backbone, as on the first window.

    Raises:
        BadInput: a value is out of its range or has another type.
    """

    number: int
    windows: int
    column: str = ""
    start: str = "backbone"
    start_run: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        _require(self.windows >= 2, "number of windows", self.windows, "2 or more")
        _require(
            1 <= self.number < self.windows,
            "window",
            self.number,
            f"1 to {self.windows - 1}, as the next one of {self.windows} tests",
        )
        _require(self.start in WINDOW_STARTS, "start", self.start, f"one of {[*WINDOW_STARTS]}")
        _require(
            not self.start_run or (self.start == "last" and self.number > 1),
            "start run",
            self.start_run,
            "left out on the first window, and where training starts from the backbone",
        )

    @property
    def title(self) -> str:
        """The window in words.

        >>> Window(2, 5).title
        'window 2 of 5'
        """
        return f"window {self.number} of {self.windows}"


@dataclass(frozen=True)
class FinetuneRequest:
    """Adapt a backbone to the target rows of a dataset.

    Args:
        dataset, backbone: ids.
        strategy: a name in core.freezing.strategies.STRATEGIES.
        freeze_depth: number of stages frozen from the input; only the strategy "depth" reads it.
        head: the new head; read where `keep_head` is not set.
        train: how to train.
        group: id shared by runs that were launched together.
        options: the strategy's own options, where they differ from its defaults.
        target_rows: how many of the last training and validation rows of the target to use, 0 for
            all.
        rungs: (epoch, arms that train on after it) of a sweep with successive halving
            (core.runs.halving).
        rates: learning rates of the sweep's runs that differ from this one in nothing else, its own
            among them; these may train in one batched product (core.training.batched_heads).
        keep_head: whether training goes on from the backbone's own head.
        inputs: "kept", the backbone's own vocabulary and statistics, or "refitted", both extended
            by the target's training rows.
        trial: number of the setting that a search within a budget tries with it (core.runs.search);
            None for every other run, those that judge the search's winner among them.
        arm_name: what the run is called as an arm, where the strategy does not say it; "" for the
            strategy.
        window: which window of the target rows trains; None for the dataset's own split.

    Raises:
        BadInput: a number is out of its range, a value has another type, the learning rate is none
            of `rates`, or a window is asked for together with a number of target rows.
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
    keep_head: bool = False
    inputs: str = "kept"
    trial: int | None = None
    arm_name: str = ""
    window: Window | None = None

    def __post_init__(self) -> None:
        check_types(self)
        _require(
            not (self.window and self.target_rows),
            "target rows",
            self.target_rows,
            "0 where a window says which rows train",
        )
        _require(self.freeze_depth >= 0, "freeze depth", self.freeze_depth, "0 or more")
        _require(
            self.inputs in FINETUNE_INPUTS, "inputs", self.inputs, f"one of {list(FINETUNE_INPUTS)}"
        )
        _require(self.target_rows >= 0, "target rows", self.target_rows, "0 for all, or how many")
        rate, rates = self.train.learning_rate, [*self.rates]
        _require(
            not rates or rate in rates,
            "learning rate",
            rate,
            f"one of {rates}, the rates it trains with",
        )

    @property
    def start_run(self) -> str:
        """Id of the run whose model training goes on from; "" where that is the backbone."""
        return self.window.start_run if self.window else ""

    @property
    def can_batch_heads(self) -> bool:
        """Whether its head can be trained in one batched product with those of the other rates.

        This is so only where nothing but the head is trained.
        """
        plain = (
            self.strategy in PLAIN_HEAD_STRATEGIES
            and not self.head.hidden
            and self.head.classes == 1
        )
        return len(self.rates) > 1 and plain and not self.train.amp


@dataclass(frozen=True)
class InterpolateRequest:
    """Interpolate the weights of a fine-tuning run with those of its backbone.

    Args:
        dataset: id.
        run: id of the fine-tuning run.
        train: only the device is read.

    Raises:
        BadInput: a value has another type.
    """

    dataset: str
    run: str
    train: TrainSettings = field(default_factory=TrainSettings)

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True)
class BlendRequest:
    """Blend the scores of finished runs: a weighted mean of their logits.

    Args:
        dataset: id; all runs were tested on it.
        runs: ids of the runs, at least two.
        train: of the first run; only seed, device and validation share are read, as nothing is
            trained.
        group: id of the sweep that the blend is an arm of; "" for none.
        arms: what each of `runs` is called, in the same order.
        target_rows: how many target rows each of `runs` used, 0 for all.
        calibration: the method by which the scores of each of `runs` are calibrated before they are
            blended ("none" for none), in the same order; empty where none is.

    Raises:
        BadInput: a value has another type, or fewer than two runs are named.
    """

    dataset: str
    runs: tuple[str, ...]
    train: TrainSettings = field(default_factory=TrainSettings)
    group: str = ""
    arms: tuple[str, ...] = ()
    target_rows: int = 0
    calibration: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)
        _require(
            len(self.calibration) in (0, len(self.runs)),
            "number of calibrations",
            len(self.calibration),
            f"0, or {len(self.runs)}, one for each run",
        )
        if len(set(self.runs)) < 2:
            raise BadInput(
                f"A blend takes two runs or more, and {len(set(self.runs))} was named; name"
                " another one."
            )
        _require(self.target_rows >= 0, "target rows", self.target_rows, "0 for all, or how many")

    @property
    def title(self) -> str:
        """The blend as an arm is titled.

        >>> BlendRequest("d-1", ("r-1", "r-2"), arms=("full fine-tuning", "zero-shot")).title
        'blend of full fine-tuning + zero-shot'
        """
        return f"blend of {' + '.join(self.arms or self.runs)}"


Request = PretrainRequest | FinetuneRequest | InterpolateRequest | BlendRequest
REQUEST_TYPES: dict[str, type[Request]] = {
    "pretrain": PretrainRequest,
    "finetune": FinetuneRequest,
    "interpolate": InterpolateRequest,
    "blend": BlendRequest,
}
"""Request classes by the kind of run."""


def request_to_json(request: Request) -> dict[str, Any]:
    """The request as JSON-ready data, with its kind, as the store and `--json` have it.

    >>> request_to_json(InterpolateRequest("d-1", "r-1"))["kind"]
    'interpolate'
    """
    kind = next(name for name, cls in REQUEST_TYPES.items() if isinstance(request, cls))
    values: dict[str, Any] = to_json(request)
    return {"kind": kind, **values}


def request_from_json(values: Mapping[str, Any]) -> Request:
    """The request that `request_to_json` made `values` from.

    Fields that an older version did not store have their defaults, and those of a newer version are
    ignored.

    Raises:
        ValueError: the kind is unknown, a field is missing or has another type.
        BadInput: a value is out of its range.
    """
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in REQUEST_TYPES:
        raise ValueError(f"its kind is {str(kind)[:40]!r}")
    request: Request = from_json(REQUEST_TYPES[kind], _with_old_options(values), exact=False)
    return request


def _with_old_options(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a stored request with options whose default has changed since it was stored.

    Requests of version 0.12 and earlier lack "keep_head".
    """
    return values if "keep_head" in values else {**values, **old_strategy_options(values)}


def old_strategy_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"options": ...} for a strategy stored by version 0.12 or earlier; {} if it is as now.

    LP-FT then probed for two epochs if nothing else was said.
    """
    options = values.get("options", {})
    if values.get("strategy") != "lp-ft" or not isinstance(options, dict):
        return {}
    return {"options": {"probe_epochs": 2, **options}}
