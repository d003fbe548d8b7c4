"""What commands show: a result as data and in words, progress, and a run followed to its end."""

import dataclasses
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from core.data.datasets import Dataset
from core.errors import BadInput, RunError, ThawError, system_sentence
from core.models.card import BackboneCard
from core.runs.command import PROGRESS
from core.runs.launch import refresh
from core.runs.store import Run, RunStore
from core.workspace import Workspace, workspace_root

FOLLOW_SECONDS = 0.2


@dataclass(frozen=True)
class Result:
    """What a command found: JSON-ready data, the same in words, and the exit status that says it to a script."""

    data: dict[str, Any]
    text: str
    status: int = 0


def wait(workspace: Workspace, run: Run) -> dict[str, Any]:
    """The result of a run once it has ended, its progress shown; RunError when it does not end well."""
    store = RunStore(workspace)
    with Bar(run.name) as report:
        while (run := store.get(run.id)).active:
            report(run.step / run.steps if run.steps else 0.0)
            time.sleep(FOLLOW_SECONDS)
            refresh(workspace, store)
    if run.status != "done" or run.result is None:
        raise RunError(f"Run {run.id} {run.status}: {run.message}")
    return run.result


def follow(workspace: Workspace, run: Run) -> Result:
    """Waits for a run, showing its progress; RunError when it does not end well. Ctrl-C leaves it running."""
    result = wait(workspace, run)
    run = RunStore(workspace).get(run.id)
    lines = [f"{run.id}  {run.name}"]
    if result["trained_parameters"]:
        lines.append(
            f"{result['trained_parameters']:,} parameters trained, best epoch {result['best_epoch']} of "
            f"{result['epochs_run']}, {result['seconds']['total']:.1f} s on {result['device']}"
        )
    for part, values in result["metrics"].items():
        before = result["before"][part] if result["before"] else None
        was = f"  (before {auc_text(before)})" if before else ""
        lines.append(f"{part.replace('_', ' ')}: {metrics_text(values)}{was}")
    return Result({"run": dataclasses.asdict(run)}, "\n".join(lines))


class Bar:
    """A progress bar on standard error; where that is no terminal, lines for the program that asked for them."""

    def __init__(self, title: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(title, total=1.0)
        self._lines = not self._progress.console.is_terminal and os.environ.get(PROGRESS) == "1"
        self._percent = -1

    def __enter__(self) -> "Bar":
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


def card_data(card: BackboneCard) -> dict[str, Any]:
    return {**dataclasses.asdict(card), "folder": str(card.folder), "parameters": card.parameters}


def dataset_data(dataset: Dataset) -> dict[str, Any]:
    data = dataclasses.asdict(dataset)
    del data["folder"]
    return data


def dataset_text(dataset: Dataset) -> str:
    rates = ["" if p.clicks is None else f" ({p.click_rate:.3f})" for p in dataset.parts]
    parts = ", ".join(
        f"{p.part.replace('_', ' ')} {p.rows:,}{rate}" for p, rate in zip(dataset.parts, rates, strict=True) if p.rows
    )
    mark = ", simulated" if dataset.simulated else ""
    about = "rows (click rate)" if dataset.labelled else "rows without labels"
    return f"Dataset {dataset.name!r} ({dataset.id}{mark}): {about} {parts}"


def target_test(run: Run) -> dict[str, Any]:
    return run.result["metrics"].get("target_test", {}) if run.result else {}


def auc_text(metrics: dict[str, Any]) -> str:
    if metrics.get("auc") is None:
        return "-"
    return f"AUC {metrics['auc']:.4f} [{metrics['auc_low']:.4f}, {metrics['auc_high']:.4f}]"


def drift_text(drift: dict[str, Any]) -> str:
    moved = [one for one in drift["fields"] if one["level"] != "little"]
    named = ", ".join(f"{one['field']} {one['psi']:.2f} ({one['level']})" for one in moved[:8])
    scores = drift["scores"]
    return (
        f"Drift against the {drift['training_rows']:,} training rows of {drift['dataset']} (population stability "
        f"index): {len(moved)} of {len(drift['fields'])} fields{f': {named}' if named else ''}; scores "
        f"{scores['psi']:.2f} ({scores['level']}), mean {scores['test']['mean']:.4f} on test rows and "
        f"{scores['scored']['mean']:.4f} here"
    )


def metrics_text(metrics: dict[str, Any]) -> str:
    return (
        f"{auc_text(metrics)}, log loss {metrics['log_loss']:.4f}, F1 {metrics['f1']:.4f}, precision "
        f"{metrics['precision']:.4f}, recall {metrics['recall']:.4f}, accuracy {metrics['accuracy']:.4f} "
        f"(always no: {metrics['always_no_accuracy']:.4f}), {metrics['rows']:,} rows"
    )


def tell(error: Exception, root: str | Path | None = None) -> int:
    """Prints by which sentence a command ends, and gives its exit status; an error that is no user's to mend is raised.

    root: of the workspace, as open_workspace takes it.
    """
    status = 2 if isinstance(error, BadInput) else 1
    sentence = str(error) if isinstance(error, ThawError) else system_sentence(error, workspace_root(root))
    if sentence is None:
        raise error
    print(f"thaw: {sentence}", file=sys.stderr)
    return status
