"""What commands show: a result as data and in words, progress, and a run followed to its end."""

import dataclasses
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from core.data.datasets import Dataset
from core.data.describe_dataset import describe_dataset
from core.data.reading.dialects import FileFormat
from core.data.samples import Sample
from core.data.schema import DIALECTS
from core.errors import BadInput, Damaged, RunError, ThawError, explain_system_error
from core.evaluation.format_metrics import MetricValues, format_auc, format_metric, format_metrics
from core.evaluation.metrics import Metrics
from core.jobs.run import run_to_json
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.models.card import BackboneCard
from core.runs.launch import check_stall, refresh_statuses, stall_message
from core.runs.subprocess_commands import PROGRESS_VARIABLE
from core.workspace import Workspace, nan_to_none, workspace_root

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class CommandResult:
    """What a command found: JSON-ready data, the same in words, and the exit status that says it to
    a script.

    A number in `data` that does not exist is None, whatever the command put there.
    """

    data: dict[str, Any]
    text: str
    exit_status: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", nan_to_none(self.data))


def wait_for_run(workspace: Workspace, run: Run) -> RunResult:
    """The result of a run once it has ended, its progress shown; RunError when it does not end
    well."""
    store, notices = RunStore(workspace), StallNotices(workspace)
    with ProgressBar(run.name) as report:
        while (run := store.get(run.id)).active:
            report(run.step / run.steps if run.steps else 0.0)
            time.sleep(POLL_SECONDS)
            refresh_statuses(workspace, store)
            notices.print_new([run])
    if run.status != "done" or run.result is None:
        raise RunError(f"Run {run.id} {run.status}: {run.message}")
    return run.result


def follow_run(workspace: Workspace, run: Run) -> CommandResult:
    """Waits for a run, showing its progress; RunError when it does not end well. Ctrl-C leaves it
    running."""
    result = wait_for_run(workspace, run)
    run = RunStore(workspace).get(run.id)
    lines = [f"{run.id}  {run.name}"]
    if result.trained_parameters:
        lines.append(
            f"{result.trained_parameters:,} parameters trained, best epoch {result.best_epoch} of"
            f" {result.epochs_run}, {result.total_seconds:.1f} s on {result.device}"
        )
    for part, values in result.metrics.items():
        before = (result.before or {}).get(part)
        was = f"  (before {auc_text(before)})" if before else ""
        lines.append(f"{part.replace('_', ' ')}: {metrics_text(values)}{was}")
    return CommandResult({"run": run_to_json(run)}, "\n".join(lines))


class StallNotices:
    """Says on standard error, once each time, that a run that is waited for has stalled."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._reported: set[str] = set()

    def print_new(self, runs: Iterable[Run]) -> None:
        """Looks at each of `runs`, and speaks of those that have stalled since it last looked."""
        for run in runs:
            stall = check_stall(self._workspace, run).stall
            if stall is None:
                self._reported.discard(run.id)
            elif run.id not in self._reported:
                self._reported.add(run.id)
                print(
                    f"{run.id}  {run.name}: {stall_message(stall, run)}",
                    file=sys.stderr,
                    flush=True,
                )


class ProgressBar:
    """A progress bar on standard error; where that is no terminal, lines for the program that asked
    for them."""

    def __init__(self, title: str) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
        )
        self._progress = Progress(
            *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
        )
        self._task = self._progress.add_task(title, total=1.0)
        self._lines = (
            not self._progress.console.is_terminal and os.environ.get(PROGRESS_VARIABLE) == "1"
        )
        self._percent = -1

    def __enter__(self) -> "ProgressBar":
        if self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Where it was never started, it would end with an empty line.
        if self._progress.console.is_terminal:
            self._progress.stop()

    def __call__(self, share: float) -> None:
        self._progress.update(self._task, completed=share)
        if self._lines and int(100 * share) > self._percent:
            self._percent = int(100 * share)
            print(f"progress {share:.3f}", file=sys.stderr, flush=True)


def with_damaged(result: CommandResult, broken: Sequence[Damaged]) -> CommandResult:
    """A list's result with what is damaged and so left out of it: in the data, and as notes on
    standard error."""
    for error in broken:
        print(f"thaw: left out: {error}", file=sys.stderr)
    return dataclasses.replace(
        result, data={**result.data, "damaged": [str(error) for error in broken]}
    )


def card_data(card: BackboneCard) -> dict[str, Any]:
    return {**dataclasses.asdict(card), "folder": str(card.folder), "parameters": card.parameters}


def format_text(form: FileFormat) -> str:
    """How a file will be read, before it is."""
    kept = [f"kept beside them: {', '.join(form.extra_columns)}"] if form.extra_columns else []
    renamed = [f"{ours} from {theirs}" for ours, theirs in form.renamed[:4]]
    more = f" and {len(form.renamed) - 4} more" if len(form.renamed) > 4 else ""
    columns = [f"columns: {', '.join(renamed)}{more}"] if renamed else []
    return (
        "; ".join([f"{DIALECTS[form.dialect].title}. {form.reason}".rstrip("."), *columns, *kept])
        + "."
    )


def sample_data(sample: Sample) -> dict[str, Any]:
    data = {
        name: getattr(sample, name)
        for name in ("name", "dialect", "rows", "bad_rows", "labelled", "click_rate")
    }
    data |= {name: list(getattr(sample, name)) for name in ("kept", "notes", "bad_examples")}
    data |= {
        "id_column": sample.id_column,
        "member": sample.member,
        "columns": dict(sample.columns),
    }
    return {"sample": sample.id, **data, "missing_markers": dict(sample.missing_markers)}


def sample_text(sample: Sample) -> str:
    """What was read, and all that reading has to say."""
    lines = [
        f"Sample {sample.name!r}: {sample.rows:,} rows, {sample.dialect} ({sample.reason})",
        *sample.notes,
    ]
    if sample.missing_markers:
        markers = ", ".join(f"{text} ({cells:,} cells)" for text, cells in sample.missing_markers)
        lines.append(f"Read as missing, beside empty cells: {markers}.")
    if sample.kept:
        lines.append(
            f"Kept beside label and features, for splits and slices: {', '.join(sample.kept)}."
        )
    if sample.bad_rows:
        lines.append(f"{sample.bad_rows:,} bad rows skipped, such as: {sample.bad_examples[0]}")
    return "\n".join(lines)


def dataset_data(dataset: Dataset) -> dict[str, Any]:
    data = dataclasses.asdict(dataset)
    del data["folder"]
    return data


def dataset_text(dataset: Dataset) -> str:
    rates = ["" if p.clicks is None else f" ({p.click_rate:.3f})" for p in dataset.parts]
    parts = ", ".join(
        f"{p.part.replace('_', ' ')} {p.rows:,}{rate}"
        for p, rate in zip(dataset.parts, rates, strict=True)
        if p.rows
    )
    mark = ", simulated" if dataset.simulated else ""
    about = "rows (click rate)" if dataset.labelled else "rows without labels"
    return "\n  ".join(
        [
            f"Dataset {dataset.name!r} ({dataset.id}{mark}): {about} {parts}",
            *describe_dataset(dataset),
        ]
    )


def target_test_metrics(run: Run) -> Metrics | None:
    return run.result.metrics.get("target_test") if run.result else None


def auc_text(metrics: MetricValues | None) -> str:
    """AUC with its interval, or why either is missing; "-" where nothing was measured."""
    return format_auc(metrics) if metrics else "-"


def drift_text(drift: dict[str, Any]) -> str:
    if drift["why"]:
        return drift["why"]
    moved = [one for one in drift["fields"] if one["level"] != "little"]
    named = ", ".join(
        f"{one['field']} {format_metric(one['psi'], 2)} ({one['level']})" for one in moved[:8]
    )
    scores = drift["scores"]
    return (
        f"Drift against the {drift['training_rows']:,} training rows of {drift['dataset']}"
        f" (population stability index): {len(moved)} of {len(drift['fields'])}"
        f" fields{f': {named}' if named else ''}; scores {format_metric(scores['psi'], 2)}"
        f" ({scores['level']}), mean {format_metric(scores['test']['mean'])} on test rows and"
        f" {format_metric(scores['scored']['mean'])} here"
    )


def metrics_text(metrics: MetricValues) -> str:
    """The metrics of one part in a line, whichever of them are missing."""
    return format_metrics(metrics)


def print_error(error: Exception, root: str | Path | None = None) -> int:
    """Prints by which sentence a command ends, and gives its exit status; an error that is no
    user's to mend is raised.

    root: of the workspace, as open_workspace takes it.
    """
    status = 2 if isinstance(error, BadInput) else 1
    sentence = (
        str(error)
        if isinstance(error, ThawError)
        else explain_system_error(error, workspace_root(root))
    )
    if sentence is None:
        raise error
    print(f"thaw: {sentence}", file=sys.stderr)
    return status
