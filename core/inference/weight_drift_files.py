"""What a run moved, as it lies in the run's folder; measured by a process of its own
(core.inference.weight_drift)."""

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import Damaged
from core.stored import load_stored, parse_stored, read_arrays
from core.workspace import Workspace

NUMBERS_FILE, ARRAYS_FILE = "moved.json", "moved.npz"
_ADVICE = "measure it again"


@dataclass(frozen=True)
class _StageDrift:
    name: str
    title: str
    frozen: bool
    norm: float
    distance: float
    relative: float | None
    cka: float | None


@dataclass(frozen=True)
class _WeightDrift:
    """The content of `NUMBERS_FILE`; see `core.inference.weight_drift.measure_weight_drift`."""

    run: str
    stages: tuple[_StageDrift, ...]
    rows: int
    fields: tuple[str, ...]
    from_scratch: bool
    seconds: float


def read_weight_drift(workspace: Workspace, run_id: str) -> dict[str, Any] | None:
    """Return what `measure_weight_drift` stored for a run; None if it was never measured or is
    damaged.
    """
    folder = workspace.runs / run_id
    if not (folder / NUMBERS_FILE).exists():
        return None
    with suppress(Damaged):
        found = load_stored(
            folder / NUMBERS_FILE, _ADVICE, lambda values: parse_stored(_WeightDrift, values)
        )
        arrays = read_arrays(folder / ARRAYS_FILE, _ADVICE)
        if found.stages and all(f"{field}_before" in arrays for field in found.fields):
            values: dict[str, Any] = dataclasses.asdict(found)
            return values | {"stages": [*values["stages"]], "fields": [*found.fields]}
    return None


def read_embedding_vectors(
    workspace: Workspace, run_id: str, field: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the embedding vectors of a field's most frequent values.

    Returns:
        Vectors before fine-tuning, float32 ``(values, size)``; vectors after; the values.
    """
    names = [f"{field}_{name}" for name in ("before", "after", "values")]
    arrays = read_arrays(workspace.runs / run_id / ARRAYS_FILE, _ADVICE, names)
    before, after, values = (arrays[name] for name in names)
    return before, after, values
