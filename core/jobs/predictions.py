"""Labels and scores that finished runs stored in their folders."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.jobs.run import Run
from core.stored import StoredArrays, damaged_file_error, read_arrays
from core.workspace import Workspace

PREDICTIONS_FILE = "predictions.npz"
DAMAGE_ADVICE = "put a copy of the run's folder back, or launch the same run again"


def read_predictions(workspace: Workspace, run_id: str, names: Sequence[str] = ()) -> StoredArrays:
    """Return the arrays of a finished run's predictions.

    Args:
        workspace: where the run is.
        run_id: the run.
        names: the arrays to read, such as "target_test_score" (see core.training.results); all
            where empty.

    Raises:
        Damaged: the file is damaged, or the arrays of a part have different lengths.
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
    """Return one array of a finished run's predictions, float64 of shape ``(n_rows,)``."""
    return np.asarray(read_predictions(workspace, run.id, [array])[array], dtype=np.float64)


@dataclass(frozen=True)
class StoredScores:
    """Scores of several runs on the same test rows, read when they are needed.

    Implements core.evaluation.comparison_cache.Scores.

    Args:
        workspace: holds the runs.
        runs: one for each seed.
        array: of their predictions; by default the scores on target test rows.
    """

    workspace: Workspace
    runs: tuple[Run, ...]
    array: str = "target_test_score"

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, seed: int, /) -> np.ndarray:
        return read_prediction_array(self.workspace, self.runs[seed], self.array)

    @property
    def keys(self) -> tuple[str, ...]:
        """A key for the scores of each run, by which comparisons are cached."""
        return tuple(f"{run.id} {run.finished} {self.array}" for run in self.runs)
