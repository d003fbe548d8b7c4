"""The page Backbones, driven without a browser."""

import dataclasses
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.models.library import list_backbones
from core.runs.store import RunStore
from core.workspace import Workspace, read_json, write_json
from tests.pages.test_finetune import open_page


@pytest.fixture
def page(tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page over the dataset tiny and the bundled backbones; no worker starts."""
    return open_page(tiny[0], "backbones", monkeypatch)


def go(page: AppTest, section: str) -> None:
    page.segmented_control("section").set_value(section).run()
    assert not page.exception


def call_it_real(dataset: Dataset) -> None:
    """Marks a dataset as not simulated."""
    path = dataset.folder / "dataset.json"
    write_json(path, read_json(path) | {"simulated": False})


def test_the_shelf_shows_every_backbone_with_its_auc(page: AppTest, tiny: tuple[Workspace, Dataset]) -> None:
    cards = list_backbones(tiny[0])
    assert len(cards) >= 3
    assert [metric.value for metric in page.metric] == [f"{card.metrics['auc']:.4f}" for card in cards]
    for card in cards:
        assert any(card.weights_sha256[:12] in caption.value for caption in page.caption)


def test_the_check_tells_a_bundled_backbone_from_real_hashes_and_offers_pretraining(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    call_it_real(tiny[1])
    page = open_page(tiny[0], "backbones", monkeypatch, section="Vocabulary check")
    assert any("does not know the hashes in real Criteo traffic" in one.value for one in page.warning)
    offer = next(button for button in page.button if button.label.startswith("Pretrain on"))
    offer.click().run()
    assert not page.exception
    assert page.selectbox("dataset").value == "tiny"
    assert any(button.key == "pt_launch" for button in page.button)


def test_the_check_lists_every_column_worst_first(page: AppTest) -> None:
    go(page, "Vocabulary check")
    shares = page.dataframe[0].value["Unseen"].tolist()
    assert len(shares) == 39
    assert shares == sorted(shares, reverse=True)


def test_pretraining_is_queued_with_what_differs_from_the_defaults(
    page: AppTest, tiny: tuple[Workspace, Dataset]
) -> None:
    go(page, "Pretrain")
    page.selectbox("pt_architecture").select("dcnv2").run()
    page.number_input("pt_dcnv2_crosses").set_value(1).run()
    page.text_input("pt_dcnv2_widths").set_value("32, 16").run()
    page.text_input("pt_name").set_value("mine").run()
    page.number_input("pt_epochs").set_value(2).run()
    assert any("--name mine" in one.value and "--widths 32,16" in one.value for one in page.code)
    page.button("pt_launch").click().run()
    assert not page.exception
    (run,) = RunStore(tiny[0]).list()
    assert run.request["settings"] == {"crosses": 1, "widths": [32, 16]}
    assert run.request["train"]["epochs"] == 2
    assert page.query_params["run"] == run.id


def test_a_name_that_is_taken_is_refused_in_a_sentence(page: AppTest, tiny: tuple[Workspace, Dataset]) -> None:
    go(page, "Pretrain")
    page.text_input("pt_name").set_value(list_backbones(tiny[0])[0].name).run()
    page.button("pt_launch").click().run()
    assert not page.exception
    assert "already a backbone" in page.error[0].value
    assert not RunStore(tiny[0]).list()


def test_widths_that_make_no_sense_are_refused_in_a_sentence(page: AppTest) -> None:
    go(page, "Pretrain")
    page.text_input("pt_dnn_widths").set_value("wide").run()
    assert not page.exception
    assert "'wide'" in page.error[0].value


def test_without_a_backbone_the_shelf_says_what_to_do(
    tiny: tuple[Workspace, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.models.library.BUNDLED_BACKBONES", tmp_path / "none")
    page = open_page(tiny[0], "backbones", monkeypatch)
    assert "no backbones yet" in page.info[0].value
    page.button[0].click().run()
    assert any(button.key == "pt_launch" for button in page.button)


def test_without_a_dataset_the_form_says_what_to_do(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page(workspace, "backbones", monkeypatch, section="Pretrain")
    assert "source domain" in page.info[0].value


def test_noise_is_a_share_of_the_values_that_are_there() -> None:
    from core.data.datasets import FieldCoverage
    from core.freezing.vocabulary import unseen_share

    fields = [FieldCoverage("C1", 0.3, 0.4), FieldCoverage("C2", 0.3, 0.6), FieldCoverage("I1", 1.0, 0.0)]
    assert unseen_share(fields) == pytest.approx(0.6)
    assert unseen_share([dataclasses.replace(fields[0], missing_share=1.0, unseen_share=0.0)]) == 0.0
