"""Successive halving compared with the curves of the whole sweep, and survivors with runs without
it."""

import dataclasses
import json

import numpy as np
import pytest

from core.data.datasets import Dataset
from core.errors import BadInput
from core.jobs.reporter import Reporter
from core.jobs.requests import FinetuneRequest, TrainSettings, request_from_json, request_to_json
from core.jobs.run_result import RunResult
from core.jobs.store import PAUSED_PHASE, Run, RunStore
from core.report.arms import judge_selected_arms
from core.runs import sweep as sweeps
from core.runs.arm_verdicts import judge_arms
from core.runs.dispatch import execute
from core.runs.halving import Rungs, plan_rungs
from core.runs.sweep import Arm, Sweep, SweepSpec, arm_of_run, resume_sweep, submit_sweep
from core.runs.sweep_result import summarise_arms, sweep_table
from core.runs.verify import verify
from core.runs.worker import run_one_job, run_worker
from core.workspace import Workspace
from tests.core.training.helpers import pretrained

EPOCHS, RUNG = 6, 3
TRAIN = TrainSettings(
    epochs=EPOCHS, batch_size=256, learning_rate=3e-3, early_stopping=0, plateau=0, device="cpu"
)
ARMS = (Arm("depth", 0), Arm("depth", 2), Arm("depth", 3), Arm("scratch"), Arm("zero-shot"))


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker of its own: the tests carry runs out."""
    monkeypatch.setattr(sweeps, "ensure_worker", lambda workspace, queue: None)


@pytest.mark.parametrize(
    ("epochs", "factor", "arms", "rungs"),
    [
        (20, 3, 9, ((2, 3), (6, 1))),
        (20, 2, 5, ((2, 3), (5, 2), (10, 1))),
        (16, 2, 8, ((2, 4), (4, 2), (8, 1))),
        (3, 2, 8, ((1, 4),)),
        (1, 2, 8, ()),
        (20, 3, 1, ()),
    ],
)
def test_rungs(epochs: int, factor: int, arms: int, rungs: Rungs) -> None:
    assert plan_rungs(epochs, factor, arms) == rungs


def submitted(tiny: tuple[Workspace, Dataset], name: str, halving: int) -> Sweep:
    workspace, dataset = tiny
    card = next(iter(workspace.backbones.glob("b-*")), None)
    backbone = card.name if card else pretrained(workspace, "dnn").id
    return submit_sweep(
        workspace, SweepSpec(dataset.id, backbone, ARMS, (0, 1), train=TRAIN, halving=halving), name
    )


def by_arm(workspace: Workspace, sweep: Sweep) -> dict[tuple[str, int], Run]:
    return {
        (arm_of_run(run).title, run.seed): run for run in RunStore(workspace).list_group(sweep.id)
    }


def weights(workspace: Workspace, run: Run) -> bytes:
    return (workspace.runs / run.id / "model" / "model.safetensors").read_bytes()


def test_the_leading_arm_trains_on_as_if_alone_and_the_others_end_at_the_rung(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, _ = tiny
    whole, halved = submitted(tiny, "whole", 0), submitted(tiny, "halved", 3)
    run_worker(workspace, "cpu", execute, idle_timeout=0.3)
    store, expected, runs = RunStore(workspace), by_arm(workspace, whole), by_arm(workspace, halved)
    assert all(run.status == "done" for run in runs.values())

    # Three arms and a factor of three: one is left after epoch 6 // 3.
    rung = EPOCHS // 3
    reached: dict[str, list[float]] = {}
    for (title, _), run in expected.items():
        if title.startswith(("freeze", "full", "linear")):
            losses = store.points(run.id)["validation_loss"][1]
            reached.setdefault(title, []).append(float(min(losses[: rung + 1])))
    leading = min(reached, key=lambda title: np.mean(reached[title]))
    assert len(reached) == 3
    paused = 0
    for (title, seed), run in runs.items():
        assert run.result is not None
        same = expected[title, seed]
        assert same.result is not None
        # The last point of the seconds was told before the run went back to the queue, or at its
        # end.
        seconds = run.result.seconds
        trained = seconds["earlier"] + seconds.get("train", 0.0)
        curve = store.points(run.id).get("seconds", ((), (0.0,)))[1]
        assert seconds["total"] >= trained >= max(curve) - 0.01
        paused += seconds["earlier"] > 0
        if title in reached and title != leading:
            assert (run.result.halted, run.result.epochs_run) == (rung, rung)
            assert run.result.best_epoch <= rung
            assert max(store.points(run.id)["train_loss"][0]) == run.steps // EPOCHS * rung
        else:
            assert run.result.halted == 0
            assert run.result.metrics == same.result.metrics
            assert weights(workspace, run) == weights(workspace, same)

    assert paused == len(reached) * 2 - 1, "all but the last to come to the rung waited there"

    results = summarise_arms(halved, [*runs.values()])
    assert (
        judge_selected_arms(workspace, results, leading)[1][0]
        == judge_arms(workspace, results, leading)[1][0]
    )
    ended = judge_arms(workspace, results, "from scratch")[1][0]
    assert all(f"{title} after epoch {rung}" in ended for title in reached if title != leading)
    assert leading not in ended
    assert [row["halted_epoch"] for row in sweep_table(results)].count(rung) == 2
    assert "Successive halving" not in " ".join(
        judge_arms(workspace, summarise_arms(whole, [*expected.values()]), "x")[1]
    )
    stopped = next(run for (title, _), run in runs.items() if title in reached and title != leading)
    assert verify(workspace, stopped).same


def test_an_interrupted_sweep_decides_like_an_uninterrupted_one(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, _ = tiny
    unbroken, broken = submitted(tiny, "unbroken", 3), submitted(tiny, "broken", 3)
    store = RunStore(workspace)
    carried_until_done(workspace, unbroken)
    calls: list[str] = []

    def dying(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        calls.append(run.id)
        result = execute(workspace, run, reporter)
        if len(calls) % 3 == 0:
            # What a killed process does: no word to the store.
            raise KeyboardInterrupt
        return result

    for _ in range(40):
        try:
            run_worker(workspace, "cpu", dying, idle_timeout=0.3)
            break
        except KeyboardInterrupt:
            store.interrupt_stale("cpu")
            resume_sweep(workspace, broken)
    ends = [
        {key: run.halted if run.result else None for key, run in by_arm(workspace, one).items()}
        for one in (unbroken, broken)
    ]
    assert ends[0] == ends[1] and EPOCHS // 3 in ends[0].values()
    for key, run in by_arm(workspace, unbroken).items():
        assert weights(workspace, run) == weights(workspace, by_arm(workspace, broken)[key])


def carried_until_done(workspace: Workspace, sweep: Sweep) -> None:
    """Takes the sweep's waiting runs as several workers at a time would: in any order, again and
    again."""
    store = RunStore(workspace)
    while ids := [run.id for run in store.list_group(sweep.id) if run.status == "queued"]:
        for run_id in reversed(ids):
            run_one_job(str(workspace.root), run_id, 1, execute)


def test_a_run_cancelled_while_it_returns_to_the_queue_is_cancelled(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, _ = tiny
    store = RunStore(workspace)
    sweep = submitted(tiny, "mine", 2)
    first = store.claim("cpu", 1)
    assert first is not None
    store.set_progress(first.id, 2, EPOCHS, 6, 18)
    store.pause(first.id)
    assert (store.get(first.id).status, store.get(first.id).phase) == ("queued", PAUSED_PHASE)
    waiting = store.waiting_ids("cpu")[1]
    assert waiting[-1] == first.id and len(waiting) == len(store.list_group(sweep.id))
    again = store.claim_run(first.id, 1)
    assert again is not None
    store.request_cancel(first.id)
    store.pause(first.id)
    assert store.get(first.id).status == "cancelled"


def test_an_invalid_factor_is_refused(tiny: tuple[Workspace, Dataset]) -> None:
    with pytest.raises(BadInput, match="factor is 5"):
        submitted(tiny, "mine", 5)


def test_rungs_survive_json_and_older_requests_have_none() -> None:
    request = FinetuneRequest("d", "b", rungs=((2, 3), (6, 1)))
    values = json.loads(json.dumps(request_to_json(request)))
    assert request_from_json(values) == request
    del values["rungs"]
    assert request_from_json(values) == dataclasses.replace(request, rungs=())
