"""What a command prints: its result as data and as text, its progress, its error."""

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

from core.errors import BadInput, Damaged, RunError, ThawError, explain_system_error
from core.evaluation.format_metrics import MetricValues, format_auc, format_metrics
from core.freezing.strategies import iteration_word
from core.inference.run_calibration import calibration_notes
from core.inference.run_model import describe_learner
from core.jobs.run import Run, run_to_json
from core.jobs.run_result import RunResult
from core.jobs.store import RunStore
from core.runs.launch import check_stall, refresh_statuses, stall_message
from core.runs.subprocess_commands import PROGRESS_VARIABLE
from core.workspace import Workspace, nan_to_none, workspace_root

POLL_SECONDS = 0.2
"""Between two looks at a run that is waited for."""


@dataclass(frozen=True)
class CommandResult:
    """What a command found.

    Attributes:
        data: JSON-ready; NaN and infinity are replaced by None.
        text: the same in words.
        exit_status: of the process; 0 is success.
    """

    data: dict[str, Any]
    text: str
    exit_status: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", nan_to_none(self.data))


def with_damaged(result: CommandResult, damaged: Sequence[Damaged]) -> CommandResult:
    """Return the result of a list command with a note on the entries that are damaged.

    Damaged entries are left out of the list. The note is added to the result's data and written to
    standard error.
    """
    for error in damaged:
        print(f"thaw: left out: {error}", file=sys.stderr)
    data = {**result.data, "damaged": [str(error) for error in damaged]}
    return dataclasses.replace(result, data=data)


def print_error(error: Exception, root: str | Path | None = None) -> int:
    """Print the sentence with which a command ends, and return its exit status.

    Args:
        error: what was raised; one that no user can do anything about is raised again.
        root: folder of the workspace, as `open_workspace` takes it.
    """
    if isinstance(error, ThawError):
        sentence: str | None = str(error)
    else:
        sentence = explain_system_error(error, workspace_root(root))
    if sentence is None:
        raise error
    print(f"thaw: {sentence}", file=sys.stderr)
    return 2 if isinstance(error, BadInput) else 1


class ProgressBar:
    """A progress bar on standard error, called with the share that is done, 0 to 1.

    Where standard error is no terminal there is no bar. A parent process that sets
    `PROGRESS_VARIABLE` gets a line such as ``progress 0.420`` for every percent instead."""

    def __init__(self, title: str) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
        )
        console = Console(stderr=True)
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._task = self._progress.add_task(title, total=1.0)
        self._prints_lines = not console.is_terminal and os.environ.get(PROGRESS_VARIABLE) == "1"
        self._percent = -1

    def __enter__(self) -> "ProgressBar":
        if self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Stopping a bar that was never started would print an empty line.
        if self._progress.console.is_terminal:
            self._progress.stop()

    def __call__(self, share: float) -> None:
        self._progress.update(self._task, completed=share)
        if self._prints_lines and int(100 * share) > self._percent:
            self._percent = int(100 * share)
            print(f"progress {share:.3f}", file=sys.stderr, flush=True)


class StallNotices:
    """Says on standard error, once per stall, that a run that is waited for makes no progress."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._reported: set[str] = set()

    def print_new(self, runs: Iterable[Run]) -> None:
        """Print a notice for each of `runs` that has stalled since the last call."""
        for run in runs:
            stall = check_stall(self._workspace, run).stall
            if stall is None:
                self._reported.discard(run.id)
            elif run.id not in self._reported:
                self._reported.add(run.id)
                notice = f"{run.id}  {run.name}: {stall_message(stall, run)}"
                print(notice, file=sys.stderr, flush=True)


def wait_for_run(workspace: Workspace, run: Run) -> RunResult:
    """Show a run's progress until it has ended, and return its result.

    Raises:
        RunError: it failed, was cancelled or was interrupted.
    """
    store, notices = RunStore(workspace), StallNotices(workspace)
    with ProgressBar(run.name) as progress:
        while (run := store.get(run.id)).active:
            progress(run.step / run.steps if run.steps else 0.0)
            time.sleep(POLL_SECONDS)
            refresh_statuses(workspace, store)
            notices.print_new([run])
    if run.status != "done" or run.result is None:
        raise RunError(f"Run {run.id} {run.status}: {run.message}")
    return run.result


def follow_run(workspace: Workspace, run: Run) -> CommandResult:
    """Wait for a run and return its metrics.

    Ctrl-C ends only the waiting; the worker continues the run.

    Raises:
        RunError: it failed, was cancelled or was interrupted.
    """
    result = wait_for_run(workspace, run)
    run = RunStore(workspace).get(run.id)
    lines = [f"{run.id}  {run.name}"]
    if result.trained_parameters and result.epochs_run:
        lines.append(
            f"{result.trained_parameters:,} parameters trained, best"
            f" {iteration_word(run.strategy)} {result.best_epoch} of {result.epochs_run},"
            f" {result.total_seconds:.1f} s on {result.device}"
        )
    if result.training_warning and iteration_word(run.strategy) == "epoch":
        lines.append(result.training_warning)
    if learner := describe_learner(workspace, run):
        lines.append(learner)
    for part, metrics in result.metrics.items():
        before = (result.before or {}).get(part)
        suffix = f"  (before {auc_text(before)})" if before else ""
        lines.append(f"{part.replace('_', ' ')}: {format_metrics(metrics)}{suffix}")
    lines += calibration_notes(run)
    return CommandResult({"run": run_to_json(run)}, "\n".join(lines))


def run_state(run: Run) -> dict[str, str]:
    """Return id, name and status of a run, JSON-ready."""
    return {"run": run.id, "name": run.name, "status": run.status}


def auc_text(metrics: MetricValues | None) -> str:
    """Return AUC with its interval, or why there is none; "-" where nothing was measured."""
    return format_auc(metrics) if metrics else "-"
