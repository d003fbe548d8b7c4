"""What happens between two epochs: validation, the best weights, early stopping and plateaus."""

import math

import torch
from torch import Tensor

from core.errors import RunError
from core.freezing.plan import Plan
from core.jobs.requests import TrainSettings
from core.models.network import Network
from core.training.batches import RowTensors, epoch_seed, iterate_batches
from core.training.checkpoint import Progress
from core.training.gradient_norms import auto_rgn_scales, stage_norms, update_autofreeze_depth
from core.training.log_points import LogFn
from core.training.losses import Task
from core.training.param_groups import reset_embeddings

AUTO_RGN_BATCHES = 8
"""Batches at the start of an epoch whose gradients set Auto-RGN's learning rates."""


def initial_progress(
    network: Network,
    plan: Plan,
    task: Task,
    validation: RowTensors,
    settings: TrainSettings,
    log: LogFn,
) -> Progress:
    """Validate the network before its first step, as epoch 0, and log the result."""
    loss, score = task.validate(network, validation)
    log([(0, "validation_loss", loss), (0, task.score_name, score)])
    best_weights = {
        name: tensor.clone() for name, tensor in trainable_state_dict(network, plan).items()
    }
    # No loss is below NaN, so epoch 0 would stay the best: infinity lets the first epoch win.
    best_loss = loss if math.isfinite(loss) else math.inf
    return Progress(best_loss, best_weights, settings.learning_rate)


def begin_epoch(
    network: Network,
    plan: Plan,
    task: Task,
    train: RowTensors,
    batches: list[Tensor],
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    seed: int,
) -> None:
    """Do what the plan asks for before an epoch: reset embeddings, or set Auto-RGN's rates.

    The embeddings that training starts from train for an epoch before they are reset (MEDA, Fan et
    al. 2023).

    Args:
        network: its embeddings may be reset.
        plan: says which of the two, if any.
        task: its gradients set Auto-RGN's rates.
        train: rows to train on.
        batches: row numbers of the epoch's batches; Auto-RGN uses the first `AUTO_RGN_BATCHES`.
        optimiser: its state of reset embeddings is dropped, and "lr_scale" of its groups is set.
        progress: names the epoch.
        seed: of the run.
    """
    if plan.reset_embeddings and progress.epoch:
        reset_embeddings(network, epoch_seed(seed, progress.epoch))
        # Adam's moments belong to the vectors that were there before.
        for parameter in network.stages[0].parameters():
            optimiser.state.pop(parameter, None)
    if plan.schedule == "auto-rgn":
        optimiser.zero_grad(set_to_none=True)
        device = next(network.parameters()).device
        # Gradients add up over the batches; no step is taken.
        for rows, index in iterate_batches(train, batches[:AUTO_RGN_BATCHES], device):
            task.loss(network, rows, index, progress.step).backward()
        lr_scales = auto_rgn_scales(optimiser.param_groups)
        for group, lr_scale in zip(optimiser.param_groups, lr_scales, strict=True):
            group["lr_scale"] = lr_scale


def finish_epoch(
    network: Network,
    plan: Plan,
    task: Task,
    validation: RowTensors,
    settings: TrainSettings,
    log: LogFn,
    progress: Progress,
) -> None:
    """Validate, then keep the best weights, lower the learning rate on a plateau, or stop.

    Args:
        network: after the epoch's last step.
        plan: says whether stages have yet to start training, and whether AutoFreeze freezes some.
        task: its loss on the validation rows decides.
        validation: rows to validate on.
        settings: patience of early stopping and of the plateau, in epochs.
        log: receives loss, score and learning rate.
        progress: changed in place.

    Raises:
        RunError: the validation loss is not a finite number.
    """
    progress.epoch += 1
    loss, score = task.validate(network, validation)
    if not math.isfinite(loss):
        raise RunError(
            f"The validation loss became {loss} after epoch {progress.epoch}; lower the learning "
            "rate."
        )
    points = [
        (progress.step, "validation_loss", loss),
        (progress.step, task.score_name, score),
        (progress.step, "learning_rate", progress.learning_rate),
    ]
    if plan.schedule == "autofreeze":
        norms = stage_norms(progress.gradient_sums, len(network.stages))
        # The rule compares two epochs, so nothing freezes after the first.
        if progress.previous_gradient_norms:
            progress.autofreeze_depth = update_autofreeze_depth(
                progress.previous_gradient_norms, norms, progress.autofreeze_depth
            )
        progress.previous_gradient_norms, progress.gradient_sums = norms, {}
        points.append((progress.step, "frozen_stages", float(progress.autofreeze_depth)))
    log(points)

    if loss < progress.best_loss:
        progress.best_loss, progress.best_epoch = loss, progress.epoch
        progress.epochs_since_best = 0
        # Copied in place: allocating a large embedding table anew takes ten times as long.
        for name, tensor in trainable_state_dict(network, plan).items():
            progress.best_weights[name].copy_(tensor)
        return
    if progress.epoch <= plan.last_unfreeze_epoch:
        # A stage has yet to join, so an epoch without improvement is no sign of a plateau.
        return
    progress.epochs_since_best += 1
    if settings.early_stopping and progress.epochs_since_best >= settings.early_stopping:
        progress.stopped = True
    elif settings.plateau and progress.epochs_since_best % settings.plateau == 0:
        progress.learning_rate *= 0.1


def trainable_state_dict(network: Network, plan: Plan) -> dict[str, Tensor]:
    """Return everything that training may change, by name.

    Parameters and BatchNorm statistics of the head and of the stages that are not frozen. Frozen
    embedding tables may take gigabytes, so checkpoints and copies leave them out.
    """
    trainable = [
        f"stages.{index}." for index, stage in enumerate(plan.stages[:-1]) if not stage.frozen
    ]
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name.startswith(("head.", *trainable))
    }
