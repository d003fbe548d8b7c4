"""The page Backbones in AppTest."""

import dataclasses
import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard, StageCard, save_card
from core.workspace import Workspace, read_json, write_json
from tests.pages.helpers import open_page

pytestmark = pytest.mark.usefixtures("costs_in_process")


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


def test_every_backbone_is_shown_with_its_facts(
    page: AppTest, tiny: tuple[Workspace, Dataset]
) -> None:
    cards = list_backbones(tiny[0])
    assert len(cards) >= 3
    assert [metric.value for metric in page.metric] == [
        f"{card.metrics['auc']:.4f}" for card in cards
    ]
    codes = [code.value for code in page.code]
    for card in cards:
        assert {
            card.weights_sha256,
            card.preprocessing_hash,
            card.trained_on["content_hash"],
        } <= set(codes)
    assert all("trained on click labels" in html for html in stacks(page))
    assert not any("random" in html for html in stacks(page))


def stacks(page: AppTest) -> list[str]:
    """The drawings of stages, without their style."""
    bodies = [one.proto.body.rpartition("</style>")[2] for one in page.get("html")]
    return [body for body in bodies if body]


def shelve(workspace: Workspace, card: BackboneCard, name: str, **changes: Any) -> BackboneCard:
    """A copy of a card on the workspace's own shelf, changed."""
    card = dataclasses.replace(
        card, id=f"b-{abs(hash(name)):x}"[:10], name=name, bundled=False, **changes
    )
    folder = workspace.backbones / card.id
    shutil.copytree(card.folder, folder)
    save_card(card, folder)
    return dataclasses.replace(card, folder=folder)


def with_origins(card: BackboneCard, *origins: str) -> tuple[StageCard, ...]:
    return tuple(
        dataclasses.replace(stage, origin=origin)
        for stage, origin in zip(card.stages, origins, strict=True)
    )


def test_random_weights_are_labelled_on_the_badge_and_on_every_such_stage(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = next(one for one in list_backbones(tiny[0]) if one.architecture == "dnn")
    stages = with_origins(card, "word2vec", "random", "random")
    shelve(
        tiny[0],
        card,
        "words",
        objective="none",
        stages=stages,
        metrics={"Values with a vector": 3800},
    )
    page = open_page(tiny[0], "backbones", monkeypatch, shelf_find="words")
    (drawn,) = stacks(page)
    assert drawn.count("random weights") == 2 and drawn.count(">Word2Vec<") == 1
    assert any("random weights above the embedding" in one.value for one in page.markdown)
    assert any("was not trained on click labels" in one.value for one in page.caption)
    (metric,) = page.metric
    assert (metric.label, metric.value) == ("Values with a vector", "3,800")


def test_a_backbone_without_a_click_head_says_so_and_hostile_words_stay_text(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = next(one for one in list_backbones(tiny[0]) if one.architecture == "dnn")
    trained = card.trained_on | {"dataset": "<b>x</b> [y](z)", "domain": "**source**"}
    shelve(
        tiny[0],
        card,
        "strangers",
        objective="rfd",
        imported=True,
        metrics={":red[detector] AUC": 0.7123, "loss": 0.41},
        trained_on=trained,
        earlier=(trained,),
        stages=tuple(
            dataclasses.replace(
                stage, parts=("Left", "Right") if stage.name == "block2" else (), origin="rfd"
            )
            for stage in card.stages
        ),
    )
    page = open_page(tiny[0], "backbones", monkeypatch, shelf_find="strangers")
    assert [metric.value for metric in page.metric] == ["0.7123"]
    assert page.metric[0].label == r"\:red\[detector\] AUC"
    assert any("no click head yet" in one.value and "0.4100" in one.value for one in page.caption)
    assert any("Left and Right are parallel and share a stage" in one.value for one in page.caption)
    assert any("imported" in one.value for one in page.markdown)
    assert not any("<b>x</b>" in one.value or "**source**" in one.value for one in page.markdown)
    assert any("before that on" in one.value for one in page.markdown)


def test_many_cards_are_found_by_name_architecture_and_data(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = next(one for one in list_backbones(tiny[0]) if one.architecture == "dnn")
    for number in range(3):
        trained = card.trained_on | {"dataset": f"week {number}"}
        shelve(tiny[0], card, f"mine {number}", trained_on=trained)
    page = open_page(tiny[0], "backbones", monkeypatch)
    assert len(stacks(page)) == len(list_backbones(tiny[0])) > 3
    page.text_input("shelf_find").set_value("MINE 1").run()
    assert len(stacks(page)) == 1
    page.text_input("shelf_find").set_value("").run()
    page.multiselect("shelf_architecture").set_value(["dnn"]).run()
    assert len(stacks(page)) == 4
    page.multiselect("shelf_data").set_value(["week 0", "week 2"]).run()
    assert len(stacks(page)) == 2
    page.text_input("shelf_find").set_value("nothing of the kind").run()
    assert any("No backbone matches" in one.value for one in page.info)
    assert not page.exception


def test_deleting_asks_first_and_is_not_offered_for_bundled_ones(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = next(one for one in list_backbones(tiny[0]) if one.architecture == "dnn")
    mine = shelve(tiny[0], card, "mine")
    page = open_page(tiny[0], "backbones", monkeypatch, shelf_find="mine")
    assert not any(button.key == f"delete_{card.id}" for button in page.button)
    page.button(f"delete_{mine.id}").click().run()
    assert mine.folder.exists()
    assert not page.exception
    # A browser runs the dialog alone when its button is pressed, which cannot be had here;
    # tests/e2e presses it.
    assert page.button("delete_for_good").label == "Delete"
    assert any("cannot be undone" in one.value for one in page.markdown)


def test_an_export_is_the_archive_that_can_be_imported(
    page: AppTest, tiny: tuple[Workspace, Dataset]
) -> None:
    from core.models.exchange import MEMBER_SIZE_LIMITS, OPTIONAL_SIZE_LIMITS
    from pages.components.backbones.backbone_card import export_bytes

    card = list_backbones(tiny[0])[0]
    with zipfile.ZipFile(io.BytesIO(export_bytes(card))) as archive:
        assert set(archive.namelist()) == {*MEMBER_SIZE_LIMITS, *OPTIONAL_SIZE_LIMITS}
    assert not list(tiny[0].uploads.glob(".part-*"))


def test_an_import_shows_its_card_and_a_refusal_calls_the_file_by_its_own_name(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.models.backbone_import import import_backbone
    from pages.components.backbones.backbone_card import export_bytes

    monkeypatch.setattr(
        "pages.components.backbones.backbone_shelf.import_in_subprocess", import_backbone
    )
    page = open_page(tiny[0], "backbones", monkeypatch)
    page.file_uploader[0].set_value(("strange.zip", b"no archive at all", "application/zip")).run()
    page.button("import").click().run()
    assert "'strange.zip' is not a zip archive" in page.error[0].value.replace("\\", "")
    card = list_backbones(tiny[0])[0]
    page.file_uploader[0].set_value(("good.zip", export_bytes(card), "application/zip")).run()
    page.text_input("import_name_0").set_value("Taken in").run()
    page.button("import").click().run()
    assert not page.exception and not page.error
    assert "Taken in" in page.success[0].value
    assert page.text_input("shelf_find").value == "Taken in" and len(stacks(page)) == 1
    assert any(one.value.find("imported") > 0 for one in page.markdown)
    assert not list(tiny[0].uploads.glob("import-*"))


def test_the_check_tells_a_bundled_backbone_from_real_hashes_and_offers_pretraining(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    call_it_real(tiny[1])
    page = open_page(tiny[0], "backbones", monkeypatch, section="Vocabulary check")
    assert any(
        "does not know the hashes in real Criteo traffic" in one.value for one in page.warning
    )
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


def test_without_a_backbone_the_shelf_says_what_to_do(
    tiny: tuple[Workspace, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.models.backbone_store.BUNDLED_BACKBONES", tmp_path / "none")
    page = open_page(tiny[0], "backbones", monkeypatch)
    assert "no backbones yet" in page.info[0].value
    page.button[0].click().run()
    assert any(button.key == "pt_launch" for button in page.button)


def test_noise_is_a_share_of_the_values_that_are_there() -> None:
    from core.data.dataset_rows import FieldCoverage
    from core.freezing.known_values import unseen_share

    fields = [
        FieldCoverage("C1", 0.3, 0.4),
        FieldCoverage("C2", 0.3, 0.6),
        FieldCoverage("I1", 1.0, 0.0),
    ]
    assert unseen_share(fields) == pytest.approx(0.6)
    assert (
        unseen_share([dataclasses.replace(fields[0], missing_share=1.0, unseen_share=0.0)]) == 0.0
    )
