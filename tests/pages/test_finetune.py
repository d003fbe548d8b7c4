"""The page Fine-tune, driven without a browser."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.models.library import list_backbones
from core.runs.store import RunStore
from core.workspace import PROJECT, Workspace, open_workspace


@pytest.fixture
def page(tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page over the dataset tiny and the bundled backbones; no worker starts."""
    return open_page(tiny[0], "finetune", monkeypatch)


def open_page(workspace: Workspace, name: str, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    monkeypatch.setenv("THAW_HOME", str(workspace.root))
    monkeypatch.setattr("core.runs.launch.ensure_worker", lambda workspace, lane: None)
    monkeypatch.setattr("core.runs.submit.ensure_worker", lambda workspace, lane: None)
    forget_workspace()
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=30).run()
    for key, value in query.items():
        app.query_params[key] = value
    app.switch_page(f"{name}.py").run()
    assert not app.exception
    return app


def forget_workspace() -> None:
    """The server keeps one workspace; each test has its own."""
    from pages.components.common import workspace

    workspace.clear()


def choose_backbone(app: AppTest, architecture: str) -> None:
    card = next(card for card in list_backbones(open_workspace()) if card.architecture == architecture)
    app.selectbox("backbone").select(card.name).run()
    assert not app.exception


def table(app: AppTest) -> str:
    return next(one.value for one in app.markdown if one.value.startswith("| :small[Stage]"))


def test_opens_with_everything_chosen(page: AppTest) -> None:
    assert page.selectbox("dataset").value == "tiny"
    assert page.selectbox("backbone").value
    assert "frozen" in table(page) and "trained" in table(page)
    assert any("about" in metric.value for metric in page.metric)


def test_the_slider_ends_at_the_real_stages_and_says_what_they_mean(page: AppTest) -> None:
    choose_backbone(page, "dcnv2")
    assert (page.slider("depth").min, page.slider("depth").max) == (0, 5)
    page.slider("depth").set_value(5).run()
    assert any("Linear probe" in one.value for one in page.markdown)
    assert table(page).count("trained") == 1
    page.slider("depth").set_value(0).run()
    assert any("Full fine-tuning" in one.value for one in page.markdown)
    assert "frozen" not in table(page)
    choose_backbone(page, "dnn")
    assert page.slider("depth").max == 4


def test_a_preset_fills_the_fields_and_an_edit_unmarks_it(page: AppTest) -> None:
    page.segmented_control("ft_preset").set_value("article").run()
    assert (page.number_input("ft_batch_size").value, page.number_input("ft_epochs").value) == (32, 10)
    page.number_input("ft_epochs").set_value(3).run()
    assert any(one.value == "your own settings" for one in page.caption)
    assert any("--epochs 3" in one.value for one in page.code)
    page.number_input("ft_epochs").set_value(10).run()
    assert any(one.value.startswith("article:") for one in page.caption)


def test_a_head_that_makes_no_sense_is_refused_in_a_sentence(page: AppTest) -> None:
    page.text_input("ft_hidden").set_value("many").run()
    assert not page.exception
    assert "'many'" in page.error[0].value
    assert not [button for button in page.button if button.key == "ft_launch"]
    page.text_input("ft_hidden").set_value("64, 32").run()
    assert not page.error
    assert any("--head-hidden 64,32" in one.value for one in page.code)


def test_launch_queues_the_run_and_its_controls_and_opens_it(page: AppTest, tiny: tuple[Workspace, Dataset]) -> None:
    page.slider("depth").set_value(2).run()
    page.checkbox("ft_scratch").uncheck().run()
    page.button("ft_launch").click().run()
    assert not page.exception
    runs = RunStore(tiny[0]).list()
    assert sorted(run.request["strategy"] for run in runs) == ["depth", "zero-shot"]
    main = next(run for run in runs if run.request["strategy"] == "depth")
    assert main.request["freeze_depth"] == 2
    assert page.query_params["run"] == main.id


def test_a_new_seed_counts_in_the_command(page: AppTest) -> None:
    page.number_input("ft_seed").set_value(7).run()
    assert any("--seed 7" in one.value for one in page.code)


def test_few_rows_start_with_the_preset_for_few_rows(page: AppTest) -> None:
    assert page.segmented_control("ft_preset").value == "small"
    assert page.number_input("ft_batch_size").value == 256
    page.segmented_control("ft_preset").set_value("fast").run()
    page.slider("depth").set_value(0).run()
    assert page.number_input("ft_batch_size").value == 4096


def test_the_address_chooses(tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    card = list_backbones(tiny[0])[-1]
    page = open_page(tiny[0], "finetune", monkeypatch, dataset="tiny", backbone=card.id, depth="3")
    assert page.selectbox("backbone").value == card.name
    assert page.slider("depth").value == 3


def test_an_address_that_names_nothing_here_is_told_so(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(tiny[0], "finetune", monkeypatch, dataset="ghost")
    assert any("'ghost'" in one.value for one in page.warning)
    assert page.selectbox("dataset").value == "tiny"


def test_without_a_dataset_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page(open_workspace(tmp_path / "empty"), "finetune", monkeypatch)
    assert "no dataset" in page.info[0].value
    assert not page.button


def test_without_a_backbone_it_says_what_to_do(
    tiny: tuple[Workspace, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.models.library.BUNDLED_BACKBONES", tmp_path / "none")
    page = open_page(tiny[0], "finetune", monkeypatch)
    assert "no backbone" in page.info[0].value
