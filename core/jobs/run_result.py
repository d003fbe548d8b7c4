"""What came of a run: metrics, stages, epochs and seconds, stored as one JSON object.

Whatever reads a run reads these classes. Keys that an older version did not store have defaults,
those of a newer version are ignored, and any metric may be missing.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.evaluation.metrics import Metrics
from core.evaluation.recalibration import RecalibrationMap
from core.files.typed_json import from_json, to_json

BEST_EPOCH_IS_LAST = (
    "The best epoch was the last one: it may not have trained long enough; train for more epochs"
    " or at a higher rate."
)
BEST_EPOCH_IS_THE_START = (
    "No epoch had a lower validation loss than the start: the weights are those that it started"
    " from."
)

MetricsByPart = Mapping[str, Metrics]
"""Metrics of "target_validation", "target_test" and "source_test", as far as they have rows."""


@dataclass(frozen=True)
class StageResult:
    """One stage of the network as it was trained.

    Args:
        name, title: of the stage, such as "block1" and "Block 1".
        parameters: scalars of the stage.
        flops: floating-point operations per row of the forward pass; None where an older version
            did not store them.
        frozen: whether it stayed as it was.
        trained: scalars that training could change.
        from_epoch: first epoch (from 0) in which it trained.
        origin: what its weights came from, a key of core.models.objectives.ORIGINS.
    """

    name: str
    title: str
    parameters: int
    flops: int | None
    frozen: bool
    trained: int
    from_epoch: int
    origin: str


@dataclass(frozen=True)
class InterpolationResult:
    """How the network scores along the way from its backbone to the fine-tuned weights (WiSE-FT).

    Args:
        alphas: shares of the fine-tuned weights, ascending.
        parts: by part and metric ("auc", "log_loss"), one value for each of `alphas`; None where it
            is missing.
        chosen: the share with the lowest log loss on validation rows.
        mixes_head: whether the head is interpolated too; up to version 0.12 one that differed was
            not.
    """

    alphas: tuple[float, ...]
    parts: Mapping[str, Mapping[str, tuple[float | None, ...]]]
    chosen: float
    mixes_head: bool


@dataclass(frozen=True)
class BlendedRun:
    """One of the runs of a blend.

    Args:
        run: id; the run may have been deleted since.
        title: what it is called as an arm.
        weight: of its logits, 0 or above.
        metrics: of the run alone, by part, at its own threshold.
        calibration: map by which its scores were calibrated before they were blended; None for
            none.
    """

    run: str
    title: str
    weight: float
    metrics: MetricsByPart
    calibration: RecalibrationMap | None = None


@dataclass(frozen=True)
class BlendResult:
    """How the logits of several runs were blended.

    Args:
        runs: what was blended.
        validation_rows: number of rows on which the weights were fitted.
        mean: metrics of the plain mean of the logits, by part, at a threshold of its own.
    """

    runs: tuple[BlendedRun, ...]
    validation_rows: int
    mean: MetricsByPart


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Args:
        threshold: score from which a row counts as a predicted click; None where nothing scores
            clicks.
        threshold_rule: how it was chosen.
        metrics: by part, at `threshold`.
        before: the same of the backbone as it was; None where its head was never trained on click
            labels, and for a pretraining run.
        stages: in the order of the network, the head last.
        trained_parameters: scalars that training could change.
        train_rows: number of rows that trained.
        best_epoch: number (from 1) of the epoch with the lowest validation loss; 0 for the weights
            before training.
        epochs_run: number of epochs that were trained.
        stopped_early: whether early stopping ended it.
        halted: epochs after which successive halving ended it, 0 where it did not.
        seconds: by what they were spent on: "prepare", "cache", "train", "earlier" (before a
            break), "evaluate" and "total"; of a blend also "members", what its runs took.
        backbone: id of the backbone that was fine-tuned, or that pretraining made; "" for an
            interpolation.
        backbone_sha256: of the weights that were fine-tuned; None where they are not recorded.
        learnt: metrics of a pretraining run by name; None for other kinds of runs.
        device: name of the device.
        environment: versions, threads and the like, which may decide the last digits.
        dataset_hash: content hash of the dataset.
        peak_memory: bytes; None where the device does not tell.
        rule: revision of the strategy's rule in training (core.freezing.strategies).
        interpolation: of an interpolation alone, which has none of the above up to `halted`.
        start_sha256: SHA-256 of the weights of the run whose model training went on from
            (FinetuneRequest.start_run); None where that was the backbone.
        best_step: optimiser step of the validation with the lowest loss; None where it is not
            recorded, as up to version 0.12, which validated at the end of epochs alone.
        steps_run: optimiser steps that were taken; None likewise.
        blend: of a blend alone, which has no stages, epochs and training rows; its
            `trained_parameters` are its weights and what its runs trained.
    """

    threshold: float | None = None
    threshold_rule: str = ""
    metrics: MetricsByPart = field(default_factory=dict)
    before: MetricsByPart | None = None
    stages: tuple[StageResult, ...] = ()
    trained_parameters: int = 0
    train_rows: int = 0
    best_epoch: int = 0
    epochs_run: int = 0
    stopped_early: bool = False
    halted: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    backbone: str = ""
    backbone_sha256: str | None = None
    learnt: Mapping[str, float | None] | None = None
    device: str = ""
    environment: Mapping[str, str | int] = field(default_factory=dict)
    dataset_hash: str = ""
    peak_memory: float | None = None
    interpolation: InterpolationResult | None = None
    rule: int = 1
    blend: BlendResult | None = None
    best_step: int | None = None
    steps_run: int | None = None
    start_sha256: str | None = None

    @property
    def best_epoch_is_last(self) -> bool:
        """Whether the bound on epochs ended the run while its validation loss still fell."""
        if not self.epochs_run or self.stopped_early or self.halted:
            return False
        if self.best_step is None or self.steps_run is None:
            return self.best_epoch == self.epochs_run
        return self.best_step == self.steps_run

    def kept_step(self, validated_at: Sequence[int] | np.ndarray) -> int | None:
        """Return the optimiser step whose weights were kept; None where it is not known.

        Args:
            validated_at: steps at which the run validated, its start among them.
        """
        if self.best_step is not None:
            return self.best_step
        # Up to version 0.12 there was one validation an epoch.
        known = self.best_epoch < len(validated_at)
        return int(validated_at[self.best_epoch]) if known else None

    @property
    def training_warning(self) -> str:
        """What a reader must know of how training ended, in a sentence; "" if there is nothing."""
        if self.best_epoch_is_last:
            return BEST_EPOCH_IS_LAST
        return BEST_EPOCH_IS_THE_START if self.epochs_run and not self.best_epoch else ""

    @property
    def total_seconds(self) -> float:
        """Seconds the run took in all; NaN where they are not recorded."""
        return self.seconds.get("total", math.nan)

    @property
    def cost_seconds(self) -> float:
        """Seconds that its model took in all: of a blend, with those of the runs it blends."""
        return self.total_seconds + self.seconds.get("members", 0.0)


_TRAINING = (
    "threshold",
    "threshold_rule",
    "metrics",
    "before",
    "stages",
    "trained_parameters",
    "train_rows",
    "best_epoch",
    "epochs_run",
    "stopped_early",
    "halted",
    "best_step",
    "steps_run",
    "rule",
)
"""Fields that an interpolation does not have."""
_OPTIONAL = ("backbone", "backbone_sha256", "learnt", "blend")
"""Fields that only some kinds of runs store."""
_INTERPOLATION = tuple(one.name for one in dataclasses.fields(InterpolationResult))


def result_to_json(result: RunResult) -> dict[str, Any]:
    """The result as JSON-ready data, as the store, result.json and `--json` have it."""
    values = {one.name: getattr(result, one.name) for one in dataclasses.fields(result)}
    interpolation = values.pop("interpolation")
    if interpolation is not None:
        values = {
            **to_json(interpolation),
            **{key: value for key, value in values.items() if key not in _TRAINING},
        }
    else:
        values["metrics"] = _metrics_to_json(result.metrics)
        # For readers of the JSON; it is not read back.
        values["best_epoch_is_last"] = result.best_epoch_is_last
        if result.before is not None:
            values["before"] = _metrics_to_json(result.before)
        if result.blend is not None:
            values["blend"] = _blend_to_json(result.blend)
    for name in _OPTIONAL:
        if not values[name] and values[name] != {}:
            del values[name]
    found: dict[str, Any] = to_json(values)
    return found


def _metrics_to_json(metrics: MetricsByPart) -> dict[str, dict[str, Any]]:
    return {part: one.as_dict() for part, one in metrics.items()}


def _blend_to_json(blend: BlendResult) -> dict[str, Any]:
    return {
        "runs": [{**to_json(one), "metrics": _metrics_to_json(one.metrics)} for one in blend.runs],
        "validation_rows": blend.validation_rows,
        "mean": _metrics_to_json(blend.mean),
    }


def result_from_json(values: Mapping[str, Any]) -> RunResult:
    """The result that `result_to_json` made `values` from.

    Raises:
        ValueError: a field has another type; the message names it.
    """
    values = dict(values)
    if isinstance(stages := values.get("stages"), list):
        values["stages"] = [_complete_stage(one) for one in stages]
    if "alphas" in values:
        values["interpolation"] = {name: values[name] for name in _INTERPOLATION if name in values}
    result: RunResult = from_json(RunResult, values, exact=False)
    return result


def _complete_stage(values: Any) -> Any:
    """A stored stage with what older versions did not store of it."""
    if not isinstance(values, Mapping):
        return values
    trained = 0 if values.get("frozen") else values.get("parameters", 0)
    return {"flops": None, "trained": trained, "from_epoch": 0, "origin": "supervised", **values}
