"""The scores that finished runs gave, read from their folders."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.jobs.run import Run
from core.stored import StoredArrays, damaged_file_error, read_arrays
from core.workspace import Workspace

PREDICTIONS_FILE = "predictions.npz"
DAMAGE_ADVICE = "put a copy of the run's folder back, or carry the run out again"


def read_predictions(workspace: Workspace, run_id: str, names: Sequence[str] = ()) -> StoredArrays:
    """The arrays of a finished run's predictions, all or those named; see core.training.results for
    their names.

    `Damaged` where the file is not whole, or labels and scores of a part do not fit each other.
    """
    path = workspace.runs / run_id / PREDICTIONS_FILE
    arrays = read_arrays(path, DAMAGE_ADVICE, names)
    rows: dict[str, int] = {}
    for name, array in arrays.items():
        part = name.rpartition("_")[0]
        if (
            array.ndim != 1
            or array.dtype.kind not in "fiub"
            or rows.setdefault(part, len(array)) != len(array)
        ):
            raise damaged_file_error(
                path,
                f"{name!r} holds {array.dtype} of shape {array.shape}, which fits no rows",
                DAMAGE_ADVICE,
            )
    return arrays


def read_prediction_array(workspace: Workspace, run: Run, array: str) -> np.ndarray:
    """One array of a finished run's predictions, (rows,) float64; see core.training.results for
    their names."""
    return np.asarray(read_predictions(workspace, run.id, [array])[array], dtype=np.float64)


@dataclass(frozen=True)
class StoredScores:
    """Scores on the target test rows of several runs, each read when it is asked for; a
    core.evaluation.Scores."""

    workspace: Workspace
    runs: tuple[Run, ...]

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, seed: int, /) -> np.ndarray:
        return read_prediction_array(self.workspace, self.runs[seed], "target_test_score")

    @property
    def keys(self) -> tuple[str, ...]:
        """What tells each run's scores from any other's."""
        return tuple(f"{run.id} {run.finished}" for run in self.runs)
