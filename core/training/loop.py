"""The training loop, read from top to bottom. It executes a plan; it decides nothing about freezing."""

import math
import time
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
from core.training.settings import TrainSettings

EVALUATION_ROWS = 16384
CHECKPOINT_SECONDS = 15.0
POINTS_PER_EPOCH = 50


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


def freeze(network: Network, plan: Plan) -> list[torch.nn.Parameter]:
    """Sets requires_grad stage by stage as the plan says; returns the parameters that train, in order."""
    modules = [*network.stages, network.head]
    for module, stage in zip(modules, plan.stages, strict=True):
        module.requires_grad_(not stage.frozen)
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def set_modes(network: Network, plan: Plan) -> None:
    """Training mode for what trains; frozen stages stay in eval mode: no dropout, BatchNorm statistics fixed."""
    modules = [*network.stages, network.head]
    for module, stage in zip(modules, plan.stages, strict=True):
        module.train(not stage.frozen)


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
) -> FitResult:
    """Trains what the plan leaves unfrozen and leaves the best epoch's weights in `network`.

    The best epoch has the lowest validation loss. Continues from `checkpoint` when that file exists, to the same
    result as an unbroken run. Raises CancelledError when the reporter says stop, RunError on a loss that is no number.
    """
    if len(train) < 2:
        raise BadInput(f"Training needs at least 2 rows; the training part has {len(train)}.")
    torch.manual_seed(settings.seed)
    device = train.labels.device
    parameters = freeze(network, plan)
    # Without decay this is Adam (Kingma and Ba 2015) to the last bit.
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    steps_an_epoch = len(epoch_batches(len(train), settings, 0))
    steps = steps_an_epoch * settings.epochs
    every = max(1, math.ceil(steps_an_epoch / POINTS_PER_EPOCH))

    progress = load_checkpoint(checkpoint, network, optimiser, device)
    if progress is None:
        first_loss, score = task.validate(network, validation)
        progress = Progress(best_loss=first_loss, best_weights=trained_weights(network, plan))
        reporter.points([(0, "validation_loss", first_loss), (0, task.score, score)])
    reporter.rewind(progress.step)

    saved = began = time.monotonic()
    earlier = progress.seconds
    while progress.epoch < settings.epochs and not progress.stopped:
        set_modes(network, plan)
        batches = epoch_batches(len(train), settings, progress.epoch)
        for batch in batches[progress.step - progress.epoch * steps_an_epoch :]:
            if reporter.should_stop():
                raise CancelledError
            if settings.cosine:
                set_rate(optimiser, settings.learning_rate * (1 + math.cos(math.pi * progress.step / steps)) / 2)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.amp):
                loss = task.loss(network, train, batch.to(device), progress.step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
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
        finish_epoch(network, plan, task, validation, settings, reporter, progress, optimiser)
        save_checkpoint(checkpoint, progress, network, optimiser)
        saved = time.monotonic()

    network.load_state_dict(progress.best_weights, strict=False)
    return FitResult(progress.best_epoch, progress.epoch, progress.stopped)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every parameter."""
    for group in optimiser.param_groups:
        group["lr"] = rate


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
    optimiser: torch.optim.Optimizer,
) -> None:
    """Validates, keeps the weights if they are the best so far, lowers the learning rate on a plateau, or stops."""
    progress.epoch += 1
    loss, score = task.validate(network, validation)
    if not math.isfinite(loss):
        raise RunError(f"The validation loss became {loss} after epoch {progress.epoch}; lower the learning rate.")
    rate = optimiser.param_groups[0]["lr"]
    reporter.points(
        [
            (progress.step, "validation_loss", loss),
            (progress.step, task.score, score),
            (progress.step, "learning_rate", rate),
        ]
    )
    if loss < progress.best_loss:
        progress.best_loss, progress.best_epoch, progress.epochs_since_best = loss, progress.epoch, 0
        progress.best_weights = trained_weights(network, plan)
        return
    progress.epochs_since_best += 1
    if settings.early_stopping and progress.epochs_since_best >= settings.early_stopping:
        progress.stopped = True
    elif settings.plateau and progress.epochs_since_best % settings.plateau == 0:
        set_rate(optimiser, rate * 0.1)


def trained_weights(network: Network, plan: Plan) -> dict[str, Any]:
    """A copy of everything training may change: parameters and BatchNorm statistics of the stages not frozen."""
    prefixes = [f"stages.{index}." for index, stage in enumerate(plan.stages[:-1]) if not stage.frozen]
    return {
        name: tensor.detach().clone()
        for name, tensor in network.state_dict().items()
        if name.startswith(("head.", *prefixes))
    }
