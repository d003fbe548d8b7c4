"""Queue runs: check the request before anything waits, name the runs, and start a worker."""

import dataclasses
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.data.datasets import Dataset, find_dataset, require_labels
from core.data.paths import check_input, format_path
from core.errors import BadInput, NameTaken
from core.freezing.heads import keeps_head
from core.freezing.inputs import check_inputs, check_same_inputs, inputs_of_strategy
from core.freezing.plan import make_plan
from core.freezing.strategies import (
    STRATEGIES,
    complete_options,
    control_strategies,
    describe_strategy,
    has_own_model,
    is_trained,
)
from core.jobs.requests import (
    FinetuneRequest,
    InterpolateRequest,
    PretrainRequest,
    Request,
    TrainSettings,
    Window,
)
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.models.backbone_store import find_backbone, list_backbones
from core.models.objectives import OBJECTIVES
from core.models.registry import complete_settings
from core.names import names_lock
from core.runs.launch import CLUSTER_QUEUE, ensure_worker, queue_for_device
from core.training.default_settings import count_training_rows
from core.training.run_dataset import find_request_dataset
from core.training.start_model import require_start_run
from core.workspace import Workspace, check_name

MIN_TRAINING_ROWS = 2
"""Fewest rows to train on."""


def submit_pretrain(workspace: Workspace, request: PretrainRequest, run_here: bool = False) -> Run:
    """Queue a pretraining run.

    Args:
        workspace: where to queue it.
        request: what to train; the dataset may be given by name or id.
        run_here: see `submit_finetune`.

    Raises:
        BadInput: the dataset lacks source rows or labels that the objective reads, or the request
            does not fit the architecture.
        NameTaken: a backbone has that name, or will have it.
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
    """Return the names of backbones whose pretraining waits or runs."""
    return {
        run.pretrain_request.name for run in RunStore(workspace).list(kind="pretrain") if run.active
    }


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
    """Queue a fine-tuning run and its controls, all of one group; the run itself comes first.

    Args:
        workspace: where to queue them.
        request: what to train; dataset and backbone may be given by name or id.
        controls: names of `control_strategies`.
        run_here: the calling process trains them itself (core.runs.cluster.run_here), so that no
            worker is started.

    Raises:
        BadInput: the backbone cannot have the strategy, one of `controls` is no control, or there
            are too few rows or epochs.
    """
    controls = [controls] if isinstance(controls, str) else [*controls]
    if unknown := [one for one in controls if one not in control_strategies()]:
        raise BadInput(
            f"There is no control {unknown[0]!r}; choose among {[*control_strategies()]}."
        )
    dataset = find_dataset(workspace, request.dataset)
    require_labels(dataset)
    if request.window:
        dataset = find_request_dataset(workspace, request)
    if request.start_run:
        _check_start_run(workspace, request, dataset)
    card = find_backbone(workspace, request.backbone)
    group = request.group or f"g-{secrets.token_hex(4)}"
    strategies = [
        request.strategy,
        *(control for control in control_strategies() if control in controls),
    ]
    requests = []
    for strategy in dict.fromkeys(strategies):
        options = request.options if strategy == request.strategy else {}
        plan = make_plan(
            card, strategy, request.freeze_depth, request.head, options, request.keep_head
        )
        plan.check_epochs(request.train.epochs)
        inputs = inputs_of_strategy(strategy, request.inputs)
        check_inputs(card, inputs)
        check_rows_to_train(dataset, request.train, request.target_rows)
        check_source_rows(dataset, strategy, options)
        requests.append(
            dataclasses.replace(
                request,
                dataset=dataset.id,
                backbone=card.id,
                strategy=strategy,
                options=options,
                group=group,
                inputs=inputs,
                window=_window_of_strategy(request.window, strategy),
            )
        )
    return [
        _enqueue(
            workspace,
            one,
            f"{card.name} · {describe_strategy(one.strategy, one.freeze_depth, one.options)}"
            f"{f', {one.window.title}' if one.window else ''} · {dataset.name}",
            run_here,
        )
        for one in requests
    ]


def _window_of_strategy(window: Window | None, strategy: str) -> Window | None:
    """Return the window without a model to go on from for a strategy that has none."""
    if window is None or (is_trained(strategy) and not has_own_model(strategy)):
        return window
    return dataclasses.replace(window, start="backbone", start_run="")


def _check_start_run(workspace: Workspace, request: FinetuneRequest, dataset: Dataset) -> None:
    """Raise BadInput unless the run that a request goes on from trained on the window before."""
    run, window = require_start_run(workspace, request), request.window
    assert window is not None
    before = dataclasses.replace(window, number=window.number - 1, start="backbone", start_run="")
    own = run.window and dataclasses.replace(run.window, start="backbone", start_run="")
    if run.dataset != dataset.id or own != before or has_own_model(run.strategy):
        raise BadInput(
            f"Run {run.id} did not fine-tune on {before.title} of the dataset {dataset.name!r}, so"
            f" {window.title} cannot go on from it; choose a run of that window."
        )


def check_rows_to_train(dataset: Dataset, train: TrainSettings, target_rows: int) -> None:
    """Check that the target rows leave enough rows to train on.

    Args:
        dataset: of the target rows.
        train: says how many of them validate.
        target_rows: how many are used, 0 for all.

    Raises:
        BadInput: fewer than MIN_TRAINING_ROWS are left.
    """
    rows = count_training_rows(dataset, "target", train.validation_share, target_rows)
    if rows < MIN_TRAINING_ROWS:
        raise BadInput(
            f"{f'{target_rows:,}' if target_rows else 'The'} target rows leave {rows} to train on,"
            f" and training needs at least {MIN_TRAINING_ROWS}; take more target rows, or a smaller"
            " validation share."
        )


def check_source_rows(dataset: Dataset, strategy: str, options: dict[str, Any]) -> None:
    """Raise BadInput if a control should train on source rows alone and there are none."""
    rows = complete_options(strategy, options).get("rows", "target")
    if rows == "source" and not dataset.has_source:
        raise BadInput(
            f"The dataset {dataset.name!r} has no source rows to train"
            f" {STRATEGIES[strategy].title!r} on; choose the rows 'target' or 'both'."
        )


def submit_interpolation(workspace: Workspace, run: Run) -> Run:
    """Queue the interpolation of a fine-tuning run with its backbone (WiSE-FT).

    If there is one already, it is returned. The run itself may still be waiting in the queue before
    it, as in the demo.

    Raises:
        BadInput: the run is not a fine-tuning run, trains nothing, has a new head or refitted
            inputs, or has ended without a model.
    """
    if run.kind == "finetune" and has_own_model(run.strategy):
        raise BadInput(
            f"Run {run.id} trained a model of its own and no weights of the backbone, so there is"
            " nothing to mix; choose a fine-tuning run."
        )
    if run.kind != "finetune" or not is_trained(run.strategy):
        what = "is the backbone as it was" if run.kind == "finetune" else "is not a fine-tuning run"
        raise BadInput(
            f"Run {run.id} {what}, so there is nothing to mix; choose a fine-tuning run."
        )
    if not keeps_head(run.finetune_request):
        raise BadInput(
            f"Run {run.id} has a new head, which has nothing in common with its backbone's, so a"
            " mixture of the two would score worse than either; choose a run that kept the head."
        )
    check_same_inputs(run.finetune_request, run.id)
    if not run.active and run.status != "done":
        raise BadInput(
            f"Run {run.id} is {run.status}, so there are no trained weights to mix with its"
            " backbone; resume it first."
        )
    for other in list_interpolations(workspace, run):
        if other.active or other.status == "done":
            return other
    device = run.request.train.device
    request = InterpolateRequest(
        run.dataset, run.id, TrainSettings(device=device, tf32=run.request.train.tf32)
    )
    return _enqueue(workspace, request, f"{run.name} · mixed with its backbone")


def resume_run(workspace: Workspace, run_id: str) -> Run:
    """Queue an interrupted, failed or cancelled run again; it resumes from its checkpoint.

    Raises:
        BadInput: the run has another status, or belongs to a sweep that the command line runs
            itself, which no worker takes.
        NameTaken: another backbone has got the name of the one that the run pretrains.
    """
    store = RunStore(workspace)
    run = store.get(run_id)
    if run.queue == CLUSTER_QUEUE and run.status in RESUMABLE_STATUSES:
        raise BadInput(
            f"Run {run.id} belongs to a sweep that the command line runs itself; give that command"
            " again, which goes on with the sweep."
        )
    with names_lock(workspace):
        # Another backbone may have got the name since this run ended.
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
    """Return every interpolation of that run, newest first."""
    return [
        one
        for one in RunStore(workspace).list(kind="interpolate")
        if one.interpolate_request.run == run.id
    ]


def _enqueue(workspace: Workspace, request: Request, name: str, run_here: bool = False) -> Run:
    queue = CLUSTER_QUEUE if run_here else queue_for_device(request.train.device)
    run = RunStore(workspace).submit(request, name, queue)
    if not run_here:
        ensure_worker(workspace, queue)
    return run
