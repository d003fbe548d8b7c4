"""Validation, and what happens between two epochs: early stopping, plateaus, the end of a probe."""

import contextlib
import math

import torch
from torch import Tensor

from core.errors import RunError
from core.freezing.plan import Plan
from core.freezing.schedule import count_first_epochs, least_steps
from core.jobs.requests import TrainSettings
from core.models.network import Network
from core.training.batches import RowTensors, epoch_seed, iterate_batches
from core.training.checkpoint import Progress
from core.training.gradient_norms import auto_rgn_scales, stage_norms, update_autofreeze_depth
from core.training.log_points import LogFn
from core.training.losses import Task
from core.training.param_groups import merge_by_stage, reset_embeddings
from core.training.weight_average import WeightAverage

AUTO_RGN_BATCHES = 8
"""Batches at the start of an epoch whose gradients set Auto-RGN's learning rates."""
MIN_AVERAGE_IMPROVEMENT = 1e-5
"""By how much the validation loss of averaged weights has to fall below the best one to become it.
An average has so little noise that its loss goes on falling by a millionth an epoch once plateaus
have lowered the learning rate, and no patience would ever end the run."""
PROBE_PATIENCE = 2
"""Epochs without a lower validation loss after which a probe has converged, where early stopping is
off; else it has the patience of early stopping."""


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
        by_stage = merge_by_stage(optimiser.param_groups)
        lr_scales = dict(
            zip(
                [group["stage"] for group in by_stage],
                auto_rgn_scales(by_stage),
                strict=True,
            )
        )
        for group in optimiser.param_groups:
            group["lr_scale"] = lr_scales[group["stage"]]


def validation_steps(steps_per_epoch: int, validations: int) -> set[int]:
    """Return after which steps of an epoch, counted from 1, the network is validated.

    They are at equal distances; the last one ends the epoch.

    >>> sorted(validation_steps(10, 4))
    [3, 5, 8, 10]
    """
    return {
        math.ceil(steps_per_epoch * number / validations) for number in range(1, validations + 1)
    }


def validate(
    network: Network,
    plan: Plan,
    task: Task,
    validation: RowTensors,
    log: LogFn,
    progress: Progress,
    average: WeightAverage | None = None,
) -> None:
    """Validate in the course of an epoch or at its end, and keep the weights if they are the best.

    Averaged weights are better if their loss is lower by MIN_AVERAGE_IMPROVEMENT.

    Args:
        network: after `progress.step` steps.
        plan: says what training may change.
        task: its loss on the validation rows decides.
        validation: rows to validate on.
        log: receives loss and score.
        progress: changed in place; the epoch under way is not among its finished ones.
        average: validated and kept instead of the network's weights.

    Raises:
        RunError: the validation loss is not a finite number.
    """
    epoch = progress.epoch + 1
    with average.applied() if average is not None else contextlib.nullcontext():
        loss, score = task.validate(network, validation)
        if not math.isfinite(loss):
            raise RunError(
                f"The validation loss became {loss} after epoch {epoch}; lower the learning rate."
            )
        log(
            [
                (progress.step, "validation_loss", loss),
                (progress.step, task.score_name, score),
                (progress.step, "learning_rate", progress.learning_rate),
            ]
        )
        least = MIN_AVERAGE_IMPROVEMENT if average is not None else 0.0
        if loss < progress.best_loss - least:
            progress.best_loss, progress.best_epoch, progress.best_step = loss, epoch, progress.step
            # Copied in place: allocating a large embedding table anew takes ten times as long.
            for name, tensor in trainable_state_dict(network, plan).items():
                progress.best_weights[name].copy_(tensor)


def finish_epoch(
    network: Network,
    plan: Plan,
    task: Task,
    validation: RowTensors,
    settings: TrainSettings,
    log: LogFn,
    progress: Progress,
    average: WeightAverage | None = None,
) -> None:
    """Validate, then lower the learning rate on a plateau, or stop.

    Patience counts epochs: one in which any validation was the best so far is an improvement.

    Args:
        network: after the epoch's last step.
        plan: says whether stages have yet to start training, and whether AutoFreeze freezes some.
        task: its loss on the validation rows decides.
        validation: rows to validate on.
        settings: patience of early stopping and of the plateau, in epochs.
        log: receives loss, score and learning rate.
        progress: changed in place.
        average: validated and kept instead of the network's weights.

    Raises:
        RunError: the validation loss is not a finite number.
    """
    validate(network, plan, task, validation, log, progress, average)
    progress.epoch += 1
    if plan.schedule == "autofreeze":
        norms = stage_norms(progress.gradient_sums, len(network.stages))
        # The rule compares two epochs, so nothing freezes after the first.
        if progress.previous_gradient_norms:
            progress.autofreeze_depth = update_autofreeze_depth(
                progress.previous_gradient_norms, norms, progress.autofreeze_depth
            )
        progress.previous_gradient_norms, progress.gradient_sums = norms, {}
        log([(progress.step, "frozen_stages", float(progress.autofreeze_depth))])

    if progress.best_epoch == progress.epoch:
        progress.epochs_since_best = 0
        return
    probing = plan.probe_first and progress.join_epoch is None
    if not probing and progress.epoch <= plan.last_unfreeze_epoch:
        # A stage has yet to join, so an epoch without improvement is no sign of a plateau.
        return
    if progress.step < least_steps(plan, settings):
        # Neither while a new head or new stages have hardly moved.
        return
    progress.epochs_since_best += 1
    if settings.early_stopping and progress.epochs_since_best >= settings.early_stopping:
        # After a probe the stages join, see `end_probe`.
        progress.stopped = not probing
    elif settings.plateau and progress.epochs_since_best % settings.plateau == 0:
        progress.learning_rate *= 0.1


def has_converged(plan: Plan, settings: TrainSettings, progress: Progress, n_rows: int) -> bool:
    """Return whether a plan's probe ends after `progress.epoch` epochs.

    It does once early stopping would end a run, or at the bound on epochs.
    """
    if not plan.probe_first or progress.join_epoch is not None:
        return False
    patience = settings.early_stopping or PROBE_PATIENCE
    return progress.epochs_since_best >= patience or progress.epoch >= count_first_epochs(
        plan, settings, n_rows
    )


def end_probe(
    network: Network,
    optimiser: torch.optim.Optimizer,
    settings: TrainSettings,
    progress: Progress,
    average: WeightAverage | None = None,
) -> None:
    """Begin fine-tuning from the best weights of the probe (Kumar et al., ICLR 2022).

    The optimiser and the learning rate start anew, and the head, which has learnt by now, trains at
    the rate of the stages.

    Args:
        network: gets the best weights.
        optimiser: of the network.
        settings: hold the learning rate.
        progress: changed in place.
        average: starts anew.
    """
    network.load_state_dict(progress.best_weights, strict=False)
    optimiser.state.clear()
    for group in optimiser.param_groups:
        group["lr_scale"] = 1.0
    if average is not None:
        average.restart()
    progress.join_epoch, progress.epochs_since_best = progress.epoch, 0
    progress.learning_rate = settings.learning_rate


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
