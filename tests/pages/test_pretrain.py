"""The section Pretrain of the page Backbones in AppTest."""

import shutil
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset, find_dataset
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.split import SplitSpec
from core.jobs.store import RunStore
from core.models.backbone_store import list_backbones
from core.models.objectives import INITIALISATIONS, OBJECTIVES
from core.models.registry import ARCHITECTURES
from core.workspace import Workspace, open_workspace
from tests.pages.helpers import open_page

pytestmark = pytest.mark.usefixtures("costs_in_process")
Tiny = tuple[Workspace, Dataset]


@pytest.fixture(scope="module")
def counted_template(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace tiny with a dataset `blind` beside it, whose rows have no labels."""
    root = tmp_path_factory.mktemp("blind") / "home"
    shutil.copytree(tiny_template, root)
    workspace = open_workspace(root)
    lines = (workspace.uploads / "tiny.tsv").read_text().splitlines()[:800]
    path = workspace.uploads / "blind.tsv"
    path.write_text("".join(line.partition("\t")[2] + "\n" for line in lines))
    prepare(
        workspace,
        ingest(workspace, path, "blind", simulated=True),
        SplitSpec(),
        "blind",
        min_count=5,
    )
    return root


@pytest.fixture
def tiny(counted_template: Path, tmp_path: Path) -> Tiny:
    """A fresh workspace holding the datasets tiny and blind."""
    shutil.copytree(counted_template, tmp_path / "tiny")
    workspace = open_workspace(tmp_path / "tiny")
    return workspace, find_dataset(workspace, "tiny")


@pytest.fixture
def page(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The form, with the dataset tiny chosen."""
    return open_page(tiny[0], "backbones", monkeypatch, section="Pretrain", dataset="tiny")


def choose(page: AppTest, key: str, value: str) -> None:
    page.selectbox(key).select(value).run()
    assert not page.exception


def words(page: AppTest) -> str:
    return "\n".join(
        one.value for one in [*page.markdown, *page.caption, *page.info, *page.warning, *page.error]
    )


def test_pretraining_is_queued_with_what_differs_from_the_defaults(
    page: AppTest, tiny: Tiny
) -> None:
    page.selectbox("pt_architecture").select("dcnv2").run()
    page.number_input("pt_dcnv2_crosses").set_value(1).run()
    page.text_input("pt_dcnv2_widths").set_value("32, 16").run()
    page.text_input("pt_name").set_value("mine").run()
    page.number_input("pt_epochs").set_value(2).run()
    assert any("--name mine" in one.value and "--widths 32,16" in one.value for one in page.code)
    page.button("pt_launch").click().run()
    assert not page.exception
    (run,) = RunStore(tiny[0]).list()
    assert run.pretrain_request.settings == {
        "embedding": 8,
        "widths": [32, 16],
        "crosses": 1,
        "rank": 32,
        "dropout": 0.0,
    }
    assert run.request.train.epochs == 2
    assert page.query_params["run"] == run.id


def test_a_name_that_is_taken_is_refused_with_a_message(page: AppTest, tiny: Tiny) -> None:
    page.text_input("pt_name").set_value(list_backbones(tiny[0])[0].name).run()
    page.button("pt_launch").click().run()
    assert not page.exception
    assert "already a backbone" in page.error[0].value.replace("\\", "")
    assert not RunStore(tiny[0]).list()


def test_widths_that_make_no_sense_are_refused_with_a_message(page: AppTest) -> None:
    page.text_input("pt_dnn_widths").set_value("wide").run()
    assert not page.exception
    assert "'wide'" in page.error[0].value.replace("\\", "")


def test_every_start_and_objective_of_an_architecture_is_offered_and_no_other(
    page: AppTest,
) -> None:
    for architecture in ("dnn", "lr", "vgg19"):
        about = ARCHITECTURES[architecture]
        choose(page, "pt_architecture", architecture)
        assert page.selectbox("pt_start").options == [
            INITIALISATIONS[name].title for name in about.initialisations
        ]
        assert page.selectbox("pt_objective").options == [
            OBJECTIVES[name].title for name in about.objectives
        ]
        assert about.source in words(page)


def test_rfd_brings_its_own_preset_and_goes_out_whole(page: AppTest, tiny: Tiny) -> None:
    choose(page, "pt_architecture", "autoint")
    choose(page, "pt_objective", "rfd")
    assert page.segmented_control("pt_preset").value == "map"
    assert page.number_input("pt_weight_decay").value == 0.05 and page.toggle("pt_cosine").value
    assert page.number_input("pt_plateau").disabled
    page.slider("pt_mask_share").set_value(0.3).run()
    command = next(
        one.value for one in page.code if one.value.startswith("python -m core pretrain")
    )
    assert "--objective rfd --mask-share 0.3 --embedding 8" in command
    assert "--preset map" in command
    page.button("pt_launch").click().run()
    assert not page.exception
    (run,) = RunStore(tiny[0]).list()
    assert (run.pretrain_request.objective, run.pretrain_request.mask_share) == ("rfd", 0.3)
    assert (run.request.train.weight_decay, run.request.train.cosine) == (0.05, True)


def test_the_preset_is_reset_for_click_labels_unless_it_was_chosen(page: AppTest) -> None:
    choose(page, "pt_objective", "mfp")
    choose(page, "pt_objective", "supervised")
    assert page.segmented_control("pt_preset").value == "auto"
    page.segmented_control("pt_preset").set_value("article").run()
    choose(page, "pt_objective", "mfp")
    assert page.segmented_control("pt_preset").value == "article"


def test_a_rate_of_a_new_head_is_not_asked_where_everything_is_new(page: AppTest) -> None:
    names = {one.key for one in page.number_input}
    assert "pt_min_steps" in names and "pt_head_learning_rate" not in names
    page.number_input("pt_epochs").set_value(7).run()
    page.segmented_control("pt_preset").set_value("small").run()
    assert not page.exception and page.segmented_control("pt_preset").value == "small"


def test_a_cosine_leaves_no_plateau(page: AppTest) -> None:
    page.toggle("pt_cosine").set_value(True).run()
    assert not page.exception and not page.error
    assert any("--cosine" in one.value and "--plateau 0" in one.value for one in page.code)
    assert page.segmented_control("pt_preset").value is None


def test_without_training_there_is_nothing_to_set(page: AppTest, tiny: Tiny) -> None:
    choose(page, "pt_objective", "none")
    assert not [one for one in page.number_input if one.key == "pt_epochs"]
    assert "Nothing is trained" in words(page)
    drawn = page.get("html")[0].proto.body.rpartition("</style>")[2]
    assert drawn.count("random weights") == 3
    page.button("pt_launch").click().run()
    assert RunStore(tiny[0]).list()[0].pretrain_request.objective == "none"


def test_rows_without_labels_leave_what_reads_no_clicks(page: AppTest) -> None:
    choose(page, "dataset", "blind")
    titles = [OBJECTIVES[name].title for name in ("rfd", "mfp", "none")]
    assert page.selectbox("pt_objective").options == titles
    assert "without labels" in words(page)
    choose(page, "pt_architecture", "lr")
    assert page.selectbox("pt_objective").options == [OBJECTIVES["none"].title]


def test_a_start_from_a_file_waits_for_it_and_keeps_it_under_a_name_of_its_own(
    page: AppTest, tiny: Tiny
) -> None:
    choose(page, "pt_start", "vectors")
    assert page.button("pt_launch").disabled and "First upload its file" in words(page)
    content = b"C1=68fd1e64 0.1 0.2\n"
    page.file_uploader[0].set_value(("../../evil name.txt", content, "text/plain")).run()
    assert not page.exception
    (kept,) = tiny[0].uploads.glob("start-*")
    assert kept.read_bytes() == content and kept.suffix == ".txt" and "evil" not in kept.name
    assert "evil name" in words(page).replace("\\", "") and not page.file_uploader
    assert not page.button("pt_launch").disabled
    page.button("pt_launch").click().run()
    assert RunStore(tiny[0]).list()[0].pretrain_request.start_file == str(kept)


def test_old_uploads_go_unless_a_run_may_read_them(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import os
    from typing import cast

    from streamlit.runtime.uploaded_file_manager import UploadedFile

    from core.jobs.requests import PretrainRequest
    from pages.components.shared import uploads

    workspace, dataset = tiny
    monkeypatch.setattr(uploads, "workspace", lambda: workspace)
    forgotten, needed = workspace.uploads / "start-1.txt", workspace.uploads / "start-2.txt"
    for path in (forgotten, needed):
        path.write_text("x")
        os.utime(path, (0, 0))
    request = PretrainRequest(
        dataset.id, "dnn", "n", start="vectors", start_file=str(needed), objective="none"
    )
    run = RunStore(workspace).submit(request, "waits", "cpu")
    RunStore(workspace).request_cancel(run.id)
    fresh = uploads.save_upload(cast(UploadedFile, io.BytesIO(b"y")), "start", ".txt")
    assert fresh.read_bytes() == b"y"
    assert needed.exists() and not forgotten.exists()
    os.utime(fresh, (0, 0))
    later = uploads.save_upload(cast(UploadedFile, io.BytesIO(b"z")), "start", ".txt")
    assert fresh.exists(), (
        "the session that it belongs to is still there, however old the file looks"
    )
    del st.session_state[f"held {fresh.name}"]
    uploads.save_upload(cast(UploadedFile, io.BytesIO(b"z")), "start", ".txt")
    assert not fresh.exists() and later.exists()


def test_the_table_shows_what_each_would_cost(page: AppTest) -> None:
    table = page.dataframe[0].value.set_index("Architecture")
    assert len(table) == sum(not one.required_package for one in ARCHITECTURES.values())
    assert table.loc["DNN", "× DNN"] == 1 and table.loc["LR", "Operations per row"] == 0
    assert table.loc["DCNv2", "Operations per row"] > table.loc["DNN", "Operations per row"]
    assert table["Estimated time"].str.startswith("about").all()
    assert "VGG19" in next(one.value for one in page.caption if "Not installed" in one.value)


def test_the_settings_of_the_chosen_run_count(page: AppTest) -> None:
    before = page.dataframe[0].value.set_index("Architecture")["Other stages"]
    page.text_input("pt_dnn_widths").set_value("8").run()
    after = page.dataframe[0].value.set_index("Architecture")["Other stages"]
    # 39 small vectors, 13 numbers, a click rate and a count of each of the 26 columns; the bias.
    assert after["DNN"] == (39 * 8 + 13 + 26 + 26 + 1) * 8
    assert (after.drop("DNN") == before.drop("DNN")).all()


def test_settings_that_make_no_network_are_refused_before_anything_waits(
    page: AppTest, tiny: Tiny
) -> None:
    choose(page, "pt_architecture", "autoint")
    page.number_input("pt_autoint_heads").set_value(3).run()
    assert "3 attention heads cannot share 16 floats" in page.error[0].value.replace("\\", "")
    page.button("pt_launch").click().run()
    assert not page.exception
    assert not RunStore(tiny[0]).list()


def test_what_is_not_installed_says_how_to_install_it_and_cannot_be_launched(page: AppTest) -> None:
    choose(page, "pt_architecture", "resnet50")
    assert page.button("pt_launch").disabled
    assert "optional package `keras`" in words(page)
    assert any("requirements-keras.txt" in one.value for one in page.code)


def test_without_a_dataset_the_form_says_what_to_do(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(workspace, "backbones", monkeypatch, section="Pretrain")
    assert "source domain" in page.info[0].value
