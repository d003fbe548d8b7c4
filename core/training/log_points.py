"""Log the curves of a run without waiting for the device that computes them."""

import math
from collections.abc import Callable, Sequence

import torch

from core.errors import BadInput, RunError
from core.jobs.reporter import Point
from core.jobs.requests import TrainSettings
from core.models.network import Network
from core.training.batches import RowTensors, count_steps_per_epoch
from core.training.checkpoint import Progress
from core.training.deferred_scalars import DeferredScalars
from core.training.gradient_norms import gradient_norms, gradient_points
from core.training.param_groups import ParamGroup

POINTS_PER_EPOCH = 50
"""Points of the training loss in an epoch: enough for a smooth curve."""
GRADIENTS_PER_EPOCH = 5
"""Points of the gradient norms in an epoch. Each reads every gradient, so they are fewer."""

LogFn = Callable[[Sequence[Point]], None]
"""Records points, as `Reporter.points` does."""


def logging_intervals(train: RowTensors, settings: TrainSettings) -> tuple[int, int, int]:
    """Return (steps per epoch, steps between losses logged, steps between gradient norms logged).

    Raises:
        BadInput: there are fewer than two training rows.
    """
    if len(train) < 2:
        raise BadInput(f"Training needs at least 2 rows; the training part has {len(train)}.")
    steps_per_epoch = count_steps_per_epoch(train, settings)
    log_interval, gradient_interval = (
        max(1, math.ceil(steps_per_epoch / points))
        for points in (POINTS_PER_EPOCH, GRADIENTS_PER_EPOCH)
    )
    return steps_per_epoch, log_interval, gradient_interval


def log_gradient_norms(
    groups: Sequence[ParamGroup],
    network: Network,
    step: int,
    log: LogFn,
    deferred: DeferredScalars,
) -> None:
    """Log the gradient norm of every stage that trains, as soon as the device has computed it."""
    deferred.enqueue(
        gradient_norms(groups), lambda norms: log(gradient_points(groups, norms, network, step))
    )


def log_train_loss(
    progress: Progress, settings: TrainSettings, log: LogFn, deferred: DeferredScalars
) -> None:
    """Log the mean loss since the last call, as soon as the device has computed it.

    Args:
        progress: holds the sum of the losses, which is set back to 0.
        settings: named in the message of an error.
        log: receives the points "train_loss" and "seconds".
        deferred: delivers the value.

    Raises:
        RunError: the loss is not a finite number. Raised when its value arrives, which may be in a
            later call.
    """
    step, seconds, n_rows = progress.step, progress.seconds, progress.running_rows
    loss_sum = progress.running_loss
    progress.running_loss, progress.running_rows = torch.zeros(()), 0

    def check_and_log(values: list[float]) -> None:
        loss = values[0] / n_rows
        if not math.isfinite(loss):
            raise RunError(
                f"The training loss became {loss} at step {step} with learning rate "
                f"{settings.learning_rate:g}; lower the learning rate and run again. The "
                "last good checkpoint is kept."
            )
        log([(step, "train_loss", loss), (step, "seconds", seconds)])

    deferred.enqueue(loss_sum[None], check_and_log)
