"""The contents of a report: a sweep, or runs selected one by one, grouped into arms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.data.datasets import Dataset, find_dataset
from core.errors import BadInput
from core.jobs.requests import FinetuneRequest, Request, request_to_json
from core.jobs.store import Run, RunStore
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard
from core.runs.reproduce import find_blended_runs, run_commands, sweep_commands
from core.runs.sweep import Sweep, arm_title
from core.runs.sweep_result import ArmResult, summarise_arm, summarise_arms
from core.workspace import Workspace

MAX_RUNS = 200
_ARM_FIELDS = ("strategy", "freeze_depth", "options", "group", "kind", "dataset", "seed", "rates")
"""Fields of a request that are no training settings: they name the arm, or are shown elsewhere."""


@dataclass(frozen=True)
class ReportData:
    """What a report shows.

    Attributes:
        title: of the sweep, or of the runs.
        dataset: whose test rows all results are measured on.
        cards: of the backbones.
        results: of the arms that have a finished run.
        runs: all of them, finished or not.
        shared_settings: settings that every run has.
        varying_settings: names of the settings in which runs differ.
        commands: that reproduce everything.
    """

    title: str
    dataset: Dataset
    cards: tuple[BackboneCard, ...]
    results: tuple[ArmResult, ...]
    runs: tuple[Run, ...]
    shared_settings: dict[str, Any]
    varying_settings: tuple[str, ...]
    commands: tuple[str, ...]


def sweep_report_data(workspace: Workspace, sweep: Sweep) -> ReportData:
    """Return the contents for a sweep as it stands.

    Raises:
        BadInput: none of its runs is done.
    """
    runs = RunStore(workspace).list_group(sweep.id)
    results = summarise_arms(sweep, runs)
    if not results:
        raise BadInput(
            f"No run of the sweep {sweep.name!r} is done yet, so there is nothing to report; wait"
            " for one."
        )
    dataset = find_dataset(workspace, sweep.spec.dataset)
    cards = (find_backbone(workspace, sweep.spec.backbone),)
    return ReportData(
        sweep.name,
        dataset,
        cards,
        tuple(results),
        tuple(runs),
        *_split_settings(runs),
        tuple(sweep_commands(workspace, sweep)),
    )


def runs_report_data(workspace: Workspace, runs: Sequence[Run]) -> ReportData:
    """Return the contents for runs; those that differ only by their seed are one arm.

    Raises:
        BadInput: a run is not done, or is neither a fine-tuning run nor a blend, or runs are on
            several datasets.
    """
    if not 1 <= len(runs) <= MAX_RUNS:
        raise BadInput(f"A report takes 1 to {MAX_RUNS} runs; {len(runs)} were chosen.")
    for run in runs:
        if run.kind not in ("finetune", "blend") or run.status != "done":
            raise BadInput(
                f"Run {run.id} is a {run.kind} run and {run.status}; a report takes fine-tuning"
                " runs and blends that are done."
            )
        if tested_rows_key(run) != tested_rows_key(runs[0]) and run.dataset == runs[0].dataset:
            raise BadInput(
                f"Runs {runs[0].id} and {run.id} were tested on the rows of different windows; a"
                " report compares runs on the same test rows. That of the sweep has all windows."
            )
        if run.dataset != runs[0].dataset:
            raise BadInput(
                f"Runs {runs[0].id} and {run.id} were tested on different datasets"
                f" ({runs[0].dataset} and {run.dataset}); a report compares runs on the same test"
                " rows."
            )
    dataset = find_dataset(workspace, runs[0].dataset)
    shared, varied = _split_settings(runs)
    tuned = [run for run in (*runs, *find_blended_runs(workspace, runs)) if run.kind == "finetune"]
    backbones = dict.fromkeys(run.finetune_request.backbone for run in tuned)
    names = {backbone: find_backbone(workspace, backbone) for backbone in backbones}
    arms: dict[str, dict[int, Run]] = {}
    for run in runs:
        # The same run done twice is one run and no second seed.
        arms.setdefault(_arm_title(run, varied, names), {})[run.seed] = run
    results = [summarise_arm([*found.values()], title, "") for title, found in arms.items()]
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs on {dataset.name}"
    return ReportData(
        title, dataset, tuple(names.values()), tuple(results), tuple(runs), shared, varied,
        tuple(run_commands(workspace, runs)),
    )  # fmt: skip


def request_settings(request: Request) -> dict[str, Any]:
    """Return the settings of a fine-tuning request by name, without those that name the arm.

    Those of the head and of training are included, with underscores as spaces.
    """
    values = request_to_json(request)
    window = request.window if isinstance(request, FinetuneRequest) else None
    flat = {
        # First, as it decides the test rows. What it starts from is named with the arm.
        "window": window.title if window else "none",
        **{name: value for name, value in values.items() if name != "window"},
        **values["train"],
        "head": "kept" if values["keep_head"] else "new",
        **{f"head_{name}": value for name, value in values["head"].items()},
    }
    return {
        name.replace("_", " "): value
        for name, value in flat.items()
        if name not in (*_ARM_FIELDS, "train", "keep_head", "backbone")
    }


def _split_settings(runs: Sequence[Run]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the settings that all fine-tuning runs share, and the names of the others."""
    by_run = [request_settings(run.request) for run in runs if run.kind == "finetune"]
    if not by_run:
        return {}, ()
    shared = {
        name: value
        for name, value in by_run[0].items()
        if all(settings.get(name) == value for settings in by_run)
    }
    varying = tuple(name for name in by_run[0] if name not in shared)
    if shared.get("window") == "none":
        del shared["window"]
    return shared, varying


def tested_rows_key(run: Run) -> tuple[Any, ...]:
    """Return what decides the target test rows of a run: two of the same key have the same rows."""
    window = run.window
    return run.dataset, *((window.number, window.windows, window.column) if window else ())


def titled_start(run: Run) -> str:
    """Return the run's arm, and that its windows go on from each other's models where they do.

    Such a run is another arm than one that starts from the backbone on the same window.
    """
    chained = run.window is not None and run.window.start == "last"
    return f"{arm_title(run)}, from the last window" if chained else arm_title(run)


def _arm_title(run: Run, varied: Sequence[str], cards: dict[str, BackboneCard]) -> str:
    words = [titled_start(run)]
    if run.kind == "blend":
        rows = [f"target rows {run.target_rows}"] * ("target rows" in varied)
        return ", ".join([*words, *rows])
    if len(cards) > 1:
        words.append(cards[run.finetune_request.backbone].name)
    settings = request_settings(run.request)
    return ", ".join([*words, *(f"{name} {settings[name]}" for name in varied)])
