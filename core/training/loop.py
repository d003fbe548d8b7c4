"""The training loop, read from top to bottom. It executes a plan; it decides nothing about
freezing."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from core.errors import BadInput, RunError
from core.freezing.plan import Plan
from core.jobs.reporter import Point, Reporter
from core.jobs.requests import TrainSettings
from core.models.network import Network
from core.training.batches import RowTensors, iterate_batches
from core.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from core.training.cuda_graph import CudaGraphStep
from core.training.deferred_scalars import DeferredScalars
from core.training.lazy_adam import LazyAdamW, use_sparse_gradients
from core.training.losses import CLICK_TASK, Task
from core.training.param_groups import (
    L2SPPenalty,
    ParamGroup,
    add_lora,
    gradient_norms,
    gradient_points,
    merge_lora,
    parameter_groups,
    relative_gradient_norms,
    reset_embeddings,
    set_trainable,
    update_autofreeze_depth,
)

CHECKPOINT_SECONDS = 15.0
POINTS_PER_EPOCH = 50
GRADIENTS_PER_EPOCH = 5
GRAPH_DEVICES: tuple[str, ...] = ("cuda",)
"""Kinds of devices whose passes are recorded and replayed."""
AUTO_RGN_BATCHES = 8
"""Batches at the start of an epoch whose gradients decide Auto-RGN's rates."""


class CancelledError(Exception):
    """The reporter asked to stop, for good or until later; nothing is wrong."""


@dataclass(frozen=True)
class FitResult:
    """How training ended; `network` now holds the weights of `best_epoch` (0: as it began).

    halted: epochs after which successive halving ended it, 0 where it did not. earlier_seconds: seconds
    trained before the checkpoint that this call went on from; a broken run that ends alike is
    equal, so it is not compared. Below 0 where this call trained other arms too
    (core.training.batched_heads).
    """

    best_epoch: int
    epochs_run: int
    stopped_early: bool
    halted: int = 0
    earlier_seconds: float = field(default=0.0, compare=False)


LogFn = Callable[[Sequence[Point]], None]
"""Takes points, as Reporter.points does."""
PrefixRowsFn = Callable[[int], tuple[RowTensors, RowTensors]]
"""The training and the validation rows as the first so many stages hand them on."""


def epoch_batches(rows: RowTensors, settings: TrainSettings, epoch: int) -> list[Tensor]:
    """Row numbers of every batch of `epoch`, where the rows lie, shuffled by seed and epoch alone:
    resumed runs see the same.

    A last batch of a single row joins the one before it: BatchNorm has no variance to take of one
    row.
    """
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(len(rows), generator=generator).to(rows.labels.device)
    batches = list(order.split(settings.batch_size))
    if len(batches) > count_steps_per_epoch(rows, settings):
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def count_steps_per_epoch(rows: RowTensors, settings: TrainSettings) -> int:
    """How many batches an epoch has, see `epoch_batches`."""
    whole, rest = divmod(len(rows), settings.batch_size)
    return max(1, whole + (rest > 1))


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
    """Trains what the plan leaves unfrozen and leaves the best epoch's weights in `network`.

    The best epoch has the lowest validation loss. Continues from `checkpoint` when that file
    exists, to the same result as an unbroken run. behind: where it is given, stages that are still
    to join are computed once, as frozen ones are. Raises CancelledError when the reporter says
    stop, RunError on a loss that is no number.
    """
    torch.manual_seed(settings.seed)
    device = next(network.parameters()).device
    if plan.scope == "adapters":
        add_lora(network, plan)
    groups = parameter_groups(network, plan)
    pull = L2SPPenalty(groups, len(network.stages), plan.l2_sp) if plan.l2_sp else None
    if device.type == "cpu" and not settings.weight_decay and plan.allows_sparse_updates:
        use_sparse_gradients(network)
    # Without decay this is Adam (Kingma and Ba 2015) to the last bit.
    optimiser = LazyAdamW(
        groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    each, every, gradients_every = logging_intervals(train, settings)
    steps = each * settings.epochs

    progress = load_checkpoint(checkpoint, network, optimiser, device)
    if progress is None:
        progress = initial_progress(network, plan, task, validation, settings, reporter.points)
    reporter.rewind(progress.step)

    def learn(rows: RowTensors, batch: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.amp):
            loss = task.loss(network, rows, batch, progress.step)
        (loss if pull is None else loss + pull.penalty()).backward()
        return loss.detach()

    late, halted = DeferredScalars(), 0
    saved = began = time.monotonic()
    earlier, depth = progress.seconds, plan.frozen_depth
    while progress.epoch < settings.epochs and not progress.stopped:
        done = progress.step - progress.epoch * each
        decision = "go" if done else reporter.rung(progress.epoch)
        if decision == "wait":
            raise CancelledError
        if decision == "stop":
            halted = progress.epoch
            break
        batches = epoch_batches(train, settings, progress.epoch)
        if rows_after_prefix and depth != plan.cacheable_depth(progress.epoch):
            depth = plan.cacheable_depth(progress.epoch)
            train, validation = rows_after_prefix(depth)
        set_trainable(
            network, plan, optimiser.param_groups, progress.epoch, progress.autofreeze_depth
        )
        if not done:
            begin_epoch(network, plan, task, train, batches, optimiser, progress, settings.seed)
        # What trains, and the modes, may differ from the epoch before.
        recorded: CudaGraphStep | None = None
        for rows, batch in iterate_batches(train, batches[done:], device):
            if reporter.should_stop():
                raise CancelledError
            set_lr(optimiser.param_groups, settings, progress, steps)
            optimiser.zero_grad(set_to_none=True)
            if (
                device.type in GRAPH_DEVICES
                and task.depends_on_batch_only
                and len(batch) == settings.batch_size
            ):
                recorded = recorded or CudaGraphStep(learn, network, rows.take(batch))
                loss = recorded(rows, batch)
            else:
                loss = learn(rows, batch)
            if (progress.step + 1) % gradients_every == 0:
                log_gradient_norms(
                    optimiser.param_groups, network, progress.step + 1, reporter.points, late
                )
            optimiser.step()
            if plan.schedule == "autofreeze":
                progress.gradient_norms = progress.gradient_norms + gradient_norms(
                    optimiser.param_groups
                )
            # Summed on the device, so that nothing waits for it.
            progress.running_loss = progress.running_loss + loss * len(batch)
            progress.running_rows += len(batch)
            progress.step += 1
            if progress.step % every == 0 or progress.step % each == 0:
                progress.seconds = earlier + time.monotonic() - began
                log_train_loss(progress, settings, reporter.points, late)
                reporter.progress(progress.epoch + 1, settings.epochs, progress.step, steps)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                late.flush()
                save_checkpoint(
                    checkpoint, progress, trainable_state_dict(network, plan), optimiser
                )
                saved = time.monotonic()
        late.flush()
        finish_epoch(network, plan, task, validation, settings, reporter.points, progress)
        if progress.epoch < settings.epochs and not progress.stopped:
            # After the last epoch the run is as good as done; one that breaks off there repeats
            # that epoch at most.
            save_checkpoint(checkpoint, progress, trainable_state_dict(network, plan), optimiser)
            saved = time.monotonic()

    network.load_state_dict(progress.best_weights, strict=False)
    merge_lora(network)
    return FitResult(progress.best_epoch, progress.epoch, progress.stopped, halted, earlier)


def logging_intervals(train: RowTensors, settings: TrainSettings) -> tuple[int, int, int]:
    """(steps an epoch, steps between two points of the training loss, steps between two looks at
    the gradients).

    BadInput where there are too few rows to train on.
    """
    if len(train) < 2:
        raise BadInput(f"Training needs at least 2 rows; the training part has {len(train)}.")
    each = count_steps_per_epoch(train, settings)
    return (
        each,
        max(1, math.ceil(each / POINTS_PER_EPOCH)),
        max(1, math.ceil(each / GRADIENTS_PER_EPOCH)),
    )


def initial_progress(
    network: Network,
    plan: Plan,
    task: Task,
    validation: RowTensors,
    settings: TrainSettings,
    log: LogFn,
) -> Progress:
    """Where training stands before its first step, which is validated too."""
    loss, score = task.validate(network, validation)
    log([(0, "validation_loss", loss), (0, task.score_name, score)])
    weights = {name: tensor.clone() for name, tensor in trainable_state_dict(network, plan).items()}
    # No loss is lower than NaN: without a number here the first epoch is the best so far, whatever
    # it reaches.
    return Progress(loss if math.isfinite(loss) else math.inf, weights, settings.learning_rate)


def set_lr(
    groups: Sequence[ParamGroup], settings: TrainSettings, progress: Progress, total_steps: int
) -> None:
    """Sets the optimiser's learning rates for the next of all `steps`."""
    if settings.cosine:
        progress.learning_rate = (
            settings.learning_rate * (1 + math.cos(math.pi * progress.step / total_steps)) / 2
        )
    for group in groups:
        group["lr"] = progress.learning_rate * group["part"]


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
    """What a plan does before an epoch: fresh embeddings, or rates from the gradients of the first
    RATE_BATCHES."""
    if plan.reset_embeddings:
        reset_embeddings(network, seed * 1_000_003 + progress.epoch)
        for parameter in network.stages[0].parameters():
            optimiser.state.pop(parameter, None)
    if plan.schedule == "auto-rgn":
        optimiser.zero_grad(set_to_none=True)
        for rows, batch in iterate_batches(
            train, batches[:AUTO_RGN_BATCHES], next(network.parameters()).device
        ):
            task.loss(network, rows, batch, progress.step).backward()
        for group, part in zip(
            optimiser.param_groups, relative_gradient_norms(optimiser.param_groups), strict=True
        ):
            group["part"] = part


def log_gradient_norms(
    groups: Sequence[ParamGroup], network: Network, step: int, log: LogFn, deferred: DeferredScalars
) -> None:
    """Tells the norm of each training stage's gradient, once it has been computed."""
    deferred.enqueue(
        gradient_norms(groups), lambda norms: log(gradient_points(groups, norms, network, step))
    )


def log_train_loss(
    progress: Progress, settings: TrainSettings, log: LogFn, deferred: DeferredScalars
) -> None:
    """Tells the mean loss since the last report, once it has been computed; RunError when it is not
    a number."""
    step, seconds, rows = progress.step, progress.seconds, progress.running_rows
    total = progress.running_loss
    progress.running_loss, progress.running_rows = torch.zeros(()), 0

    def arrived(losses: list[float]) -> None:
        loss = losses[0] / rows
        if not math.isfinite(loss):
            raise RunError(
                f"The training loss became {loss} at step {step} with learning rate"
                f" {settings.learning_rate:g}; lower the learning rate and run again. The last good"
                " checkpoint is kept."
            )
        log([(step, "train_loss", loss), (step, "seconds", seconds)])

    deferred.enqueue(total[None], arrived)


def finish_epoch(
    network: Network,
    plan: Plan,
    task: Task,
    validation: RowTensors,
    settings: TrainSettings,
    log: LogFn,
    progress: Progress,
) -> None:
    """Validates, keeps the weights if they are the best so far, lowers the learning rate on a
    plateau, or stops."""
    progress.epoch += 1
    loss, score = task.validate(network, validation)
    if not math.isfinite(loss):
        raise RunError(
            f"The validation loss became {loss} after epoch {progress.epoch}; lower the learning"
            " rate."
        )
    points = [
        (progress.step, "validation_loss", loss),
        (progress.step, task.score_name, score),
        (progress.step, "learning_rate", progress.learning_rate),
    ]
    if plan.schedule == "autofreeze":
        norms = progress.gradient_norms[:-1].tolist()
        if progress.previous_gradient_norms:
            progress.autofreeze_depth = update_autofreeze_depth(
                progress.previous_gradient_norms, norms, progress.autofreeze_depth
            )
        progress.previous_gradient_norms, progress.gradient_norms = norms, torch.zeros(())
        points.append((progress.step, "frozen_stages", float(progress.autofreeze_depth)))
    log(points)
    if loss < progress.best_loss:
        progress.best_loss, progress.best_epoch, progress.epochs_since_best = (
            loss,
            progress.epoch,
            0,
        )
        # Into the old copy: making room for a large table anew takes ten times as long.
        for name, tensor in trainable_state_dict(network, plan).items():
            progress.best_weights[name].copy_(tensor)
        return
    if progress.epoch <= plan.last_unfreeze_epoch:
        # A stage is still to join: what does not improve now says nothing yet.
        return
    progress.epochs_since_best += 1
    if settings.early_stopping and progress.epochs_since_best >= settings.early_stopping:
        progress.stopped = True
    elif settings.plateau and progress.epochs_since_best % settings.plateau == 0:
        progress.learning_rate *= 0.1


def trainable_state_dict(network: Network, plan: Plan) -> dict[str, Tensor]:
    """Everything training may change: parameters and BatchNorm statistics of the stages not frozen,
    by name."""
    prefixes = [
        f"stages.{index}." for index, stage in enumerate(plan.stages[:-1]) if not stage.frozen
    ]
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name.startswith(("head.", *prefixes))
    }
