"""What a running job reports, and what it is told."""

from collections.abc import Sequence
from typing import Literal, Protocol

Point = tuple[int, str, float]
"""(optimiser steps done, name, value). The name is one of POINT_NAMES, or "gradient/STAGE" for the
norm of a stage's gradient."""

Decision = Literal["continue", "stop", "pause"]
"""At a rung of successive halving: train on, end with the result so far, or wait in the queue until
the other arms have come to the rung."""

POINT_NAMES = (
    "train_loss",
    "validation_loss",
    "validation_auc",
    "validation_accuracy",
    "learning_rate",
    "frozen_stages",
    "seconds",
)


class Reporter(Protocol):
    """Takes what a running job reports: a worker's reporter writes it to the run store."""

    def phase(self, name: str) -> None:
        """Report what the job does now, in a few words that the page shows, such as "training"."""

    def progress(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """Report the epoch (from 1) and the optimiser steps done, each with its total."""

    def points(self, rows: Sequence[Point]) -> None:
        """Append points; one of the same step and name is replaced."""

    def rewind(self, step: int) -> None:
        """Drop points after `step`: a resumed run repeats the steps after its checkpoint."""

    def rung(self, epoch: int) -> Decision:
        """Return what to do after that many finished epochs; "continue" for a run without rungs."""
        ...

    def should_stop(self) -> bool:
        """Return True once the user has asked to cancel."""
        ...
