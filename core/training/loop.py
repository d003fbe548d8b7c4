"""The training loop: execute a plan, epoch by epoch.

Read `fit` from top to bottom. Which stages train, from which epoch and at which share of the
learning rate is decided before, in `core.freezing`; nothing here decides it again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from core.freezing.plan import Plan
from core.freezing.schedule import count_epochs
from core.jobs.reporter import Reporter
from core.jobs.requests import TrainSettings
from core.models.network import Network
from core.training.batches import RowTensors, epoch_batches, iterate_batches
from core.training.checkpoint import load_checkpoint, save_checkpoint
from core.training.deferred_scalars import DeferredScalars
from core.training.epochs import (
    begin_epoch,
    end_probe,
    finish_epoch,
    has_converged,
    initial_progress,
    trainable_state_dict,
    validate,
    validation_steps,
)
from core.training.gradient_norms import add_gradients
from core.training.lazy_adam import LazyAdamW, use_sparse_gradients
from core.training.log_points import log_gradient_norms, log_train_loss, logging_intervals
from core.training.lora import add_lora, merge_lora
from core.training.losses import CLICK_TASK, Task
from core.training.param_groups import (
    L2SPPull,
    parameter_groups,
    set_lr,
    set_trainable,
    split_by_decay,
)
from core.training.train_step import TrainStep
from core.training.weight_average import average_weights

CHECKPOINT_SECONDS = 15.0
NOT_YET = 2**31
"""The epoch in which stages join, while their probe has not converged."""
GRAPH_DEVICES: tuple[str, ...] = ("cuda",)
"""Device types on which steps are captured as a CUDA graph and replayed."""


class CancelledError(Exception):
    """The reporter asked to stop, for good or until later; nothing is wrong."""


@dataclass(frozen=True)
class FitResult:
    """How training ended. `network` then holds the weights of `best_step`.

    Args:
        best_epoch: epoch with the lowest validation loss; 0 is the network before training.
        epochs_run: epochs that were finished, those of a probe included.
        stopped_early: whether early stopping ended the training.
        halted: epochs after which successive halving ended the run; 0 if it did not.
        earlier_seconds: seconds trained before the checkpoint that this call resumed from. Left out
            of comparisons, so that a resumed run equals an uninterrupted one. Negative if this call
            also trained other runs (`core.training.batched_heads`): then their share is subtracted.
        best_step: optimiser step of the validation with the lowest loss.
        steps_run: optimiser steps that were taken.
        join_epoch: of a plan that probes first, the epoch (from 0) in which its stages joined; None
            if the probe had not ended.
    """

    best_epoch: int
    epochs_run: int
    stopped_early: bool
    halted: int = 0
    earlier_seconds: float = field(default=0.0, compare=False)
    best_step: int = 0
    steps_run: int = 0
    join_epoch: int | None = None


PrefixRowsFn = Callable[[int], tuple[RowTensors, RowTensors]]
"""Takes a depth; returns the training and the validation rows as they leave that many stages."""


def fit(
    network: Network,
    plan: Plan,
    train: RowTensors,
    validation: RowTensors,
    settings: TrainSettings,
    reporter: Reporter,
    checkpoint: Path,
    task: Task = CLICK_TASK,
    rows_after_prefix: PrefixRowsFn | None = None,
) -> FitResult:
    """Train what the plan leaves unfrozen; leave the weights of the best validation in `network`.

    The best one has the lowest loss. If the file `checkpoint` exists,
    training resumes from it and ends with the same weights as an uninterrupted run.

    Args:
        network: on the device to train on.
        plan: which stages train, from which epoch, and at which share of the learning rate.
        train: rows to train on, as they enter the stage `train.first_stage`.
        validation: rows that choose the best weights, at the same stage.
        settings: epochs, batch size, learning rate, early stopping and seed.
        reporter: receives points and progress; says when to stop.
        checkpoint: file that is written every `CHECKPOINT_SECONDS` and after every epoch but the
            last.
        task: the loss to train by.
        rows_after_prefix: for plans that unfreeze stages later. Stages that do not train yet are
            then computed once and not in every epoch, as those are that never train.

    Raises:
        CancelledError: the reporter asked to stop, or to wait for the other arms of a sweep.
        RunError: the training or the validation loss is not a finite number.
        BadInput: there are fewer than two training rows.
    """
    torch.manual_seed(settings.seed)
    device = next(network.parameters()).device
    plan = plan.with_settings(settings)

    # LoRA adds the parameters that train, so it comes before the optimiser's groups are made.
    if plan.scope == "adapters":
        add_lora(network, plan)
    # One group per stage that ever trains, and one for the head. A frozen parameter is in none of
    # them: the optimiser keeps no state for it and cannot change it.
    groups = parameter_groups(network, plan)
    # A batch looks up a few rows of a large embedding table, but Adam reads and writes all of them.
    # On a GPU that costs little. Weight decay would change every row in every step anyway, unless
    # it is for matrices alone.
    decays_tables = settings.weight_decay and settings.decay_scope == "all"
    if device.type == "cpu" and not decays_tables and plan.allows_sparse_updates:
        use_sparse_gradients(network)
    # Without weight decay this is Adam (Kingma and Ba 2015), bit for bit.
    # fused: one kernel updates all parameters of a group, where there would be a dozen for each.
    optimiser = LazyAdamW(
        split_by_decay(network, groups, settings),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    # Before a checkpoint is loaded: the pull is towards the weights that the run started from.
    l2_sp = L2SPPull(optimiser.param_groups, plan) if plan.l2_sp else None
    average = average_weights(network, groups) if settings.ema else None
    if average is not None:
        optimiser.before_rows_change = average.rows_change
    steps_per_epoch, log_interval, gradient_interval = logging_intervals(train, settings)
    validation_at = validation_steps(steps_per_epoch, settings.validations_per_epoch)

    progress = load_checkpoint(checkpoint, network, optimiser, device, average)
    if progress is None:
        progress = initial_progress(network, plan, task, validation, settings, reporter.points)
    # The interrupted process may have logged points after its last checkpoint. Those steps run
    # again, so their points are dropped.
    reporter.rewind(progress.step)

    # A captured graph reads nothing but the rows of its batch.
    captured = device.type in GRAPH_DEVICES and task.depends_on_batch_only
    train_step = TrainStep(network, task, settings, optimiser, l2_sp, captured)

    deferred, halted = DeferredScalars(), 0
    last_save = start = time.monotonic()
    earlier_seconds, depth = progress.seconds, plan.frozen_depth

    while not progress.stopped:
        # A probe that has ended changes the bound and the epoch in which the stages join.
        epochs = count_epochs(plan, settings, len(train), progress.join_epoch)
        if progress.epoch >= epochs:
            break
        if plan.probe_first:
            joined = progress.join_epoch
            plan = plan.with_join_epoch(NOT_YET if joined is None else joined)
        total_steps = steps_per_epoch * epochs
        # The cosine of a probe falls over its own bound, and begins anew when the stages join.
        first_step = steps_per_epoch * (progress.join_epoch or 0)
        probing = plan.probe_first and progress.join_epoch is None
        cosine_epochs = epochs - settings.epochs * probing
        cosine_steps = steps_per_epoch * cosine_epochs - first_step
        # Above 0 only in the epoch that a checkpoint was taken in.
        steps_done = progress.step - progress.epoch * steps_per_epoch
        # Successive halving compares arms between epochs, so a rung is never asked for within one.
        decision = "continue" if steps_done else reporter.rung(progress.epoch)
        if decision == "pause":
            raise CancelledError
        if decision == "stop":
            halted = progress.epoch
            break

        # All batches of the epoch are made again, though some may be done: the order is one draw.
        batches = epoch_batches(train, settings, progress.epoch, device)
        if rows_after_prefix and depth != plan.cacheable_depth(progress.epoch):
            # Other stages train than in the last epoch, so rows enter the network at another stage.
            # Row numbers stay the same, and so do the batches.
            depth = plan.cacheable_depth(progress.epoch)
            train, validation = rows_after_prefix(depth)
        set_trainable(
            network, plan, optimiser.param_groups, progress.epoch, progress.autofreeze_depth
        )
        if not steps_done:
            begin_epoch(network, plan, task, train, batches, optimiser, progress, settings.seed)
            if average is not None and plan.reset_embeddings:
                # Vectors drawn anew have nothing in common with the average of the old ones.
                average.restart("stages.0.")
        train_step.begin_epoch(train)

        def log_norms() -> None:
            log_gradient_norms(groups, network, progress.step + 1, reporter.points, deferred)

        for rows, index in iterate_batches(train, batches[steps_done:], device):
            if reporter.should_stop():
                raise CancelledError
            set_lr(optimiser.param_groups, settings, progress, cosine_steps, first_step)
            logs_norms = (progress.step + 1) % gradient_interval == 0
            loss = train_step(rows, index, progress.step, log_norms if logs_norms else None)
            if average is not None:
                average.update()
            if plan.schedule == "autofreeze":
                add_gradients(progress.gradient_sums, groups[:-1])
            # Summed on the device: .item() would make the CPU wait for the GPU in every step.
            progress.running_loss = progress.running_loss + loss * len(index)
            progress.running_rows += len(index)
            progress.step += 1

            if progress.step % log_interval == 0 or progress.step % steps_per_epoch == 0:
                progress.seconds = earlier_seconds + time.monotonic() - start
                log_train_loss(progress, settings, reporter.points, deferred)
                reporter.progress(progress.epoch + 1, epochs, progress.step, total_steps)
            step_of_epoch = progress.step - progress.epoch * steps_per_epoch
            if step_of_epoch in validation_at and step_of_epoch < steps_per_epoch:
                deferred.flush()
                validate(network, plan, task, validation, reporter.points, progress, average)
            if time.monotonic() - last_save > CHECKPOINT_SECONDS:
                # All points up to the checkpoint are logged first: a resumed run does not log them.
                deferred.flush()
                save_checkpoint(
                    checkpoint, progress, trainable_state_dict(network, plan), optimiser, average
                )
                last_save = time.monotonic()

        deferred.flush()
        finish_epoch(network, plan, task, validation, settings, reporter.points, progress, average)
        if has_converged(plan, settings, progress, len(train)):
            end_probe(network, optimiser, settings, progress, average)
        # After the last epoch a checkpoint would cost time and save little: a run that breaks off
        # there repeats one epoch at most.
        if progress.epoch < epochs and not progress.stopped:
            save_checkpoint(
                checkpoint, progress, trainable_state_dict(network, plan), optimiser, average
            )
            last_save = time.monotonic()

    # strict=False: the frozen stages are not among the best weights, they never changed.
    network.load_state_dict(progress.best_weights, strict=False)
    # After loading, since the best weights have LoRA's own names.
    merge_lora(network)
    return FitResult(
        progress.best_epoch,
        progress.epoch,
        progress.stopped,
        halted,
        earlier_seconds,
        progress.best_step,
        progress.step,
        progress.join_epoch,
    )
