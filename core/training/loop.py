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
from core.models.network import Network
from core.runs.reporter import Point, Reporter
from core.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from core.training.feeding import Rows, fed
from core.training.late import Late
from core.training.lazy_adam import LazyAdamW, look_up_sparsely
from core.training.methods import (
    Group,
    Pull,
    gradient_norms,
    gradient_points,
    merge_adapters,
    open_stages,
    parameter_groups,
    put_adapters,
    relative_gradient_norms,
    renew_embeddings,
    stages_to_close,
)
from core.training.recorded import Recorded
from core.training.settings import TrainSettings
from core.training.task import CLICKS, Task

CHECKPOINT_SECONDS = 15.0
POINTS_PER_EPOCH = 50
GRADIENTS_PER_EPOCH = 5
RECORDING: tuple[str, ...] = ("cuda",)
"""Kinds of devices whose passes are recorded and replayed."""
RATE_BATCHES = 8
"""Batches at the start of an epoch whose gradients decide Auto-RGN's rates."""


class CancelledError(Exception):
    """The reporter asked to stop, for good or until later; nothing is wrong."""


@dataclass(frozen=True)
class FitResult:
    """How training ended; `network` now holds the weights of `best_epoch` (0: as it began).

    halted: epochs after which successive halving ended it, 0 where it did not. earlier: seconds
    trained before the checkpoint that this call went on from; a broken run that ends alike is
    equal, so it is not compared. Below 0 where this call trained other arms too
    (core.training.together).
    """

    best_epoch: int
    epochs_run: int
    stopped_early: bool
    halted: int = 0
    earlier: float = field(default=0.0, compare=False)


Tell = Callable[[Sequence[Point]], None]
"""Takes points, as Reporter.points does."""
Behind = Callable[[int], tuple[Rows, Rows]]
"""The training and the validation rows as the first so many stages hand them on."""


def epoch_batches(rows: Rows, settings: TrainSettings, epoch: int) -> list[Tensor]:
    """Row numbers of every batch of `epoch`, where the rows lie, shuffled by seed and epoch alone:
    resumed runs see the same.

    A last batch of a single row joins the one before it: BatchNorm has no variance to take of one
    row.
    """
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(len(rows), generator=generator).to(rows.labels.device)
    batches = list(order.split(settings.batch_size))
    if len(batches) > steps_an_epoch(rows, settings):
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def steps_an_epoch(rows: Rows, settings: TrainSettings) -> int:
    """How many batches an epoch has, see `epoch_batches`."""
    whole, rest = divmod(len(rows), settings.batch_size)
    return max(1, whole + (rest > 1))


def fit(
    network: Network,
    plan: Plan,
    train: Rows,
    validation: Rows,
    settings: TrainSettings,
    reporter: Reporter,
    checkpoint: Path,
    task: Task = CLICKS,
    behind: Behind | None = None,
) -> FitResult:
    """Trains what the plan leaves unfrozen and leaves the best epoch's weights in `network`.

    The best epoch has the lowest validation loss. Continues from `checkpoint` when that file
    exists, to the same result as an unbroken run. behind: where it is given, stages that are still
    to join are computed once, as frozen ones are. Raises CancelledError when the reporter says
    stop, RunError on a loss that is no number.
    """
    torch.manual_seed(settings.seed)
    device = next(network.parameters()).device
    if plan.only == "adapters":
        put_adapters(network, plan)
    groups = parameter_groups(network, plan)
    pull = Pull(groups, len(network.stages), plan.pull) if plan.pull else None
    if device.type == "cpu" and not settings.weight_decay and plan.touches_only_rows:
        look_up_sparsely(network)
    # Without decay this is Adam (Kingma and Ba 2015) to the last bit.
    optimiser = LazyAdamW(
        groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    each, every, gradients_every = cadence(train, settings)
    steps = each * settings.epochs

    progress = load_checkpoint(checkpoint, network, optimiser, device)
    if progress is None:
        progress = start_progress(network, plan, task, validation, settings, reporter.points)
    reporter.rewind(progress.step)

    def learn(rows: Rows, batch: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.amp):
            loss = task.loss(network, rows, batch, progress.step)
        (loss if pull is None else loss + pull.penalty()).backward()
        return loss.detach()

    late, halted = Late(), 0
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
        if behind and depth != plan.computed_once(progress.epoch):
            depth = plan.computed_once(progress.epoch)
            train, validation = behind(depth)
        open_stages(network, plan, optimiser.param_groups, progress.epoch, progress.closed)
        if not done:
            begin_epoch(network, plan, task, train, batches, optimiser, progress, settings.seed)
        # What trains, and the modes, may differ from the epoch before.
        recorded: Recorded | None = None
        for rows, batch in fed(train, batches[done:], device):
            if reporter.should_stop():
                raise CancelledError
            set_rate(optimiser.param_groups, settings, progress, steps)
            optimiser.zero_grad(set_to_none=True)
            if device.type in RECORDING and task.alone and len(batch) == settings.batch_size:
                recorded = recorded or Recorded(learn, network, rows.at(batch))
                loss = recorded(rows, batch)
            else:
                loss = learn(rows, batch)
            if (progress.step + 1) % gradients_every == 0:
                report_gradients(
                    optimiser.param_groups, network, progress.step + 1, reporter.points, late
                )
            optimiser.step()
            if plan.rule == "autofreeze":
                progress.norms = progress.norms + gradient_norms(optimiser.param_groups)
            # Summed on the device, so that nothing waits for it.
            progress.running_loss = progress.running_loss + loss * len(batch)
            progress.running_rows += len(batch)
            progress.step += 1
            if progress.step % every == 0 or progress.step % each == 0:
                progress.seconds = earlier + time.monotonic() - began
                report_train_loss(progress, settings, reporter.points, late)
                reporter.progress(progress.epoch + 1, settings.epochs, progress.step, steps)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                late.tell_all()
                save_checkpoint(checkpoint, progress, changing_weights(network, plan), optimiser)
                saved = time.monotonic()
        late.tell_all()
        finish_epoch(network, plan, task, validation, settings, reporter.points, progress)
        if progress.epoch < settings.epochs and not progress.stopped:
            # After the last epoch the run is as good as done; one that breaks off there repeats
            # that epoch at most.
            save_checkpoint(checkpoint, progress, changing_weights(network, plan), optimiser)
            saved = time.monotonic()

    network.load_state_dict(progress.best_weights, strict=False)
    merge_adapters(network)
    return FitResult(progress.best_epoch, progress.epoch, progress.stopped, halted, earlier)


def cadence(train: Rows, settings: TrainSettings) -> tuple[int, int, int]:
    """(steps an epoch, steps between two points of the training loss, steps between two looks at
    the gradients).

    BadInput where there are too few rows to train on.
    """
    if len(train) < 2:
        raise BadInput(f"Training needs at least 2 rows; the training part has {len(train)}.")
    each = steps_an_epoch(train, settings)
    return (
        each,
        max(1, math.ceil(each / POINTS_PER_EPOCH)),
        max(1, math.ceil(each / GRADIENTS_PER_EPOCH)),
    )


def start_progress(
    network: Network, plan: Plan, task: Task, validation: Rows, settings: TrainSettings, tell: Tell
) -> Progress:
    """Where training stands before its first step, which is validated too."""
    loss, score = task.validate(network, validation)
    tell([(0, "validation_loss", loss), (0, task.score, score)])
    weights = {name: tensor.clone() for name, tensor in changing_weights(network, plan).items()}
    # No loss is lower than NaN: without a number here the first epoch is the best so far, whatever
    # it reaches.
    return Progress(loss if math.isfinite(loss) else math.inf, weights, settings.learning_rate)


def set_rate(
    groups: Sequence[Group], settings: TrainSettings, progress: Progress, steps: int
) -> None:
    """Sets the optimiser's learning rates for the next of all `steps`."""
    if settings.cosine:
        progress.rate = settings.learning_rate * (1 + math.cos(math.pi * progress.step / steps)) / 2
    for group in groups:
        group["lr"] = progress.rate * group["part"]


def begin_epoch(
    network: Network,
    plan: Plan,
    task: Task,
    train: Rows,
    batches: list[Tensor],
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    seed: int,
) -> None:
    """What a plan does before an epoch: fresh embeddings, or rates from the gradients of the first
    RATE_BATCHES."""
    if plan.renew:
        renew_embeddings(network, seed * 1_000_003 + progress.epoch)
        for parameter in network.stages[0].parameters():
            optimiser.state.pop(parameter, None)
    if plan.rule == "auto-rgn":
        optimiser.zero_grad(set_to_none=True)
        for rows, batch in fed(train, batches[:RATE_BATCHES], next(network.parameters()).device):
            task.loss(network, rows, batch, progress.step).backward()
        for group, part in zip(
            optimiser.param_groups, relative_gradient_norms(optimiser.param_groups), strict=True
        ):
            group["part"] = part


def report_gradients(
    groups: Sequence[Group], network: Network, step: int, tell: Tell, late: Late
) -> None:
    """Tells the norm of each training stage's gradient, once it has been computed."""
    late.ask(
        gradient_norms(groups), lambda norms: tell(gradient_points(groups, norms, network, step))
    )


def report_train_loss(progress: Progress, settings: TrainSettings, tell: Tell, late: Late) -> None:
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
        tell([(step, "train_loss", loss), (step, "seconds", seconds)])

    late.ask(total[None], arrived)


def finish_epoch(
    network: Network,
    plan: Plan,
    task: Task,
    validation: Rows,
    settings: TrainSettings,
    tell: Tell,
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
        (progress.step, task.score, score),
        (progress.step, "learning_rate", progress.rate),
    ]
    if plan.rule == "autofreeze":
        norms = progress.norms[:-1].tolist()
        if progress.norms_before:
            progress.closed = stages_to_close(progress.norms_before, norms, progress.closed)
        progress.norms_before, progress.norms = norms, torch.zeros(())
        points.append((progress.step, "frozen_stages", float(progress.closed)))
    tell(points)
    if loss < progress.best_loss:
        progress.best_loss, progress.best_epoch, progress.epochs_since_best = (
            loss,
            progress.epoch,
            0,
        )
        # Into the old copy: making room for a large table anew takes ten times as long.
        for name, tensor in changing_weights(network, plan).items():
            progress.best_weights[name].copy_(tensor)
        return
    if progress.epoch <= plan.last_opening:
        # A stage is still to join: what does not improve now says nothing yet.
        return
    progress.epochs_since_best += 1
    if settings.early_stopping and progress.epochs_since_best >= settings.early_stopping:
        progress.stopped = True
    elif settings.plateau and progress.epochs_since_best % settings.plateau == 0:
        progress.rate *= 0.1


def changing_weights(network: Network, plan: Plan) -> dict[str, Tensor]:
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
