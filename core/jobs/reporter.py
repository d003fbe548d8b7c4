"""What a running job tells the outside, and what it hears from it."""

from collections.abc import Sequence
from typing import Literal, Protocol

Point = tuple[int, str, float]
"""(optimiser steps done, name, value); names are those in POINT_NAMES, and "gradient/STAGE" for the
norm of a stage's gradient."""

Decision = Literal["go", "stop", "wait"]
"""Of successive halving: train on, end here with what there is, or go back to the queue until the
rivals are here."""

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
    """A worker's reporter writes to the run store; a test's may keep everything in lists."""

    def phase(self, name: str) -> None:
        """What the job does now, as the page shows it: "encoding", "training", "evaluating" or
        another few words."""

    def progress(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """Epoch (from 1) and optimiser steps done, each beside its most."""

    def points(self, rows: Sequence[Point]) -> None:
        """Appends points; one that is already there (same step and name) is replaced."""

    def rewind(self, step: int) -> None:
        """Drops points after `step`: an interrupted run goes on from its checkpoint."""

    def rung(self, epoch: int) -> Decision:
        """Whether to train on after so many finished epochs; a run by itself always goes on."""
        ...

    def should_stop(self) -> bool:
        """True once the user has asked to cancel."""
        ...
