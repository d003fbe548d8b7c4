"""The page Sweep: what the form submits, and what the view says of unfinished and finished
sweeps."""

import dataclasses
import io
import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core.cli.parser import build_parser
from core.cli.sweep_command import sweep_spec
from core.data.datasets import Dataset
from core.freezing.strategies import (
    STRATEGIES,
    control_strategies,
    control_titles,
    has_learning_rate,
)
from core.jobs.requests import TrainSettings
from core.jobs.store import RunStore
from core.models.backbone_store import list_backbones
from core.report.sweep_tables import arms_table, runs_table
from core.runs.arm_verdicts import judge_arms
from core.runs.dispatch import execute
from core.runs.launch import CLUSTER_QUEUE
from core.runs.sweep import Arm, Sweep, SweepSpec, default_arms, list_sweeps, submit_sweep
from core.runs.sweep_result import summarise_arms
from core.runs.worker import run_job
from core.training.default_settings import rate_grid
from core.workspace import Workspace, open_workspace
from pages.components.shared.strategy_fields import STRATEGY_GROUPS
from pages.components.sweep.sweep_table import LAST_EPOCH_MARK, group_runs, sweep_table
from pages.components.sweep.sweep_verdicts import sentences_by_setting
from tests.core.training.helpers import pretrained
from tests.pages.helpers import has_button, open_page, page_text

Tiny = tuple[Workspace, Dataset]
TRAIN = TrainSettings(epochs=1, batch_size=256, early_stopping=0, device="cpu")


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker: what is queued stays queued."""
    monkeypatch.setattr("core.runs.sweep.ensure_worker", lambda workspace, queue: None)
    monkeypatch.setattr(
        "pages.components.sweep.sweep_form.ensure_worker", lambda workspace, queue: None
    )


@pytest.fixture
def page(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    return open_page(tiny[0], "sweep", monkeypatch, backbone="simulated-dnn")


def tick(app: AppTest, strategy: str) -> None:
    app.checkbox(f"sweep_with_{strategy}").check().run()
    assert not app.exception


def asked_for(app: AppTest, workspace: Workspace) -> SweepSpec:
    """The sweep that the command on the page asks for."""
    words = shlex.split(app.code[-1].value)
    return sweep_spec(workspace, build_parser().parse_args(words[3:]))


def launchable(app: AppTest) -> bool:
    return any(one.key == "sweep_launch" for one in app.button)


def test_every_strategy_has_a_card_with_its_source_and_when_to_use_it(page: AppTest) -> None:
    grouped = [name for names in STRATEGY_GROUPS.values() for name in names]
    assert sorted([*grouped, "depth"]) == sorted(STRATEGIES)
    text = page_text(page).replace("\\", "")
    for about in STRATEGIES.values():
        assert about.summary in text and about.when in text and about.source in text
    labels = [one.label for one in page.checkbox]
    assert all(any(STRATEGIES[name].title in label for label in labels) for name in grouped)


def test_opens_with_every_depth_both_controls_and_three_seeds(page: AppTest, tiny: Tiny) -> None:
    card = next(card for card in list_backbones(tiny[0]) if card.architecture == "dnn")
    spec = asked_for(page, tiny[0])
    assert spec.arms == default_arms(card, tiny[1])
    assert {arm.strategy for arm in spec.arms} == {"depth", *control_strategies()}
    assert spec.seeds == (0, 1, 2) and spec.target_sizes == (0,)
    rates = len(spec.learning_rates)
    assert spec.choose_rate and spec.learning_rates == rate_grid(spec.train.learning_rate)
    # With a rate: the depths, scratch and the retrained network.
    with_rate = sum(has_learning_rate(arm.strategy) for arm in spec.arms)
    # Zero-shot and a logistic regression, which no seed changes, run once.
    runs = with_rate * 3 * rates + (len(spec.arms) - with_rate - 2) * 3 + 2
    assert page.metric[0].value == str(runs)
    assert "about" in page.metric[1].value
    assert any(
        one.value.startswith(f"{len(spec.arms)} arms × 3 seeds × {rates} learning rates")
        and "zero-shot once" in one.value
        for one in page.caption
    )


def test_what_a_depth_already_is_does_not_run_twice(page: AppTest, tiny: Tiny) -> None:
    assert "In the sweep as freeze depth 0" in page_text(page)
    assert not any(one.key == "sweep_with_full" for one in page.checkbox)
    depths = page.pills("sweep_depths_simulated-dnn")
    depths.set_value([2]).run()
    tick(page, "full")
    titles = [arm.title for arm in asked_for(page, tiny[0]).arms]
    assert titles == ["freeze depth 2", "full fine-tuning", *control_titles()]


def test_options_come_with_the_tick_and_count(page: AppTest, tiny: Tiny) -> None:
    assert not any(one.key == "sweep_l2-sp_pull" for one in page.number_input)
    tick(page, "l2-sp")
    assert Arm("l2-sp") in asked_for(page, tiny[0]).arms
    page.number_input("sweep_l2-sp_pull").set_value(0.5).run()
    assert Arm("l2-sp", 0, {"pull": 0.5}) in asked_for(page, tiny[0]).arms


def test_a_click_on_a_stage_trains_it_and_stacks_are_arms(page: AppTest, tiny: Tiny) -> None:
    tick(page, "surgical")
    card = next(card for card in list_backbones(tiny[0]) if card.architecture == "dnn")
    names = [stage.name for stage in card.stages]
    assert asked_for(page, tiny[0]).arms[-1] == Arm("surgical", 0, {"stages": (names[-1],)})
    page.toggle(f"stage_{card.id}_0_{names[0]}").set_value(True).run()
    assert asked_for(page, tiny[0]).arms[-1] == Arm(
        "surgical", 0, {"stages": (names[0], names[-1])}
    )
    next(one for one in page.button if one.label == "Add a stack").click().run()
    found = [
        arm.options["stages"] for arm in asked_for(page, tiny[0]).arms if arm.strategy == "surgical"
    ]
    assert found == [(names[0], names[-1]), (names[-2],)]
    page.toggle(f"stage_{card.id}_1_{names[-2]}").set_value(False).run()
    assert "stack 2 trains no stage" in page_text(page) and not launchable(page)
    page.toggle(f"stage_{card.id}_1_{names[0]}").set_value(True).run()
    page.toggle(f"stage_{card.id}_1_{names[-1]}").set_value(True).run()
    assert "stacks 1 and 2 train the same stages" in page_text(page) and not launchable(page)
    page.button("sweep_remove_0").click().run()
    assert not page.exception and launchable(page)


def test_an_impossible_strategy_says_why(page: AppTest) -> None:
    page.number_input("sweep_epochs").set_value(2).run()
    assert page.checkbox("sweep_with_gradual").disabled
    assert "opens its last stage in epoch" in page_text(page)
    page.number_input("sweep_epochs").set_value(10).run()
    assert not page.checkbox("sweep_with_gradual").disabled


def test_rates_and_sizes_multiply_the_runs(page: AppTest, tiny: Tiny) -> None:
    page.text_input("sweep_rates").set_value("1e-3, 1e-4").run()
    spec = asked_for(page, tiny[0])
    assert spec.learning_rates == (1e-3, 1e-4)
    assert any("2 learning rates" in one.value for one in page.caption)
    page.text_input("sweep_rates").set_value("fast").run()
    assert "'fast'" in page_text(page) and not launchable(page)
    # The dataset has 600 target rows, fewer than the smallest size offered.
    assert any("can be chosen from 1,000 rows on" in one.value for one in page.caption)


def test_the_address_carries_the_whole_form(
    page: AppTest, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not {"arms", "sizes", "rates", "halving", "training", "head"} & {*page.query_params}
    card = next(card for card in list_backbones(tiny[0]) if card.architecture == "dnn")
    page.pills("sweep_depths_simulated-dnn").set_value([0, 2]).run()
    for name in ("l2-sp", "surgical"):
        tick(page, name)
    page.number_input("sweep_l2-sp_pull").set_value(0.123456789).run()
    page.toggle(f"stage_{card.id}_0_embedding").set_value(True).run()
    next(one for one in page.button if one.label == "Add a stack").click().run()
    page.checkbox("sweep_with_zero-shot").uncheck().run()
    page.text_input("sweep_rates").set_value("1e-3, 1e-4").run()
    page.number_input("sweep_epochs").set_value(7).run()
    page.radio("sweep_head").set_value("new").run()
    page.text_input("sweep_hidden").set_value("16").run()
    page.selectbox("sweep_halving").set_value(3).run()
    page.selectbox("sweep_inputs").set_value("refitted").run()
    assert any("Successive halving ends arms" in one.value for one in page.caption)
    asked = asked_for(page, tiny[0])
    # Depths 0 and 2, L2-SP, two stacks, and the controls but zero-shot.
    assert len(asked.arms) == 5 + len(control_strategies()) - 1 and asked.halving == 3
    assert asked.inputs == "refitted"
    shared = dict(page.query_params)
    again = open_page(tiny[0], "sweep", monkeypatch, **shared)
    assert not again.warning
    assert asked_for(again, tiny[0]) == asked
    assert dict(again.query_params) == shared


def test_no_arm_at_all_comes_back_as_none(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(tiny[0], "sweep", monkeypatch, backbone="simulated-dnn", arms="none")
    assert "Select at least one" in app.error[0].value and app.query_params["arms"] == "none"


def test_what_of_the_address_cannot_be_is_left_out_with_a_message(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {
        "99": "does not fit",
        "lora:rank=0": "Rank is 0",
        "magic": "neither a freeze depth",
        "surgical": "at least",
    }
    app = open_page(
        tiny[0],
        "sweep",
        monkeypatch,
        backbone="simulated-dnn",
        arms=",".join(["1", *wrong, "full"]),
        sizes="3k,all",
        halving="9",
    )
    for asked, sentence in {
        **wrong,
        "3k": "allows are all",
        "9": "takes one of 0, 2, 3, 4",
    }.items():
        assert any(f"'{asked}'" in one.value and sentence in one.value for one in app.warning)
    assert asked_for(app, tiny[0]).arms == (Arm("depth", 1), Arm("full"))
    assert app.query_params["arms"] == "1,full" and launchable(app)
    app.run()
    assert not app.warning


def test_a_sweep_without_a_strategy_gives_a_message(page: AppTest) -> None:
    page.pills("sweep_depths_simulated-dnn").set_value([]).run()
    for name in control_strategies():
        page.checkbox(f"sweep_with_{name}").uncheck().run()
    assert "Select at least one" in page.error[0].value.replace("\\", "") and not launchable(page)


def test_launch_queues_the_sweep_and_shows_it(page: AppTest, tiny: Tiny) -> None:
    asked = asked_for(page, tiny[0])
    page.text_input("sweep_name").set_value("mine").run()
    page.button("sweep_launch").click().run()
    assert not page.exception
    (sweep,) = list_sweeps(tiny[0])
    assert sweep.name == "mine" and page.query_params["sweep"] == sweep.id
    assert dataclasses.replace(sweep.spec) == asked
    assert page.subheader[0].value == "mine" and has_button(page, "Cancel")
    assert "Nothing yet" in page_text(page)
    assert len(page.dataframe[0].value) == len(asked.arms)


def test_a_control_runs_on_several_choices_of_rows(
    page: AppTest, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sweep_gradient-boosting_rows"
    assert page.pills(key).value == ["both"] and "arms" not in page.query_params
    page.pills(key).set_value(["both", "source", "target"]).run()
    page.pills("sweep_logistic-regression_rows").set_value(["source"]).run()
    page.text_input("sweep_name").input("rows").run()
    url = {name: page.query_params[name] for name in page.query_params}
    page.button("sweep_launch").click().run()
    assert not page.exception
    (sweep,) = list_sweeps(tiny[0])
    titles = [arm.title for arm in sweep.spec.arms]
    expected = [f"gradient boosting, {rows} rows" for rows in ("source", "target")]
    expected.append("gradient boosting, source and target rows")
    assert [one for one in titles if one.startswith("gradient")] == expected
    assert "logistic regression, source rows" in titles
    assert sweep.spec.blend
    # Another session with that address has the same arms.
    again = open_page(tiny[0], "sweep", monkeypatch, **url)
    assert again.pills(key).value == ["source", "target", "both"]
    assert again.pills("sweep_logistic-regression_rows").value == ["source"]
    assert again.query_params["arms"] == url["arms"]
    again.pills(key).set_value([]).run()
    assert "No rows are chosen for 'Gradient boosting'" in again.error[0].value
    assert not launchable(again)


def test_without_dataset_or_backbone_it_says_what_to_do(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        "no dataset"
        in open_page(open_workspace(tmp_path / "empty"), "sweep", monkeypatch).info[0].value
    )
    monkeypatch.setattr("core.models.backbone_store.BUNDLED_BACKBONES", tmp_path / "none")
    assert "no backbone" in open_page(tiny[0], "sweep", monkeypatch).info[0].value


def test_an_unknown_sweep_gives_a_message(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(tiny[0], "sweep", monkeypatch, sweep="s-ghost")
    assert "There is no sweep 's-ghost'" in app.error[0].value.replace("\\", "") and launchable(app)


@pytest.fixture
def begun(tiny: Tiny) -> tuple[Workspace, Sweep]:
    """Three arms over two seeds, of which the first seed's runs are done; zero-shot has that one
    alone."""
    workspace, dataset = tiny
    arms = (Arm("full"), Arm("depth", 1), Arm("zero-shot"))
    spec = SweepSpec(dataset.id, pretrained(workspace, "dnn").id, arms, (0, 1), train=TRAIN)
    sweep = submit_sweep(workspace, spec, "half")
    work(workspace, 3)
    return workspace, sweep


def work(workspace: Workspace, number: int) -> None:
    store = RunStore(workspace)
    for _ in range(number):
        run = store.claim("cpu", 1)
        assert run is not None
        run_job(workspace, store, run, execute)


def arms_on(app: AppTest) -> pd.DataFrame:
    """The table of arms; what the recommendation rests on stands above it."""
    return next(one.value for one in app.dataframe if "Runs" in one.value)


def test_half_done_is_provisional_and_keeps_every_row(
    begun: tuple[Workspace, Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, sweep = begun
    app = open_page(workspace, "sweep", monkeypatch, sweep="half")
    text = page_text(app).replace("\\", "")
    assert "provisional: 3 of 5 runs done" in text and "another seed may reverse it" in text
    table = arms_on(app)
    assert table["Arm"].tolist() == ["full fine-tuning", "freeze depth 1", "zero-shot"]
    assert [text.split(f" {LAST_EPOCH_MARK}")[0] for text in table["Runs"]] == [
        "1 of 2",
        "1 of 2",
        "1 of 1",
    ]
    runs = RunStore(workspace).list_group(sweep.id)
    assert runs[0].result is not None
    assert table["Target AUC"].iloc[0] == runs[0].result.metrics["target_test"]["auc"]
    assert table["ECE"].iloc[0] == runs[0].result.metrics["target_test"]["ece"]
    assert table["Verdict"].iloc[0] == "baseline"
    assert table["Compare"].iloc[1] == f"compare?runs={runs[1].id},{runs[4].id}"
    next(one for one in app.button if one.label == "Cancel").click().run()
    assert [run.status for run in RunStore(workspace).list_group(sweep.id)] == ["done"] * 3 + [
        "cancelled"
    ] * 2
    assert "provisional" not in page_text(app) and has_button(app, "Resume")
    next(one for one in app.button if one.label == "Resume").click().run()
    assert [run.status for run in RunStore(workspace).list_group(sweep.id)] == ["done"] * 3 + [
        "queued"
    ] * 2


def test_done_says_the_verdicts_against_the_reference_that_one_chooses(
    begun: tuple[Workspace, Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, sweep = begun
    work(workspace, 2)
    results = summarise_arms(sweep, RunStore(workspace).list_group(sweep.id))
    app = open_page(workspace, "sweep", monkeypatch, sweep=sweep.id)
    for reference in ("full fine-tuning", "zero-shot"):
        app.selectbox("against").select(reference).run()
        assert not app.exception
        verdicts, sentences = judge_arms(workspace, results, reference)
        text = page_text(app).replace("\\", "")
        assert "provisional" not in text and all(sentence[1:] in text for sentence in sentences)
        table = arms_on(app).set_index("Arm")
        for one in verdicts:
            if one.b == reference:
                assert table.loc[one.a, "Verdict"] == one.outcome
                assert table.loc[one.a, "ΔAUC"] == f"{one.auc.delta:+.4f}"
        assert table.loc[reference, "Verdict"] == "baseline"
    assert app.query_params["against"] == "zero-shot"
    assert not has_button(app, "Cancel") and not has_button(app, "Resume")


def test_sentences_stand_under_their_setting_also_while_one_alone_is_judged(
    begun: tuple[Workspace, Sweep],
) -> None:
    workspace, sweep = begun
    results = summarise_arms(sweep, RunStore(workspace).list_group(sweep.id))
    several = [
        dataclasses.replace(one, setting=setting) for setting in ("1k", "5k") for one in results
    ]
    verdicts, sentences = judge_arms(workspace, several, "full fine-tuning")
    said = sentences_by_setting(sentences, ["1k", "5k"], verdicts)
    assert sum(map(len, said.values())) == len(sentences) and said["1k"] == said["5k"]
    assert not any("1k" in one or "5k" in one for one in said["1k"])
    verdicts, sentences = judge_arms(workspace, several[3:], "full fine-tuning")
    assert sentences_by_setting(sentences, ["1k", "5k"], verdicts) == {"1k": [], "5k": sentences}


def test_more_seeds_are_queued_from_the_page(
    begun: tuple[Workspace, Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, sweep = begun
    app = open_page(workspace, "sweep", monkeypatch, sweep=sweep.id)
    app.number_input("sweep_more").set_value(1).run()
    app.button("sweep_extend").click().run()
    assert not app.exception
    assert list_sweeps(workspace)[0].spec.seeds == (0, 1, 2)
    found = [text.split(f" {LAST_EPOCH_MARK}")[0] for text in arms_on(app)["Runs"]]
    assert found == ["1 of 3", "1 of 3", "1 of 1"]


def test_the_files_hold_every_number(begun: tuple[Workspace, Sweep]) -> None:
    workspace, sweep = begun
    runs = RunStore(workspace).list_group(sweep.id)
    results = summarise_arms(sweep, runs)
    verdicts, _ = judge_arms(workspace, results, "full fine-tuning")
    arms = read_back(arms_table(results, verdicts, "full fine-tuning"))
    assert arms["arm"].tolist() == ["full fine-tuning", "freeze depth 1", "zero-shot"]
    mine = next(one for one in verdicts if one.a == "freeze depth 1")
    assert arms["auc_difference_low"].iloc[1] == pytest.approx(mine.auc.low)
    assert arms["log_loss_adjusted_p"].iloc[1] == pytest.approx(mine.log_loss_p)
    every = read_back(runs_table(runs))
    assert (
        every["run"].tolist() == [run.id for run in runs]
        and every["status"].tolist()[3:] == ["queued"] * 2
    )
    assert runs[0].result is not None
    assert every["target_test_auc"].iloc[0] == runs[0].result.metrics["target_test"]["auc"]


def read_back(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame through Parquet, whose columns must have one type each."""
    return pd.read_parquet(io.BytesIO(frame.to_parquet(index=False)))


def test_settings_have_rows_of_their_own_and_zero_shot_one(tiny: Tiny) -> None:
    workspace, dataset = tiny
    spec = SweepSpec(
        dataset.id,
        "simulated-dnn",
        (Arm("full"), Arm("zero-shot")),
        (0, 1),
        target_sizes=(200, 0),
        train=TRAIN,
    )
    sweep = submit_sweep(workspace, spec, "sizes")
    places = group_runs(sweep, RunStore(workspace).list_group(sweep.id))
    table = sweep_table(places, [], [], "full fine-tuning")
    assert list(zip(table["Arm"], table["Setting"], table["Runs"], strict=True)) == [
        ("full fine-tuning", "200 target rows", "0 of 2"),
        ("zero-shot", "every one", "0 of 1"),
        ("full fine-tuning", "all target rows", "0 of 2"),
    ]


def test_a_sweep_of_the_command_line_is_continued_there(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    spec = SweepSpec(
        dataset.id, "simulated-dnn", (Arm("full"), Arm("zero-shot")), (0,), train=TRAIN
    )
    sweep = submit_sweep(workspace, spec, "own", run_here=True)
    queues: Sequence[str] = [run.queue for run in RunStore(workspace).list_group(sweep.id)]
    assert {*queues} == {CLUSTER_QUEUE}
    for run in RunStore(workspace).list_group(sweep.id):
        RunStore(workspace).request_cancel(run.id)
    app = open_page(workspace, "sweep", monkeypatch, sweep=sweep.id)
    assert "started on the command line" in page_text(app)
    assert not has_button(app, "Resume") and not has_button(app, "Add them")
