"""What a run moved, as it lies in the run's folder; measured by a process of its own (core.training.moved)."""

from typing import Any

import numpy as np

from core.runs.command import Report, run_command
from core.workspace import Workspace, read_json

NUMBERS, ARRAYS = "moved.json", "moved.npz"


def read_moved(workspace: Workspace, run_id: str) -> dict[str, Any] | None:
    """What `measure_moved` found for that run; None when it was never asked for."""
    path = workspace.runs / run_id / NUMBERS
    return read_json(path) if path.exists() else None


def read_vectors(workspace: Workspace, run_id: str, field: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vectors before, vectors after, values) of a field's commonest values."""
    with np.load(workspace.runs / run_id / ARRAYS, allow_pickle=False) as arrays:
        before, after, values = (arrays[f"{field}_{name}"] for name in ("before", "after", "values"))
    return before, after, values


def moved_in_subprocess(workspace: Workspace, run_id: str, on_progress: Report | None = None) -> dict[str, Any]:
    """See core.training.moved.measure_moved."""
    return run_command(workspace, ["moved", "--run", run_id], on_progress)
