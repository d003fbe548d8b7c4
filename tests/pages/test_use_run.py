"""The section "Use this run" on the page Run: score, report, export, verify."""

import re
import zipfile
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Element

from core.data.datasets import Dataset, delete_dataset
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.store import Run
from core.models.backbone import WEIGHTS_FILE
from core.runs import tasks
from core.runs.artifacts import EXPORT, VERIFICATION, export_path, find_artifact
from core.workspace import Workspace, read_json, write_json
from pages.components.shared import report_download
from tests.core.report.helpers import finished_sweep
from tests.core.training.helpers import QUICK, pretrained, run_request
from tests.pages.helpers import has_button, open_page, page_text, table_with_column

Tiny = tuple[Workspace, Dataset]
pytestmark = pytest.mark.usefixtures("commands_in_process")


@pytest.fixture
def run(tiny: Tiny) -> Run:
    request = FinetuneRequest(
        tiny[1].id, pretrained(tiny[0], "dnn").id, freeze_depth=1, train=QUICK
    )
    return run_request(tiny[0], request)


def press(app: AppTest, label: str) -> None:
    next(one for one in app.button if one.label == label).click().run()
    assert not app.exception


def downloads(app: AppTest) -> list[str]:
    return [one.proto.label for one in app.get("download_button") if isinstance(one, Element)]


def test_export_says_what_the_check_found(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(tiny[0], "run", monkeypatch, run=run.id)
    links = [one.proto for one in app.get("page_link") if isinstance(one, Element)]
    assert any(
        link.label == "Score a file with it" and link.query_string == f"run={run.id}"
        for link in links
    )
    assert not downloads(app)
    press(app, "Export")
    found = find_artifact(tiny[0], run.id, EXPORT)
    assert found
    largest = found.output["onnx"]["largest_difference"]
    assert f"scores differ by at most {largest:.1e}" in page_text(app).replace("\\", "")
    assert [re.sub(r"\d[\d.]*", "#", label) for label in downloads(app)] == [
        "Download the zip (# kB)"
    ]
    with zipfile.ZipFile(export_path(found.folder, run.id)) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {
        WEIGHTS_FILE,
        "model.onnx",
        "score.py",
        "card.json",
        "run.json",
        "preprocessing.json",
    } <= names
    commands = [one.value for one in app.code]
    assert f"python -m core export --run {run.id} --out thaw-{run.id}.zip" in commands
    assert f"python -m core verify --run {run.id}" in commands


def test_verify_says_whether_every_number_is_the_same(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tiny[0]
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    press(app, "Verify")
    assert "every score came out identical" in app.success[0].value
    found = find_artifact(workspace, run.id, VERIFICATION)
    assert found
    # What it shows for another outcome, out of the workspace as after a restart.
    stored = read_json(found.folder / "said.json")
    stored["said"] |= {
        "same": False,
        "sentence": "Not the same: 1 of 60 numbers differ.",
        "differences": [
            {"name": "metrics target_test auc", "first": 0.71234567890123, "again": None}
        ],
    }
    write_json(found.folder / "said.json", stored)
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert any("Not the same" in one.value for one in app.warning) and not app.success
    table = table_with_column(app, "Again")
    assert table.iloc[0].tolist() == ["metrics target_test auc", "0.71234567890123", "–"]
    assert has_button(app, "Verify again")


def test_a_failure_gives_a_message_until_it_is_tried_again(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_dataset(tiny[1])
    app = open_page(tiny[0], "run", monkeypatch, run=run.id)
    press(app, "Verify")
    assert "There is no dataset" in app.error[0].value.replace("\\", "")
    again = open_page(tiny[0], "run", monkeypatch, run=run.id)
    assert "There is no dataset" in again.error[0].value.replace("\\", "")
    assert not find_artifact(tiny[0], run.id, VERIFICATION)


def test_every_session_sees_how_far_it_is(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"verify {tiny[0].root} {run.id}"
    monkeypatch.setitem(tasks._tasks, key, tasks.BackgroundTask(key, 0.4))
    app = open_page(tiny[0], "run", monkeypatch, run=run.id)
    assert not has_button(app, "Verify") and has_button(app, "Stop") and has_button(app, "Export")


def test_a_backbone_not_trained_on_clicks_is_exported_without_onnx(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    request = PretrainRequest(
        dataset.id, "dnn", "blind", QUICK, {"widths": [8], "embedding": 4}, "none"
    )
    blind = run_request(workspace, request)
    app = open_page(workspace, "run", monkeypatch, run=blind.id)
    assert not [
        one
        for one in app.get("page_link")
        if isinstance(one, Element) and "Score" in one.proto.label
    ]
    press(app, "Export")
    assert "was not trained on click labels" in page_text(app) and len(downloads(app)) == 1


def test_the_report_of_a_run_and_of_a_sweep(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    sweep = finished_sweep(workspace, dataset, (0,))
    monkeypatch.setattr(report_download, "workspace", lambda: workspace)
    text = report_download.report_bytes(workspace, ["--sweep", sweep.id]).decode()
    assert (
        "Thaw report: first" in text
        and dataset.content_hash in text
        and "python -m core sweep" in text
    )
    assert not any(workspace.uploads.glob(".part-*"))

    script = """
from pages.components.shared.report_download import show_report_offer
show_report_offer("key", {sweep!r}, {runs!r})
"""
    app = AppTest.from_string(script.format(sweep=sweep.id, runs=[]), default_timeout=30).run()
    assert downloads(app) == ["Download the report"]
    assert (
        app.code[0].value
        == f"python -m core report --sweep {sweep.id} --out thaw-report-{sweep.id}.html"
    )
    delete_dataset(dataset)
    app = AppTest.from_string(script.format(sweep=sweep.id, runs=[]), default_timeout=30).run()
    assert not downloads(app) and "There is no dataset" in app.error[0].value.replace("\\", "")


def test_an_export_under_way_offers_no_stop_since_it_does_not_say_how_far_it_is(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"export {tiny[0].root} {run.id}"
    monkeypatch.setitem(tasks._tasks, key, tasks.BackgroundTask(key, 0.0))
    app = open_page(tiny[0], "run", monkeypatch, run=run.id)
    assert (
        "Exporting and checking" in page_text(app)
        and not has_button(app, "Stop")
        and not has_button(app, "Export")
    )
