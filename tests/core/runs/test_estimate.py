"""Estimates of training time, from operations and from earlier runs."""

import dataclasses
import math
from typing import Any

import pytest
import torch

from core.freezing.plan import Plan, make_plan
from core.jobs.requests import FinetuneRequest, PretrainRequest, TrainSettings
from core.jobs.run_result import RunResult, StageResult
from core.jobs.store import Run
from core.models.card import BackboneCard, HeadSettings, StageCard
from core.models.measure_stats import measure_stats
from core.models.model_stats import ModelStats
from core.runs.estimate import (
    BATCHED_HEADS_SHARE,
    SPEEDS,
    WORD2VEC_SECONDS_PER_ROW,
    calibration_runs,
    estimate_seconds,
    pretraining_estimate,
    pretraining_plan,
    training_seconds,
    word2vec_seconds,
)
from core.training.masked_features import Predictor, unigram_sampler
from core.training.replaced_features import Detector

SETTINGS = TrainSettings(device="cpu", batch_size=100, epochs=4, early_stopping=0)
CARD = BackboneCard(
    id="b-1",
    name="tiny",
    architecture="dnn",
    settings={},
    stages=(
        StageCard("embedding", "Embedding", 160_000, 0, 637),
        StageCard("block1", "Block 1", 163_000, 326_000, 256),
        StageCard("block2", "Block 2", 65_000, 130_000, 256),
    ),
    representation=256,
    head=HeadSettings(),
    trained_on={},
    metrics={},
    preprocessing_hash="",
    weights_sha256="",
    licence="",
    created="",
)


def plan_at(depth: int) -> Plan:
    return make_plan(CARD, "depth", depth, HeadSettings())


def seconds(
    depth: int = 1, rows: int = 10_000, history: tuple[Run, ...] = (), **changes: object
) -> float:
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return estimate_seconds(plan_at(depth), rows, settings, history).seconds


def finished(
    depth: int,
    train: float,
    total: float,
    batch_size: int = 100,
    queue: str = "cpu",
    amp: bool = False,
) -> Run:
    stages = tuple(
        StageResult(
            one.name,
            one.title,
            one.parameters,
            None,
            one.frozen,
            0 if one.frozen else one.parameters,
            0,
            "",
        )
        for one in plan_at(depth).stages
    )
    settings = dataclasses.replace(SETTINGS, batch_size=batch_size, amp=amp)
    values: dict[str, Any] = {field.name: None for field in dataclasses.fields(Run)}
    values |= {
        "id": "r-1",
        "status": "done",
        "queue": queue,
        "request": FinetuneRequest("d", "b", train=settings),
    }
    values["steps"] = 4 * math.ceil(9_950 / batch_size)
    seconds = {"train": train, "total": total}
    values["result"] = RunResult(stages=stages, epochs_run=4, train_rows=9_950, seconds=seconds)
    return Run(**values)


def starting_by_word2vec(run: Run, prepare: float) -> Run:
    """The run as a pretraining run that started by Word2Vec, which took `prepare` seconds."""
    assert run.result is not None
    seconds = {**run.result.seconds, "prepare": prepare}
    return dataclasses.replace(
        run,
        request=PretrainRequest("d", "dnn", "b", run.request.train, start="word2vec"),
        result=dataclasses.replace(run.result, seconds=seconds),
    )


def test_more_rows_more_epochs_and_smaller_batches_take_longer() -> None:
    assert seconds(rows=20_000) > seconds(rows=10_000)
    assert seconds(epochs=8) > seconds(epochs=4)
    assert seconds(batch_size=10) > seconds(batch_size=100)


def test_a_deeper_freeze_never_takes_longer() -> None:
    times = [seconds(depth) for depth in range(4)]
    assert times == sorted(times, reverse=True)
    assert times[0] > times[-1]


def test_the_optimiser_pays_for_an_embedding_table_that_no_matrix_product_pays_for() -> None:
    steps = 4 * 100
    assert seconds(0) - seconds(1) == pytest.approx(
        steps * 160_000 * SPEEDS["cpu"].seconds_per_scalar
    )


def test_zero_shot_costs_one_forward_pass() -> None:
    plan = make_plan(CARD, "zero-shot", 0, HeadSettings())
    assert estimate_seconds(plan, 1000, SETTINGS, ()).seconds < seconds(3, rows=1000)


def test_a_synthetic_history_is_reproduced() -> None:
    plan = plan_at(1)
    prefixes, training = training_seconds(plan.stages, 9_950, SETTINGS, 4)
    model = sum(prefixes.values()) + training
    history = tuple(finished(depth=1, train=3 * model, total=3 * model + 7) for _ in range(3))
    estimate = estimate_seconds(plan, 9_950, SETTINGS, history)
    assert estimate.seconds == pytest.approx(3 * model + 7, rel=0.01)
    assert "3 finished runs" in estimate.explanation


def test_the_few_runs_that_calibrate_say_what_all_say() -> None:
    of_batch = {100: 5, 200: 12, 400: 30}
    history = [
        dataclasses.replace(finished(1, train, train + 1, batch_size=size), id=f"r-{size}-{number}")
        for number in range(30)
        for size, most in of_batch.items()
        if number < most
        for train in [float(3 + number)]
    ]
    history[7] = starting_by_word2vec(history[7], 2.0)
    for size in (100, 200, 300):
        settings = dataclasses.replace(SETTINGS, batch_size=size)
        few = calibration_runs(history, settings)
        assert len(few) < 20 and estimate_seconds(
            plan_at(1), 999, settings, few
        ) == estimate_seconds(plan_at(1), 999, settings, history)
        assert word2vec_seconds(999, few) == word2vec_seconds(999, history)


def test_the_heads_of_an_ensemble_train_in_turn() -> None:
    ensemble = make_plan(dataclasses.replace(CARD, members=8), "depth", 3, HeadSettings())
    alone = estimate_seconds(ensemble, 9_950, SETTINGS, ())
    assert estimate_seconds(ensemble, 9_950, SETTINGS, (), can_batch_heads=True) == alone


def test_heads_that_train_together_take_a_share_and_calibrate_as_heads_alone() -> None:
    rates, head = (1e-3, 1e-4), plan_at(3)
    alone = estimate_seconds(head, 9_950, SETTINGS, ())
    shared = estimate_seconds(head, 9_950, SETTINGS, (), can_batch_heads=True)
    trained = training_seconds(head.stages, 9_950, SETTINGS, SETTINGS.epochs)[1]
    assert alone.seconds - shared.seconds == pytest.approx((1 - BATCHED_HEADS_SHARE) * trained)
    deeper = plan_at(2)
    assert estimate_seconds(deeper, 9_950, SETTINGS, (), True) == estimate_seconds(
        deeper, 9_950, SETTINGS, ()
    )

    run = finished(3, train=3.0, total=5.0)
    assert run.result is not None
    pairs = zip(run.result.stages, head.stages, strict=True)
    stages = tuple(dataclasses.replace(stage, flops=planned.flops) for stage, planned in pairs)
    run = dataclasses.replace(run, result=dataclasses.replace(run.result, stages=stages))
    asked = FinetuneRequest("d", "b", "linear-probe", train=SETTINGS, rates=rates)
    done = dataclasses.replace(run, request=asked)
    in_turn = dataclasses.replace(run, request=dataclasses.replace(asked, head=HeadSettings((8,))))
    assert estimate_seconds(head, 9_950, SETTINGS, (in_turn,)).seconds == pytest.approx(
        5.0, rel=1e-2
    )
    assert estimate_seconds(
        head, 9_950, SETTINGS, (done,), can_batch_heads=True
    ).seconds == pytest.approx(5.0, rel=1e-2)
    assert estimate_seconds(head, 9_950, SETTINGS, (run,)).seconds == pytest.approx(5.0, rel=1e-2)
    assert estimate_seconds(head, 9_950, SETTINGS, (done,)).seconds > 5.0


def test_stages_that_unfreeze_later_cost_from_then_on() -> None:
    plan = make_plan(CARD, "lp-ft", 0, HeadSettings(), {"probe_epochs": 3})
    prefixes, training = training_seconds(plan.stages, 1_000, SETTINGS, 4)
    speed = SPEEDS["cpu"]
    assert prefixes == {3: pytest.approx(1_000 * 456_000 / speed.flops_per_second)}
    probe = 1_000 * 3 * 512 / speed.flops_per_second + 10 * (
        speed.seconds_per_step + 257 * speed.seconds_per_scalar
    )
    whole = 1_000 * 3 * 456_512 / speed.flops_per_second + 10 * (
        speed.seconds_per_step + 388_257 * speed.seconds_per_scalar
    )
    assert training == pytest.approx(3 * probe + whole)


def test_only_finished_runs_of_the_same_device_count() -> None:
    others = (
        finished(1, train=900, total=999, queue="cuda"),
        dataclasses.replace(finished(1, train=900, total=999), status="failed"),
        dataclasses.replace(finished(1, train=900, total=999), result=None),
    )
    estimate = estimate_seconds(plan_at(1), 10_000, SETTINGS, others)
    assert estimate.seconds == seconds()
    assert "no run has finished" in estimate.explanation


@pytest.mark.parametrize(
    "other", [{"batch_size": 10}, {"amp": True}], ids=["batch size", "precision"]
)
def test_runs_of_the_same_kind_go_before_others(other: dict[str, Any]) -> None:
    history = (finished(1, train=900, total=901, **other), finished(1, train=1, total=1.5))
    assert seconds(history=history) < 10


def test_early_stopping_makes_it_an_upper_bound_and_the_basis_says_so() -> None:
    estimate = estimate_seconds(
        plan_at(1), 100, dataclasses.replace(SETTINGS, early_stopping=3), ()
    )
    assert "may end it sooner" in estimate.explanation
    assert "sooner" not in estimate_seconds(plan_at(1), 100, SETTINGS, ()).explanation


def cost_of(architecture: str, settings: dict[str, Any]) -> ModelStats:
    return measure_stats(architecture, settings, [5] * 39)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [("dnn", {"widths": [8]}), ("tabm", {"widths": [8], "members": 3})],
)
def test_the_heads_of_rfd_and_mfp_are_as_large_as_those_that_train(
    architecture: str, settings: dict[str, Any]
) -> None:
    cost = cost_of(architecture, settings)
    inputs = cost.representation * cost.members
    ids = torch.zeros((2, 39), dtype=torch.int64)
    heads = {
        "rfd": Detector(inputs, 39),
        "mfp": Predictor(inputs, 39, unigram_sampler(ids, [5] * 39)),
    }
    for objective, head in heads.items():
        plan = pretraining_plan(cost, PretrainRequest("d", architecture, "n", objective=objective))
        assert plan.stages[-1].parameters == sum(
            parameter.numel() for parameter in head.parameters()
        )


def test_pretraining_costs_what_its_objective_computes() -> None:
    cost = cost_of("dnn", {"widths": [8]})

    def estimated(objective: str, start: str = "random") -> float:
        request = PretrainRequest("d", "dnn", "n", SETTINGS, {"widths": [8]}, objective, start)
        estimate = pretraining_estimate(cost, request, 1000, ())
        return estimate.seconds if estimate else 0.0

    assert estimated("none") == 0
    assert estimated("rfd") > estimated("supervised") > 0
    assert estimated("supervised", "word2vec") - estimated("supervised") == pytest.approx(
        1000 * WORD2VEC_SECONDS_PER_ROW
    )


def test_word2vec_is_as_fast_as_it_was() -> None:
    run = starting_by_word2vec(finished(depth=0, train=1, total=2), 995.0)
    assert word2vec_seconds(20, (run, finished(depth=0, train=1, total=2))) == pytest.approx(2.0)


def test_operations_kept_with_a_result_go_before_a_guess() -> None:
    run = finished(depth=0, train=900, total=901)
    assert run.result is not None
    guessed = seconds(0, history=(run,))
    stages = tuple(dataclasses.replace(stage, flops=100_000_000) for stage in run.result.stages)
    run = dataclasses.replace(run, result=dataclasses.replace(run.result, stages=stages))
    assert seconds(0, history=(run,)) < guessed / 10
