"""Queues runs: checks what was asked for before anything waits, names the runs, and wakes a
worker."""

import dataclasses
import secrets
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.data.datasets import Dataset, find_dataset, require_labels
from core.data.paths import check_input, format_path
from core.errors import BadInput, NameTaken
from core.freezing.plan import make_plan
from core.freezing.strategies import control_strategies, describe_strategy, is_trained
from core.jobs.requests import (
    MASK_SHARE,
    FinetuneRequest,
    InterpolateRequest,
    PretrainRequest,
    Request,
    TrainSettings,
)
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.models.backbone_store import find_backbone, list_backbones
from core.models.card import HeadSettings
from core.models.objectives import OBJECTIVES
from core.models.registry import complete_settings, settings_to_flags
from core.names import names_lock
from core.program import COMMAND
from core.runs.launch import CLUSTER_QUEUE, ensure_worker, queue_for_device
from core.training.default_settings import AUTO, count_training_rows, presets_for
from core.workspace import Workspace, check_name

MIN_TRAINING_ROWS = 2
"""Rows that a training needs."""

_TRAIN_FLAGS = {
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "learning_rate": "--lr",
    "validation_share": "--validation-share",
    "early_stopping": "--early-stopping",
    "plateau": "--plateau",
    "weight_decay": "--weight-decay",
    "seed": "--seed",
    "device": "--device",
}


def submit_pretrain(workspace: Workspace, request: PretrainRequest, run_here: bool = False) -> Run:
    """Queues a pretraining run; BadInput when its name is taken or the dataset lacks source rows or
    labels it needs.

    run_here: see `submit_finetune`.
    """
    name = check_name(request.name, "backbone")
    dataset = find_dataset(workspace, request.dataset)
    if not dataset.has_source:
        raise BadInput(
            f"The dataset {dataset.name!r} has no source domain to pretrain on; prepare it with"
            " one."
        )
    if OBJECTIVES[request.objective].reads_labels:
        require_labels(dataset)
    complete_settings(request.architecture, request.settings)
    if request.start_file:
        file = Path(request.start_file)
        check_input(file, "start file")
        if not file.stat().st_size:
            raise BadInput(f"The start file {format_path(file)} is empty; name another.")
    request = dataclasses.replace(request, name=name, dataset=dataset.id)
    with names_lock(workspace):
        _check_backbone_name(workspace, name)
        return _enqueue(workspace, request, f"{name} · pretraining on {dataset.name}", run_here)


def backbone_names_in_training(workspace: Workspace) -> set[str]:
    """Names that backbones will have which are being pretrained, or wait for it."""
    return {
        run.pretrain_request.name for run in RunStore(workspace).list(kind="pretrain") if run.active
    }


def _has_backbone(workspace: Workspace, run: Run) -> bool:
    """Whether a pretraining run that broke off had stored its backbone already."""
    return any(card.id == f"b-{run.id.removeprefix('r-')}" for card in list_backbones(workspace))


def _check_backbone_name(workspace: Workspace, name: str) -> None:
    if name in backbone_names_in_training(workspace) or any(
        card.name == name for card in list_backbones(workspace)
    ):
        raise NameTaken(
            f"There is already a backbone named {name!r}, or one being pretrained; choose another"
            " name."
        )


def submit_finetune(
    workspace: Workspace,
    request: FinetuneRequest,
    controls: Sequence[str] = (),
    run_here: bool = False,
) -> list[Run]:
    """Queues the run and the controls asked for (see core.freezing.strategies.control_strategies), all of one group; the run
    itself comes first.

    run_here: the calling process trains them itself (core.runs.cluster.run_here); no worker is
    started.
    """
    dataset = find_dataset(workspace, request.dataset)
    require_labels(dataset)
    card = find_backbone(workspace, request.backbone)
    group = request.group or f"g-{secrets.token_hex(4)}"
    strategies = [
        request.strategy,
        *(control for control in control_strategies() if control in controls),
    ]
    requests = []
    for strategy in dict.fromkeys(strategies):
        options = request.options if strategy == request.strategy else {}
        plan = make_plan(card, strategy, request.freeze_depth, request.head, options)
        plan.check_epochs(request.train.epochs)
        check_rows_to_train(dataset, request.train, request.target_rows)
        requests.append(
            dataclasses.replace(
                request,
                dataset=dataset.id,
                backbone=card.id,
                strategy=strategy,
                options=options,
                group=group,
            )
        )
    return [
        _enqueue(
            workspace,
            one,
            f"{card.name} · {describe_strategy(one.strategy, one.freeze_depth, one.options)} ·"
            f" {dataset.name}",
            run_here,
        )
        for one in requests
    ]


def check_rows_to_train(dataset: Dataset, train: TrainSettings, target_rows: int) -> None:
    """BadInput where so many target rows (0 for all) leave fewer than two to train on."""
    rows = count_training_rows(dataset, "target", train.validation_share, target_rows)
    if rows < MIN_TRAINING_ROWS:
        raise BadInput(
            f"{f'{target_rows:,}' if target_rows else 'The'} target rows leave {rows} to train on,"
            f" and training needs at least {MIN_TRAINING_ROWS}; take more target rows, or a smaller"
            " validation share."
        )


def submit_interpolation(workspace: Workspace, run: Run) -> Run:
    """Queues the mixing of a fine-tuned run with its backbone (WiSE-FT), or gives the one there is;
    it is kept.

    The run may be queued before it, as in the demo. BadInput where it is no fine-tuning, or trains
    nothing.
    """
    if run.kind != "finetune" or not is_trained(run.strategy):
        what = "is the backbone as it was" if run.kind == "finetune" else "is not a fine-tuning run"
        raise BadInput(
            f"Run {run.id} {what}, so there is nothing to mix; choose a fine-tuning run."
        )
    for other in list_interpolations(workspace, run):
        if other.active or other.status == "done":
            return other
    device = run.request.train.device
    request = InterpolateRequest(run.dataset, run.id, TrainSettings(device=device))
    return _enqueue(workspace, request, f"{run.name} · mixed with its backbone")


def resume_run(workspace: Workspace, run_id: str) -> Run:
    """Queues an interrupted, failed or cancelled run again and wakes a worker; it goes on from its
    checkpoint.

    BadInput for a run of a sweep that the command line carries out itself: no worker takes that
    one.
    """
    store = RunStore(workspace)
    run = store.get(run_id)
    if run.queue == CLUSTER_QUEUE and run.status in RESUMABLE_STATUSES:
        raise BadInput(
            f"Run {run.id} belongs to a sweep that the command line carries out itself; give that"
            " command again, which goes on with the sweep."
        )
    with names_lock(workspace):
        # Another backbone may have got the name while this one was not trained any more.
        own = f"b-{run.id.removeprefix('r-')}"
        if (
            run.kind == "pretrain"
            and run.status in RESUMABLE_STATUSES
            and own not in {one.id for one in list_backbones(workspace)}
        ):
            _check_backbone_name(workspace, run.pretrain_request.name)
        store.resume(run_id)
    ensure_worker(workspace, run.queue)
    return store.get(run_id)


def list_interpolations(workspace: Workspace, run: Run) -> list[Run]:
    """Every mixing of that run that was asked for, newest first."""
    return [
        one
        for one in RunStore(workspace).list(kind="interpolate")
        if one.interpolate_request.run == run.id
    ]


def command_line(workspace: Workspace, request: Request, pinned: bool = False) -> str:
    """The command that asks for the same run; settings at their preset's value are left out.

    The preset is left out as well where the settings are the default for the run's number of
    training rows, unless the command is to be `lasting`: the same in a later version too, whose
    default may be another one.
    """
    parts = [*COMMAND]
    if isinstance(request, InterpolateRequest):
        return shlex.join([*parts, "interpolate", "--run", request.run])
    dataset = find_dataset(workspace, request.dataset)
    if isinstance(request, PretrainRequest):
        presets = presets_for(count_training_rows(dataset, "source"), request.objective)
        parts += [
            "pretrain",
            "--dataset",
            dataset.name,
            "--architecture",
            request.architecture,
            "--name",
            request.name,
        ]
        if request.objective != "supervised":
            parts += ["--objective", request.objective]
        if request.start != "random":
            parts += ["--start", request.start]
        if request.start_file:
            parts += ["--start-file", request.start_file]
        if request.mask_share != MASK_SHARE:
            parts += ["--mask-share", str(request.mask_share)]
        parts += settings_to_flags(request.settings)
    else:
        presets = presets_for(count_training_rows(dataset, "target", last=request.target_rows))
        backbone = find_backbone(workspace, request.backbone).name
        parts += ["finetune", "--dataset", dataset.name, "--backbone", backbone]
        if request.strategy == "depth":
            parts += ["--freeze-depth", str(request.freeze_depth)]
        else:
            parts += ["--strategy", request.strategy]
        for key, value in request.options.items():
            text = ",".join(value) if isinstance(value, list | tuple) else str(value)
            parts += [f"--{key.replace('_', '-')}", text]
        if request.target_rows:
            parts += ["--target-rows", str(request.target_rows)]
        parts += head_flags(request.head)
    if pinned:
        presets.pop(AUTO, None)
    # A single setting is always found: what a preset lacks can be given.
    return shlex.join(parts + (train_flags([request.train], [presets]) or []))


def head_flags(head: HeadSettings) -> list[str]:
    """The flags that ask for this new head; none for the default one."""
    parts = ["--head-hidden", ",".join(map(str, head.hidden))] if head.hidden else []
    if head.activation != "relu":
        parts += ["--head-activation", head.activation]
    return parts + (["--head-output", head.output] if head.output != "logit" else [])


def train_flags(
    settings: Sequence[TrainSettings], presets: Sequence[dict[str, TrainSettings]]
) -> list[str] | None:
    """The shortest flags that give these settings: the preset that leaves the fewest, and what
    differs from it.

    settings: one for each of several numbers of training rows, or a single one. presets: for each
    of them, what every preset stands for there (core.training.default_settings.presets_for). None where no
    preset with the same flags gives all.
    """
    # Of two equally short ways the one with a fixed preset comes first: it says more.
    names = sorted(presets[0], key=lambda name: name == AUTO)
    found = [flags for name in names if (flags := _flags_from(name, settings, presets)) is not None]
    return min(found, key=len, default=None)


def _flags_from(
    preset: str, settings: Sequence[TrainSettings], presets: Sequence[dict[str, TrainSettings]]
) -> list[str] | None:
    """The flags that lead from a preset to the settings; None where they would differ."""
    given: dict[str, Any] = {}
    for wanted, known in zip(settings, presets, strict=True):
        start = dataclasses.asdict(known[preset])
        given |= {
            name: value
            for name, value in dataclasses.asdict(wanted).items()
            if value != start[name]
        }
    for wanted, known in zip(settings, presets, strict=True):
        # Not by dataclasses.replace, which would check a mixture that nobody asked for.
        if {**dataclasses.asdict(known[preset]), **given} != dataclasses.asdict(wanted):
            return None
    parts = [] if preset == AUTO else ["--preset", preset]
    for name, flag in _TRAIN_FLAGS.items():
        if name in given:
            parts += [flag, str(given[name])]
    if "cosine" in given:
        parts.append("--cosine" if given["cosine"] else "--no-cosine")
    return parts + (["--amp"] if "amp" in given else [])


def _enqueue(workspace: Workspace, request: Request, name: str, run_here: bool = False) -> Run:
    lane = CLUSTER_QUEUE if run_here else queue_for_device(request.train.device)
    run = RunStore(workspace).submit(request, name, lane)
    if not run_here:
        ensure_worker(workspace, lane)
    return run
