"""The scores that finished runs gave, read from their folders."""

from dataclasses import dataclass

import numpy as np

from core.runs.run import Run
from core.workspace import Workspace


def predictions(workspace: Workspace, run: Run, array: str) -> np.ndarray:
    """One array of a finished run's predictions, (rows,) float64; see core.training.results for their names."""
    with np.load(workspace.runs / run.id / "predictions.npz", allow_pickle=False) as arrays:
        return np.asarray(arrays[array], dtype=np.float64)


@dataclass(frozen=True)
class StoredScores:
    """Scores on the target test rows of several runs, each read when it is asked for; a core.evaluation.Scores."""

    workspace: Workspace
    runs: tuple[Run, ...]

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, seed: int, /) -> np.ndarray:
        return predictions(self.workspace, self.runs[seed], "target_test_score")

    @property
    def keys(self) -> tuple[str, ...]:
        """What tells each run's scores from any other's."""
        return tuple(f"{run.id} {run.finished}" for run in self.runs)
