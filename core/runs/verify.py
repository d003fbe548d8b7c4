"""Run a finished run again and compare the numbers; nothing of the second run is kept."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.data.datasets import find_dataset
from core.errors import BadInput
from core.evaluation.format_metrics import is_missing
from core.evaluation.metrics import all_names
from core.files.durable import staging
from core.freezing.strategies import STRATEGIES
from core.inference.blend_members import blended_runs
from core.inference.run_calibration import (
    CALIBRATION_FILE,
    calibration_path,
    load_calibration,
)
from core.inference.run_model import changed_backbone_error, load_model_card
from core.jobs.predictions import PREDICTIONS_FILE, read_predictions
from core.jobs.reporter import Decision, Point
from core.jobs.requests import Request
from core.jobs.run_result import RunResult, result_to_json
from core.jobs.store import Run
from core.models.backbone import WEIGHTS_FILE
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard
from core.runs.dispatch import execute, runtime_environment
from core.stored import StoredArrays
from core.training.devices import choose_device
from core.training.start_model import find_start_card
from core.workspace import Workspace, hash_file

_COMPARED = (
    "metrics",
    "before",
    "learnt",
    "threshold",
    "best_epoch",
    "epochs_run",
    "trained_parameters",
    "train_rows",
)
_CALIBRATION = "calibration"
"""First word of the names of a calibration's numbers."""


@dataclass(frozen=True)
class Difference:
    """A number that differs between the two runs; None if one of them does not have it."""

    name: str
    first: float | None
    again: float | None


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Args:
        run: id of the run.
        same: whether all compared numbers are identical, to the last bit.
        compared: how many numbers were compared.
        differences: the numbers that differ.
        largest_score_difference: over all scored rows; None if the run scores nothing.
        weights_same: whether the bytes of the weights are identical.
        environment: (name, then, now) of what differs in the environment, device and threads
            included.
        device: of the second run.
        threads: of the second run.
    """

    run: str
    same: bool
    compared: int
    differences: tuple[Difference, ...]
    largest_score_difference: float | None
    weights_same: bool
    environment: tuple[tuple[str, str, str], ...]
    device: str
    threads: int

    @property
    def sentence(self) -> str:
        """The result in words."""
        where = f"on {self.device} with {self.threads} thread{'s' if self.threads > 1 else ''}"
        changes = "; ".join(
            f"{name} was {then} and is {now}" for name, then, now in self.environment
        )
        if self.same:
            scores = "" if self.largest_score_difference is None else " and every score"
            text = (
                f"The same: all {self.compared} numbers{scores} came out identical, bit for bit,"
                f" {where}."
            )
            if self.largest_score_difference:
                text = (
                    f"The same: all {self.compared} numbers came out identical {where}; scores"
                    f" differ by at most {self.largest_score_difference:.2g}."
                )
            return f"{text} (In the environment, {changes}.)" if changes else text
        worst = max(self.differences, key=_magnitude)
        text = (
            f"Not the same {where}: {len(self.differences)} of {self.compared} numbers "
            f"differ, most of all {worst.name} ({_format(worst.first)} then, "
            f"{_format(worst.again)} now)."
        )
        if self.largest_score_difference is not None:
            text += f" Scores differ by at most {self.largest_score_difference:.2g}."
        return (
            f"{text} In the environment, {changes}."
            if changes
            else f"{text} Nothing known in the environment has changed."
        )


@dataclass(frozen=True)
class _ScratchWorkspace(Workspace):
    """A workspace to read from; what a run writes goes to the folder `scratch` instead."""

    scratch: Path = Path()
    pretrains: bool = False

    @property
    def runs(self) -> Path:
        return self.scratch / "runs"

    @property
    def cache(self) -> Path:
        return self.scratch / "cache"

    @property
    def backbones(self) -> Path:
        return self.scratch / "backbones" if self.pretrains else super().backbones


class _ProgressReporter:
    """A reporter that passes on how far the run is, and nothing else.

    Args:
        report: called with the share of the steps that is done.
        halted: epochs after which successive halving ended the first run; 0 if it did not.
    """

    def __init__(self, report: Callable[[float], None] | None, halted: int) -> None:
        self._report = report
        self._halted = halted

    def phase(self, name: str) -> None:
        """See Reporter."""

    def progress(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """See Reporter."""
        if self._report:
            self._report(step / steps)

    def points(self, rows: Sequence[Point]) -> None:
        """See Reporter."""

    def rewind(self, step: int) -> None:
        """See Reporter."""

    def rung(self, epoch: int) -> Decision:
        """See Reporter."""
        return "stop" if 0 < self._halted <= epoch else "continue"

    def should_stop(self) -> bool:
        """See Reporter."""
        return False


def verify(
    workspace: Workspace, run: Run, on_progress: Callable[[float], None] | None = None
) -> Verification:
    """Run `run` again, on the same type of device and number of threads, and compare the results.

    Its predictions, metrics and weights are compared with the stored ones.

    Args:
        workspace: of the run; it is not changed.
        run: a pretraining run, fine-tuning run or blend that is done.
        on_progress: called with the share of the steps that is done, 0 to 1.

    Raises:
        BadInput: before anything is computed, if the run is not done, its dataset or backbone is
            gone or has changed, or its type of device is not here.
    """
    request = _check_repeatable(workspace, run)
    assert run.result is not None
    threads = torch.get_num_threads()
    with staging(workspace.cache) as folder:
        scratch = _ScratchWorkspace(workspace.root, folder, run.kind == "pretrain")
        scratch.cache.mkdir()
        if run.kind == "blend":
            _copy_member_files(workspace, scratch, run.blend_request.runs)
        if run.kind == "finetune" and run.finetune_request.start_run:
            _copy_model(workspace, scratch, run.finetune_request.start_run)
        try:
            # The order in which threads add floats changes the last digits.
            torch.set_num_threads(int(run.result.environment.get("threads", threads)))
            result = execute(
                scratch,
                dataclasses.replace(run, request=request),
                _ProgressReporter(on_progress, run.halted),
            )
            now = runtime_environment() | {"device": result.device}
        finally:
            torch.set_num_threads(threads)
        first = _compared_numbers(result_to_json(run.result)) | _calibration_numbers(workspace, run)
        again = _compared_numbers(result_to_json(result)) | _calibration_numbers(scratch, run)
        # A metric that was added to Thaw after the run is in none of its stored results.
        # So are calibrations, which runs of earlier versions did not store.
        added = (_CALIBRATION,) if not calibration_path(workspace, run).exists() else ()
        new = {
            name
            for name in again
            if name not in first and (name.split()[-1] in all_names() or name.split()[0] in added)
        }
        names = [name for name in dict.fromkeys([*first, *again]) if name not in new]
        pairs = [Difference(name, first.get(name), again.get(name)) for name in names]
        differences = tuple(pair for pair in pairs if not _identical(pair.first, pair.again))
        then = {**run.result.environment, "device": run.result.device}
        return Verification(
            run.id,
            not differences,
            len(names),
            differences,
            _largest_difference(
                read_predictions(workspace, run.id), read_predictions(scratch, run.id)
            ),
            _have_same_weights(workspace, scratch, run, result),
            tuple(
                (name, str(then.get(name, "not recorded")), str(value))
                for name, value in now.items()
                if then.get(name) != value
            ),
            result.device,
            now["threads"],
        )


def _check_repeatable(workspace: Workspace, run: Run) -> Request:
    """Return the request to run.

    Raises:
        BadInput: something that the run needs is not what it was; the message names it.
    """
    if run.kind == "interpolate":
        raise BadInput(
            f"Run {run.id} is of the kind {run.kind!r}; pretraining runs, fine-tuning runs and"
            " blends can be verified."
        )
    if run.status != "done" or run.result is None:
        raise BadInput(
            f"Run {run.id} is {run.status}; only a run that is done has numbers to verify."
        )
    dataset = find_dataset(workspace, run.dataset)
    if dataset.content_hash != run.result.dataset_hash:
        raise BadInput(
            f"The dataset {dataset.name!r} has changed since run {run.id}: its content hash is"
            f" {dataset.content_hash[:12]}… and was {run.result.dataset_hash[:12]}…; prepare it"
            " again as it was."
        )
    if run.kind == "finetune":
        strategy = STRATEGIES[run.strategy]
        if run.result.rule != strategy.rule:
            raise BadInput(
                f"The rule of the strategy {strategy.title!r} has changed since run {run.id}:"
                f" {strategy.change}. A second run cannot give the same numbers; train it again to"
                " have a run that can be verified."
            )
        card = find_backbone(workspace, run.result.backbone)
        _check_weights(card, run.result.backbone_sha256, run)
        if run.finetune_request.start_run:
            start_card = find_start_card(workspace, run.finetune_request, card)
            _check_weights(start_card, run.result.start_sha256, run)
    files = [workspace.runs / run.id / PREDICTIONS_FILE]
    if run.kind == "blend":
        blended_runs(workspace, run)
        files += [workspace.runs / one / PREDICTIONS_FILE for one in run.blend_request.runs]
    else:
        files.append(_weights_path(workspace, run))
    if not all(file.exists() for file in files):
        raise BadInput(
            f"The weights or predictions of run {run.id} are gone, so there is nothing to compare"
            " with."
        )
    # Damaged files are reported now, not after hours of training.
    if run.kind != "blend":
        load_model_card(workspace, run)
    read_predictions(workspace, run.id)
    # The type of device that the run had: "auto" may choose another one today.
    device = "cpu" if run.result.device == "cpu" else "cuda"
    choose_device(device)
    return dataclasses.replace(
        run.request, train=dataclasses.replace(run.request.train, device=device)
    )


def _check_weights(card: BackboneCard, recorded: str | None, run: Run) -> None:
    now = hash_file(card.folder / WEIGHTS_FILE)
    for then in (card.weights_sha256, recorded or card.weights_sha256):
        if now != then:
            raise changed_backbone_error(card, run, now, then)


def _copy_member_files(workspace: Workspace, scratch: Workspace, run_ids: Sequence[str]) -> None:
    """Copy predictions and calibrations that a blend reads to where the second run looks."""
    for run_id in run_ids:
        (scratch.runs / run_id).mkdir(parents=True)
        for name in (PREDICTIONS_FILE, CALIBRATION_FILE):
            # Runs of earlier versions have no calibration.
            if name == PREDICTIONS_FILE or (workspace.runs / run_id / name).exists():
                shutil.copyfile(workspace.runs / run_id / name, scratch.runs / run_id / name)


def _copy_model(workspace: Workspace, scratch: Workspace, run_id: str) -> None:
    """Copy the model that a run goes on from to where the second run looks for it."""
    source, target = (one.runs / run_id / "model" for one in (workspace, scratch))
    shutil.copytree(source, target)


def _have_same_weights(
    workspace: Workspace, scratch: Workspace, run: Run, again: RunResult
) -> bool:
    """Return whether the weights of the network, or of the blended runs, are the same bytes."""
    if run.kind == "blend":
        assert run.result is not None and run.result.blend is not None and again.blend is not None
        pairs = zip(run.result.blend.runs, again.blend.runs, strict=True)
        return all(one.weight == other.weight for one, other in pairs)
    return hash_file(_weights_path(workspace, run)) == hash_file(_weights_path(scratch, run))


def _weights_path(workspace: Workspace, run: Run) -> Path:
    if run.kind == "finetune":
        return workspace.runs / run.id / "model" / WEIGHTS_FILE
    return workspace.backbones / f"b-{run.id.removeprefix('r-')}" / WEIGHTS_FILE


def _compared_numbers(result: dict[str, Any]) -> dict[str, float | None]:
    """Return every compared number of a result by its path, such as "metrics target_test auc"."""
    numbers: dict[str, float | None] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{name} {key}", inner)
        else:
            numbers[name] = value

    for name in _COMPARED:
        if result.get(name) is not None:
            walk(name, result[name])
    if blend := result.get("blend"):
        walk("mean", blend["mean"])
        for one in blend["runs"]:
            walk(f"weight {one['run']}", one["weight"])
    return numbers


def _calibration_numbers(workspace: Workspace, run: Run) -> dict[str, float | None]:
    """Return every number of the run's stored calibration; none where there is no such file."""
    numbers: dict[str, float | None] = {}
    if not calibration_path(workspace, run).exists():
        return numbers
    for fit in load_calibration(workspace, run).recalibration.fits:
        name = f"{_CALIBRATION} {fit.map.method}"
        numbers |= {f"{name} slope": fit.map.slope, f"{name} intercept": fit.map.intercept}
        numbers[f"{name} loss"] = fit.loss
        for kind, values in (("knot", fit.map.knots), ("value", fit.map.values)):
            numbers |= {f"{name} {kind} {place}": value for place, value in enumerate(values, 1)}
    return numbers


def _identical(a: float | None, b: float | None) -> bool:
    """Return whether two numbers are equal to the last bit; two missing numbers are equal."""
    return a == b or (is_missing(a) and is_missing(b))


def _magnitude(pair: Difference) -> float:
    """Return the size of a difference; infinite if one of the numbers is missing."""
    if is_missing(pair.first) or is_missing(pair.again):
        return float("inf")
    assert pair.first is not None and pair.again is not None
    return abs(pair.first - pair.again)


def _largest_difference(first: StoredArrays, again: StoredArrays) -> float | None:
    names = [name for name in first if not name.endswith("_label")]
    if not names:
        return None
    if any(name not in again or first[name].shape != again[name].shape for name in names):
        # Scores without a counterpart count as the largest difference of two probabilities.
        return 1.0
    return max(
        float(np.abs(first[name].astype(np.float64) - again[name]).max(initial=0.0))
        for name in names
    )


def _format(value: float | None) -> str:
    return "none" if is_missing(value) else repr(value)
