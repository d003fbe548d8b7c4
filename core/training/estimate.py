"""How long a run will take, from what it must compute and from how long earlier runs took. Torch-free and pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from core.freezing.plan import Plan, PlannedStage
from core.runs.launch import preferred_lane
from core.runs.store import Run
from core.training.settings import TrainSettings

RECENT = 8
"""Finished runs that calibrate: the newest ones."""


@dataclass(frozen=True)
class Speed:
    """What a kind of device does: operations a second, seconds a step and an Adam-updated scalar, and to begin."""

    flops: float
    step: float
    scalar: float
    start: float


# cpu: two cores of a shared server, DNN and DCNv2 with batches of 32 to 4096. cuda: a guess, until a run has finished.
SPEEDS = {
    "cpu": Speed(flops=3e10, step=5e-3, scalar=1e-8, start=1.5),
    "cuda": Speed(flops=5e12, step=2e-3, scalar=1e-10, start=3.0),
}


@dataclass(frozen=True)
class Estimate:
    """seconds: all epochs, start and evaluation included. basis: sentences saying what the number rests on."""

    seconds: float
    basis: str


def estimate_seconds(plan: Plan, rows: int, settings: TrainSettings, history: Sequence[Run]) -> Estimate:
    """About how long a run of `plan` on `rows` training rows takes.

    Calibrated on the newest finished runs of the same device in `history` (newest first), those of the same batch size
    before any others; without one the constants in SPEEDS stand. An upper bound where early stopping is on.
    """
    lane = preferred_lane(settings.device)
    done = [run for run in history if run.status == "done" and run.lane == lane and _train_seconds(run) > 0]
    alike = [run for run in done if run.request["train"]["batch_size"] == settings.batch_size]
    chosen = (alike or done)[:RECENT]
    scale, start = 1.0, SPEEDS[lane].start
    if chosen:
        scale = statistics.median(_train_seconds(run) / _expected(run) for run in chosen)
        start = statistics.median(_start_seconds(run) for run in chosen)
    seconds = start + scale * training_seconds(plan.stages, plan.frozen_depth, rows, settings, settings.epochs)
    return Estimate(seconds, _basis(lane, len(chosen), settings))


def training_seconds(
    stages: Sequence[PlannedStage], frozen_depth: int, rows: int, settings: TrainSettings, epochs: int
) -> float:
    """Seconds of training by the constants of the device's kind, before any calibration.

    The frozen prefix is computed once. Every epoch then runs the rest forwards and what trains backwards, which costs
    twice the forward pass; every step moves each trained scalar, its gradient and Adam's two moments through memory.
    """
    speed = SPEEDS[preferred_lane(settings.device)]
    prefix = sum(stage.flops for stage in stages[:frozen_depth])
    forward = sum(stage.flops for stage in stages[frozen_depth:])
    backward = 2 * sum(stage.flops for stage in stages if not stage.frozen)
    trained = sum(stage.trained for stage in stages)
    once = rows * prefix / speed.flops
    if not trained:
        return once + rows * forward / speed.flops
    steps = math.ceil(rows / settings.batch_size)
    epoch = rows * (forward + backward) / speed.flops + steps * (speed.step + trained * speed.scalar)
    return once + epochs * epoch


def _expected(run: Run) -> float:
    """What `training_seconds` says of a finished run, rebuilt from what its result keeps."""
    assert run.result is not None
    settings = TrainSettings(**run.request["train"])
    stages = [
        PlannedStage(
            stage["name"],
            stage["title"],
            stage["parameters"],
            0.0,
            stage["frozen"],
            # A fully connected layer does two operations a weight; looking embeddings up does none.
            0 if stage["name"] == "embedding" else 2 * stage["parameters"],
            trained=stage.get("trained", 0 if stage["frozen"] else stage["parameters"]),
        )
        for stage in run.result["stages"]
    ]
    depth = next((index for index, stage in enumerate(stages) if not stage.frozen), len(stages))
    return training_seconds(stages, depth, run.result["train_rows"], settings, run.result["epochs_run"])


def _train_seconds(run: Run) -> float:
    """Seconds the run computed its prefix and trained; 0 when it did neither or only part of it since a resume."""
    if not run.result or not run.steps or not run.result["epochs_run"]:
        return 0.0
    seconds = run.result["seconds"]
    return seconds.get("train", 0.0) + seconds.get("cache", 0.0)


def _start_seconds(run: Run) -> float:
    assert run.result is not None
    return max(0.0, run.result["seconds"]["total"] - _train_seconds(run))


def _basis(lane: str, runs: int, settings: TrainSettings) -> str:
    device = "GPU" if lane == "cuda" else "CPU"
    if runs:
        text = f"From the work to do and {runs} finished run{'s' if runs > 1 else ''} on this {device}."
    else:
        text = f"From the work to do and the usual speed of a {device}: no run has finished on this one yet."
    if settings.early_stopping:
        text += " At most so long: early stopping may end it sooner."
    return text
