"""Runs grouped into arms, and the arms of one setting judged like those of a sweep."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data.datasets import find_dataset
from core.errors import BadInput
from core.jobs.store import Run, RunStore
from core.report.arms import (
    arms_in_setting,
    comparable_seeds,
    comparable_validation_losses,
    distinct_settings,
    group_into_arms,
    judge_selected_arms,
    load_scores,
    summarise_selected_arms,
)
from core.runs.arm_verdicts import judge_arms
from core.runs.sweep import list_sweeps
from core.runs.sweep_result import summarise_arms
from core.workspace import Workspace, open_workspace
from tests.core.report.helpers import finished_sweep


@pytest.fixture(scope="module")
def runs(
    tiny_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workspace, list[Run]]:
    """A sweep of freeze depths 0 and 1, LoRA and zero-shot over two seeds; no test changes it."""
    root = tmp_path_factory.mktemp("arms") / "tiny"
    shutil.copytree(tiny_template, root)
    workspace = open_workspace(root)
    return workspace, RunStore(workspace).list_group(
        finished_sweep(workspace, find_dataset(workspace, "tiny")).id
    )


def changed(run: Run, **request: Any) -> Run:
    """The run as if it had been asked for so, under another id."""
    return dataclasses.replace(
        run, id=f"{run.id}-{len(str(request))}", request=dataclasses.replace(run.request, **request)
    )


def test_seeds_of_an_arm_are_together_and_judged_as_in_the_sweep(
    runs: tuple[Workspace, list[Run]],
) -> None:
    workspace, found = runs
    arms = group_into_arms(found[::-1], {}, {})
    assert [arm.full_title for arm in arms] == [
        "freeze depth 0",
        "freeze depth 1",
        "LoRA, rank 2",
        "zero-shot",
    ]
    assert [len(arm.runs) for arm in arms] == [2, 2, 2, 1]
    results = summarise_selected_arms(arms, full_titles=False)
    verdicts, sentences = judge_selected_arms(workspace, results, "freeze depth 0")
    expected, said = judge_arms(
        workspace, summarise_arms(list_sweeps(workspace)[0], found), "freeze depth 0"
    )
    assert verdicts == expected and sentences == said


def test_what_else_differs_is_a_setting_and_zero_shot_stands_in_each(
    runs: tuple[Workspace, list[Run]],
) -> None:
    _, found = runs
    fewer = [changed(run, target_rows=500) for run in found if run.strategy != "zero-shot"]
    arms = group_into_arms([*found, *fewer], {}, {})
    assert distinct_settings(arms) == ["all target rows", "500 target rows"]
    titles = [arm.title for arm in arms_in_setting(arms, "500 target rows")]
    assert titles == ["freeze depth 0", "freeze depth 1", "LoRA, rank 2", "zero-shot"]
    assert "freeze depth 0, 500 target rows" in [arm.full_title for arm in arms]
    # A name that begins like another is another setting.
    named = [changed(run, backbone=name) for run in found for name in ("x", "x two")]
    arms = group_into_arms(named, {}, {})
    assert {arm.setting_words for arm in arms_in_setting(arms, "x two")} == {"x two"}


def test_a_repeat_is_not_another_seed_and_a_single_arm_is_shown_by_seed(
    runs: tuple[Workspace, list[Run]],
) -> None:
    _, found = runs
    first = [
        run for run in found if run.finetune_request.freeze_depth == 0 and run.strategy == "depth"
    ]
    again = dataclasses.replace(first[0], id="r-again", created="9")
    titles = [arm.title for arm in group_into_arms([*first, again, found[1]], {}, {})]
    assert sorted(titles) == ["freeze depth 0", "freeze depth 0 again (r-again)", "freeze depth 1"]
    assert [arm.title for arm in group_into_arms(first, {}, {})] == [
        "freeze depth 0, seed 0",
        "freeze depth 0, seed 1",
    ]


def test_scores_are_paired_by_seed(runs: tuple[Workspace, list[Run]]) -> None:
    workspace, found = runs
    results = summarise_selected_arms(group_into_arms(found, {}, {}), full_titles=False)
    assert comparable_seeds(results) == [0, 1]
    for seed, row in enumerate(load_scores(workspace, results[1], "target_test_score", [0, 1])):
        (run,) = [one for one in results[1].runs if one.seed == seed]
        with np.load(workspace.runs / run.id / "predictions.npz") as arrays:
            np.testing.assert_array_equal(row, arrays["target_test_score"])
    shot = load_scores(workspace, results[3], "target_test_score", [0, 1])
    np.testing.assert_array_equal(shot[0], shot[1])
    moved = changed(found[1], train=dataclasses.replace(found[1].request.train, seed=7))
    few = [results[0], dataclasses.replace(results[1], runs=(moved,))]
    with pytest.raises(BadInput, match="no seed in common"):
        comparable_seeds(few)
    # Single runs are compared whatever their seeds.
    assert comparable_seeds([dataclasses.replace(one, runs=one.runs[:1]) for one in few]) == [0]


def test_validation_rows_of_another_size_choose_no_leader(
    runs: tuple[Workspace, list[Run]],
) -> None:
    workspace, found = runs
    fewer = [changed(run, target_rows=500) for run in found if run.strategy != "zero-shot"]
    alike = summarise_selected_arms(group_into_arms(found, {}, {}), full_titles=True)
    assert comparable_validation_losses(alike) == [one.validation_loss for one in alike]
    mixed = summarise_selected_arms(group_into_arms([*found, *fewer], {}, {}), full_titles=True)
    assert np.isnan(comparable_validation_losses(mixed)).all()
    # Zero-shot, validated on all target rows, stands beside arms of 500 but does not lead them.
    beside = summarise_selected_arms(
        arms_in_setting(group_into_arms([*found, *fewer], {}, {}), "500 target rows"),
        full_titles=False,
    )
    assert [
        one.title
        for one, loss in zip(beside, comparable_validation_losses(beside), strict=True)
        if loss != loss
    ] == ["zero-shot"]
    few = [
        alike[0],
        dataclasses.replace(alike[1], runs=(changed(alike[1].runs[0], target_rows=500),)),
    ]
    few = [dataclasses.replace(one, runs=one.runs[:1]) for one in few]
    folder = workspace.runs / few[1].runs[0].id
    if not folder.exists():
        shutil.copytree(workspace.runs / alike[1].runs[0].id, folder)
    verdicts, sentences = judge_selected_arms(workspace, few, alike[0].title)
    assert [(one.a, one.b) for one in verdicts] == [(alike[1].title, alike[0].title)]
    assert not any("on validation rows" in one for one in sentences)


def test_the_rate_chosen_for_an_arm_is_no_setting(runs: tuple[Workspace, list[Run]]) -> None:
    _, found = runs

    def at_rate(run: Run, rate: float) -> Run:
        return changed(run, train=dataclasses.replace(run.request.train, learning_rate=rate))

    tuned = [at_rate(run, 1e-3 if "depth" in run.strategy else 1e-4) for run in found]
    assert len(distinct_settings(group_into_arms(tuned, {}, {}))) == 2
    sweeps = {found[0].group}
    arms = group_into_arms(tuned, {}, {}, sweeps)
    assert distinct_settings(arms) == [""]
    assert {arm.setting for arm in arms} == {()}
    # With two rates of an arm one must say which; zero-shot, without a rate, stands at both.
    other = [dataclasses.replace(at_rate(run, 1e-4), id=f"{run.id}-other") for run in tuned]
    both = group_into_arms([*tuned, *other], {}, {}, sweeps)
    settings = distinct_settings(both)
    assert settings == ["learning rate 0.001", "learning rate 0.0001"]
    assert "zero-shot" in [arm.title for arm in arms_in_setting(both, settings[0])]


def test_a_control_without_a_rate_stands_in_the_setting_at_every_rate(
    runs: tuple[Workspace, list[Run]],
) -> None:
    _, found = runs
    first = next(run for run in found if run.strategy == "depth")
    train = dataclasses.replace(first.request.train, learning_rate=1e-4)
    control = changed(first, strategy="gradient-boosting", freeze_depth=0)
    arms = group_into_arms([first, changed(first, train=train), control], {}, {})
    settings = distinct_settings(arms)
    assert len(settings) == 2
    for setting in settings:
        titles = [arm.title for arm in arms_in_setting(arms, setting)]
        assert len(titles) == 2 and any("boosting" in title for title in titles), titles


def test_controls_are_named_and_grouped_by_what_they_read(
    runs: tuple[Workspace, list[Run]],
) -> None:
    """A control reads neither head nor rate; where those differ, its title says nothing of them."""
    _, found = runs
    kept = [run for run in found if run.strategy == "depth" and run.seed == 0]
    train = dataclasses.replace(kept[1].request.train, learning_rate=3e-4, batch_size=32)
    other = changed(kept[1], train=train)
    regression = changed(kept[0], strategy="logistic-regression", freeze_depth=0)
    slower = changed(
        kept[0],
        strategy="logistic-regression",
        freeze_depth=0,
        train=dataclasses.replace(train, seed=1),
    )
    scratch = changed(other, strategy="scratch", freeze_depth=0, keep_head=True)
    arms = group_into_arms([kept[0], other, regression, slower, scratch], {}, {})
    named = {arm.title: arm.setting for arm in arms}
    rate = kept[0].request.train.learning_rate
    fast = (f"batch size {kept[0].request.train.batch_size}", f"learning rate {rate:g}")
    slow = ("batch size 32", "learning rate 0.0003")
    assert named == {
        "freeze depth 0": fast,
        "freeze depth 1": slow,
        "logistic regression": (),
        "from scratch": slow,
    }
    assert distinct_settings(arms) == [", ".join(fast), ", ".join(slow)]
    titles = [{arm.title for arm in arms_in_setting(arms, one)} for one in distinct_settings(arms)]
    assert titles == [
        {"freeze depth 0", "logistic regression"},
        {"freeze depth 1", "logistic regression", "from scratch"},
    ]
