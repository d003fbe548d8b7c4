"""Blends as runs: queued once, an arm of Compare and of a sweep, verified, scored with, deleted."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.cli import blend_command
from core.cli.parser import main
from core.data.datasets import Dataset
from core.data.simulate import simulate
from core.errors import BadInput
from core.inference.blend_weights import blend_scores
from core.inference.evaluate_run import evaluate_on
from core.inference.export import export_model
from core.inference.score_file import score_file
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run, RunStore
from core.report.arms import group_into_arms
from core.report.html_report import write_report
from core.report.report_data import runs_report_data, sweep_report_data
from core.report.run_tables import run_frame
from core.runs import blends
from core.runs.arm_verdicts import judge_arms
from core.runs.blends import blend_arms, submit_blend
from core.runs.default_blend import can_blend, queue_blends_after, queue_default_blends
from core.runs.dispatch import execute
from core.runs.removal import delete_runs
from core.runs.submit import submit_interpolation
from core.runs.sweep import Arm, Sweep, SweepSpec, expand_requests, find_sweep
from core.runs.sweep_result import summarise_arm, summarise_arms
from core.runs.verify import verify
from core.workspace import Workspace
from tests.core.inference.stored_runs import BACKBONE, CPU, stored_run
from tests.core.report.helpers import ARMS
from tests.core.training.helpers import QUICK, ListReporter, pretrained, run_request


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker starts."""
    monkeypatch.setattr(blends, "ensure_worker", lambda workspace, queue: None)


@pytest.fixture
def swept(tiny: tuple[Workspace, Dataset]) -> tuple[Workspace, Dataset, Sweep]:
    """A sweep of freeze depths 0 and 1, LoRA and zero-shot over two seeds, with scores made by
    hand."""
    workspace, dataset = tiny
    spec = SweepSpec(dataset.id, BACKBONE, ARMS, (0, 1), train=CPU)
    sweep = Sweep("s-1", "first", spec, "")
    RunStore(workspace).save_sweep(sweep.id, sweep.name, dataclasses.asdict(spec))
    for number, request in enumerate(expand_requests(spec)):
        stored_run(workspace, dataset, number, dataclasses.replace(request, group=sweep.id))
    return workspace, dataset, find_sweep(workspace, sweep.id)


def run_waiting(workspace: Workspace) -> None:
    """Run whatever waits, as a worker does."""
    store = RunStore(workspace)
    while (run := store.claim("cpu", 1)) is not None:
        store.finish(run.id, "done", result=execute(workspace, run, ListReporter()))


def finished_blend(workspace: Workspace, runs: list[Run]) -> Run:
    queued = submit_blend(workspace, [run.id for run in runs])
    run_waiting(workspace)
    return RunStore(workspace).get(queued.id)


def pair(workspace: Workspace, sweep: Sweep) -> list[Run]:
    """Freeze depths 0 and 1 of seed 0."""
    runs = RunStore(workspace).list_group(sweep.id)
    return [run for run in runs if run.strategy == "depth" and run.seed == 0]


def test_the_order_of_the_runs_changes_nothing(swept: tuple[Workspace, Dataset, Sweep]) -> None:
    workspace, _, sweep = swept
    runs = pair(workspace, sweep)
    blend = finished_blend(workspace, runs)
    assert submit_blend(workspace, [run.id for run in reversed(runs)]).id == blend.id
    assert blend.blend_request.title.startswith("blend of freeze depth 0")
    assert blend.name.endswith("· tiny") and blend.kind == "blend"
    with pytest.raises(BadInput, match="1 was named"):
        submit_blend(workspace, [runs[0].id, runs[0].id])


def test_a_blend_costs_what_its_runs_cost(swept: tuple[Workspace, Dataset, Sweep]) -> None:
    workspace, _, sweep = swept
    blend = finished_blend(workspace, pair(workspace, sweep))
    arm = summarise_arm([blend], blend.blend_request.title, "")
    # Two runs of 100 parameters and one second each, and a weight for each.
    assert arm.trained_parameters == 202 and 2 <= arm.seconds < 3


def test_a_blend_verifies_reports_and_is_an_arm_of_compare(
    swept: tuple[Workspace, Dataset, Sweep], tmp_path: Path
) -> None:
    workspace, _, sweep = swept
    runs = pair(workspace, sweep)
    blend = finished_blend(workspace, runs)
    found = verify(workspace, blend)
    assert found.same and found.weights_same and found.largest_score_difference == 0
    assert not list((workspace.cache).glob("*r-*"))

    arms = group_into_arms([*runs, blend], {}, {})
    assert [arm.title for arm in arms][-1] == blend.blend_request.title
    store = RunStore(workspace)
    table = run_frame(workspace, [blend], store.validation_summaries([blend]), {})
    assert table["Strategy"].tolist() == [blend.blend_request.title]

    said = write_report(
        workspace, runs_report_data(workspace, [*runs, blend]), tmp_path / "report.html"
    )
    assert blend.blend_request.title in said["arms"] and said["comparisons"]
    text = (tmp_path / "report.html").read_text()
    assert f"blend {' '.join(blend.blend_request.runs)}" in text
    alone = runs_report_data(workspace, [blend])
    assert [card.name for card in alone.cards] and any("finetune" in one for one in alone.commands)
    with pytest.raises(BadInput, match="is a blend, which has no network of its own"):
        export_model(workspace, blend, tmp_path / "out")
    with pytest.raises(BadInput, match="is not a fine-tuning run"):
        submit_interpolation(workspace, blend)


def test_new_rows_are_scored_with_the_models_of_its_runs(
    tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    request = FinetuneRequest(dataset.id, card.id, "linear-probe", train=QUICK)
    runs = [
        run_request(workspace, one)
        for one in (request, dataclasses.replace(request, strategy="zero-shot"))
    ]
    blend = finished_blend(workspace, runs)
    assert blend.result is not None and blend.result.blend is not None
    simulate(tmp_path / "rows.tsv", 50, "target", seed=5)

    def scores(run: Run) -> np.ndarray:
        score_file(workspace, run, tmp_path / "rows.tsv", tmp_path / f"{run.id}.csv")
        return pd.read_csv(tmp_path / f"{run.id}.csv")["score"].to_numpy()

    by_id = {run.id: scores(run) for run in runs}
    weights = np.array([one.weight for one in blend.result.blend.runs])
    wanted = blend_scores(np.stack([by_id[run] for run in blend.blend_request.runs]), weights)
    np.testing.assert_allclose(scores(blend), wanted, atol=1e-6)
    again = evaluate_on(workspace, blend, dataset)["target_test"]
    assert again["auc"] == pytest.approx(blend.result.metrics["target_test"]["auc"], abs=1e-6)

    delete_runs(workspace, [runs[0].id])
    assert RunStore(workspace).get(blend.id).result == blend.result
    for use in (
        lambda: score_file(workspace, blend, tmp_path / "rows.tsv", tmp_path / "new.csv"),
        lambda: evaluate_on(workspace, blend, dataset),
        lambda: verify(workspace, blend),
    ):
        with pytest.raises(BadInput, match="one of its runs was deleted"):
            use()


def test_arms_of_a_sweep_are_blended_seed_by_seed(
    swept: tuple[Workspace, Dataset, Sweep],
) -> None:
    workspace, _, sweep = swept
    store = RunStore(workspace)
    before = summarise_arms(sweep, store.list_group(sweep.id))
    titles = [arm.title for arm in before if arm.strategy != "depth"]
    queued = blend_arms(workspace, sweep, titles)
    assert [run.seed for run in queued] == [0, 1] and {run.group for run in queued} == {sweep.id}
    with pytest.raises(BadInput, match="is about to blend"):
        delete_runs(workspace, [queued[0].blend_request.runs[0]])
    run_waiting(workspace)
    after = summarise_arms(sweep, store.list_group(sweep.id))
    (blend,) = [arm for arm in after if arm.strategy == "blend"]
    assert [arm for arm in after if arm.strategy != "blend"] == before
    assert len(blend.runs) == 2 and blend.setting == before[0].setting
    verdicts, _ = judge_arms(workspace, after, before[0].title)
    assert blend.title in {one.a for one in verdicts}
    assert [run.id for run in blend_arms(workspace, sweep, titles[::-1])] == [
        run.id for run in queued
    ]
    data = sweep_report_data(workspace, sweep)
    assert blend in data.results and data.shared_settings["batch size"]
    with pytest.raises(BadInput, match="no finished arm of gradient boosting"):
        blend_arms(workspace, sweep)
    with pytest.raises(BadInput, match="no finished arm 'nothing'"):
        blend_arms(workspace, sweep, ["nothing", titles[0]])


def test_the_command_prints_weights_and_metrics(
    swept: tuple[Workspace, Dataset, Sweep],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    workspace, _, sweep = swept
    ids = [run.id for run in pair(workspace, sweep)]
    root = ["--workspace", str(workspace.root), "blend"]
    assert main([*root, *ids, "--no-wait", "--name", "both", "--json"]) == 0
    (queued,) = json.loads(capsys.readouterr().out)["runs"]
    assert queued["status"] == "queued" and queued["name"] == "both"
    wait = blend_command.wait_for_run

    def run_and_wait(space: Workspace, run: Run) -> object:
        run_waiting(space)
        return wait(space, run)

    monkeypatch.setattr(blend_command, "wait_for_run", run_and_wait)
    assert main([*root, *ids]) == 0
    said = capsys.readouterr().out
    assert queued["run"] in said and said.count("weight ") == 2 and "With equal weights" in said
    for words in (["--sweep", sweep.id, *ids], [], [*ids, "--arm", "x"]):
        assert main([*root, *words]) == 2


def test_a_sweep_blends_its_leading_network_with_boosting_once_all_runs_have_ended(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, dataset = tiny
    arms = (*ARMS, Arm("gradient-boosting"))
    assert can_blend(arms) and not can_blend(ARMS)
    spec = SweepSpec(dataset.id, BACKBONE, arms, (0, 1), train=CPU, blend=True)
    store = RunStore(workspace)
    store.save_sweep("s-1", "first", dataclasses.asdict(spec))
    requests = [dataclasses.replace(one, group="s-1") for one in expand_requests(spec)]
    for number, request in enumerate(requests[:-1]):
        stored_run(workspace, dataset, number, request)
    sweep = find_sweep(workspace, "s-1")
    waiting = store.submit(requests[-1], "last", "cpu")
    queue_blends_after(workspace, store.list_group("s-1"))
    assert not store.list(kind="blend"), "a run has not ended"
    store.delete(waiting.id)
    stored_run(workspace, dataset, len(requests), requests[-1])
    queue_blends_after(workspace, [store.list_group("s-1")[-1]])
    made = store.list(kind="blend")
    assert [run.seed for run in made] == [1, 0]
    assert all(run.group == "s-1" and "gradient boosting" in run.name for run in made)
    run_waiting(workspace)
    # Neither asked for again, nor by a blend that has ended.
    queue_blends_after(workspace, store.list(kind="blend"))
    assert len(queue_default_blends(workspace, sweep)) == len(store.list(kind="blend")) == 2
    off = dataclasses.replace(sweep, spec=dataclasses.replace(spec, blend=False))
    assert queue_default_blends(workspace, off) == []
