"""What a run or a sweep would be, without queueing it: stages frozen and trained, and about how
long it takes."""

import dataclasses
from typing import Any

from core.cli.output import CommandResult
from core.data.datasets import find_dataset, require_labels
from core.data.preprocessing import load_preprocessing
from core.freezing.plan import Plan
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone
from core.models.objectives import OBJECTIVES
from core.models.registry import complete_settings
from core.runs.estimate import Estimate, pretraining_estimate, pretraining_plan
from core.runs.sweep import Arm, SweepSpec, estimate_sweep, expand_requests, plan_arms
from core.training.default_settings import describe_settings
from core.workspace import Workspace


def dry_run_finetune(
    workspace: Workspace, request: FinetuneRequest, controls: tuple[str, ...] = ()
) -> CommandResult:
    """What a fine-tuning run would be, its controls beside it."""
    first = Arm(request.strategy, request.freeze_depth, request.options)
    others = tuple(Arm(control) for control in controls if control != request.strategy)
    return dry_run_sweep(
        workspace,
        SweepSpec(
            request.dataset,
            request.backbone,
            (first, *others),
            (request.train.seed,),
            target_sizes=(request.target_rows,),
            head=request.head,
            train=request.train,
        ),
    )


def dry_run_sweep(workspace: Workspace, spec: SweepSpec) -> CommandResult:
    """What the runs of a sweep would be, arm by arm."""
    dataset, card = find_dataset(workspace, spec.dataset), find_backbone(workspace, spec.backbone)
    require_labels(dataset)
    plans = plan_arms(card, spec)
    estimate = estimate_sweep(dataset, plans, spec, RunStore(workspace).list(status="done"))
    arms, lines = [], []
    for title, plan in plans.items():
        plan.check_epochs(spec.train.epochs)
        arms.append({"arm": title, **_plan_data(plan)})
        lines += [f"{title}: {plan.trained_parameters:,} parameters train", *_stage_lines(plan)]
    number = len(expand_requests(spec))
    data = {
        "dataset": dataset.id,
        "backbone": card.id,
        "runs": number,
        "arms": arms,
        "estimate": _estimate_data(estimate),
    }
    data["train"] = [dataclasses.asdict(train) for train in spec.size_settings]
    for size, train in zip(spec.target_sizes, spec.size_settings, strict=True):
        lines.append(f"{f'{size:,}' if size else 'All'} target rows: {describe_settings(train)}.")
    end = f"{number} run{'s' if number > 1 else ''}, {_estimate_text(estimate, number)}. Nothing was queued."
    return CommandResult(data, "\n".join([*lines, end]))


def dry_run_pretrain(workspace: Workspace, request: PretrainRequest) -> CommandResult:
    """What a pretraining run would be; the network is built to count it."""
    from core.models.measure_stats import measure_stats

    dataset = find_dataset(workspace, request.dataset)
    if OBJECTIVES[request.objective].reads_labels:
        require_labels(dataset)
    complete_settings(request.architecture, request.settings)
    sizes = load_preprocessing(dataset.folder / "preprocessing").field_sizes
    cost = measure_stats(request.architecture, request.settings, sizes)
    rows = next(part.rows for part in dataset.parts if part.part == "source_train")
    estimate = pretraining_estimate(cost, request, rows, RunStore(workspace).list(status="done"))
    plan = pretraining_plan(cost, request)
    data = {
        "dataset": dataset.id,
        "architecture": request.architecture,
        "parameters": cost.parameters,
    }
    data |= {**_plan_data(plan), "estimate": _estimate_data(estimate) if estimate else None}
    time = f", {_estimate_text(estimate)}" if estimate else ""
    data["train"] = dataclasses.asdict(request.train)
    head = (
        f"{request.architecture} on {rows:,} source rows of {dataset.name!r}: {cost.parameters:,}"
        f" parameters{time}"
    )
    settings = f"Settings: {describe_settings(request.train)}."
    return CommandResult(
        data, "\n".join([f"{head}. Nothing was queued.", settings, *_stage_lines(plan)])
    )


def _plan_data(plan: Plan) -> dict[str, Any]:
    stages = [
        {
            "name": one.name,
            "parameters": one.parameters,
            "trained": one.trained_parameters,
            "frozen": one.frozen,
        }
        | {"from_epoch": one.from_epoch, "rate": one.lr_scale}
        for one in plan.stages
    ]
    return {"trained_parameters": plan.trained_parameters, "stages": stages}


def _stage_lines(plan: Plan) -> list[str]:
    return [
        f"  {one.title}: {'frozen' if one.frozen else 'trained'}, {one.parameters:,} parameters"
        + (f", from epoch {one.from_epoch + 1}" if one.from_epoch else "")
        + (f", at {one.lr_scale:g} of the learning rate" if one.lr_scale != 1 else "")
        for one in plan.stages
    ]


def _estimate_data(estimate: Estimate) -> dict[str, Any]:
    return {"seconds": estimate.seconds, "basis": estimate.explanation}


def _estimate_text(estimate: Estimate, runs: int = 1) -> str:
    one_by_one = " one after another" if runs > 1 else ""
    return f"about {estimate.seconds:,.0f} s{one_by_one}. {estimate.explanation.rstrip('.')}"
