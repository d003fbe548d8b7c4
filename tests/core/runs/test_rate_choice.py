"""Each arm's learning rate: what a sweep runs to choose it, and which one it chooses."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from sklearn.metrics import log_loss

from core.data.datasets import Dataset
from core.errors import BadInput
from core.evaluation.metrics import Metrics
from core.jobs.requests import TrainSettings
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.runs import sweep as sweeps
from core.runs.arm_verdicts import choices_of_arms, judge_arms
from core.runs.dispatch import execute
from core.runs.launch import CLUSTER_QUEUE
from core.runs.rate_choice import choose_rate, rate_results
from core.runs.sweep import Arm, SweepSpec, expand_requests, extend_sweep, submit_sweep
from core.runs.sweep_result import rates_table, summarise_arms, sweep_table, waiting_for_rate
from core.runs.worker import run_job
from core.workspace import Workspace
from tests.core.training.helpers import pretrained

RATES = (1e-3, 3e-3, 1e-2)
ARMS = (Arm("full"), Arm("linear-probe"), Arm("zero-shot"))
TRAIN = TrainSettings(epochs=1, batch_size=256, early_stopping=0, device="cpu")
Tiny = tuple[Workspace, Dataset]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker of its own: the tests carry runs out."""
    monkeypatch.setattr(sweeps, "ensure_worker", lambda workspace, queue: None)


def spec_of(dataset: Dataset, backbone: str, **changes: object) -> SweepSpec:
    spec = SweepSpec(dataset.id, backbone, ARMS, (0, 1), RATES, train=TRAIN, choose_rate=True)
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


def test_every_arm_gets_every_rate_and_seed_and_the_head_keeps_its_ratio(tiny: Tiny) -> None:
    train = dataclasses.replace(TRAIN, head_learning_rate=1e-2)
    requests = expand_requests(
        spec_of(tiny[1], "simulated-dnn", train=train, target_sizes=(200, 0))
    )
    tried = [
        (one.strategy, one.train.seed, one.train.learning_rate, one.target_rows)
        for one in requests
        if one.strategy != "zero-shot"
    ]
    wanted = itertools.product(("full", "linear-probe"), (0, 1), RATES, (200, 0))
    assert sorted(tried) == sorted(wanted)
    assert len(requests) == len(tried) + 1, "zero-shot has no rate and no seed"
    for one in requests:
        ratio = (one.train.head_learning_rate or 0) / one.train.learning_rate
        assert ratio == pytest.approx(10)
    assert {one.rates for one in requests if one.can_batch_heads} == {RATES}


def test_a_control_without_a_rate_runs_once_a_seed_and_size(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategies = sweeps.STRATEGIES
    fixed = dataclasses.replace(strategies["scratch"], has_learning_rate=False)
    monkeypatch.setitem(strategies, "scratch", fixed)
    for chosen in (True, False):
        requests = expand_requests(
            spec_of(
                tiny[1],
                "simulated-dnn",
                arms=(Arm("full"), Arm("scratch")),
                target_sizes=(200, 0),
                choose_rate=chosen,
            )
        )
        found = [(one.train.seed, one.target_rows) for one in requests if one.strategy == "scratch"]
        assert sorted(found) == [(0, 0), (0, 200), (1, 0), (1, 200)]


@pytest.mark.parametrize("rates", [(), (1e-3,), (1e-3, 1e-3)])
def test_there_must_be_rates_to_choose_from(tiny: Tiny, rates: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match="name at least two, each once"):
        spec_of(tiny[1], "simulated-dnn", learning_rates=rates)


def test_sweeps_of_earlier_versions_show_every_rate(tiny: Tiny) -> None:
    stored = dataclasses.asdict(spec_of(tiny[1], "simulated-dnn"))
    del stored["choose_rate"]
    assert not sweeps.spec_from_json(json.dumps(stored)).choose_rate


def made_runs(tiny: Tiny, losses: dict[tuple[float, int], float | str]) -> list[Run]:
    """Runs of one arm by rate and seed, with a validation loss or else a status."""
    workspace, dataset = tiny
    store, runs = RunStore(workspace), []
    spec = spec_of(dataset, "simulated-dnn", arms=(Arm("full"),))
    for request in expand_requests(spec):
        outcome = losses.get((request.train.learning_rate, request.train.seed))
        if outcome is None:
            continue
        run = store.submit(request, "made", "cpu")
        if isinstance(outcome, str):
            run = dataclasses.replace(run, status=outcome)
        else:
            metrics = {"target_validation": Metrics.from_stored({"log_loss": outcome})}
            run = dataclasses.replace(run, status="done", result=RunResult(metrics=metrics))
        runs.append(run)
    return runs


@pytest.mark.parametrize(
    ("losses", "rate"),
    [
        # By the mean over seeds, not by the luckiest one.
        ({(1e-3, 0): 0.50, (1e-3, 1): 0.50, (3e-3, 0): 0.46, (3e-3, 1): 0.55}, 1e-3),
        # The second seed has not ended at every rate, so that the first decides.
        ({(1e-3, 0): 0.50, (1e-3, 1): 0.10, (3e-3, 0): 0.46, (3e-3, 1): "running"}, 3e-3),
        # No seed has ended at every rate.
        ({(1e-3, 0): 0.50, (3e-3, 0): "queued"}, None),
        # A rate that lost a run is not judged by the others.
        ({(1e-3, 0): 0.50, (1e-3, 1): 0.50, (3e-3, 0): 0.46, (3e-3, 1): "failed"}, 1e-3),
        # A cancelled run is not waited for.
        ({(1e-3, 0): "cancelled", (3e-3, 0): 0.6}, 3e-3),
        ({(1e-3, 0): float("nan"), (3e-3, 0): 0.6}, 3e-3),
        ({(1e-3, 0): "failed"}, None),
    ],
)
def test_the_rate_is_that_of_the_lowest_mean_validation_loss(
    tiny: Tiny, losses: dict[tuple[float, int], float | str], rate: float | None
) -> None:
    runs = made_runs(tiny, losses)
    assert choose_rate(runs) == rate
    assert [one.learning_rate for one in rate_results(runs, rate) if one.chosen] == (
        [rate] if rate else []
    )


def test_a_sweep_reports_every_arm_at_its_chosen_rate(tiny: Tiny) -> None:
    workspace, dataset = tiny
    spec = spec_of(dataset, pretrained(workspace, "dnn").id, learning_rates=RATES[::2])
    sweep = submit_sweep(workspace, spec, "chosen", run_here=True)
    store = RunStore(workspace)

    def work(number: int) -> list[Run]:
        for _ in range(number):
            run = store.claim(CLUSTER_QUEUE, 1)
            assert run is not None
            run_job(workspace, store, run, execute)
        return store.list_group(sweep.id)

    # Three runs are the first seed at the first rate, zero-shot among them.
    runs = work(3)
    results = summarise_arms(sweep, runs)
    assert [one.title for one in results] == ["zero-shot"]
    assert waiting_for_rate(sweep, runs, results) == ["full fine-tuning", "linear probe"]
    runs = work(6)
    assert not any(run.active for run in runs)
    results = summarise_arms(sweep, runs)
    assert [one.title for one in results] == [arm.title for arm in ARMS]
    assert waiting_for_rate(sweep, runs, results) == []

    validated: dict[str, np.ndarray] = {}
    labels = np.zeros(0)
    for result in results[:2]:
        losses = {}
        for rate in spec.learning_rates:
            tried = [
                run
                for run in runs
                if run.strategy == result.strategy and run.request.train.learning_rate == rate
            ]
            scores = []
            for run in tried:
                with np.load(workspace.runs / run.id / "predictions.npz") as arrays:
                    labels = arrays["target_validation_label"].astype(float)
                    scores.append(arrays["target_validation_score"].astype(float))
            losses[rate] = float(np.mean([log_loss(labels, one) for one in scores]))
            if rate == result.learning_rate:
                assert {run.id for run in result.runs} == {run.id for run in tried}
                validated[result.title] = np.mean(
                    [-np.log(np.where(labels == 1, one, 1 - one)) for one in scores], axis=0
                )
        assert result.learning_rate == min(losses, key=losses.__getitem__)
        assert [(one.learning_rate, one.seeds) for one in result.rates] == [(1e-2, 2), (1e-3, 2)]
        for one in result.rates:
            assert one.validation_loss == pytest.approx(losses[one.learning_rate], abs=1e-6)
    rows = sweep_table(results)
    assert [row["rates_tried"] for row in rows] == [2, 2, None]
    assert rows[2]["learning_rate"] is None
    assert sum(row["chosen"] for row in rates_table(results)) == 2

    (choice,) = choices_of_arms(workspace, results[:2])
    lead, other = sorted(validated, key=lambda title: float(validated[title].mean()))
    difference = validated[other] - validated[lead]
    assert (choice.lead, choice.runner_up, choice.rows) == (lead, other, len(labels))
    assert choice.difference == pytest.approx(difference.mean(), abs=1e-6)
    error = difference.std(ddof=1) / len(labels) ** 0.5
    assert choice.standard_error == pytest.approx(error, abs=1e-6)
    verdicts, sentences = judge_arms(workspace, results, "full fine-tuning")
    assert {(one.a, one.b) for one in verdicts} >= {("linear probe", "full fine-tuning")}
    assert any("within one standard error of the choice" in one for one in sentences)

    longer = extend_sweep(workspace, sweep, 1)
    new = store.list_group(sweep.id)[len(runs) :]
    assert len(new) == 2 * 2 and {run.seed for run in new} == {2}
    # While the new seed waits, the rates stay chosen by the seeds that have ended.
    again = summarise_arms(longer, store.list_group(sweep.id))
    assert [one.learning_rate for one in again] == [one.learning_rate for one in results]
