"""Read how far fine-tuning moved a run's weights, as stored in the run's folder.

It is measured by a separate process (core.inference.weight_drift).
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from core.errors import Damaged
from core.stored import load_stored, parse_stored, read_arrays
from core.workspace import Workspace

NUMBERS_FILE, ARRAYS_FILE = "moved.json", "moved.npz"
_ADVICE = "measure it again"


@dataclass(frozen=True)
class StageDrift:
    """How far fine-tuning moved one stage.

    Args:
        name, title: of the stage.
        frozen: whether it was frozen.
        norm: of the backbone's weights.
        distance: of the run's weights from them.
        relative: distance over norm; None if that is 0.
        cka: linear CKA of the stage's outputs before and after; None if they are the same for every
            row.
    """

    name: str
    title: str
    frozen: bool
    norm: float
    distance: float
    relative: float | None
    cka: float | None


@dataclass(frozen=True)
class WeightDrift:
    """How far fine-tuning moved the weights, as `NUMBERS_FILE` stores it.

    Args:
        run: id of the run.
        stages: from the input up, without the head.
        rows: number of target test rows behind `cka`.
        fields: those whose embedding vectors are stored for a map.
        from_scratch: whether the run started from new weights.
        seconds: how long the measurement took.
    """

    run: str
    stages: tuple[StageDrift, ...]
    rows: int
    fields: tuple[str, ...]
    from_scratch: bool
    seconds: float


def read_weight_drift(workspace: Workspace, run_id: str) -> WeightDrift | None:
    """Return what `measure_weight_drift` stored for a run.

    None if it was never measured or is damaged.
    """
    folder = workspace.runs / run_id
    if not (folder / NUMBERS_FILE).exists():
        return None
    with suppress(Damaged):
        found = load_stored(
            folder / NUMBERS_FILE, _ADVICE, lambda values: parse_stored(WeightDrift, values)
        )
        arrays = read_arrays(folder / ARRAYS_FILE, _ADVICE)
        if found.stages and all(f"{field}_before" in arrays for field in found.fields):
            return found
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
