"""Arms that train a linear head alone and differ in the learning rate: one look-up of rows and one
product for all.

Behind a cached prefix a step of such a head is the look-up of its rows and what Python does around
a small product; arms of one seed take the same rows at every step, so four of them cost little more
than one (docs/performance.md). What an arm does hangs on its request alone, which names all the
rates: whichever run comes first, and wherever one is broken off, the numbers are the same. They lie
in the cache after the run that computed them, so that the runs of the other rates find theirs. All
other arms train in turn: together they are no faster.
"""

import contextlib
import copy
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from core.errors import RunError
from core.files.durable import make_folder
from core.freezing.plan import Plan
from core.jobs.reporter import Point, Reporter
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.models.card import HeadSettings
from core.models.network import Head, Network, flatten_state
from core.program import VERSION
from core.training.batches import RowTensors
from core.training.checkpoint import Progress, read_checkpoint
from core.training.deferred_scalars import DeferredScalars
from core.training.lazy_adam import LazyAdamW
from core.training.loop import (
    CHECKPOINT_SECONDS,
    CancelledError,
    FitResult,
    LogFn,
    count_steps_per_epoch,
    epoch_batches,
    finish_epoch,
    initial_progress,
    log_gradient_norms,
    log_train_loss,
    logging_intervals,
    set_lr,
)
from core.training.losses import CLICK_TASK
from core.workspace import Workspace, hash_json, write_atomic

POLL_SECONDS = 0.2
"""Seconds between two looks whether the run that trains this arm's heads has ended, or this one
shall stop."""


def should_batch_heads(
    request: FinetuneRequest, plan: Plan, rows: RowTensors, network: Network, device: torch.device
) -> bool:
    """Whether the request's arm trains with those of its sweep's other rates: where that was
    measured to be faster."""
    return (
        request.can_batch_heads
        and rows.first_stage == plan.frozen_depth == len(network.stages)
        and network.members == 1
        and device.type == "cpu"
    )


def batched_heads_folder(
    workspace: Workspace, request: FinetuneRequest, weights: str, data_key: str
) -> Path:
    """Where the arms that train with the request's keep what they computed; another sweep, or
    version, has its own.

    weights: hash of the backbone's. data_key: see core.training.training_rows.apply_frozen_prefix.
    """
    alike = dataclasses.replace(request.train, learning_rate=request.rates[0])
    said = dataclasses.asdict(dataclasses.replace(request, train=alike))
    key = hash_json([VERSION, said, weights, data_key, torch.get_num_threads()])
    return workspace.cache / f"heads-{key[:24]}"


@dataclass
class HeadRun:
    """One learning rate. network: its head, on no stages; the head's weights are a part of those of
    all arms.

    points: all it has reported. failure: the sentence where its loss became no number. on_points: is
    told the points too.
    """

    settings: TrainSettings
    network: Network
    progress: Progress
    points: list[Point] = field(default_factory=list)
    failure: str = ""
    on_points: LogFn | None = None

    @property
    def finished(self) -> bool:
        """Whether it trains no further."""
        return (
            bool(self.failure)
            or self.progress.stopped
            or self.progress.epoch >= self.settings.epochs
        )

    @property
    def layer(self) -> nn.Linear:
        """The linear layer that is its head."""
        assert isinstance(self.network.head, Head) and isinstance(
            self.network.head.layers[0], nn.Linear
        )
        return self.network.head.layers[0]

    def log(self, points: Sequence[Point]) -> None:
        """Takes points down, and passes them on."""
        self.points += points
        if self.on_points:
            self.on_points(points)


class BatchedHeads:
    """The heads of all arms as one linear layer, weight (arms, inputs) and bias (arms,), and their
    optimiser."""

    def __init__(self, head: nn.Module, settings: Sequence[TrainSettings]) -> None:
        assert isinstance(head, Head) and isinstance(head.layers[0], nn.Linear)
        layer = head.layers[0]
        self.weight = layer.weight.detach().repeat(len(settings), 1).requires_grad_()
        self.bias = layer.bias.detach().repeat(len(settings)).requires_grad_()
        self.runs = [self._head_run(place, one) for place, one in enumerate(settings)]
        groups = [
            {"params": [*arm.layer.parameters()], "part": 1.0, "stage": 0} for arm in self.runs
        ]
        self.optimiser = LazyAdamW(groups, weight_decay=settings[0].weight_decay, fused=True)

    def _head_run(self, place: int, settings: TrainSettings) -> HeadRun:
        network = Network([], self.weight.shape[1], HeadSettings())
        arm = HeadRun(settings, network, Progress(0.0, {}, 0.0))
        arm.layer.weight = nn.Parameter(
            self.weight.detach()[place : place + 1], requires_grad=False
        )
        arm.layer.bias = nn.Parameter(self.bias.detach()[place : place + 1], requires_grad=False)
        return arm

    def start(self, plan: Plan, validation: RowTensors) -> None:
        """Where all arms stand before their first step: at one and the same head, which is
        validated once."""
        first = self.runs[0]
        progress = initial_progress(
            first.network, plan, CLICK_TASK, validation, first.settings, first.log
        )
        for arm in self.runs:
            arm.progress = dataclasses.replace(
                copy.deepcopy(progress), learning_rate=arm.settings.learning_rate
            )
            arm.points = [*first.points]

    def forward_backward(self, rows: RowTensors) -> Tensor:
        """Gives each arm the gradient of its mean loss on `rows`; the losses (arms,)."""
        outputs = nn.functional.linear(flatten_state(rows.state), self.weight, self.bias)
        labels = rows.labels[:, None].expand_as(outputs)
        losses = nn.functional.binary_cross_entropy_with_logits(
            outputs, labels, reduction="none"
        ).mean(0)
        for_weight, for_bias = torch.autograd.grad(losses.sum(), (self.weight, self.bias))
        for place, arm in enumerate(self.runs):
            arm.layer.weight.grad = for_weight[place : place + 1]
            arm.layer.bias.grad = for_bias[place : place + 1]
        return losses.detach()

    def save(self, file: Path) -> None:
        """Keeps where all arms stand."""
        # As text, since torch.load takes ten times as long over lists of numbers.
        arms = [(vars(arm.progress), json.dumps(arm.points), arm.failure) for arm in self.runs]
        weights = [self.weight.detach(), self.bias.detach()]
        values = {"arms": arms, "weights": weights, "optimiser": self.optimiser.state_dict()}
        write_atomic(file, lambda part: torch.save(values, part))

    def load(self, values: dict[str, Any]) -> None:
        """Goes on from what `save` kept."""
        for mine, kept in zip((self.weight, self.bias), values["weights"], strict=True):
            mine.detach().copy_(kept)
        self.optimiser.load_state_dict(values["optimiser"])
        for arm, (progress, points, failed) in zip(self.runs, values["arms"], strict=True):
            arm.progress, arm.failure = Progress(**progress), failed
            arm.points = [(step, name, value) for step, name, value in json.loads(points)]


def fit_batched_heads(
    network: Network,
    plan: Plan,
    train: RowTensors,
    validation: RowTensors,
    settings: TrainSettings,
    reporter: Reporter,
    rates: Sequence[float],
    folder: Path,
) -> FitResult:
    """As core.training.loop.fit where `should_batch_heads`, and the arms of all `rates` beside it as
    far as it goes itself.

    Continues from what `folder` holds, which may be this arm's end. Of the seconds that arms train
    together each counts its share: `earlier` of the result is by how much this arm's exceeds what
    this call trained and waited.
    """
    began = time.monotonic()
    heads = BatchedHeads(
        network.head, [dataclasses.replace(settings, learning_rate=rate) for rate in rates]
    )
    own, file = heads.runs[[*rates].index(settings.learning_rate)], folder / "heads.pt"
    with exclusive(folder, reporter):
        elsewhere = time.monotonic() - began
        values = read_checkpoint(file, torch.device("cpu"))
        if values is None:
            heads.start(plan, validation)
        else:
            heads.load(values)
        reporter.rewind(0)
        reporter.points(own.points)
        own.on_points, saved = reporter.points, time.monotonic()
        while not own.finished:
            elsewhere += train_epoch(heads, own, plan, train, validation, reporter)
            if own.finished or time.monotonic() - saved > CHECKPOINT_SECONDS:
                heads.save(file)
                saved = time.monotonic()
    if own.failure:
        raise RunError(own.failure)
    ended = own.progress
    reporter.progress(
        ended.epoch,
        settings.epochs,
        ended.step,
        settings.epochs * count_steps_per_epoch(train, settings),
    )
    network.load_state_dict(ended.best_weights, strict=False)
    return FitResult(
        ended.best_epoch, ended.epoch, ended.stopped, earlier_seconds=ended.seconds - elsewhere
    )


def train_epoch(
    heads: BatchedHeads,
    own: HeadRun,
    plan: Plan,
    train: RowTensors,
    validation: RowTensors,
    reporter: Reporter,
) -> float:
    """One epoch, and what comes after it, of every arm that has not ended; the seconds it took all
    of them.

    own: the arm whose run this is.
    """
    each, every, gradients_every = logging_intervals(train, own.settings)
    steps = each * own.settings.epochs
    training = [(place, arm) for place, arm in enumerate(heads.runs) if not arm.finished]
    began, before, late = time.monotonic(), own.progress.seconds, DeferredScalars()
    summed, rows = torch.zeros(len(heads.runs)), 0

    def share() -> float:
        return before + (time.monotonic() - began) / len(training)

    for batch in epoch_batches(train, own.settings, own.progress.epoch):
        if reporter.should_stop():
            raise CancelledError
        for arm, group in zip(heads.runs, heads.optimiser.param_groups, strict=True):
            set_lr([group], arm.settings, arm.progress, steps)
        losses = heads.forward_backward(train.take(batch))
        summed, rows = summed + losses * len(batch), rows + len(batch)
        step = own.progress.step + 1
        for place, arm in training:
            arm.progress.step = step
            if step % gradients_every == 0 and not arm.failure:
                log_gradient_norms(
                    heads.optimiser.param_groups[place : place + 1],
                    arm.network,
                    step,
                    arm.log,
                    late,
                )
        heads.optimiser.step()
        if step % every == 0 or step % each == 0:
            for place, arm in training:
                now = arm.progress
                now.running_loss, now.running_rows, now.seconds = summed[place], rows, share()
                run_guarded(arm, partial(log_train_loss, now, arm.settings, arm.log, late))
            summed, rows = torch.zeros(len(heads.runs)), 0
            reporter.progress(own.progress.epoch + 1, own.settings.epochs, step, steps)
    for _, arm in training:
        run_guarded(
            arm,
            partial(
                finish_epoch,
                arm.network,
                plan,
                CLICK_TASK,
                validation,
                arm.settings,
                arm.log,
                arm.progress,
            ),
        )
    for _, arm in training:
        arm.progress.seconds = share()
    return time.monotonic() - began


def run_guarded(head_run: HeadRun, action: Callable[[], None]) -> None:
    """Does what may end the arm by a RunError; that is its own end, and the others train on."""
    if not head_run.failure:
        try:
            action()
        except RunError as error:
            head_run.failure = str(error)


@contextlib.contextmanager
def exclusive(folder: Path, reporter: Reporter) -> Iterator[None]:
    """Waits until no other process trains these arms, and keeps it so; CancelledError when asked to
    stop meanwhile."""
    make_folder(folder)
    lock, waits = FileLock(folder / "lock"), False
    while not lock.is_locked:
        try:
            lock.acquire(timeout=POLL_SECONDS)
        except Timeout:
            if not waits:
                reporter.phase("waiting for an arm that trains with this one")
            if reporter.should_stop():
                raise CancelledError from None
            waits = True
    try:
        if waits:
            reporter.phase("training")
        yield
    finally:
        lock.release()
