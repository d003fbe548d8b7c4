"""Estimate how long a run will take, from its operations and from how long earlier runs took.

Pure functions that do not need torch.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from core.data.schema import FIELDS
from core.freezing.plan import Plan, PlannedStage, cacheable_depth, make_pretraining_plan
from core.freezing.schedule import count_epochs, count_steps, plan_to_show
from core.freezing.strategies import STRATEGIES
from core.jobs.requests import FinetuneRequest, PretrainRequest, TrainSettings
from core.jobs.run_result import StageResult
from core.jobs.store import Run
from core.models.card import HeadSettings
from core.models.model_stats import ModelStats
from core.models.objectives import NEGATIVES, OBJECTIVES, PROJECTION_SIZE
from core.runs.launch import queue_for_device

MAX_CALIBRATION_RUNS = 8
"""Finished runs that an estimate is calibrated on: the newest ones."""
BATCHED_HEADS_SHARE = 0.4
"""Training time of a head among those of its sweep's other rates, as a share of what it takes
alone."""
WORD2VEC_SECONDS_PER_ROW = 3e-3
"""Seconds per row for all of Word2Vec's passes on one core, until a run has been measured."""


MODEL_SECONDS_PER_ROW = 3e-4
"""Seconds per row of a logistic regression or of gradient boosting, inputs and all penalties or
trees included: 78,000 real rows on one core took 10 to 25 s."""


@dataclass(frozen=True)
class Speed:
    """What a type of device does.

    Args:
        flops_per_second: of forward and backward passes.
        seconds_per_step: overhead of an optimiser step.
        seconds_per_scalar: of Adam's update, per trained scalar and step.
        startup_seconds: before training, and for evaluation.
    """

    flops_per_second: float
    seconds_per_step: float
    seconds_per_scalar: float
    startup_seconds: float


# cpu: two cores of a shared server, DNN and DCNv2 with batches of 32 to 4096. cuda: a guess, until
# a run has finished.
SPEEDS = {
    "cpu": Speed(
        flops_per_second=3e10, seconds_per_step=5e-3, seconds_per_scalar=1e-8, startup_seconds=1.5
    ),
    "cuda": Speed(
        flops_per_second=5e12, seconds_per_step=2e-3, seconds_per_scalar=1e-10, startup_seconds=3.0
    ),
}


@dataclass(frozen=True)
class Estimate:
    """How long a run takes.

    Args:
        seconds: all epochs, start and evaluation included.
        explanation: what the number is based on, in sentences.
        prefix_seconds: seconds for each frozen prefix, by depth. They are part of `seconds`; runs
            on the same rows share them.
        rate_choice_seconds: how many of `seconds` choose learning rates, in a sweep that does.
    """

    seconds: float
    explanation: str
    prefix_seconds: dict[int, float] = field(default_factory=dict)
    rate_choice_seconds: float = 0.0


def pretraining_plan(cost: ModelStats, request: PretrainRequest) -> Plan:
    """Return the plan that a pretraining request executes, with its objective's own head.

    RFD and MFP have the heads of `core.training.pretext`; MFP's embedding also has one more vector
    per field.
    """
    inputs, fields = cost.representation * cost.members, len(FIELDS)
    if request.objective == "rfd":
        hidden = fields * PROJECTION_SIZE
        return make_pretraining_plan(
            cost.stages,
            (inputs + 1) * hidden + (hidden + 1) * fields,
            2 * hidden * (inputs + fields),
        )
    if request.objective == "mfp":
        scored = round(request.mask_share * fields) * (1 + NEGATIVES)
        parameters = (inputs + 1) * fields * PROJECTION_SIZE + cost.values * (PROJECTION_SIZE + 1)
        return make_pretraining_plan(
            cost.stages, parameters, 2 * PROJECTION_SIZE * (inputs * fields + scored)
        )
    head = HeadSettings()
    return make_pretraining_plan(
        cost.stages,
        head.parameters(cost.representation, cost.members),
        head.flops(cost.representation, cost.members),
    )


def pretraining_estimate(
    cost: ModelStats, request: PretrainRequest, rows: int, history: Sequence[Run]
) -> Estimate | None:
    """Estimate how long pretraining takes on `rows` training rows; None if nothing is learnt."""
    words = word2vec_seconds(rows, history) if request.start == "word2vec" else 0.0
    if not OBJECTIVES[request.objective].trains:
        return (
            Estimate(SPEEDS["cpu"].startup_seconds + words, "Word2Vec's passes over the rows.")
            if words
            else None
        )
    estimate = estimate_seconds(pretraining_plan(cost, request), rows, request.train, history)
    basis = (
        f"{estimate.explanation} Word2Vec's passes over the rows are part of it."
        if words
        else estimate.explanation
    )
    return Estimate(estimate.seconds + words, basis)


def word2vec_seconds(rows: int, history: Sequence[Run]) -> float:
    """Estimate Word2Vec's passes over `rows` rows, from the newest finished runs that used it."""
    paces = [
        run.result.seconds["prepare"] / run.result.train_rows
        for run in history
        if run.result and _starts_by_word2vec(run)
    ]
    return rows * (
        statistics.median(paces[:MAX_CALIBRATION_RUNS]) if paces else WORD2VEC_SECONDS_PER_ROW
    )


def calibration_runs(history: Sequence[Run], settings: TrainSettings) -> list[Run]:
    """Return the few finished runs that estimates with these settings are calibrated on.

    Estimates from these runs and from the whole history are the same. Selecting them once for many
    plans saves time if there are thousands of runs.

    Args:
        history: runs, newest first.
        settings: of the run to estimate.
    """
    words = [run for run in history if _starts_by_word2vec(run) and run.result][
        :MAX_CALIBRATION_RUNS
    ]
    ids = {run.id for run in (*_recent_similar_runs(history, settings), *words)}
    return [run for run in history if run.id in ids]


def estimate_seconds(
    plan: Plan,
    rows: int,
    settings: TrainSettings,
    history: Sequence[Run],
    can_batch_heads: bool = False,
    source_rows: int = 0,
) -> Estimate:
    """Estimate how long a run takes; an upper bound with early stopping.

    Calibrated on the newest finished runs of the same device, those of the same batch size and
    precision before any others; without any, the constants in `SPEEDS` are used.

    Args:
        plan: to execute.
        rows: number of training rows.
        settings: epochs, batch size and device.
        history: runs, newest first.
        can_batch_heads: as in FinetuneRequest.
        source_rows: number of source rows, on which some controls train too.
    """
    rows = {"target": rows, "source": source_rows, "both": rows + source_rows}[plan.rows]
    if not plan.trains_network:
        return Estimate(
            SPEEDS["cpu"].startup_seconds + rows * MODEL_SECONDS_PER_ROW,
            "From the number of rows and the usual speed of a CPU.",
        )
    queue = queue_for_device(settings.device)
    similar = _recent_similar_runs(history, settings)
    scale, start = 1.0, SPEEDS[queue].startup_seconds
    if similar:
        # The median: a run that waited for a busy machine is no measure of its speed.
        scale = statistics.median(_train_seconds(run) / _predicted_seconds(run) for run in similar)
        start = statistics.median(_start_seconds(run) for run in similar)
    # Where the head is new its least number of steps counts, and a probe up to its own bound.
    epochs = count_epochs(plan, settings, rows)
    plan = plan_to_show(plan, settings, rows)
    prefix_seconds, training = training_seconds(plan.stages, rows, settings, epochs)
    prefix_seconds = {depth: scale * seconds for depth, seconds in prefix_seconds.items()}
    training *= scale * _batching_factor(plan.stages, queue, can_batch_heads)
    seconds = start + sum(prefix_seconds.values()) + training
    return Estimate(seconds, _explanation(queue, len(similar), settings), prefix_seconds)


def training_seconds(
    stages: Sequence[PlannedStage], rows: int, settings: TrainSettings, epochs: int
) -> tuple[dict[int, float], float]:
    """Return seconds by the constants of the device, before calibration.

    What the plan computes once is counted once. Every epoch runs the rest forwards, and what trains
    also backwards, which costs twice as much; every step moves each trained scalar, its gradient
    and Adam's two moments through memory. If nothing trains, there is one forward pass.

    Returns:
        Seconds of each frozen prefix, by depth; seconds of all epochs.
    """
    speed = SPEEDS[queue_for_device(settings.device)]
    if not any(stage.trained_parameters for stage in stages):
        return {}, rows * sum(stage.flops for stage in stages) / speed.flops_per_second
    steps = count_steps(rows, settings.batch_size)
    prefix_seconds, seconds = {}, 0.0
    for epoch in range(epochs):
        depth = cacheable_depth(stages, epoch)
        if depth:
            prefix_flops = sum(stage.flops for stage in stages[:depth])
            prefix_seconds[depth] = rows * prefix_flops / speed.flops_per_second
        training = [stage for stage in stages if not stage.frozen and stage.from_epoch <= epoch]
        forward = sum(stage.flops for stage in stages[depth:])
        backward = 2 * sum(stage.flops for stage in training)
        updated = sum(stage.trained_parameters for stage in training)
        step_seconds = speed.seconds_per_step + updated * speed.seconds_per_scalar
        seconds += rows * (forward + backward) / speed.flops_per_second + steps * step_seconds
    return prefix_seconds, seconds


def _recent_similar_runs(history: Sequence[Run], settings: TrainSettings) -> list[Run]:
    """Return the newest finished runs of the same device, of the same batch size if there are any.

    Batch size and precision change the speed of an operation.
    """
    queue = queue_for_device(settings.device)

    def is_usable(run: Run) -> bool:
        # A control that is no network says nothing about the speed of networks.
        network = run.strategy not in STRATEGIES or not STRATEGIES[run.strategy].model
        return network and run.status == "done" and run.queue == queue and _train_seconds(run) > 0

    def is_similar(run: Run) -> bool:
        return _speed_settings(run.request.train) == _speed_settings(settings)

    # Lazily: a history may have thousands of runs, and the first few are enough.
    similar = filter(is_usable, filter(is_similar, history))
    return [*islice(similar, MAX_CALIBRATION_RUNS)] or [
        *islice(filter(is_usable, history), MAX_CALIBRATION_RUNS)
    ]


def _speed_settings(settings: TrainSettings) -> tuple[int, bool, bool]:
    """Return the settings that change the speed of an operation; TF32 does on a GPU alone."""
    on_gpu = queue_for_device(settings.device) == "cuda"
    return settings.batch_size, settings.amp, settings.tf32 and on_gpu


def _starts_by_word2vec(run: Run) -> bool:
    return isinstance(run.request, PretrainRequest) and run.request.start == "word2vec"


def _predicted_seconds(run: Run) -> float:
    """Return what `training_seconds` gives for a finished run, rebuilt from its stored result."""
    assert run.result is not None
    settings = run.request.train
    stages = [
        PlannedStage(
            stage.name,
            stage.title,
            stage.parameters,
            0.0,
            stage.frozen,
            _stage_flops(stage),
            trained_parameters=stage.trained,
            from_epoch=stage.from_epoch,
        )
        for stage in run.result.stages
    ]
    prefix_seconds, training = training_seconds(
        stages, run.result.train_rows, settings, run.result.epochs_run
    )
    can_batch = isinstance(run.request, FinetuneRequest) and run.request.can_batch_heads
    training *= _batching_factor(stages, run.queue, can_batch)
    return sum(prefix_seconds.values()) + training


def _stage_flops(stage: StageResult) -> int:
    """Return operations per row; early results do not state them.

    A dense layer does two per weight, an embedding lookup none.
    """
    if stage.flops is not None:
        return stage.flops
    # Results of early versions have none. A dense layer does two per weight, a look-up none.
    return 0 if stage.name == "embedding" else 2 * stage.parameters


def _batching_factor(stages: Sequence[PlannedStage], queue: str, can_batch_heads: bool) -> float:
    """Return a run's training time as a share of what it takes alone.

    The conditions are those of `core.training.batched_heads.should_batch_heads`.
    """
    head = stages[-1]
    head_alone = not any(stage.trained_parameters for stage in stages[:-1])
    # Two operations per weight and none per bias: one linear head has one bias, and an ensemble of
    # heads, which is not batched, has one per member.
    single_head = 2 * (head.parameters - 1) == head.flops
    batched = can_batch_heads and queue == "cpu" and single_head and head_alone
    return BATCHED_HEADS_SHARE if batched else 1.0


def _train_seconds(run: Run) -> float:
    """Return the seconds for which a run computed its prefix and trained.

    Interruptions are included. 0 if it did neither.
    """
    if not run.result or not run.steps or not run.result.epochs_run:
        return 0.0
    seconds = run.result.seconds
    return sum(seconds.get(part, 0.0) for part in ("cache", "earlier", "train"))


def _start_seconds(run: Run) -> float:
    assert run.result is not None
    return max(0.0, run.result.total_seconds - _train_seconds(run))


def _explanation(queue: str, runs: int, settings: TrainSettings) -> str:
    device = "GPU" if queue == "cuda" else "CPU"
    if runs:
        text = (
            f"From the work to do and {runs} finished run{'s' if runs > 1 else ''} on this"
            f" {device}."
        )
    else:
        text = (
            f"From the work to do and the usual speed of a {device}: no run has finished on this"
            " one yet."
        )
    if settings.early_stopping:
        text += " Upper bound: early stopping may end it sooner."
    return text
