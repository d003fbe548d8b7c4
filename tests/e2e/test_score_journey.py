"""A finished run in a browser: a file scored as by the command line; export and report
downloaded."""

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import expect

import core.cli.parser
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run
from core.workspace import open_workspace
from tests.core.training.helpers import QUICK, run_request
from tests.e2e.helpers import OpenPage, Server, wait_until_idle

pytestmark = pytest.mark.e2e
PATIENCE = 120_000


@pytest.fixture
def run(server: Server) -> Run:
    """A run that ended well in the server's workspace."""
    workspace = open_workspace(server.home)
    path = workspace.uploads / "used.tsv"
    simulate(path, 3000, "both", seed=12)
    dataset = prepare(
        workspace, ingest(workspace, path, "used", simulated=True), SplitSpec(), "used", min_count=5
    )
    return run_request(
        workspace, FinetuneRequest(dataset.id, "simulated-dnn", "depth", 2, train=QUICK)
    )


def test_score_a_file_and_take_the_model_along(
    server: Server,
    run: Run,
    open_page: OpenPage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    simulate(tmp_path / "new.tsv", 500, "target", seed=30)
    page = open_page()
    page.goto(f"{server.url}/run?run={run.id}")
    wait_until_idle(page)
    main = page.get_by_test_id("stMain")
    main.get_by_role("button", name="Export", exact=True).click()
    # It is prepared while the page is left.
    expect(main.get_by_text("Exporting and checking", exact=False)).to_be_visible()
    main.get_by_role("link", name="Score a file with it").click()
    page.wait_for_url("**/score?run=r-*")
    wait_until_idle(page)
    page.locator('input[type="file"]').set_input_files(tmp_path / "new.tsv")
    expect(main.get_by_text("new.tsv", exact=True)).to_be_visible()
    main.get_by_role("button", name="Score", exact=True).click()
    expect(main.get_by_role("heading", name="new.tsv")).to_be_visible(timeout=PATIENCE)
    wait_until_idle(page)
    with page.expect_download() as download:
        main.get_by_role("button", name="Predictions, CSV").click()
    download.value.save_as(tmp_path / "page.csv")
    with page.expect_download() as download:
        main.get_by_role("button", name="Predictions, Parquet").click()
    download.value.save_as(tmp_path / "page.parquet")

    files = ["--input", str(tmp_path / "new.tsv"), "--output", str(tmp_path / "command.csv")]
    assert (
        core.cli.parser.main(
            ["--workspace", str(server.home), "score", "--run", run.id, *files, "--json"]
        )
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    expected = pd.read_csv(tmp_path / "command.csv")
    # The app's process has another number of threads, so the last digits may differ.
    for found in (pd.read_csv(tmp_path / "page.csv"), pd.read_parquet(tmp_path / "page.parquet")):
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=0, atol=1e-6)
    expect(
        main.get_by_text(f"{said['metrics']['auc_low']:.4f} to", exact=False).first
    ).to_be_visible()
    page.reload()
    expect(main.get_by_role("heading", name="new.tsv")).to_be_visible()
    expect(page.locator(".thaw-chart.js-plotly-plot")).to_have_count(2)

    page.goto(f"{server.url}/run?run={run.id}")
    wait_until_idle(page)
    with page.expect_download(timeout=PATIENCE) as download:
        main.get_by_role("button", name="Download the zip").click(timeout=PATIENCE)
    download.value.save_as(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert f"thaw-{run.id}/model.onnx" in archive.namelist()
    main.get_by_role("button", name="Report", exact=True).click()
    with page.expect_download(timeout=PATIENCE) as download:
        page.get_by_role("button", name="Download the report").click()
    assert "Thaw report: test" in download.value.path().read_text(encoding="utf-8")
