"""The training loop, read from top to bottom. It executes a plan; it decides nothing about freezing."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.errors import BadInput, RunError
from core.evaluation.delong import auc_variance
from core.freezing.plan import Plan
from core.models.network import Network, loss_of, scores_of
from core.runs.reporter import Reporter
from core.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from core.training.feeding import Rows, fed
from core.training.late import Late
from core.training.lazy_adam import LazyAdamW, look_up_sparsely
from core.training.methods import (
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

EVALUATION_ROWS = 16384
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

    halted: epochs after which successive halving ended it, 0 where it did not. earlier: seconds trained before the
    checkpoint that this call went on from; a broken run that ends alike is equal, so it is not compared.
    """

    best_epoch: int
    epochs_run: int
    stopped_early: bool
    halted: int = 0
    earlier: float = field(default=0.0, compare=False)


class Task(Protocol):
    """What is learnt. score: the name of the point that `validate` gives beside the loss, one of POINT_NAMES.

    alone: whether the loss of a batch hangs on its own rows and nothing else, neither on other rows nor on the step.
    """

    score: str
    alone: bool

    def loss(self, network: Network, rows: Rows, batch: Tensor, step: int) -> Tensor:
        """Mean loss of the rows numbered by `batch` at optimiser step `step`; chance, if any, hangs on `step`."""
        ...

    def validate(self, network: Network, rows: Rows) -> tuple[float, float]:
        """(loss, score) on `rows` in eval mode; the same rows and weights always give the same."""
        ...


class Clicks:
    """Clicks from rows: cross entropy, and the AUC beside it."""

    score = "validation_auc"
    alone = True

    def loss(self, network: Network, rows: Rows, batch: Tensor, step: int) -> Tensor:
        """See Task."""
        part = rows.at(batch)
        return loss_of(network(part.state, part.first).float(), part.labels)

    def validate(self, network: Network, rows: Rows) -> tuple[float, float]:
        """(log loss, AUC) on `rows`."""
        scores = predict(network, rows).astype(np.float64)
        labels = rows.labels.cpu().numpy()
        clipped = np.clip(scores, 1e-7, 1 - 1e-7)
        loss = -np.mean(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped))
        return float(loss), auc_variance(labels, scores)[0]


CLICKS = Clicks()
Behind = Callable[[int], tuple[Rows, Rows]]
"""The training and the validation rows as the first so many stages hand them on."""


def epoch_batches(rows: Rows, settings: TrainSettings, epoch: int) -> list[Tensor]:
    """Row numbers of every batch of `epoch`, where the rows lie, shuffled by seed and epoch alone: resumed runs see
    the same.

    A last batch of a single row joins the one before it: BatchNorm has no variance to take of one row.
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


@torch.no_grad()
def predict(network: Network, rows: Rows) -> np.ndarray:
    """Click probabilities float32 (rows,), in eval mode; the network's modes are put back after it."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    device = next(network.parameters()).device
    scores = [
        scores_of(
            network(tuple(tensor[start : start + EVALUATION_ROWS].to(device) for tensor in rows.state), rows.first)
        )
        for start in range(0, len(rows), EVALUATION_ROWS)
    ]
    for module, training in modes:
        module.training = training
    return torch.cat(scores).float().cpu().numpy() if scores else np.zeros(0, dtype=np.float32)


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

    The best epoch has the lowest validation loss. Continues from `checkpoint` when that file exists, to the same
    result as an unbroken run. behind: where it is given, stages that are still to join are computed once, as frozen
    ones are. Raises CancelledError when the reporter says stop, RunError on a loss that is no number.
    """
    if len(train) < 2:
        raise BadInput(f"Training needs at least 2 rows; the training part has {len(train)}.")
    torch.manual_seed(settings.seed)
    device = next(network.parameters()).device
    if plan.only == "adapters":
        put_adapters(network, plan)
    groups = parameter_groups(network, plan)
    pull = Pull(groups, len(network.stages), plan.pull) if plan.pull else None
    if device.type == "cpu" and not settings.weight_decay and plan.touches_only_rows:
        look_up_sparsely(network)
    # Without decay this is Adam (Kingma and Ba 2015) to the last bit.
    optimiser = LazyAdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    each = steps_an_epoch(train, settings)
    steps = each * settings.epochs
    every = max(1, math.ceil(each / POINTS_PER_EPOCH))
    gradients_every = max(1, math.ceil(each / GRADIENTS_PER_EPOCH))

    progress = load_checkpoint(checkpoint, network, optimiser, device)
    if progress is None:
        first_loss, score = task.validate(network, validation)
        start = {name: tensor.clone() for name, tensor in changing_weights(network, plan).items()}
        progress = Progress(first_loss, start, settings.learning_rate)
        reporter.points([(0, "validation_loss", first_loss), (0, task.score, score)])
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
            if settings.cosine:
                progress.rate = settings.learning_rate * (1 + math.cos(math.pi * progress.step / steps)) / 2
            for group in optimiser.param_groups:
                group["lr"] = progress.rate * group["part"]
            optimiser.zero_grad(set_to_none=True)
            if device.type in RECORDING and task.alone and len(batch) == settings.batch_size:
                recorded = recorded or Recorded(learn, network, rows.at(batch))
                loss = recorded(rows, batch)
            else:
                loss = learn(rows, batch)
            if (progress.step + 1) % gradients_every == 0:
                report_gradients(optimiser, network, progress.step + 1, reporter, late)
            optimiser.step()
            if plan.rule == "autofreeze":
                progress.norms = progress.norms + gradient_norms(optimiser.param_groups)
            # Summed on the device, so that nothing waits for it.
            progress.running_loss = progress.running_loss + loss * len(batch)
            progress.running_rows += len(batch)
            progress.step += 1
            if progress.step % every == 0 or progress.step % each == 0:
                progress.seconds = earlier + time.monotonic() - began
                report_train_loss(progress, settings, reporter, late)
                reporter.progress(progress.epoch + 1, settings.epochs, progress.step, steps)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                late.tell_all()
                save_checkpoint(checkpoint, progress, changing_weights(network, plan), optimiser)
                saved = time.monotonic()
        late.tell_all()
        finish_epoch(network, plan, task, validation, settings, reporter, progress)
        if progress.epoch < settings.epochs and not progress.stopped:
            # After the last epoch the run is as good as done; one that breaks off there repeats that epoch at most.
            save_checkpoint(checkpoint, progress, changing_weights(network, plan), optimiser)
            saved = time.monotonic()

    network.load_state_dict(progress.best_weights, strict=False)
    merge_adapters(network)
    return FitResult(progress.best_epoch, progress.epoch, progress.stopped, halted, earlier)


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
    """What a plan does before an epoch: fresh embeddings, or rates from the gradients of the first RATE_BATCHES."""
    if plan.renew:
        renew_embeddings(network, seed * 1_000_003 + progress.epoch)
        for parameter in network.stages[0].parameters():
            optimiser.state.pop(parameter, None)
    if plan.rule == "auto-rgn":
        optimiser.zero_grad(set_to_none=True)
        for rows, batch in fed(train, batches[:RATE_BATCHES], next(network.parameters()).device):
            task.loss(network, rows, batch, progress.step).backward()
        for group, part in zip(optimiser.param_groups, relative_gradient_norms(optimiser.param_groups), strict=True):
            group["part"] = part


def report_gradients(
    optimiser: torch.optim.Optimizer, network: Network, step: int, reporter: Reporter, late: Late
) -> None:
    """Reports the norm of each training stage's gradient, once it has been computed."""
    groups = optimiser.param_groups
    late.ask(gradient_norms(groups), lambda norms: reporter.points(gradient_points(groups, norms, network, step)))


def report_train_loss(progress: Progress, settings: TrainSettings, reporter: Reporter, late: Late) -> None:
    """Reports the mean loss since the last report, once it has been computed; RunError when it is not a number."""
    step, seconds, rows = progress.step, progress.seconds, progress.running_rows
    total = progress.running_loss
    progress.running_loss, progress.running_rows = torch.zeros(()), 0

    def tell(losses: list[float]) -> None:
        loss = losses[0] / rows
        if not math.isfinite(loss):
            raise RunError(
                f"The training loss became {loss} at step {step} with learning rate {settings.learning_rate:g}; "
                "lower the learning rate and run again. The last good checkpoint is kept."
            )
        reporter.points([(step, "train_loss", loss), (step, "seconds", seconds)])

    late.ask(total[None], tell)


def finish_epoch(
    network: Network,
    plan: Plan,
    task: Task,
    validation: Rows,
    settings: TrainSettings,
    reporter: Reporter,
    progress: Progress,
) -> None:
    """Validates, keeps the weights if they are the best so far, lowers the learning rate on a plateau, or stops."""
    progress.epoch += 1
    loss, score = task.validate(network, validation)
    if not math.isfinite(loss):
        raise RunError(f"The validation loss became {loss} after epoch {progress.epoch}; lower the learning rate.")
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
    reporter.points(points)
    if loss < progress.best_loss:
        progress.best_loss, progress.best_epoch, progress.epochs_since_best = loss, progress.epoch, 0
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
    """Everything training may change: parameters and BatchNorm statistics of the stages not frozen, by name."""
    prefixes = [f"stages.{index}." for index, stage in enumerate(plan.stages[:-1]) if not stage.frozen]
    return {name: tensor for name, tensor in network.state_dict().items() if name.startswith(("head.", *prefixes))}
