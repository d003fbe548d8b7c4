"""The commands that repeat a sweep or runs: read the data, prepare it, pretrain, train."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence

from core.data.datasets import Dataset, find_dataset
from core.data.preprocessing import default_min_count
from core.data.read_options import to_cli_args
from core.data.samples import Sample, find_sample
from core.data.split import SplitSpec
from core.data.windows import first_window
from core.errors import BadInput
from core.freezing.strategies import complete_options
from core.jobs.store import Run, RunStore
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard
from core.program import COMMAND
from core.runs.command_lines import command_line, sweep_command_line, sweep_train_flags
from core.runs.control_rows import ROWS_OPTION, control_rows_of
from core.runs.sweep import Sweep, SweepSpec, expand_requests
from core.workspace import Workspace

_SPLIT_FLAGS = (
    "source_share",
    "target_test_share",
    "target_validation_share",
    "source_test_share",
    "source_validation_share",
)


def sweep_commands(workspace: Workspace, sweep: Sweep) -> list[str]:
    """Return the commands from the file of rows to the whole sweep.

    What no command can do is a comment (# …).
    """
    dataset = find_dataset(workspace, sweep.spec.dataset)
    # The seed of the settings is not read: every run has one of the sweep's.
    spec = dataclasses.replace(
        sweep.spec,
        train=dataclasses.replace(sweep.spec.train, seed=0),
        train_by_size=tuple(
            dataclasses.replace(train, seed=0) for train in sweep.spec.train_by_size
        ),
    )
    before = _preparation_commands(workspace, dataset, find_backbone(workspace, spec.backbone))
    trained = first_window(workspace, dataset, spec.windows, spec.window_column)
    if fits_one_command(trained, spec):
        return [*before, sweep_command_line(workspace, spec, sweep.name, pinned=True)]
    note = "# These arms and seeds are no sweep that one command can name; run by run:"
    requests = expand_requests(spec)
    if spec.window_start == "last":
        note += " (--from-run names a run on the window before, by the id that it gets)"
        runs = RunStore(workspace).list_group(sweep.id)
        requests = [run.finetune_request for run in runs if run.kind == "finetune"]
    return [
        *before,
        note,
        *(command_line(workspace, request, pinned=True) for request in requests),
    ]


def find_blended_runs(workspace: Workspace, runs: Sequence[Run]) -> list[Run]:
    """Return the runs that are still there of the blends among `runs`, each once."""
    ids = {run_id for run in runs if run.kind == "blend" for run_id in run.blend_request.runs}
    return [run for run in RunStore(workspace).list() if run.id in ids]


def run_commands(workspace: Workspace, runs: Sequence[Run]) -> list[str]:
    """Return the commands from the file of rows to each of these runs.

    The runs of a blend come before it.
    """
    lines: list[str] = []
    blends = [run for run in runs if run.kind == "blend"]
    runs = list(
        {
            run.id: run for run in (*find_blended_runs(workspace, runs), *runs) if run not in blends
        }.values()
    )
    for run in runs:
        dataset = find_dataset(workspace, run.dataset)
        if run.kind == "pretrain":
            lines += data_commands(workspace, dataset)
            continue
        card = find_backbone(workspace, run.finetune_request.backbone)
        lines += _preparation_commands(workspace, dataset, card)
    asked = [command_line(workspace, run.request, pinned=True) for run in runs]
    return [*dict.fromkeys([*lines, *asked]), *_blend_commands(workspace, blends)]


def fits_one_command(dataset: Dataset, spec: SweepSpec) -> bool:
    """Return whether one `sweep` command can describe the sweep.

    It can where the seeds are 0, 1, 2, …, every strategy with options occurs once, but for controls
    on several choices of rows, other options of one name are equal in all arms, and the same flags
    give every target size its settings.
    """
    if spec.seeds != tuple(range(len(spec.seeds))) or sweep_train_flags(dataset, spec) is None:
        return False
    arms = [arm for arm in spec.arms if arm.strategy not in ("depth", "surgical")]
    # A control on several rows is named once, with all of them.
    named = [arm.strategy for arm in arms if ROWS_OPTION not in arm.options]
    named += control_rows_of(arms)
    options: dict[str, list[object]] = {}
    for arm in arms:
        for name, value in complete_options(arm.strategy, arm.options).items():
            if name != ROWS_OPTION:
                options.setdefault(name, []).append(value)
    alike = all(value == values[0] for values in options.values() for value in values)
    return len(named) == len(set(named)) and alike


def data_commands(workspace: Workspace, dataset: Dataset) -> list[str]:
    """Return the commands that read the files and prepare the dataset.

    The files' hashes are added as comments.
    """
    spec = dataset.spec
    count = (
        None if dataset.min_count == default_min_count(dataset.fitted_rows) else dataset.min_count
    )
    if not dataset.samples:
        line, words = _ingest_command(workspace, dataset.sample_id, dataset.name, dataset.simulated)
        command = shlex.join([*words, *split_flags(spec, count)])
        if any(not value or "," in value for value in spec.target_values):
            note = (
                "# The command line cannot name the missing value, nor one with a comma: prepare it"
                " on page Data."
            )
            return [line, note, f"# {command}"]
        return [line, command]
    lines, names = [], _unique_names(dataset)
    for one in dataset.samples:
        line, words = _ingest_command(workspace, one.id, names[one.role], dataset.simulated)
        lines += [line, shlex.join([*words, "--no-prepare"])]
    return [*lines, prepare_command(names, spec, dataset.name, count)]


def prepare_command(
    names: Mapping[str, str], spec: SplitSpec, name: str, min_count: int | None
) -> str:
    """Return the command that prepares a dataset of several samples.

    Args:
        names: of the samples, by role.
        spec: the split.
        name: of the dataset.
        min_count: minimum count of a categorical value; None for the default.
    """
    words = [*COMMAND, "prepare", "--name", name]
    for role, sample in names.items():
        words += [f"--{role.replace('_', '-')}", sample]
    return shlex.join([*words, *split_flags(spec, min_count)])


def reading_flags(sample: Sample) -> list[str]:
    """Return the flags of `ingest` with which the sample's file was read."""
    skipped = ["--on-bad-rows", "skip"] if "-skip" in sample.id else []
    return ["--simulated"] * sample.simulated + skipped + to_cli_args(sample.options)


def split_flags(spec: SplitSpec, min_count: int | None) -> list[str]:
    """Return the flags of a split and a minimum count, without defaults.

    If `min_count` is None, its flag is left out.
    """
    usual, parts = SplitSpec(), []
    if spec.method not in (usual.method, "files"):
        parts += ["--split", spec.method]
    if spec.method == "column":
        parts += ["--column", spec.column, "--target-values", ",".join(spec.target_values)]
    for name in _SPLIT_FLAGS:
        if getattr(spec, name) != getattr(usual, name):
            parts += [f"--{name.replace('_', '-')}", str(getattr(spec, name))]
    parts += ["--shuffle"] * spec.shuffle
    if spec.seed != usual.seed:
        parts += ["--split-seed", str(spec.seed)]
    return parts if min_count is None else [*parts, "--min-count", str(min_count)]


def _ingest_command(
    workspace: Workspace, sample_id: str, name: str, simulated: bool
) -> tuple[str, list[str]]:
    """Return a comment that names the sample's file, and the words that read it.

    Args:
        simulated: taken where the sample was deleted.
    """
    try:
        sample = find_sample(workspace, sample_id)
        file, digest, flags = sample.source, sample.content_hash, reading_flags(sample)
    except BadInput:
        file, digest = "FILE", f"{sample_id.split('-')[1]}…"
        flags = ["--simulated"] * simulated + ["--on-bad-rows", "skip"] * sample_id.endswith(
            "-skip"
        )
    comment = f"# {_printable(file)} is the file with SHA-256 {digest}"
    return comment, [*COMMAND, "ingest", file, "--name", name, *flags]


def _unique_names(dataset: Dataset) -> dict[str, str]:
    """Return a name for the sample of each role.

    Samples of the same name are distinguished by role.
    """
    names = [one.name for one in dataset.samples]
    return {
        one.role: (
            one.name
            if names.count(one.name) == 1
            else f"{one.name[:40]} {one.role.replace('_', ' ')}"
        )
        for one in dataset.samples
    }


def _preparation_commands(workspace: Workspace, dataset: Dataset, card: BackboneCard) -> list[str]:
    lines = data_commands(workspace, dataset)
    if card.bundled:
        return [*lines, f"# {card.name} comes with Thaw (weights SHA-256 {card.weights_sha256})"]
    for run in RunStore(workspace).list(kind="pretrain", status="done"):
        if run.result and run.result.backbone == card.id:
            try:
                other = find_dataset(workspace, run.dataset)
                if other.id != dataset.id:
                    lines += data_commands(workspace, other)
                # Under the name that it has now, by which what follows asks for it.
                request = dataclasses.replace(run.pretrain_request, name=card.name)
                return [*lines, command_line(workspace, request, pinned=True)]
            except BadInput:
                break
    return [
        *lines,
        f"# The backbone {card.name} was made elsewhere (weights SHA-256 {card.weights_sha256})",
    ]


def _blend_commands(workspace: Workspace, blends: Sequence[Run]) -> list[str]:
    """Return the commands of blends after a comment; nothing where there is none."""
    if not blends:
        return []
    note = "# Then, with the ids that the runs have got where they were trained again:"
    return [note, *(command_line(workspace, run.request, pinned=True) for run in blends)]


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)
