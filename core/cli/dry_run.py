"""The option ``--dry-run``: show what would be trained and for about how long.

Nothing is queued.
"""

import dataclasses
from typing import Any

from core.cli.output import CommandResult
from core.data.datasets import Dataset, find_dataset, require_labels
from core.data.preprocessing import load_preprocessing
from core.data.target_statistics import count_dense
from core.data.windows import WindowSummary, check_windows, summarise_windows
from core.freezing.inputs import REFITTED_SENTENCE
from core.freezing.plan import Plan
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone
from core.models.card import inputs_sentence
from core.models.objectives import OBJECTIVES
from core.models.registry import complete_settings, settings_to_flags
from core.runs.default_blend import BLEND_SENTENCE
from core.runs.estimate import Estimate, pretraining_estimate, pretraining_plan
from core.runs.search import check_search
from core.runs.search_result import estimate_search, judging_runs, search_sentence
from core.runs.sweep import Arm, SweepSpec, expand_requests, plan_arms, rates_sentence
from core.runs.sweep_estimate import estimate_sweep
from core.training.default_settings import describe_settings
from core.training.run_dataset import find_request_dataset
from core.workspace import Workspace


def dry_run_finetune(
    workspace: Workspace, request: FinetuneRequest, controls: tuple[str, ...] = ()
) -> CommandResult:
    """Describe a fine-tuning run and its controls, as a sweep of one seed."""
    arm = Arm(request.strategy, request.freeze_depth, request.options)
    others = tuple(Arm(control) for control in controls if control != request.strategy)
    spec = SweepSpec(
        request.dataset,
        request.backbone,
        (arm, *others),
        (request.train.seed,),
        target_sizes=(request.target_rows,),
        head=request.head,
        train=request.train,
        keep_head=request.keep_head,
        inputs=request.inputs,
    )
    return dry_run_sweep(workspace, spec, find_request_dataset(workspace, request))


def dry_run_sweep(
    workspace: Workspace, spec: SweepSpec, dataset: Dataset | None = None
) -> CommandResult:
    """Describe the runs of a sweep, arm by arm.

    Args:
        workspace, spec: what would be queued.
        dataset: the one of `spec`, or the window of it that every run trains on.
    """
    dataset = dataset or find_dataset(workspace, spec.dataset)
    card = find_backbone(workspace, spec.backbone)
    require_labels(dataset)
    plans = plan_arms(card, spec)
    estimate = estimate_sweep(dataset, plans, spec, RunStore(workspace).list(status="done"))
    arms, lines = [], []
    for title, plan in plans.items():
        plan.check_epochs(spec.train.epochs)
        plan = plan.with_settings(spec.train)
        arms.append({"arm": title, **_plan_data(plan)})
        lines += [f"{title}: {_size_text(plan)}", *_stage_lines(plan)]
    windows = []
    if spec.windows:
        share = spec.train.validation_share
        check_windows(workspace, dataset, spec.windows, spec.window_column, share)
        windows = summarise_windows(workspace, dataset, spec.windows, spec.window_column)
        lines += [_window_text(one) for one in windows]
    for size, train in zip(spec.target_sizes, spec.size_settings, strict=True):
        rows = f"{size:,}" if size else "All"
        where = "Every window" if spec.windows else f"{rows} target rows"
        lines.append(f"{where}: {describe_settings(train)}.")
    if spec.inputs == "refitted":
        lines.append(REFITTED_SENTENCE)
    if spec.choose_rate:
        lines.append(rates_sentence(spec))
    if spec.blend:
        lines.append(BLEND_SENTENCE)
    n_runs = len(expand_requests(spec))
    lines.append(
        f"{n_runs} run{'s' if n_runs > 1 else ''}, {_estimate_text(estimate, n_runs)}. Nothing was "
        "queued."
    )
    data = {
        "dataset": dataset.id,
        "backbone": card.id,
        "inputs": spec.inputs,
        "runs": n_runs,
        "learning_rates": list(spec.learning_rates),
        "choose_rate": spec.choose_rate,
        "blend": spec.blend,
        "arms": arms,
        "windows": [dataclasses.asdict(one) for one in windows],
        "estimate": _estimate_data(estimate),
        "train": [dataclasses.asdict(train) for train in spec.size_settings],
    }
    return CommandResult(data, "\n".join(lines))


def dry_run_search(workspace: Workspace, spec: SweepSpec) -> CommandResult:
    """Describe a search: its space, its budget and what it takes."""
    assert spec.search is not None
    dataset = find_dataset(workspace, spec.dataset)
    card = find_backbone(workspace, spec.backbone)
    require_labels(dataset)
    check_search(card, spec)
    history = RunStore(workspace).list(status="done")
    estimate, judging = estimate_search(dataset, plan_arms(card, spec), spec, history)
    n_judging = judging_runs(spec, card.scores_clicks)
    titles = [arm.title for arm in spec.arms]
    lines = [
        search_sentence(spec),
        f"Strategies: {', '.join(titles)}.",
        f"Settings: {describe_settings(spec.train)}.",
        f"The search takes {_estimate_text(estimate)}. At most {n_judging} runs judge the winner,"
        f" about {judging:,.0f} s. Nothing was queued.",
    ]
    data = {
        "dataset": dataset.id,
        "backbone": card.id,
        "inputs": spec.inputs,
        "strategies": titles,
        "search": dataclasses.asdict(spec.search),
        "estimate": _estimate_data(estimate),
        "judging": {"runs": n_judging, "seconds": judging},
        "train": dataclasses.asdict(spec.train),
    }
    return CommandResult(data, "\n".join(lines))


def dry_run_pretrain(workspace: Workspace, request: PretrainRequest) -> CommandResult:
    """Describe a pretraining run; the network is built to count its parameters and operations."""
    from core.models.measure_stats import measure_stats

    dataset = find_dataset(workspace, request.dataset)
    if OBJECTIVES[request.objective].reads_labels:
        require_labels(dataset)
    settings = complete_settings(request.architecture, request.settings)
    fitted = load_preprocessing(dataset.folder / "preprocessing")
    stats = measure_stats(
        request.architecture, request.settings, fitted.field_sizes, count_dense(request.statistics)
    )
    rows = next(part.rows for part in dataset.parts if part.part == "source_train")
    done = RunStore(workspace).list(status="done")
    estimate = pretraining_estimate(stats, request, rows, done)
    plan = pretraining_plan(stats, request).with_settings(request.train)
    time = f", {_estimate_text(estimate)}" if estimate else ""
    lines = [
        f"{request.architecture} on {rows:,} source rows of {dataset.name!r}: "
        f"{stats.parameters:,} parameters{time}. Nothing was queued.",
        f"Inputs: {inputs_sentence(count_dense(request.statistics))}.",
        *([f"Network: {' '.join(settings_to_flags(settings))}"] if settings else []),
        f"Settings: {describe_settings(request.train)}.",
        *_stage_lines(plan),
    ]
    data = {
        "dataset": dataset.id,
        "architecture": request.architecture,
        "settings": settings,
        "parameters": stats.parameters,
        "statistics": request.statistics,
        **_plan_data(plan),
        "estimate": _estimate_data(estimate) if estimate else None,
        "train": dataclasses.asdict(request.train),
    }
    return CommandResult(data, "\n".join(lines))


def _window_text(window: WindowSummary) -> str:
    ends = f", {window.first} to {window.last}" if window.first else ""
    return f"Window {window.number}: {window.rows:,} rows, {window.clicks:,} clicks{ends}."


def _plan_data(plan: Plan) -> dict[str, Any]:
    stages = [
        {
            "name": stage.name,
            "parameters": stage.parameters,
            "trained": stage.trained_parameters,
            "frozen": stage.frozen,
            "from_epoch": stage.from_epoch,
            "rate": stage.lr_scale,
        }
        for stage in plan.stages
    ]
    if not plan.sizes_known:
        return {"trained_parameters": None, "head": "new", "stages": [], "rows": plan.rows}
    return {
        "trained_parameters": plan.trained_parameters,
        "head": "new" if plan.new_head else "kept",
        "stages": stages,
    }


def _size_text(plan: Plan) -> str:
    if plan.sizes_known:
        return f"{plan.trained_parameters:,} parameters train"
    return f"fits a vocabulary of its own on the rows {plan.rows!r}; its size is known then"


def _stage_lines(plan: Plan) -> list[str]:
    if not plan.sizes_known:
        return []
    lines = []
    for stage in plan.stages:
        state = "frozen" if stage.frozen else "trained"
        line = f"  {stage.title}: {state}, {stage.parameters:,} parameters"
        if stage.from_epoch:
            line += (
                ", after the probe" if plan.probe_first else f", from epoch {stage.from_epoch + 1}"
            )
        if stage.lr_scale != 1:
            line += f", at {stage.lr_scale:g} of the learning rate"
        lines.append(line)
    return lines


def _estimate_data(estimate: Estimate) -> dict[str, Any]:
    return {
        "seconds": estimate.seconds,
        "rate_choice_seconds": estimate.rate_choice_seconds,
        "basis": estimate.explanation,
    }


def _estimate_text(estimate: Estimate, runs: int = 1) -> str:
    one_by_one = " one after another" if runs > 1 else ""
    return f"about {estimate.seconds:,.0f} s{one_by_one}. {estimate.explanation.rstrip('.')}"
