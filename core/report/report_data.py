"""The contents of a report: a sweep, or runs selected one by one, grouped into arms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.data.datasets import Dataset, find_dataset
from core.errors import BadInput
from core.jobs.store import Run, RunStore
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard
from core.report.arms import group_into_arms, summarise_selected_arms
from core.report.run_settings import request_settings, tested_rows_key
from core.runs.reproduce import find_blended_runs, run_commands, sweep_commands
from core.runs.search import SearchProgress, search_progress
from core.runs.search_result import search_sentences
from core.runs.sweep import Sweep, list_rate_sweeps
from core.runs.sweep_result import ArmResult, summarise_arms
from core.workspace import Workspace

MAX_RUNS = 200


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
        search: how far the search has come, and its sentences; None for any other sweep or runs.
    """

    title: str
    dataset: Dataset
    cards: tuple[BackboneCard, ...]
    results: tuple[ArmResult, ...]
    runs: tuple[Run, ...]
    shared_settings: dict[str, Any]
    varying_settings: tuple[str, ...]
    commands: tuple[str, ...]
    search: tuple[SearchProgress, tuple[str, ...]] | None = None


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
    search = None
    if sweep.spec.search is not None:
        progress = search_progress(workspace, sweep, runs)
        search = progress, tuple(search_sentences(sweep, runs, progress))
    return ReportData(
        sweep.name,
        dataset,
        cards,
        tuple(results),
        tuple(runs),
        *_split_settings(runs),
        tuple(sweep_commands(workspace, sweep)),
        search,
    )


def runs_report_data(workspace: Workspace, runs: Sequence[Run]) -> ReportData:
    """Return the contents for runs; those that differ only by their seed are one arm.

    Titles name the settings in which arms differ, as on page Compare.

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
    arms = group_into_arms(
        [*{run.id: run for run in runs}.values()],
        {card.id: card.name for card in names.values()},
        {},
        list_rate_sweeps(workspace),
        split_single=False,
    )
    results = summarise_selected_arms(arms, full_titles=True)
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs on {dataset.name}"
    return ReportData(
        title, dataset, tuple(names.values()), tuple(results), tuple(runs), shared, varied,
        tuple(run_commands(workspace, runs)),
    )  # fmt: skip


def _split_settings(runs: Sequence[Run]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the settings that are equal in all runs that read them, and the names of the others.

    Args:
        runs: of any kind; only fine-tuning runs have settings.
    """
    by_run = [request_settings(run.finetune_request) for run in runs if run.kind == "finetune"]
    found: dict[str, list[Any]] = {}
    for settings in by_run:
        for name, value in settings.items():
            found.setdefault(name, []).append(value)
    varied = [name for name, values in found.items() if any(one != values[0] for one in values)]
    shared = {name: values[0] for name, values in found.items() if name not in varied}
    if shared.get("window") == "none":
        del shared["window"]
    return shared, tuple(varied)
