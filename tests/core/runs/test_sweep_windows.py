"""Sweeps over windows: their runs, their order, what stops a chain, and what is said of them."""

import dataclasses
import os

import numpy as np
import pytest
from scipy.stats import ttest_rel

from core.data.datasets import Dataset
from core.errors import BadInput
from core.jobs.requests import TrainSettings
from core.jobs.store import Run, RunStore
from core.runs import sweep as sweeps
from core.runs.arm_verdicts import forgetting_sentences, judge_arms
from core.runs.blends import submit_blend
from core.runs.command_lines import command_line, sweep_command_line
from core.runs.dispatch import execute
from core.runs.rolling_result import rolling_arms, rolling_table, window_points
from core.runs.rolling_verdicts import compare_rolling_arms
from core.runs.run_jobs import run_job
from core.runs.sweep import (
    Arm,
    SweepSpec,
    expand_requests,
    extend_sweep,
    resume_sweep,
    submit_sweep,
)
from core.runs.sweep_estimate import estimate_sweep
from core.runs.sweep_result import summarise_arms
from core.runs.worker import run_worker
from core.workspace import Workspace
from tests.core.training.helpers import pretrained

TRAIN = TrainSettings(epochs=2, batch_size=256, early_stopping=0, device="cpu")
ARMS = (Arm("full"), Arm("depth", 1), Arm("zero-shot"), Arm("gradient-boosting"))


@pytest.fixture
def spec(tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch) -> SweepSpec:
    monkeypatch.setattr(sweeps, "ensure_worker", lambda workspace, queue: None)
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    return SweepSpec(dataset.id, card.id, ARMS, (0, 1), train=TRAIN, windows=4, window_start="last")


def work(workspace: Workspace) -> None:
    run_worker(workspace, "cpu", execute, idle_timeout=0.1)


def by_place(runs: list[Run]) -> dict[tuple[str, int, int], Run]:
    return {
        (sweeps.arm_of_run(run).title, run.seed, run.window.number): run
        for run in runs
        if run.window
    }


def test_every_window_goes_on_from_the_run_before_it(
    tiny: tuple[Workspace, Dataset], spec: SweepSpec
) -> None:
    workspace, _ = tiny
    sweep = submit_sweep(workspace, spec, "rolling")
    sweep = extend_sweep(workspace, sweep, 1)
    runs = RunStore(workspace).list_group(sweep.id)
    # 3 windows train: 3 arms × 3 seeds, and zero-shot once.
    assert len(runs) == len(expand_requests(sweep.spec)) == 3 * (3 * 3 + 1)
    place = by_place(runs)
    order = [run.id for run in runs]
    for (title, seed, number), run in place.items():
        assert run.window is not None and f"window {number} of 4" in run.name
        if title in ("zero-shot", "gradient boosting") or number == 1:
            assert run.window.start_run == ""
        else:
            before = place[title, seed, number - 1]
            assert run.window.start_run == before.id
            assert order.index(before.id) < order.index(run.id)
    from_backbone = expand_requests(dataclasses.replace(spec, window_start="backbone"))
    assert {one.window.start for one in from_backbone if one.window} == {"backbone"}


def test_verdicts_pair_windows(tiny: tuple[Workspace, Dataset], spec: SweepSpec) -> None:
    workspace, _ = tiny
    sweep = submit_sweep(workspace, spec, "rolling")
    work(workspace)
    runs = RunStore(workspace).list_group(sweep.id)
    assert {run.status for run in runs} == {"done"}, [run.message for run in runs]
    place = by_place(runs)

    def aucs(title: str, seed: int) -> list[float]:
        seed = 0 if title == "zero-shot" else seed
        found = [place[title, seed, number].result for number in (1, 2, 3)]
        return [one.metrics["target_test"]["auc"] for one in found if one]

    results = summarise_arms(sweep, runs)
    arms = rolling_arms(results)
    assert [arm.windows for arm in arms] == [(1, 2, 3)] * 4
    full = arms[0].title
    for verdict in compare_rolling_arms(arms, full):
        ours, theirs = (
            np.mean([aucs(title, seed) for seed in (0, 1)], axis=0) for title in (verdict.a, full)
        )
        expected = ttest_rel(ours, theirs)
        found = verdict.differences["auc"]
        assert found.delta == pytest.approx((ours - theirs).mean(), abs=1e-12)
        assert found.p == pytest.approx(expected.pvalue)
        low, high = expected.confidence_interval()
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
        assert verdict.adjusted_p["auc"] >= found.p

    # The bands are those of the arms, and forgetting is the change from the backbone.
    for point, number in zip(window_points(workspace, arms[0], "auc"), (1, 2, 3), strict=True):
        assert point.window == number and point.seeds == 2
        assert point.value == pytest.approx(np.mean([aucs(full, s)[number - 1] for s in (0, 1)]))
        assert point.low < point.value < point.high
    last = place[full, 0, 3].result, place[full, 1, 3].result
    changes = [
        one.metrics["source_test"]["auc"] - one.before["source_test"]["auc"]
        for one in last
        if one and one.before
    ]
    point = window_points(workspace, arms[0], "auc", "source_test")[-1]
    assert point.value == pytest.approx(np.mean(changes), abs=1e-9)
    earlier = window_points(workspace, arms[0], "auc", "earlier_windows")
    assert [one.window for one in earlier] == [2, 3]
    table = rolling_table(workspace, results)
    assert table[0]["auc_change_source_test"] == pytest.approx(point.value)
    assert table[0]["auc_window_2"] == pytest.approx(np.mean([aucs(full, s)[1] for s in (0, 1)]))

    verdicts, sentences = judge_arms(workspace, results, full)
    said = " ".join(sentences)
    assert verdicts == [] and forgetting_sentences(workspace, results) == []
    assert "Windows 2 to 4 are tested" in said and "going on from the last window's model" in said
    assert "3 windows (2 degrees of freedom)" in said and "source test rows, after window 3" in said
    assert "sweep --name rolling" in (line := sweep_command_line(workspace, spec, "rolling"))
    assert "--windows 4 --from last" in line
    second = place[full, 0, 2]
    line = command_line(workspace, second.request)
    assert f"--windows 4 --window 2 --from-run {place[full, 0, 1].id}" in line
    with pytest.raises(BadInput, match="window"):
        submit_blend(workspace, [second.id, place["gradient boosting", 0, 2].id])


def test_a_failed_window_stops_its_chain_alone(
    tiny: tuple[Workspace, Dataset], spec: SweepSpec
) -> None:
    workspace, _ = tiny
    spec = dataclasses.replace(spec, seeds=(0,), arms=ARMS[:2])
    sweep = submit_sweep(workspace, spec, "rolling")
    store = RunStore(workspace)
    place = by_place(store.list_group(sweep.id))
    failing = place["freeze depth 1", 0, 1]

    def sometimes(workspace: Workspace, run: Run, reporter):  # type: ignore[no-untyped-def]
        if run.id == failing.id:
            raise BadInput("The rows are gone.")
        return execute(workspace, run, reporter)

    run_worker(workspace, "cpu", sometimes, idle_timeout=0.1)
    place = by_place(store.list_group(sweep.id))
    assert [place["full fine-tuning", 0, number].status for number in (1, 2, 3)] == ["done"] * 3
    assert [place["freeze depth 1", 0, number].status for number in (1, 2, 3)] == ["failed"] * 3
    message = place["freeze depth 1", 0, 2].message
    assert message == (
        f"Run {failing.id} on window 1 is failed (The rows are gone), so there is no model to go on"
        " from; resume the sweep, which runs the windows in their order."
    )
    resume_sweep(workspace, sweep)
    work(workspace)
    assert {run.status for run in store.list_group(sweep.id)} == {"done"}


def test_a_run_waits_for_the_window_before(
    tiny: tuple[Workspace, Dataset], spec: SweepSpec
) -> None:
    """As where two processes train at a time: the first window is running in the other one."""
    workspace, _ = tiny
    spec = dataclasses.replace(spec, seeds=(0,), arms=ARMS[:1])
    sweep = submit_sweep(workspace, spec, "rolling")
    store = RunStore(workspace)
    first, second, _third = store.list_group(sweep.id)
    store.claim_run(first.id, os.getpid())
    claimed = store.claim_run(second.id, os.getpid())
    assert claimed is not None
    assert run_job(workspace, store, claimed, execute) == ""
    waiting = store.get(second.id)
    assert (waiting.status, waiting.phase) == ("queued", "waiting for the window before")
    running = store.get(first.id)
    assert run_job(workspace, store, running, execute) == ""
    claimed = store.claim_run(second.id, os.getpid())
    assert claimed is not None and run_job(workspace, store, claimed, execute) == ""
    assert store.get(second.id).status == "done"


def test_windows_that_no_sweep_can_have_are_refused(
    tiny: tuple[Workspace, Dataset], spec: SweepSpec
) -> None:
    workspace, _ = tiny
    for changed, message in (
        ({"windows": 1}, "must be 2 to 50"),
        ({"window_start": "first"}, "choose one of"),
        ({"windows": 0}, "no number of windows"),
        ({"target_sizes": (500,)}, "leave one of the two out"),
        ({"halving": 2}, "would not have every window"),
    ):
        with pytest.raises(BadInput, match=message):
            dataclasses.replace(spec, **changed)
    with pytest.raises(BadInput, match="no column 'day'"):
        submit_sweep(workspace, dataclasses.replace(spec, window_column="day"), "no day")
    assert RunStore(workspace).list() == [] or all(
        run.kind == "pretrain" for run in RunStore(workspace).list()
    )


def test_the_estimate_counts_windows(tiny: tuple[Workspace, Dataset], spec: SweepSpec) -> None:
    workspace, dataset = tiny
    from core.models.backbone_store import find_backbone

    card = find_backbone(workspace, spec.backbone)
    plans = sweeps.plan_arms(card, spec)
    few, many = (
        estimate_sweep(dataset, plans, dataclasses.replace(spec, windows=windows), [])
        for windows in (3, 9)
    )
    # Each of 8 trained windows starts and evaluates, on a third as many rows as each of 2.
    assert 2 * few.seconds < many.seconds < 8 * few.seconds
    assert "trains on 8 windows" in many.explanation
