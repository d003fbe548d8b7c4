"""A sweep from the form to its verdict: started, watched, cancelled, resumed, extended,
downloaded."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.store import RunStore
from core.runs.sweep import find_sweep
from core.workspace import open_workspace
from tests.e2e.helpers import OpenPage, Server, set_number, wait_until_idle

pytestmark = pytest.mark.e2e
PATIENCE = 120_000


@pytest.fixture(scope="module")
def prepared(server: Server) -> Server:
    """The server with a dataset named sweepable."""
    workspace = open_workspace(server.home)
    path = workspace.uploads / "sweepable.tsv"
    simulate(path, 3000, "both", seed=6)
    prepare(
        workspace,
        ingest(workspace, path, "sweepable", simulated=True),
        SplitSpec(),
        "sweepable",
        min_count=5,
    )
    return server


def tick(page: Page, title: str) -> None:
    page.get_by_text(title, exact=True).click()
    wait_until_idle(page)


def test_tick_start_watch_and_read(prepared: Server, page: Page) -> None:
    page.goto(f"{prepared.url}/sweep?dataset=sweepable&backbone=Simulated+DNN&seeds=1&choose=0")
    wait_until_idle(page)
    for depth in ("0 · full fine-tuning", "2"):
        page.get_by_role("button", name=depth, exact=True).click()
        wait_until_idle(page)
    for control in ("Logistic regression", "Gradient boosting", "Retrained", "From scratch"):
        tick(page, control)
    tick(page, "Surgical")
    # The stack by keyboard: the block with the focus turns warm.
    switch = page.locator('[class*="st-key-stage_"]').last.get_by_role("switch")
    switch.focus()
    page.keyboard.press("Space")
    wait_until_idle(page)
    expect(switch).to_be_checked()
    set_number(page, "Epochs", "1")
    page.get_by_role("textbox", name="Name").fill("journey sweep")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    page.get_by_test_id("stMain").evaluate("main => main.scrollTo(0, 1500)")
    page.get_by_role("button", name="Start 4 runs").click()
    page.wait_for_url("**/sweep?sweep=s-*")
    expect(page.get_by_text("What the results support")).to_be_in_viewport()
    expect(page.get_by_role("heading", name="Sweep", exact=True)).to_be_in_viewport()
    expect(page.get_by_text("4 of 4 runs done")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("provisional")).to_have_count(0)
    expect(
        page.get_by_text(re.compile("distinguishable from|better than|worse than")).first
    ).to_be_visible()
    # The first chart of the page is in the closed part of the recommendation.
    expect(page.locator(".thaw-chart .main-svg").locator("visible=true").first).to_be_visible()
    sweep = find_sweep(open_workspace(prepared.home), "journey sweep")
    titles = [arm.title for arm in sweep.spec.arms]
    assert titles == ["freeze depth 1", "freeze depth 3", "zero-shot", "surgical, embedding+block2"]

    with page.expect_download() as download:
        page.get_by_role("button", name="Arms, Parquet").click()
    frame = pd.read_parquet(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert frame["arm"].tolist() == titles and frame["auc"].notna().all()

    page.get_by_role("button", name="Add seeds").click()
    page.get_by_role("spinbutton", name="More seeds for every arm").fill("1")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Add them").click()
    expect(page.get_by_text("7 of 7 runs done")).to_be_visible(timeout=PATIENCE)
    runs = RunStore(open_workspace(prepared.home)).list_group(sweep.id)
    assert sorted(run.seed for run in runs) == [0, 0, 0, 0, 1, 1, 1]


def test_cancel_and_resume(prepared: Server, open_page: OpenPage) -> None:
    page = open_page(width=390)
    page.goto(f"{prepared.url}/sweep?dataset=sweepable&backbone=Simulated+DNN&seeds=1&choose=0")
    wait_until_idle(page)
    page.get_by_role("button", name=re.compile("Start 9 runs")).click()
    page.wait_for_url("**/sweep?sweep=s-*")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=PATIENCE)
    page.reload()
    wait_until_idle(page)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("10 of 10 runs done")).to_be_visible(timeout=PATIENCE)
