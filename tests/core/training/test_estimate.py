import dataclasses
import math
from typing import Any

import pytest

from core.freezing.plan import Plan, make_plan
from core.models.card import BackboneCard, HeadSettings, StageCard
from core.runs.store import Run
from core.training.estimate import SPEEDS, estimate_seconds, training_seconds
from core.training.settings import TrainSettings

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


def seconds(depth: int = 1, rows: int = 10_000, history: tuple[Run, ...] = (), **changes: object) -> float:
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return estimate_seconds(plan_at(depth), rows, settings, history).seconds


def finished(depth: int, train: float, total: float, batch_size: int = 100, lane: str = "cpu") -> Run:
    stages = [
        {"name": stage.name, "title": stage.title, "parameters": stage.parameters, "frozen": stage.frozen}
        for stage in plan_at(depth).stages
    ]
    settings = dataclasses.replace(SETTINGS, batch_size=batch_size)
    values: dict[str, Any] = {field.name: None for field in dataclasses.fields(Run)}
    values |= {"id": "r-1", "status": "done", "lane": lane, "request": {"train": dataclasses.asdict(settings)}}
    values["steps"] = 4 * math.ceil(9_950 / batch_size)
    seconds = {"train": train, "total": total}
    values["result"] = {"stages": stages, "epochs_run": 4, "train_rows": 9_950, "seconds": seconds}
    return Run(**values)


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
    assert seconds(0) - seconds(1) == pytest.approx(steps * 160_000 * SPEEDS["cpu"].scalar)


def test_zero_shot_costs_one_forward_pass() -> None:
    plan = make_plan(CARD, "zero-shot", 0, HeadSettings())
    assert estimate_seconds(plan, 1000, SETTINGS, ()).seconds < seconds(3, rows=1000)


def test_a_synthetic_history_is_reproduced() -> None:
    plan = plan_at(1)
    model = training_seconds(plan.stages, 1, 9_950, SETTINGS, 4)
    history = tuple(finished(depth=1, train=3 * model, total=3 * model + 7) for _ in range(3))
    estimate = estimate_seconds(plan, 9_950, SETTINGS, history)
    assert estimate.seconds == pytest.approx(3 * model + 7, rel=0.01)
    assert "3 finished runs" in estimate.basis


def test_only_finished_runs_of_the_same_device_count() -> None:
    others = (
        finished(1, train=900, total=999, lane="cuda"),
        dataclasses.replace(finished(1, train=900, total=999), status="failed"),
        dataclasses.replace(finished(1, train=900, total=999), result=None),
    )
    estimate = estimate_seconds(plan_at(1), 10_000, SETTINGS, others)
    assert estimate.seconds == seconds()
    assert "no run has finished" in estimate.basis


def test_runs_of_the_same_batch_size_go_before_others() -> None:
    history = (finished(1, train=900, total=901, batch_size=10), finished(1, train=1, total=1.5))
    assert seconds(history=history) < 10


def test_early_stopping_makes_it_an_upper_bound_and_the_basis_says_so() -> None:
    estimate = estimate_seconds(plan_at(1), 100, dataclasses.replace(SETTINGS, early_stopping=3), ())
    assert "may end it sooner" in estimate.basis
    assert "sooner" not in estimate_seconds(plan_at(1), 100, SETTINGS, ()).basis
