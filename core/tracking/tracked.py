"""What of a run is exported to another tracking tool: settings, curves and results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import BadInput
from core.evaluation.format_metrics import is_missing
from core.files.outputs import check_output_folder, output_folder
from core.jobs.requests import request_to_json
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.workspace import Workspace


@dataclass(frozen=True)
class TrackedRun:
    """A run as tracking tools have it.

    Args:
        params: settings by dotted name.
        curves: (steps, values, seconds since the start) by name.
        metrics: of the result, such as "target_test/auc", without undefined ones.
        started, finished: seconds since 1970 in UTC; creation where the run has not started, None
            where it has not ended.
    """

    id: str
    name: str
    status: str
    experiment: str
    started: float
    finished: float | None
    params: dict[str, str]
    curves: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    metrics: dict[str, float]
    tags: dict[str, str]

    @property
    def last_step(self) -> int:
        """The last step of any curve, at which results are recorded; 0 without curves."""
        return max((int(steps[-1]) for steps, _, _ in self.curves.values()), default=0)


def track_run(store: RunStore, run: Run, experiment: str) -> TrackedRun:
    """Return everything of a run that a tracking tool has a place for."""
    points = store.points(run.id)
    clock, passed = points.pop("seconds", (np.zeros(0), np.zeros(0)))

    def times(steps: np.ndarray) -> np.ndarray:
        return np.interp(steps, clock, passed) if len(clock) else np.zeros(len(steps))

    result = run.result or RunResult()
    metrics = {
        f"{part}/{name}": float(value)
        for part, values in result.metrics.items()
        for name, value in values.items()
        if not is_missing(value)
    }
    metrics |= {f"seconds/{name}": float(value) for name, value in result.seconds.items()}
    tags = {
        "thaw.id": run.id,
        "thaw.kind": run.kind,
        "thaw.status": run.status,
        "thaw.dataset": run.dataset,
    }
    optional = {
        "thaw.tags": ", ".join(run.tags),
        "thaw.note": run.note,
        "thaw.message": run.message,
    }
    return TrackedRun(
        run.id,
        run.name,
        run.status,
        experiment,
        _timestamp(run.started or run.created),
        _timestamp(run.finished) if run.finished else None,
        _flatten(request_to_json(run.request)),
        {name: (steps, values, times(steps)) for name, (steps, values) in points.items()},
        metrics,
        tags | {key: value for key, value in optional.items() if value},
    )


WriteFn = Callable[[Path, Sequence[TrackedRun], Path], list[Path]]
"""(folder, runs, where the folder will be moved) -> files: writes the runs."""


def export_tracking(
    workspace: Workspace, runs: Sequence[Run], experiment: str, target: Path, write: WriteFn
) -> dict[str, Any]:
    """Write runs into a new or empty folder, all or nothing, and return what was written.

    Args:
        workspace: of the runs.
        runs: those that have not started are left out.
        experiment: the name under which the tool shows them.
        target: the folder.
        write: one of the writers of this package.

    Raises:
        BadInput: the folder holds something, or no run has started.
    """
    check_output_folder(target)
    started = [run for run in runs if run.started]
    if not started:
        raise BadInput("None of these runs has started, so there is nothing to export yet.")
    store = RunStore(workspace)
    with output_folder(target) as folder:
        files = write(
            folder, [track_run(store, run, experiment) for run in started], target.resolve()
        )
    return {
        "out": str(target),
        "runs": [run.id for run in started],
        "experiment": experiment,
        "files": len(files),
    }


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        elif value not in ("", None):
            flat[prefix + name] = (
                ",".join(map(str, value)) if isinstance(value, list) else str(value)
            )
    return flat


def _timestamp(moment: str) -> float:
    return datetime.fromisoformat(moment).astimezone(UTC).timestamp()
