"""Tables of runs for pages and files: filtering, one row per run, one row per arm."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from core.data.datasets import list_datasets
from core.evaluation.format_metrics import is_missing, metric_or_none, metric_value
from core.evaluation.metric_registry import HEADLINE_METRIC, metrics_shown_in
from core.jobs.requests import PretrainRequest
from core.jobs.store import Run, ValidationSummary
from core.models.backbone_store import list_backbones
from core.models.objectives import ORIGINS
from core.models.registry import ARCHITECTURES
from core.report.arms import group_into_arms
from core.runs.sweep import arm_title, list_rate_sweeps
from core.workspace import Workspace

_VALIDATION_COLUMNS = {
    "Best val. AUC": "best_auc",
    "Last val. AUC": "last_auc",
    "Best val. loss": "best_loss",
    "Last val. loss": "last_loss",
}


def matching_runs(
    runs: Sequence[Run],
    sweep_names: Mapping[str, str],
    query: str = "",
    in_sweeps: Collection[str] = (),
    statuses: Collection[str] = (),
    kinds: Collection[str] = (),
    tags: Collection[str] = (),
) -> list[Run]:
    """Return the runs that pass every filter; an empty filter passes all.

    Args:
        runs: to filter.
        sweep_names: by sweep id.
        query: words, each of which name, note, tags or id must contain, ignoring case.
        in_sweeps: names of sweeps.
        statuses: of runs.
        kinds: of runs.
        tags: a run has to have at least one of them.
    """
    words = query.lower().split()
    return [
        run
        for run in runs
        if all(
            word in f"{run.name} {run.note} {' '.join(run.tags)} {run.id}".lower() for word in words
        )
        and (not in_sweeps or sweep_names.get(run.group) in in_sweeps)
        and (not statuses or run.status in statuses)
        and (not kinds or run.kind in kinds)
        and (not tags or set(tags) & set(run.tags))
    ]


def strategy_title(run: Run) -> str:
    """Return the strategy of a run in a word or two."""
    if run.kind == "pretrain":
        return f"pretraining{pretraining_suffix(run.pretrain_request)}"
    return arm_title(run)


def pretraining_suffix(request: PretrainRequest) -> str:
    """Return how a pretraining differs from learning clicks from random weights.

    Such as " (Word2Vec, no training)"; usually "".
    """
    words = [ORIGINS[request.start]] * (request.start != "random")
    words += {"supervised": [], "none": ["no training"]}.get(
        request.objective, [request.objective.upper()]
    )
    return f" ({', '.join(words)})" if words else ""


def run_frame(
    workspace: Workspace,
    runs: Sequence[Run],
    validation: Mapping[str, ValidationSummary],
    sweep_names: Mapping[str, str],
) -> pd.DataFrame:
    """Return one row per run with its settings and metrics.

    Args:
        workspace: for the names of datasets and backbones.
        runs: of any kind and status.
        validation: the summary of each run's validation curves, by id.
        sweep_names: by sweep id.
    """
    cells = [_run_cells(run) for run in runs]
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in cells] for name in _columns()}
    summaries = [validation[run.id] for run in runs]
    for name, field in _VALIDATION_COLUMNS.items():
        columns[name] = [getattr(summary, field) for summary in summaries]
    datasets = {
        dataset.id: f"{dataset.name} (simulated)" if dataset.simulated else dataset.name
        for dataset in list_datasets(workspace)
    }
    backbones = {card.id: card.name for card in list_backbones(workspace)}
    # An id stays where what it names has been deleted.
    columns["Backbone"] = [backbones.get(name, name) for name in columns["Backbone"]]
    columns["Dataset"] = [datasets.get(name, name) for name in columns["Dataset"]]
    columns["Sweep"] = [sweep_names.get(sweep_id, "") for sweep_id in columns["Sweep"]]
    table = pd.DataFrame(columns)
    table["Created"] = pd.to_datetime(table["Created"], format="ISO8601", utc=True).dt.tz_convert(
        None
    )
    return table


def arm_frame(
    workspace: Workspace, runs: Sequence[Run], table: pd.DataFrame
) -> tuple[list[tuple[str, ...]], pd.DataFrame]:
    """Return (the run ids of each arm, one row per arm with means over its runs).

    Args:
        workspace: for the names of datasets and backbones.
        runs: the runs of `table`.
        table: from `run_frame`.
    """
    backbones = {card.id: card.name for card in list_backbones(workspace)}
    datasets = {dataset.id: dataset.name for dataset in list_datasets(workspace)}
    arms = group_into_arms(runs, backbones, datasets, list_rate_sweeps(workspace))
    ids = [tuple(run.id for run in arm.runs) for arm in arms]
    arm_index = {run_id: index for index, run_ids in enumerate(ids) for run_id in run_ids}
    numbers = [name for name in number_columns() if name in table]
    # All arms at once, as pandas takes a millisecond for every small table.
    grouped = (
        table[numbers]
        .astype(float)
        .groupby([arm_index[run_id] for run_id in table["Run"].tolist()])
    )
    means, deviation = grouped.mean(), grouped["Target AUC"].std().to_numpy()
    columns_of_names = (table[name].tolist() for name in ("Backbone", "Dataset", "Sweep"))
    names_by_run = dict(
        zip(table["Run"].tolist(), zip(*columns_of_names, strict=True), strict=True)
    )
    names = [[names_by_run[run_id] for run_id in run_ids] for run_ids in ids]
    done = [sum(run.status == "done" for run in arm.runs) for arm in arms]
    columns = {
        "Arm": [arm.full_title for arm in arms],
        "Runs": [f"{ended} of {len(arm.runs)} done" for ended, arm in zip(done, arms, strict=True)],
        "Target AUC": means["Target AUC"].to_numpy(),
        "± 95 %": means["± 95 %"].to_numpy(),
        "± seeds": deviation,
        **{
            name: means[name].to_numpy() for name in numbers if name not in ("Target AUC", "± 95 %")
        },
        "Backbone": [arm_names[0][0] for arm_names in names],
        "Dataset": [arm_names[0][1] for arm_names in names],
        "Sweep": [
            ", ".join(dict.fromkeys(sweep for _, _, sweep in arm_names if sweep))
            for arm_names in names
        ],
        "Tags": [sorted({tag for run in arm.runs for tag in run.tags}) for arm in arms],
    }
    return ids, pd.DataFrame(columns)


def number_columns() -> tuple[str, ...]:
    """Columns of numbers; in the table of arms they are means over runs."""
    measured = ("Target AUC", "± 95 %", "± seeds", *_metric_columns(), "Source AUC")
    return (*measured, *_VALIDATION_COLUMNS, "Trained", "Seconds", "Memory, MB")


def _columns() -> tuple[str, ...]:
    return (
        *("Name", "Status", "Strategy", "Target AUC", "± 95 %", *_metric_columns(), "Source AUC"),
        *_VALIDATION_COLUMNS,
        *("Trained", "Seconds", "Memory, MB", "Seed", "Backbone", "Dataset", "Sweep", "Tags"),
        *("Note", "Created", "Run"),
    )


def _metric_columns() -> dict[str, str]:
    """Columns of metrics on target test rows besides AUC, each with the metric's key."""
    return {
        metric.heading: key
        for key, metric in metrics_shown_in("runs").items()
        if key != HEADLINE_METRIC
    }


@lru_cache(maxsize=2**14)
def _run_cells(run: Run) -> dict[str, Any]:
    """Return the cells by column; cached, as reading them from thousands of results takes long."""
    result = run.result
    metrics = result.metrics if result else {}
    target, source = metrics.get("target_test"), metrics.get("source_test")
    half = (metric_value(target, "auc_high") - metric_value(target, "auc_low")) / 2
    memory = result.peak_memory if result else None
    return {
        "Name": run.name,
        "Status": run.status,
        "Strategy": strategy_title(run),
        "Target AUC": metric_or_none(target, "auc"),
        "± 95 %": None if is_missing(half) else half,
        **{name: metric_or_none(target, key) for name, key in _metric_columns().items()},
        "Source AUC": metric_or_none(source, "auc"),
        "Trained": result.trained_parameters if result and run.objective != "none" else None,
        "Seconds": result.cost_seconds if result else None,
        "Memory, MB": memory / 1e6 if memory else None,
        "Seed": run.seed,
        "Backbone": _backbone_or_architecture(run),
        "Dataset": run.dataset,
        "Sweep": run.group,
        "Tags": list(run.tags),
        "Note": run.note,
        "Created": run.created,
        "Run": run.id,
    }


def _backbone_or_architecture(run: Run) -> str:
    if isinstance(run.request, PretrainRequest):
        return _architecture(run.request.architecture)
    return run.finetune_request.backbone if run.kind == "finetune" else ""


def _architecture(name: str) -> str:
    """What a pretraining makes one of."""
    architecture = ARCHITECTURES.get(name)
    return architecture.title if architecture else name
