"""The commands that do again what a sweep or some runs did: prepare the data, pretrain the backbone, train."""

import dataclasses
import shlex
from collections.abc import Sequence

from core.data.datasets import Dataset, find_dataset
from core.data.preprocessing import DEFAULT_MIN_COUNT
from core.data.samples import find_sample
from core.data.split import SplitSpec
from core.errors import BadInput
from core.freezing.strategies import complete_options
from core.models.card import BackboneCard
from core.models.library import find_backbone
from core.runs.store import Run, RunStore
from core.runs.submit import command_line
from core.runs.sweep import Sweep, SweepSpec, requests_of, sweep_command_line, sweep_train_flags
from core.training.settings import request_from_json
from core.workspace import Workspace

THAW = ["python", "-m", "core"]
_SPLIT_FLAGS = (
    "source_share",
    "target_test_share",
    "target_validation_share",
    "source_test_share",
    "source_validation_share",
)


def sweep_commands(workspace: Workspace, sweep: Sweep) -> list[str]:
    """Commands from the file of rows to the whole sweep; what no command can do is a comment (# …)."""
    dataset = find_dataset(workspace, sweep.spec.dataset)
    # The seed of the settings is not read: every run has one of the sweep's.
    spec = dataclasses.replace(
        sweep.spec,
        train=dataclasses.replace(sweep.spec.train, seed=0),
        train_by_size=tuple(dataclasses.replace(train, seed=0) for train in sweep.spec.train_by_size),
    )
    before = _before(workspace, dataset, find_backbone(workspace, spec.backbone))
    if fits_one_command(dataset, spec):
        return [*before, sweep_command_line(workspace, spec, sweep.name, lasting=True)]
    note = "# These arms and seeds are no sweep that one command can name; run by run:"
    return [*before, note, *(command_line(workspace, request, lasting=True) for request in requests_of(spec))]


def run_commands(workspace: Workspace, runs: Sequence[Run]) -> list[str]:
    """Commands from the file of rows to each of these fine-tuning runs."""
    lines: list[str] = []
    for run in runs:
        lines += _before(
            workspace, find_dataset(workspace, run.dataset), find_backbone(workspace, run.request["backbone"])
        )
    asked = [command_line(workspace, request_from_json(run.request), lasting=True) for run in runs]
    return list(dict.fromkeys([*lines, *asked]))


def fits_one_command(dataset: Dataset, spec: SweepSpec) -> bool:
    """Whether `sweep` can name it.

    It can where seeds run from 0 on, strategies with options come once, options of one name are alike in all, and the
    same flags give every target size its settings.
    """
    if spec.seeds != tuple(range(len(spec.seeds))) or sweep_train_flags(dataset, spec) is None:
        return False
    arms = [arm for arm in spec.arms if arm.strategy not in ("depth", "surgical")]
    named = [arm.strategy for arm in arms]
    options: dict[str, list[object]] = {}
    for arm in arms:
        for name, value in complete_options(arm.strategy, arm.options).items():
            options.setdefault(name, []).append(value)
    alike = all(value == values[0] for values in options.values() for value in values)
    return len(named) == len(set(named)) and alike


def data_commands(workspace: Workspace, dataset: Dataset) -> list[str]:
    """The command that reads the file and prepares the dataset, with the file's hash as a comment."""
    try:
        sample = find_sample(workspace, dataset.sample_id)
        file, digest = sample.source, sample.content_hash
    except BadInput:
        file, digest = "FILE", f"{dataset.sample_id.split('-')[1]}…"
    lines = [f"# {_on_one_line(file)} is the file with SHA-256 {digest}"]
    spec, usual = dataset.spec, SplitSpec()
    parts = [*THAW, "ingest", file, "--name", dataset.name]
    if dataset.sample_id.endswith("-skip"):
        parts += ["--on-bad-rows", "skip"]
    if spec.method != usual.method:
        parts += ["--split", spec.method]
    if spec.method == "column":
        parts += ["--column", spec.column, "--target-values", ",".join(spec.target_values)]
    for name in _SPLIT_FLAGS:
        if getattr(spec, name) != getattr(usual, name):
            parts += [f"--{name.replace('_', '-')}", str(getattr(spec, name))]
    if spec.seed != usual.seed:
        parts += ["--split-seed", str(spec.seed)]
    if dataset.min_count != DEFAULT_MIN_COUNT:
        parts += ["--min-count", str(dataset.min_count)]
    if dataset.simulated:
        parts.append("--simulated")
    if any(not value or "," in value for value in spec.target_values):
        lines.append("# The command line cannot name the missing value, nor one with a comma: prepare it on page Data.")
        return [*lines, f"# {shlex.join(parts)}"]
    return [*lines, shlex.join(parts)]


def _before(workspace: Workspace, dataset: Dataset, card: BackboneCard) -> list[str]:
    lines = data_commands(workspace, dataset)
    if card.bundled:
        return [*lines, f"# {card.name} comes with Thaw (weights SHA-256 {card.weights_sha256})"]
    for run in RunStore(workspace).list(kind="pretrain", status="done"):
        if run.result and run.result["backbone"] == card.id:
            try:
                other = find_dataset(workspace, run.dataset)
                if other.id != dataset.id:
                    lines += data_commands(workspace, other)
                return [*lines, command_line(workspace, request_from_json(run.request), lasting=True)]
            except BadInput:
                break
    return [*lines, f"# The backbone {card.name} was made elsewhere (weights SHA-256 {card.weights_sha256})"]


def _on_one_line(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)
