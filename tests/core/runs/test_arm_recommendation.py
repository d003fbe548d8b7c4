"""Recommendations from finished runs: a sweep of two sizes, a run's controls, commands, the API."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from core.cli.parser import main
from core.errors import BadInput
from core.evaluation.non_inferiority import Margins
from core.evaluation.paired_comparison import compare_auc, compare_log_loss
from core.evaluation.recommendation_words import headline, notes
from core.jobs.store import Run, RunStore
from core.runs.arm_names import name_arm, stages_in_words
from core.runs.arm_recommendation import recommend_arms, recommend_selected, recommendation_data
from core.runs.run_controls import find_controls, recommend_run, submit_controls
from core.runs.sweep import Sweep, extend_sweep, list_sweeps
from core.runs.sweep_result import ArmResult, summarise_arms
from core.workspace import Workspace

Done = tuple[Workspace, Sweep]


@pytest.fixture
def done(swept: Workspace, monkeypatch: pytest.MonkeyPatch) -> Done:
    for module in ("sweep", "submit"):
        monkeypatch.setattr(f"core.runs.{module}.ensure_worker", lambda workspace, queue: None)
    (sweep,) = list_sweeps(swept)
    return swept, sweep


def results_of(workspace: Workspace, sweep: Sweep) -> list[ArmResult]:
    return summarise_arms(sweep, RunStore(workspace).list_group(sweep.id))


def arrays_of(workspace: Workspace, runs: tuple[Run, ...], name: str) -> np.ndarray:
    found = []
    for run in runs:
        with np.load(workspace.runs / run.id / "predictions.npz") as arrays:
            found.append(arrays[name].astype(float))
    return np.stack(found)


def test_one_recommendation_for_each_size_with_claims_from_the_stored_scores(done: Done) -> None:
    workspace, sweep = done
    results = results_of(workspace, sweep)
    # Wide margins, so that nothing is screened and everything makes a claim.
    found = recommend_arms(workspace, results, Margins(0.4, 90))
    assert [one.setting for one in found] == ["300 target rows", "all target rows"]
    for one in found:
        titles = [candidate.arm.title for candidate in one.candidates]
        assert set(titles) == {"freeze depth 0", "freeze depth 1", "freeze depth 3", "zero-shot"}
        assert [control.arm.title for control in one.controls] == ["logistic regression"]
        own = {r.title: r for r in results if r.setting == one.setting}
        zero_shot = next(r for r in results if r.title == "zero-shot")
        claims = [claim for candidate in one.candidates for claim in candidate.claims]
        assert claims
        for claim in claims:
            arm = own.get(claim.arm, zero_shot)
            a = arrays_of(workspace, arm.runs, "target_test_score")
            b = arrays_of(workspace, own[claim.reference].runs, "target_test_score")
            labels = arrays_of(workspace, arm.runs, "target_test_label")[0]
            a = np.repeat(a, 2, axis=0) if len(a) == 1 else a
            assert claim.auc.loss == pytest.approx(-compare_auc(labels, a, b).delta)
            assert claim.log_loss.loss == pytest.approx(compare_log_loss(labels, a, b).delta)
            assert claim.seeds == 2 and claim.rows == len(labels)
    assert json.loads(json.dumps(recommendation_data(found[0])))["margin_auc"] == 0.4


def test_names_are_those_of_the_stages(done: Done) -> None:
    workspace, sweep = done
    names = {one.title: name_arm(one) for one in results_of(workspace, sweep)}
    assert names["freeze depth 0"] == ("Train everything", "training everything")
    assert names["freeze depth 1"] == ("Freeze embedding", "freezing embedding")
    assert names["freeze depth 3"][0] == "Freeze every stage and train the head alone"
    assert names["logistic regression"][0] == "A refitted logistic regression"
    assert names["zero-shot"][1] == "the backbone as it is"
    one = next(one for one in results_of(workspace, sweep) if one.title == "freeze depth 1")
    renamed = dataclasses.replace(one, title="freeze depth 1, learning rate 0.01")
    assert name_arm(renamed)[0] == "Freeze embedding (learning rate 0.01)"
    assert stages_in_words(["Embedding + FM", "Block A 1 ‖ Block B 1", "Block 1", "Block 2"]) == (
        "embedding + FM, block A 1 ‖ Block B 1 and two blocks"
    )


def test_costs_are_those_of_the_runs_and_margins_retrain_nothing(done: Done) -> None:
    workspace, sweep = done
    results = results_of(workspace, sweep)
    before = len(RunStore(workspace).list())
    found = {
        margins: recommend_arms(workspace, results, margins)[1]
        for margins in (Margins(1e-6, 1e-4), Margins(), Margins(0.4, 90))
    }
    assert len(RunStore(workspace).list()) == before
    assert found[Margins(0.4, 90)].decision == "do not fine-tune"
    assert "Do not fine-tune" in headline(found[Margins(0.4, 90)])
    of_arm = {one.arm.title: one.arm.cost for one in found[Margins()].candidates}
    for result in results:
        if result.setting == "all target rows" and result.title in of_arm:
            cost = of_arm[result.title]
            assert cost.seconds == result.seconds
            assert cost.trained_parameters == result.trained_parameters
            assert cost.epochs == np.mean(
                [run.result.epochs_run for run in result.runs if run.result]
            )


def test_more_seeds_stay_one_sweep_and_only_what_is_missing_is_queued(done: Done) -> None:
    workspace, sweep = done
    old = {run.id for run in RunStore(workspace).list_group(sweep.id)}
    extend_sweep(workspace, sweep, 1)
    runs = RunStore(workspace).list_group(sweep.id)
    new = [run for run in runs if run.id not in old]
    assert [one.id for one in list_sweeps(workspace)] == [sweep.id]
    # Zero-shot and logistic regression are not repeated: three arms at two sizes.
    assert {run.seed for run in new} == {2} and len(new) == 6
    assert all(run.status == "queued" for run in new)
    # What is not done takes no part.
    (extended,) = list_sweeps(workspace)
    found = recommend_arms(workspace, results_of(workspace, extended))
    assert all(one.seeds in (0, 2) for one in found)


def test_arms_that_failed_or_are_not_there(done: Done) -> None:
    workspace, sweep = done
    results = results_of(workspace, sweep)
    assert recommend_arms(workspace, []) == []
    without = [one for one in results if one.title != "freeze depth 0"]
    assert all(one.reference is None and one.leader for one in recommend_arms(workspace, without))
    (only,) = recommend_arms(workspace, [results[0]])
    assert "only one arm is done" in headline(only) and notes(only) == []
    # An arm of which one seed failed is compared over the seeds that both have.
    short = [
        dataclasses.replace(one, runs=one.runs[:1]) if one.title == "freeze depth 1" else one
        for one in results
    ]
    seeds = {
        claim.seeds
        for one in recommend_arms(workspace, short, Margins(0.4, 90))
        for candidate in one.candidates
        for claim in candidate.claims
        if "freeze depth 1" in (claim.arm, claim.reference)
    }
    assert seeds == {1}


def test_selected_runs_are_recommended_by_size_as_in_the_sweep(done: Done) -> None:
    workspace, sweep = done
    results = results_of(workspace, sweep)
    selected = [dataclasses.replace(one, setting="") for one in results]
    whole = recommend_arms(workspace, results)
    found = recommend_selected(workspace, selected)
    assert [one.setting for one in found] == [one.setting for one in whole]
    assert [headline(one) for one in found] == [headline(one) for one in whole]


def test_a_run_has_its_controls_and_missing_ones_are_queued(done: Done) -> None:
    workspace, sweep = done
    run = next(
        run
        for run in RunStore(workspace).list_group(sweep.id)
        if run.strategy == "depth"
        and run.finetune_request.freeze_depth == 1
        and not run.target_rows
    )
    found = find_controls(workspace, run)
    assert found.arms[0].title == "freeze depth 1"
    assert {arm.title for arm in found.arms[1:]} == {"logistic regression", "zero-shot"}
    regression = next(arm for arm in found.arms if arm.title == "logistic regression")
    assert [one.target_rows for arm in (found.arms[0], regression) for one in arm.runs] == [0] * 3
    assert {"scratch", "retrain", "gradient-boosting"} == {*found.missing}
    assert recommend_run(workspace, found, Margins(0.4, 90)).decision == "do not fine-tune"
    queued = submit_controls(workspace, run, ["scratch"])
    assert [one.seed for one in queued] == [0, 1] and {one.strategy for one in queued} == {
        "scratch"
    }
    assert all(one.request.train.epochs == 1 for one in queued)
    again = find_controls(workspace, run)
    assert "scratch" not in again.missing and len(again.active) == 2
    with pytest.raises(BadInput, match="no finished fine-tuning run"):
        find_controls(workspace, regression.runs[0])


def test_commands_say_it_too(done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    workspace, sweep = done
    words = ["--workspace", str(workspace.root)]

    def run(*command: str) -> str:
        assert main([*words, *command]) == 0
        return capsys.readouterr().out

    data = json.loads(run("compare", "--sweep", sweep.id, "--margin-auc", "0.4",
                          "--margin-log-loss", "90", "--json"))  # fmt: skip
    assert [one["decision"] for one in data["recommendations"]] == ["do not fine-tune"] * 2
    assert "Recommendation (300 target rows): " in run("compare", "--sweep", sweep.id)
    assert "Recommendation (all target rows): " in run("sweep", "--name", sweep.id)
    first = RunStore(workspace).list_group(sweep.id)[0]
    assert "Recommendation: " in run("controls", "--run", first.id)
    assert main([*words, "compare", "--sweep", sweep.id, "--margin-auc", "0"]) == 2
    assert "margin of AUC is 0.0" in capsys.readouterr().err


def test_the_api_and_the_report_say_it_too(done: Done, tmp_path: Path) -> None:
    import thaw

    workspace, stored = done
    (sweep,) = thaw.Workspace(workspace.root).sweeps
    assert sweep.recommend(0.4, 90).startswith("300 target rows: Do not fine-tune: the backbone")
    assert [one.setting for one in sweep.recommendations()] == [
        "300 target rows",
        "all target rows",
    ]
    path = sweep.report(tmp_path / "report.html", margin_auc=0.4, margin_log_loss=90)
    text = path.read_text(encoding="utf-8")
    section = text.index('id="recommendation"')
    assert section < text.index('id="verdicts"')
    assert "Do not fine-tune: the backbone as it is" in text[section:]
    assert "Margins: 0.4 AUC and 90 % of log loss." in text
    with pytest.raises(thaw.BadInput, match="margin"):
        sweep.recommend(margin_auc=-1)
    run = thaw.Workspace(workspace.root).run(RunStore(workspace).list_group(stored.id)[0].id)
    assert run.recommend()
