"""The training loop, read from top to bottom. It executes a plan; it decides nothing about freezing."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from core.errors import BadInput, RunError
from core.evaluation.delong import auc_variance
from core.freezing.plan import Plan
from core.models.network import Network, State, loss_of, scores_of
from core.runs.reporter import Reporter
from core.training.checkpoint import Progress, load_checkpoint, save_checkpoint
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
from core.training.settings import TrainSettings

EVALUATION_ROWS = 16384
CHECKPOINT_SECONDS = 15.0
POINTS_PER_EPOCH = 50
GRADIENTS_PER_EPOCH = 5
RATE_BATCHES = 8
"""Batches at the start of an epoch whose gradients decide Auto-RGN's rates."""


class CancelledError(Exception):
    """The reporter asked to stop; nothing is wrong."""


@dataclass(frozen=True)
class Rows:
    """Rows as tensors on the training device: the state before stage `first`, and labels (rows,) float."""

    state: State
    labels: Tensor
    first: int = 0

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class FitResult:
    """How training ended; `network` now holds the weights of `best_epoch` (0: as it began)."""

    best_epoch: int
    epochs_run: int
    stopped_early: bool


class Task(Protocol):
    """What is learnt. score: the name of the point that `validate` gives beside the loss, one of POINT_NAMES."""

    score: str

    def loss(self, network: Network, rows: Rows, batch: Tensor, step: int) -> Tensor:
        """Mean loss of the rows numbered by `batch` at optimiser step `step`; chance, if any, hangs on `step`."""
        ...

    def validate(self, network: Network, rows: Rows) -> tuple[float, float]:
        """(loss, score) on `rows` in eval mode; the same rows and weights always give the same."""
        ...


class Clicks:
    """Clicks from rows: cross entropy, and the AUC beside it."""

    score = "validation_auc"

    def loss(self, network: Network, rows: Rows, batch: Tensor, step: int) -> Tensor:
        """See Task."""
        outputs = network(tuple(tensor[batch] for tensor in rows.state), rows.first)
        return loss_of(outputs.float(), rows.labels[batch])

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


def epoch_batches(rows: int, settings: TrainSettings, epoch: int) -> list[Tensor]:
    """Row numbers of every batch of `epoch`, shuffled by seed and epoch alone, so a resumed run sees the same.

    A last batch of a single row joins the one before it: BatchNorm has no variance to take of one row.
    """
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    batches = list(torch.randperm(rows, generator=generator).split(settings.batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


@torch.no_grad()
def predict(network: Network, rows: Rows) -> np.ndarray:
    """Click probabilities float32 (rows,), in eval mode; the network's modes are put back after it."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    scores = [
        scores_of(network(tuple(tensor[start : start + EVALUATION_ROWS] for tensor in rows.state), rows.first))
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
    device = train.labels.device
    if plan.only == "adapters":
        put_adapters(network, plan)
    groups = parameter_groups(network, plan)
    pull = Pull(groups, len(network.stages), plan.pull) if plan.pull else None
    if device.type == "cpu" and not settings.weight_decay and plan.touches_only_rows:
        look_up_sparsely(network)
    # Without decay this is Adam (Kingma and Ba 2015) to the last bit.
    optimiser = LazyAdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    steps_an_epoch = len(epoch_batches(len(train), settings, 0))
    steps = steps_an_epoch * settings.epochs
    every = max(1, math.ceil(steps_an_epoch / POINTS_PER_EPOCH))
    gradients_every = max(1, math.ceil(steps_an_epoch / GRADIENTS_PER_EPOCH))

    progress = load_checkpoint(checkpoint, network, optimiser, device)
    if progress is None:
        first_loss, score = task.validate(network, validation)
        progress = Progress(first_loss, trained_weights(network, plan), settings.learning_rate)
        reporter.points([(0, "validation_loss", first_loss), (0, task.score, score)])
    reporter.rewind(progress.step)

    saved = began = time.monotonic()
    earlier, depth = progress.seconds, plan.frozen_depth
    while progress.epoch < settings.epochs and not progress.stopped:
        batches = epoch_batches(len(train), settings, progress.epoch)
        done = progress.step - progress.epoch * steps_an_epoch
        if behind and depth != plan.computed_once(progress.epoch):
            depth = plan.computed_once(progress.epoch)
            train, validation = behind(depth)
        open_stages(network, plan, optimiser.param_groups, progress.epoch, progress.closed)
        if not done:
            begin_epoch(network, plan, task, train, batches, optimiser, progress, settings.seed)
        for batch in batches[done:]:
            if reporter.should_stop():
                raise CancelledError
            if settings.cosine:
                progress.rate = settings.learning_rate * (1 + math.cos(math.pi * progress.step / steps)) / 2
            for group in optimiser.param_groups:
                group["lr"] = progress.rate * group["part"]
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.amp):
                loss = task.loss(network, train, batch.to(device), progress.step)
            optimiser.zero_grad(set_to_none=True)
            (loss if pull is None else loss + pull.penalty()).backward()
            if (progress.step + 1) % gradients_every == 0:
                reporter.points(gradient_points(optimiser.param_groups, network, progress.step + 1))
            optimiser.step()
            if plan.rule == "autofreeze":
                progress.norms = progress.norms + gradient_norms(optimiser.param_groups)
            # Summed on the device, so that nothing waits for it.
            progress.running_loss = progress.running_loss + loss.detach() * len(batch)
            progress.running_rows += len(batch)
            progress.step += 1
            if progress.step % every == 0 or progress.step % steps_an_epoch == 0:
                progress.seconds = earlier + time.monotonic() - began
                report_train_loss(progress, settings, reporter)
                reporter.progress(progress.epoch + 1, settings.epochs, progress.step, steps)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(checkpoint, progress, network, optimiser)
                saved = time.monotonic()
        finish_epoch(network, plan, task, validation, settings, reporter, progress)
        save_checkpoint(checkpoint, progress, network, optimiser)
        saved = time.monotonic()

    network.load_state_dict(progress.best_weights, strict=False)
    merge_adapters(network)
    return FitResult(progress.best_epoch, progress.epoch, progress.stopped)


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
        for batch in batches[:RATE_BATCHES]:
            task.loss(network, train, batch.to(train.labels.device), progress.step).backward()
        for group, part in zip(optimiser.param_groups, relative_gradient_norms(optimiser.param_groups), strict=True):
            group["part"] = part


def report_train_loss(progress: Progress, settings: TrainSettings, reporter: Reporter) -> None:
    """Reports the mean loss since the last report; RunError when it is not a number."""
    loss = float(progress.running_loss) / progress.running_rows
    progress.running_loss, progress.running_rows = torch.zeros(()), 0
    if not math.isfinite(loss):
        raise RunError(
            f"The training loss became {loss} at step {progress.step} with learning rate {settings.learning_rate:g}; "
            "lower the learning rate and run again. The last good checkpoint is kept."
        )
    reporter.points([(progress.step, "train_loss", loss), (progress.step, "seconds", progress.seconds)])


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
        progress.best_weights = trained_weights(network, plan)
        return
    if progress.epoch <= plan.last_opening:
        # A stage is still to join: what does not improve now says nothing yet.
        return
    progress.epochs_since_best += 1
    if settings.early_stopping and progress.epochs_since_best >= settings.early_stopping:
        progress.stopped = True
    elif settings.plateau and progress.epochs_since_best % settings.plateau == 0:
        progress.rate *= 0.1


def trained_weights(network: Network, plan: Plan) -> dict[str, Any]:
    """A copy of everything training may change: parameters and BatchNorm statistics of the stages not frozen."""
    prefixes = [f"stages.{index}." for index, stage in enumerate(plan.stages[:-1]) if not stage.frozen]
    return {
        name: tensor.detach().clone()
        for name, tensor in network.state_dict().items()
        if name.startswith(("head.", *prefixes))
    }
