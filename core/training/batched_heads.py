"""Train the linear heads of a sweep's learning rates in one pass over the rows.

Behind a cached frozen prefix, a step of a linear head is a look-up of its rows and what Python does
around a small matrix product. Runs that differ only in the learning rate use the same rows at every
step, so their heads become the rows of one weight matrix: four of them cost little more than one
(docs/performance.md). Only linear heads on a CPU are batched; for others it is no faster.

The numbers of a run must not depend on which of them comes first or is interrupted. So every run
trains all rates of its request, and leaves the results in a cache folder where the others find
theirs.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from core.errors import RunError
from core.files.durable import make_folder
from core.freezing.plan import Plan
from core.freezing.schedule import count_epochs
from core.jobs.reporter import Reporter
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.models.network import Network
from core.program import VERSION
from core.training.batches import RowTensors, count_steps_per_epoch, epoch_batches
from core.training.checkpoint import read_checkpoint
from core.training.deferred_scalars import DeferredScalars
from core.training.epochs import finish_epoch, validate, validation_steps
from core.training.head_runs import BatchedHeads, HeadRun
from core.training.log_points import (
    log_gradient_norms,
    log_train_loss,
    logging_intervals,
)
from core.training.loop import CHECKPOINT_SECONDS, CancelledError, FitResult
from core.training.losses import CLICK_TASK
from core.training.param_groups import set_lr
from core.workspace import Workspace, hash_json

POLL_SECONDS = 0.2
"""Seconds between two checks whether the run that trains these heads has ended, or this one shall
stop."""


def should_batch_heads(
    request: FinetuneRequest, plan: Plan, rows: RowTensors, network: Network, device: torch.device
) -> bool:
    """Return whether a run trains with those of the sweep's other rates, where that is faster."""
    return (
        request.can_batch_heads
        and rows.first_stage == plan.frozen_depth == len(network.stages)
        and network.members == 1
        and device.type == "cpu"
    )


def batched_heads_folder(
    workspace: Workspace, request: FinetuneRequest, weights: str, data_key: str
) -> Path:
    """Return where runs that train with the request's keep their results.

    Another sweep, version of Thaw or number of threads has a folder of its own: any of them may
    change the last digits.

    Args:
        workspace: holds the folder.
        request: of one of the runs.
        weights: SHA-256 of the backbone's weights.
        data_key: see `core.training.training_rows.apply_frozen_prefix`.
    """
    # The rate is what the runs differ in, so every one of them takes the first one's.
    train = request.train.with_learning_rate(request.rates[0])
    shared = dataclasses.asdict(dataclasses.replace(request, train=train))
    key = hash_json([VERSION, shared, weights, data_key, torch.get_num_threads()])
    return workspace.cache / f"heads-{key[:24]}"


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
    """Do what `core.training.loop.fit` does, for a run for which `should_batch_heads` holds.

    The runs of all `rates` train beside it, until this one ends. Resumes from what `folder` holds,
    which may already be the end of this run.

    Args:
        network: its head starts the training, and holds the best weights at the end.
        plan: trains the head alone.
        train: rows to train on, as they leave the last stage.
        validation: rows that choose the best epoch, likewise.
        settings: of this run.
        reporter: of this run.
        rates: learning rates of all runs, this one's among them.
        folder: see `batched_heads_folder`.

    Returns:
        As `fit`. Each run counts its share of the seconds that runs train together;
        `earlier_seconds` is this run's share less the seconds that this call trained and waited.

    Raises:
        CancelledError: the reporter asked to stop.
        RunError: the loss of this run is not finite; the other runs are not affected.
    """
    start = time.monotonic()
    heads = BatchedHeads(
        network.head,
        [settings.with_learning_rate(rate) for rate in rates],
        plan,
        count_epochs(plan, settings, len(train)),
    )
    own, file = heads.runs[[*rates].index(settings.learning_rate)], folder / "heads.pt"
    with exclusive(folder, reporter):
        seconds_here = time.monotonic() - start
        values = read_checkpoint(file, torch.device("cpu"))
        if values is None:
            heads.start(plan, validation)
        else:
            heads.load(values)
        # Another run may have computed some or all of the points.
        reporter.rewind(0)
        reporter.points(own.points)
        own.on_points, last_save = reporter.points, time.monotonic()
        while not own.finished:
            seconds_here += train_epoch(heads, own, plan, train, validation, reporter)
            if own.finished or time.monotonic() - last_save > CHECKPOINT_SECONDS:
                heads.save(file)
                last_save = time.monotonic()
    if own.failure:
        raise RunError(own.failure)
    progress = own.progress
    total_steps = own.epochs * count_steps_per_epoch(train, settings)
    reporter.progress(progress.epoch, own.epochs, progress.step, total_steps)
    network.load_state_dict(progress.best_weights, strict=False)
    return FitResult(
        progress.best_epoch,
        progress.epoch,
        progress.stopped,
        earlier_seconds=progress.seconds - seconds_here,
        best_step=progress.best_step,
        steps_run=progress.step,
    )


def train_epoch(
    heads: BatchedHeads,
    own: HeadRun,
    plan: Plan,
    train: RowTensors,
    validation: RowTensors,
    reporter: Reporter,
) -> float:
    """Train and validate every run that has not ended for one epoch.

    Args:
        heads: of all runs.
        own: the run that this process was started for.
        plan: of all runs.
        train: rows to train on.
        validation: rows that choose the best epoch.
        reporter: of the run `own`.

    Returns:
        Seconds that all runs took together.
    """
    steps_per_epoch, log_interval, gradient_interval = logging_intervals(train, own.settings)
    total_steps = steps_per_epoch * own.epochs
    validation_at = validation_steps(steps_per_epoch, own.settings.validations_per_epoch)
    # Finished runs stay in the product, where they cost next to nothing; nothing reads them.
    training = [(index, run) for index, run in enumerate(heads.runs) if not run.finished]
    start, earlier_seconds = time.monotonic(), own.progress.seconds
    deferred = DeferredScalars()
    loss_sums, n_rows = torch.zeros(len(heads.runs)), 0

    def seconds_per_run() -> float:
        return earlier_seconds + (time.monotonic() - start) / len(training)

    batches = epoch_batches(train, own.settings, own.progress.epoch)
    for step_of_epoch, batch in enumerate(batches, start=1):
        if reporter.should_stop():
            raise CancelledError
        for group in heads.optimiser.param_groups:
            run = heads.runs[group["run"]]
            set_lr([group], run.settings, run.progress, total_steps)
        losses = heads.forward_backward(train.take(batch))
        loss_sums, n_rows = loss_sums + losses * len(batch), n_rows + len(batch)
        step = own.progress.step + 1
        for index, run in training:
            run.progress.step = step
            if step % gradient_interval == 0 and not run.failure:
                own_group = heads.groups[index : index + 1]
                log_gradient_norms(own_group, run.network, step, run.log, deferred)
        heads.optimiser.step()
        for _, run in training:
            if run.average is not None:
                run.average.update()
        if step % log_interval == 0 or step % steps_per_epoch == 0:
            for index, run in training:
                progress = run.progress
                progress.running_loss, progress.running_rows = loss_sums[index], n_rows
                progress.seconds = seconds_per_run()
                run_guarded(run, partial(log_train_loss, progress, run.settings, run.log, deferred))
            loss_sums, n_rows = torch.zeros(len(heads.runs)), 0
            reporter.progress(own.progress.epoch + 1, own.epochs, step, total_steps)
        if step_of_epoch in validation_at and step_of_epoch < steps_per_epoch:
            for _, run in training:
                inputs = (run.network, plan, CLICK_TASK, validation, run.log, run.progress)
                run_guarded(run, partial(validate, *inputs, run.average))
    for _, run in training:
        arguments = (run.network, plan, CLICK_TASK, validation, run.settings, run.log, run.progress)
        run_guarded(run, partial(finish_epoch, *arguments, run.average))
    for _, run in training:
        run.progress.seconds = seconds_per_run()
    return time.monotonic() - start


def run_guarded(head_run: HeadRun, action: Callable[[], None]) -> None:
    """Call `action`; if it raises RunError, that run has failed and the others train on."""
    if not head_run.failure:
        try:
            action()
        except RunError as error:
            head_run.failure = str(error)


@contextlib.contextmanager
def exclusive(folder: Path, reporter: Reporter) -> Iterator[None]:
    """Wait until no other process trains these runs, then keep others out.

    Raises:
        CancelledError: the reporter asked to stop while waiting.
    """
    make_folder(folder)
    lock, waited = FileLock(folder / "lock"), False
    while not lock.is_locked:
        try:
            lock.acquire(timeout=POLL_SECONDS)
        except Timeout:
            if not waited:
                reporter.phase("waiting for an arm that trains with this one")
            if reporter.should_stop():
                raise CancelledError from None
            waited = True
    try:
        if waited:
            reporter.phase("training")
        yield
    finally:
        lock.release()
