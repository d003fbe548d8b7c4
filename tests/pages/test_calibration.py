"""Calibration on the pages Run and Score, by the command and in the API."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

import thaw
from core.cli.parser import main
from core.data.datasets import Dataset
from core.evaluation.metric_functions import log_loss
from core.inference.run_calibration import load_calibration, used_method
from core.jobs.predictions import read_predictions
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run
from core.workspace import Workspace
from tests.core.data.helpers import text
from tests.core.inference.calibrated import steep
from tests.core.inference.exported import unusual_rows
from tests.core.training.helpers import QUICK, pretrained, run_request
from tests.pages.helpers import open_page, page_text, table_with_column

Tiny = tuple[Workspace, Dataset]
pytestmark = pytest.mark.usefixtures("commands_in_process")


@pytest.fixture
def run(tiny: Tiny) -> Run:
    request = FinetuneRequest(
        tiny[1].id, pretrained(tiny[0], "dnn").id, freeze_depth=1, train=QUICK
    )
    run = run_request(tiny[0], request)
    steep(tiny[0], run)
    return run


def press(app: AppTest, label: str) -> None:
    next(one for one in app.button if one.label == label).click().run()
    assert not app.exception


def test_the_page_shows_every_method_and_uses_the_one_that_is_pressed(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(tiny[0], "run", monkeypatch, run=run.id)
    assert "Probabilities in use: :gray-badge[as trained]" in page_text(app)
    table = table_with_column(app, "Validation log loss")
    fits = load_calibration(tiny[0], run).recalibration.fits
    assert table["Validation log loss"].tolist() == [fit.loss for fit in fits]
    arrays = read_predictions(tiny[0], run.id)
    labels, scores = arrays["target_test_label"], arrays["target_test_score"]
    for fit, shown in zip(fits, table["Test log loss"], strict=True):
        assert shown == pytest.approx(log_loss(labels, fit.map.apply(scores)))
    method = next(one for one in app.button_group if one.label == "Method")
    method.set_value("platt").run()
    press(app, "Use Platt scaling")
    assert used_method(tiny[0], run) == "platt"
    assert ":material/check_circle: Platt scaling" in page_text(app)
    assert next(one for one in app.button if one.label == "In use").disabled

    score = open_page(tiny[0], "score", monkeypatch, run=run.id)
    next(one for one in score.button_group if one.label == "Rows").set_value("sample").run()
    assert next(one for one in score.button_group if one.label == "Probabilities").value == "platt"


def test_command_and_api_agree_on_what_is_used(
    tiny: Tiny, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, _ = tiny

    def command(*words: str) -> str:
        assert main(["--workspace", str(workspace.root), *words]) == 0
        return capsys.readouterr().out

    shown = json.loads(command("calibrate", "--run", run.id, "--dry-run", "--json"))
    assert shown["used"] == "none" and len(shown["effects"]) == 2 * len(shown["fits"])
    assert "Platt scaling" in command("calibrate", "--run", run.id, "--method", "platt")

    api = thaw.Workspace(workspace.root).run(run.id)
    assert api.calibration_method == "platt" and "Platt scaling" in api._repr_html_()
    table = api.calibrate("platt")
    parts = {row["part"]: row for row in shown["effects"] if row["method"] == "platt"}
    for row in table.to_dict("records"):
        change = parts[row["part"]]["change"]
        assert row["log_loss_change"] == pytest.approx(change["value"])
        assert row["log_loss_change_low"] == pytest.approx(change["low"])
    assert len(api.reliability().data) == 3 and len(api.reliability(method="none").data) == 2

    rows = tmp_path / "rows.tsv"
    rows.write_bytes(text(unusual_rows(40)))
    out = tmp_path / "scores.csv"
    words = ("score", "--run", run.id, "--input", str(rows), "--output", str(out))
    assert "calibrated by Platt scaling" in command(*words)
    calibrated = pd.read_csv(out)["score"]
    assert "probabilities as trained" in command(*words, "--no-calibration")
    plain = pd.read_csv(out)["score"]
    scores = api.score(rows)
    assert scores.attrs["calibration"]["method"] == "platt"
    np.testing.assert_allclose(scores["score"], calibrated, atol=1e-6)
    np.testing.assert_allclose(api.score(rows, calibration="none")["score"], plain, atol=1e-6)
    assert not np.allclose(plain, calibrated, atol=1e-4)
    assert "Calibrated probabilities" in command("evaluate", "--run", run.id)
