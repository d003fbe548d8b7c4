"""The page Fine-tune in AppTest."""

import dataclasses
import math
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset, delete_dataset
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.split import SplitSpec
from core.freezing.strategies import DEFAULT_CONTROLS, control_strategies
from core.jobs.store import RunStore
from core.models.backbone_store import list_backbones
from core.models.card import save_card
from core.models.registry import ARCHITECTURES
from core.training.default_settings import default_settings
from core.workspace import Workspace, open_workspace
from tests.core.data.helpers import rows, text
from tests.pages.helpers import copy_to_workspace, open_page, send_stale_edits, stage_table


@pytest.fixture
def page(tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page over the dataset tiny and the bundled backbones; no worker starts."""
    return open_page(tiny[0], "finetune", monkeypatch)


def choose_backbone(app: AppTest, architecture: str) -> None:
    card = next(
        card for card in list_backbones(open_workspace()) if card.architecture == architecture
    )
    app.selectbox("backbone").select(card.name).run()
    assert not app.exception


def test_opens_with_everything_chosen(page: AppTest) -> None:
    assert page.selectbox("dataset").value == "tiny"
    assert page.selectbox("backbone").value
    assert "frozen" in stage_table(page) and "trained" in stage_table(page)
    assert any("about" in metric.value for metric in page.metric)


def test_the_slider_ends_at_the_real_stages_and_says_what_they_mean(page: AppTest) -> None:
    choose_backbone(page, "dcnv2")
    assert (page.slider("depth").min, page.slider("depth").max) == (0, 5)
    page.slider("depth").set_value(5).run()
    assert any("Linear probe" in one.value for one in page.markdown)
    assert stage_table(page).count("trained") == 1
    page.slider("depth").set_value(0).run()
    assert any("Full fine-tuning" in one.value for one in page.markdown)
    assert "frozen" not in stage_table(page)
    choose_backbone(page, "dnn")
    assert page.slider("depth").max == 3


def test_a_preset_fills_the_fields_and_an_edit_unmarks_it(page: AppTest) -> None:
    page.segmented_control("ft_preset").set_value("article").run()
    assert (page.number_input("ft_batch_size").value, page.number_input("ft_epochs").value) == (
        32,
        10,
    )
    page.number_input("ft_epochs").set_value(3).run()
    assert any(one.value == "your own settings" for one in page.caption)
    assert any("--epochs 3" in one.value for one in page.code)
    page.number_input("ft_epochs").set_value(10).run()
    assert any(one.value.startswith("article:") for one in page.caption)


def test_a_head_that_makes_no_sense_is_refused_with_a_message(page: AppTest) -> None:
    page.radio("ft_head").set_value("new").run()
    page.text_input("ft_hidden").set_value("many").run()
    assert not page.exception
    assert "'many'" in page.error[0].value.replace("\\", "")
    assert not [button for button in page.button if button.key == "ft_launch"]
    page.text_input("ft_hidden").set_value("64, 32").run()
    assert not page.error
    assert any("--head-hidden 64,32" in one.value for one in page.code)


def test_the_head_is_the_backbones_own_unless_the_preset_or_the_user_wants_a_new_one(
    page: AppTest, tiny: tuple[Workspace, Dataset]
) -> None:
    assert page.radio("ft_head").value == "keep" and not page.text_input
    assert "head" not in page.query_params and "--head" not in page.code[-1].value
    page.segmented_control("ft_preset").set_value("article").run()
    assert page.radio("ft_head").value == "new" and "--head" not in page.code[-1].value
    page.radio("ft_head").set_value("keep").run()
    assert "--head keep" in page.code[-1].value and page.query_params["head"] == "keep"
    page.segmented_control("ft_preset").set_value("auto").run()
    page.radio("ft_head").set_value("new").run()
    assert "--head new" in page.code[-1].value and page.query_params["head"] == "new"
    page.button("ft_launch").click().run()
    assert not any(run.finetune_request.keep_head for run in RunStore(tiny[0]).list())


def test_no_preset_replaces_a_head_that_was_chosen_by_hand(page: AppTest) -> None:
    page.segmented_control("ft_preset").set_value("article").run()
    page.radio("ft_head").set_value("keep").run()
    for preset in ("auto", "article"):
        page.segmented_control("ft_preset").set_value(preset).run()
        assert page.radio("ft_head").value == "keep"
    assert any("so it stays" in one.value for one in page.caption)
    assert "--head keep" in page.code[-1].value


def test_a_url_with_unknown_inputs_is_reported_outside_of_what_is_folded(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(tiny[0], "finetune", monkeypatch, inputs="others")
    assert any("'others'" in one.value for one in app.warning)
    (advanced,) = [one for one in app.expander if one.label == "Advanced"]
    assert not advanced.warning and "ft_inputs" in [one.key for one in advanced.selectbox]


def test_a_frozen_stage_has_no_rate_beside_that_of_a_new_head(page: AppTest) -> None:
    page.radio("ft_head").set_value("new").run()
    rate = f"{page.number_input('ft_learning_rate').value:.2g}"
    lines = stage_table(page).splitlines()
    frozen, trained = ([one for one in lines if word in one] for word in ("frozen", "trained"))
    assert frozen and not any(rate in one for one in frozen)
    assert any(rate in one for one in trained)


def test_launch_queues_the_run_and_its_controls_and_opens_it(
    page: AppTest, tiny: tuple[Workspace, Dataset]
) -> None:
    page.slider("depth").set_value(2).run()
    page.checkbox("ft_gradient-boosting").uncheck().run()
    page.selectbox("ft_inputs").set_value("refitted").run()
    assert page.query_params["inputs"] == "refitted"
    assert "--inputs refitted" in page.code[-1].value
    page.button("ft_launch").click().run()
    assert not page.exception
    runs = RunStore(tiny[0]).list()
    assert sorted(run.strategy for run in runs) == ["depth", "logistic-regression", "zero-shot"]
    main = next(run for run in runs if run.strategy == "depth")
    assert main.finetune_request.freeze_depth == 2 and main.finetune_request.keep_head
    assert [run.finetune_request.inputs for run in runs if run is not main] == ["kept"] * 2
    assert main.finetune_request.inputs == "refitted"
    assert page.query_params["run"] == main.id


def test_a_new_seed_counts_in_the_command(page: AppTest) -> None:
    page.number_input("ft_seed").set_value(7).run()
    assert any("--seed 7" in one.value for one in page.code)


def test_the_number_of_rows_chooses_until_the_user_does(page: AppTest) -> None:
    assert page.segmented_control("ft_preset").value == "auto"
    # 3,000 rows, of which 1,200 are target rows, half of them to train or validate on, a tenth of
    # those to validate.
    batch = page.number_input("ft_batch_size").value
    assert batch == default_settings(420)[1].batch_size < 100
    said = next(
        one.value
        for one in page.caption
        if one.value.startswith("Preset auto for 420 training rows")
    )
    assert f"batch {batch}" in said and f"{math.ceil(420 / batch)} optimiser steps" in said
    page.segmented_control("ft_preset").set_value("fast").run()
    page.slider("depth").set_value(0).run()
    assert page.number_input("ft_batch_size").value == 4096


def test_the_address_chooses(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = list_backbones(tiny[0])[-1]
    page = open_page(tiny[0], "finetune", monkeypatch, dataset="tiny", backbone=card.id, depth="3")
    assert page.selectbox("backbone").value == card.name
    assert page.slider("depth").value == 3


def test_a_url_that_names_nothing_here_is_reported(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(tiny[0], "finetune", monkeypatch, dataset="ghost")
    assert any("'ghost'" in one.value for one in page.warning)
    assert page.selectbox("dataset").value == "tiny"


def test_without_a_dataset_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(open_workspace(tmp_path / "empty"), "finetune", monkeypatch)
    assert "no dataset" in page.info[0].value
    assert not page.button


def test_without_a_backbone_it_says_what_to_do(
    tiny: tuple[Workspace, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.models.backbone_store.BUNDLED_BACKBONES", tmp_path / "none")
    page = open_page(tiny[0], "finetune", monkeypatch)
    assert "no backbone" in page.info[0].value


def test_datasets_without_labels_are_not_offered(
    tiny: tuple[Workspace, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, labelled = tiny
    path = tmp_path / "unlabelled.tsv"
    path.write_bytes(text(rows(100, labelled=False)))
    unlabelled = prepare(workspace, ingest(workspace, path, "no labels"), SplitSpec(), "no labels")
    app = open_page(workspace, "finetune", monkeypatch, dataset=unlabelled.id)
    assert app.selectbox("dataset").options == ["tiny"]
    delete_dataset(labelled)
    app = open_page(workspace, "finetune", monkeypatch)
    assert "no dataset with labels" in app.info[0].value


def test_freezing_random_stages_is_warned_of_and_the_picture_labels_them(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_to_workspace(tiny[0], "dnn", ("word2vec", "random", "random"), objective="none")
    page = open_page(tiny[0], "finetune", monkeypatch, backbone="mine", depth="1")
    assert not any("random weights:" in one.value for one in page.warning)
    drawn = page.get("html")[0].proto.body.rpartition("</style>")[2]
    assert drawn.count("random weights") == 2
    page.slider("depth").set_value(2).run()
    warning = next(one.value for one in page.warning if "random weights" in one.value)
    assert "**Block 1**" in warning and "Embedding" not in warning and "Block 2" not in warning


def test_the_url_carries_the_controls(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ticked(page: AppTest) -> list[str]:
        return [name for name in control_strategies() if page.checkbox(f"ft_{name}").value]

    page = open_page(tiny[0], "finetune", monkeypatch, backbone="simulated-dnn")
    assert ticked(page) == [*DEFAULT_CONTROLS] and "controls" not in page.query_params
    page.checkbox("ft_gradient-boosting").uncheck().run()
    page.checkbox("ft_scratch").check().run()
    wanted = ["zero-shot", "logistic-regression", "scratch"]
    assert page.query_params["controls"] == ",".join(wanted)
    for address, expected in (
        (",".join(wanted), wanted),
        ("none", []),
        ("scratch,lora", ["scratch"]),
    ):
        again = open_page(
            tiny[0], "finetune", monkeypatch, backbone="simulated-dnn", controls=address
        )
        assert ticked(again) == expected and not again.exception
        warned = any("'lora'" in one.value.replace("\\", "") for one in again.warning)
        assert warned == ("lora" in address)
        again.checkbox("ft_retrain").check().run()
        assert set(ticked(again)) == {*expected, "retrain"}
    page.checkbox("ft_scratch").uncheck().run()
    page.checkbox("ft_gradient-boosting").check().run()
    assert "controls" not in page.query_params


def test_a_backbone_without_a_click_head_has_no_zero_shot(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_to_workspace(tiny[0], "dnn", ("rfd",) * 3, objective="rfd")
    page = open_page(tiny[0], "finetune", monkeypatch, backbone="mine")
    assert [one.key for one in page.checkbox] == [
        f"ft_{name}" for name in control_strategies() if name != "zero-shot"
    ]
    assert any("No zero-shot" in one.value for one in page.caption)
    page.button("ft_launch").click().run()
    assert not page.exception
    assert sorted(run.strategy for run in RunStore(tiny[0]).list()) == [
        "depth",
        "gradient-boosting",
        "logistic-regression",
    ]


def test_the_work_of_every_stage_is_shown(page: AppTest) -> None:
    choose_backbone(page, "dnn")
    card = next(card for card in list_backbones(open_workspace()) if card.architecture == "dnn")
    work = sum(stage.flops for stage in card.stages) + 2 * card.representation
    row = next(line for line in stage_table(page).splitlines() if "Block 1" in line)
    assert f"{100 * card.stages[1].flops / work:.1f}" in row
    assert "0.0" in next(line for line in stage_table(page).splitlines() if "Embedding" in line)


def test_parallel_parts_say_that_they_share_a_stage(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = copy_to_workspace(tiny[0], "dnn", ("supervised",) * 3)
    stages = tuple(dataclasses.replace(stage, parts=("Left", "Right")) for stage in card.stages[:1])
    save_card(
        dataclasses.replace(card, stages=stages + card.stages[1:]), tiny[0].backbones / card.id
    )
    page = open_page(tiny[0], "finetune", monkeypatch, backbone="mine")
    assert any(
        one.value.startswith("Left and Right are parallel and share a stage")
        for one in page.caption
    )


def test_the_articles_preset_puts_its_two_classes_on_its_backbones_alone(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.segmented_control("ft_preset").set_value("article").run()
    assert page.selectbox("ft_output").value == "logit"
    card = next(
        card
        for card in list_backbones(open_workspace())
        if card.name == page.selectbox("backbone").value
    )
    monkeypatch.setitem(
        ARCHITECTURES,
        card.architecture,
        dataclasses.replace(ARCHITECTURES[card.architecture], required_package="keras"),
    )
    page.run()
    assert page.selectbox("ft_output").value == "softmax"
    page.segmented_control("ft_preset").set_value("fast").run()
    assert page.radio("ft_head").value == "keep"
    page.radio("ft_head").set_value("new").run()
    assert page.selectbox("ft_output").value == "logit"
    page.selectbox("ft_output").select("softmax").run()
    page.segmented_control("ft_preset").set_value("small").run()
    assert page.selectbox("ft_output").value == "softmax"


def test_an_edit_is_not_lost_to_the_next_stale_one(page: AppTest) -> None:
    assert page.segmented_control("ft_preset").value == "auto"
    send_stale_edits(
        page,
        lambda page: page.number_input("ft_epochs").set_value(2),
        lambda page: page.checkbox("ft_zero-shot").uncheck(),
    )
    assert page.segmented_control("ft_preset").value is None
    assert (
        any("--epochs 2" in one.value for one in page.code)
        and not page.checkbox("ft_zero-shot").value
    )


def test_two_edits_at_once_both_stay_and_the_preset_stays_unmarked(page: AppTest) -> None:
    send_stale_edits(
        page,
        lambda page: page.number_input("ft_epochs").set_value(6),
        lambda page: page.number_input("ft_batch_size").set_value(4),
    )
    assert page.segmented_control("ft_preset").value is None
    assert (page.number_input("ft_epochs").value, page.number_input("ft_batch_size").value) == (
        6,
        4,
    )


def test_a_launch_before_the_answer_to_a_preset_uses_the_preset(
    page: AppTest, tiny: tuple[Workspace, Dataset]
) -> None:
    send_stale_edits(
        page,
        lambda page: page.segmented_control("ft_preset").set_value("article"),
        lambda page: page.button("ft_launch").click(),
    )
    assert {
        (run.request.train.batch_size, run.request.train.epochs) for run in RunStore(tiny[0]).list()
    } == {(32, 10)}
