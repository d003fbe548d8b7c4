"""Whole sweeps give the same numbers one after another, in parallel and over a cluster."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from core.data.datasets import Dataset, select_training_rows
from core.errors import BadInput
from core.evaluation.paired_comparison import compare_auc
from core.jobs.predictions import read_predictions
from core.jobs.requests import TrainSettings
from core.jobs.store import RunStore
from core.runs import sweep as sweeps
from core.runs.arm_verdicts import forgetting_sentences, judge_arms, source_verdicts
from core.runs.dispatch import execute
from core.runs.launch import CLUSTER_QUEUE, worker_lock
from core.runs.sweep import Arm, Sweep, SweepSpec, submit_sweep
from core.runs.sweep_result import default_reference, summarise_arms, sweep_table
from core.runs.worker import run_sweep_here, run_worker
from core.workspace import Workspace
from tests.core.training.helpers import pretrained

TRAIN = TrainSettings(epochs=2, batch_size=256, early_stopping=0, device="cpu")
ARMS = (Arm("full"), Arm("depth", 1), Arm("linear-probe"), Arm("zero-shot"))


@pytest.fixture
def spec(tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch) -> SweepSpec:
    monkeypatch.setattr(sweeps, "ensure_worker", lambda workspace, queue: None)
    workspace, dataset = tiny
    return SweepSpec(dataset.id, pretrained(workspace, "dnn").id, ARMS, (0, 1), train=TRAIN)


def scores(workspace: Workspace, sweep: Sweep) -> dict[tuple[str, int], np.ndarray]:
    found = {}
    for run in RunStore(workspace).list_group(sweep.id):
        assert run.status == "done", run.message
        with np.load(workspace.runs / run.id / "predictions.npz") as arrays:
            found[sweeps.arm_of_run(run).title, run.seed] = arrays["target_test_score"]
    return found


def test_one_by_one_together_and_over_a_cluster_are_the_same(
    tiny: tuple[Workspace, Dataset], spec: SweepSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    workspace, _ = tiny
    one_by_one = submit_sweep(workspace, spec, "one by one")
    run_worker(workspace, "cpu", execute, idle_timeout=0.1)
    expected = scores(workspace, one_by_one)
    assert len(expected) == 7

    monkeypatch.setenv("THAW_ARMS", "2")
    together = submit_sweep(workspace, spec, "together")
    run_worker(workspace, "cpu", execute, idle_timeout=0.1)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        spread = submit_sweep(workspace, spec, "spread", run_here=True)
        assert {run.queue for run in RunStore(workspace).list_group(spread.id)} == {CLUSTER_QUEUE}
        run_sweep_here(workspace, spread, 2, cluster.scheduler_address)
    for sweep in (together, spread):
        found = scores(workspace, sweep)
        assert found.keys() == expected.keys()
        for key, values in found.items():
            np.testing.assert_array_equal(values, expected[key])

    check_results(workspace, one_by_one, expected)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "ray://127.0.0.1:9"])
def test_a_cluster_that_cannot_be_reached_is_named_and_the_sweep_waits(
    address: str, tiny: tuple[Workspace, Dataset], spec: SweepSpec
) -> None:
    workspace, _ = tiny
    sweep = submit_sweep(workspace, spec, "waits", run_here=True)
    with pytest.raises(BadInput, match=f"{address}.*The sweep waits"):
        run_sweep_here(workspace, sweep, 2, address)
    assert {run.status for run in RunStore(workspace).list_group(sweep.id)} == {"queued"}


def check_results(
    workspace: Workspace, sweep: Sweep, found: dict[tuple[str, int], np.ndarray]
) -> None:
    runs = RunStore(workspace).list_group(sweep.id)
    with np.load(workspace.runs / runs[0].id / "predictions.npz") as arrays:
        labels = arrays["target_test_label"].astype(float)
    results = summarise_arms(sweep, runs)
    assert [result.title for result in results] == [arm.title for arm in ARMS]
    by_title = {result.title: result for result in results}
    full = by_title["full fine-tuning"]
    auc = [roc_auc_score(labels, found["full fine-tuning", seed]) for seed in (0, 1)]
    assert full.auc["target_test"].mean == pytest.approx(np.mean(auc), abs=1e-9)
    assert full.auc["target_test"].deviation == pytest.approx(np.std(auc, ddof=1), abs=1e-9)
    loss = [log_loss(labels, found["full fine-tuning", seed].astype(float)) for seed in (0, 1)]
    assert full.metrics["log_loss"]["target_test"].mean == pytest.approx(np.mean(loss), abs=1e-6)
    errors = [
        calibration_error(labels, found["full fine-tuning", seed].astype(float)) for seed in (0, 1)
    ]
    assert full.metrics["ece"]["target_test"].mean == pytest.approx(np.mean(errors), abs=1e-6)
    assert [by_title[arm.title].depth for arm in ARMS[:3]] == [0, 1, 3]
    assert full.peak_memory != full.peak_memory or full.peak_memory > 1e7

    assert default_reference(results) == "full fine-tuning"
    verdicts, words = judge_arms(workspace, results, "full fine-tuning")
    mine = next(one for one in verdicts if (one.a, one.b) == ("freeze depth 1", "full fine-tuning"))
    stacks = [
        np.stack([found[title, seed] for seed in (0, 1)]).astype(float)
        for title in (mine.a, mine.b)
    ]
    alone = compare_auc(labels, *stacks)
    assert mine.auc.delta == alone.delta
    assert mine.auc.test_standard_error == pytest.approx(alone.test_standard_error)
    assert words and all(text[0].isupper() for text in words)
    said = forgetting_sentences(workspace, results)
    assert said and all(text.startswith("On source test rows, ") for text in said)
    judged = source_verdicts(workspace, results)
    assert [one.a for one in judged] == [arm.title for arm in ARMS[:3]]
    for one in judged:
        arrays = [read_predictions(workspace, run.id) for run in by_title[one.a].runs]
        source = arrays[0]["source_test_label"].astype(float)
        after, before = (
            np.stack([each[f"source_test_{name}"] for each in arrays]).astype(float)
            for name in ("score", "before")
        )
        assert one.auc.delta == compare_auc(source, after, before).delta
        lost = [text for text in said if "quality was lost" in text and one.a in text]
        assert bool(lost) == ("worse" in one.outcome)
    table = sweep_table(results)
    assert [row["seeds"] for row in table] == [2, 2, 2, 1] and table[3]["auc_deviation"] is None
    assert (
        table[0]["ece"] == full.metrics["ece"]["target_test"].mean
        and table[0]["ece_source"] is not None
    )


def calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """ECE of 15 bins of equally many rows, where no two scores tie."""
    bins = np.array_split(np.argsort(scores), 15)
    return sum(len(one) * abs(scores[one].mean() - labels[one].mean()) for one in bins) / len(
        labels
    )


def test_smaller_target_sizes_are_the_last_rows_and_nested(tiny: tuple[Workspace, Dataset]) -> None:
    _, dataset = tiny
    whole = np.concatenate(select_training_rows(dataset, "target", None))
    some, fewer = (
        np.concatenate(select_training_rows(dataset, "target", None, last)) for last in (300, 100)
    )
    np.testing.assert_array_equal(some, whole[-300:])
    np.testing.assert_array_equal(fewer, whole[-100:])
    train, validation = select_training_rows(dataset, "target", None, 300)
    share = len(select_training_rows(dataset, "target", None)[1]) / len(whole)
    assert len(validation) == round(300 * share) and len(train) + len(validation) == 300
    with pytest.raises(BadInput, match="1,000,000 were asked for"):
        select_training_rows(dataset, "target", None, 1_000_000)


def test_sizes_make_settings_of_their_own_and_zero_shot_stands_in_each(
    tiny: tuple[Workspace, Dataset], spec: SweepSpec
) -> None:
    workspace, _ = tiny
    spec = dataclasses.replace(
        spec, arms=(Arm("full"), Arm("zero-shot")), seeds=(0,), target_sizes=(200, 0)
    )
    sweep = submit_sweep(workspace, spec, "sizes")
    run_worker(workspace, "cpu", execute, idle_timeout=0.1)
    runs = RunStore(workspace).list_group(sweep.id)
    assert (
        sorted(run.result.train_rows for run in runs if run.result and run.strategy == "full")[0]
        < 200
    )
    verdicts, sentences = judge_arms(workspace, summarise_arms(sweep, runs), "full fine-tuning")
    # Zero-shot's one run was validated on the 200 rows' own: it cannot lead elsewhere.
    assert any(one.startswith("all target rows: Full fine-tuning leads") for one in sentences)
    assert {one.setting for one in verdicts} == {"200 target rows", "all target rows"}
    assert all((one.a, one.b) == ("zero-shot", "full fine-tuning") for one in verdicts)


def test_a_second_command_on_the_same_workspace_is_refused(
    tiny: tuple[Workspace, Dataset], spec: SweepSpec
) -> None:
    workspace, _ = tiny
    sweep = submit_sweep(workspace, spec, "mine", run_here=True)
    with worker_lock(workspace, CLUSTER_QUEUE), pytest.raises(BadInput, match="Another command"):
        run_sweep_here(workspace, sweep, 1, "")
    assert Path(workspace.root).exists() and all(
        run.status == "queued" for run in RunStore(workspace).list_group(sweep.id)
    )
