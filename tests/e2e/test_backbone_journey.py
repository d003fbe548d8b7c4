"""Backbones in a browser: pretrained by RFD and fine-tuned with two stages frozen; exported,
imported, deleted."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.store import RunStore
from core.models.backbone_store import list_backbones
from core.workspace import open_workspace
from tests.e2e.helpers import (
    LONG_TIMEOUT_MS,
    OpenPage,
    Server,
    choose_option,
    set_number,
    wait_until_idle,
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def prepared(server: Server) -> Server:
    """The server with a dataset named features."""
    workspace = open_workspace(server.home)
    path = workspace.uploads / "features.tsv"
    simulate(path, 3000, "both", seed=6)
    prepare(
        workspace,
        ingest(workspace, path, "features", simulated=True),
        SplitSpec(),
        "features",
        min_count=5,
    )
    return server


def fill(page: Page, label: str, text: str) -> None:
    page.get_by_role("textbox", name=label).fill(text)
    page.keyboard.press("Enter")
    wait_until_idle(page)


def test_pretrain_by_rfd_then_freeze_two_stages(prepared: Server, page: Page) -> None:
    # The first look at a dataset's costs waits for a process that counts them.
    page.set_default_timeout(LONG_TIMEOUT_MS)
    page.goto(f"{prepared.url}/backbones?section=Pretrain&dataset=features")
    wait_until_idle(page)
    choose_option(page, "Architecture", "AutoInt+")
    choose_option(page, "Objective", "Replaced features (RFD)")
    expect(
        page.get_by_text("map: pretraining by RFD or MFP as in the MAP paper", exact=False)
    ).to_be_visible()
    fill(page, "Block widths", "16, 8")
    set_number(page, "Layers", "2")
    fill(page, "Name of the backbone", "Attentive")
    set_number(page, "Epochs", "4")
    expect(page.get_by_text("your own settings")).to_be_visible()
    set_number(page, "Batch size", "16")
    for label, value in (("Epochs", "4"), ("Batch size", "16")):
        expect(page.get_by_role("spinbutton", name=label, exact=True)).to_have_value(value)
    expect(page.locator(".thaw-block")).to_have_count(3, timeout=LONG_TIMEOUT_MS)
    page.get_by_role("button", name="Pretrain", exact=True).click()
    page.wait_for_url("**/run?run=r-*")
    expect(page.get_by_text(re.compile(r"Training · epoch \d of 4"))).to_be_visible(
        timeout=LONG_TIMEOUT_MS
    )
    expect(page.get_by_text("Validation AUC of the detector")).to_be_visible(
        timeout=LONG_TIMEOUT_MS
    )
    expect(page.locator(".thaw-chart.js-plotly-plot")).to_have_count(2, timeout=LONG_TIMEOUT_MS)
    expect(page.get_by_text("Pretraining metrics")).to_be_visible(timeout=LONG_TIMEOUT_MS)
    wait_until_idle(page)
    expect(page.get_by_text("Confusion matrix", exact=True)).to_have_count(0)

    page.get_by_role("link", name="Show it on the shelf").click()
    expect(page.get_by_role("heading", name="Attentive")).to_be_visible()
    wait_until_idle(page)
    expect(page.locator(".thaw-block")).to_have_count(3)
    expect(page.get_by_text("Attention 1 and Block 1 are parallel", exact=False)).to_be_visible()
    page.get_by_role("link", name="Fine-tune it").click()
    page.wait_for_url("**/finetune?*")
    wait_until_idle(page)
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".thaw-block.thaw-frozen")).to_have_count(2)
    expect(page.get_by_text("No zero-shot", exact=False)).to_be_visible()
    set_number(page, "Epochs", "1")
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url("**/run?run=r-*")
    expect(page.get_by_text("no click head", exact=False)).to_be_visible(timeout=LONG_TIMEOUT_MS)
    expect(page.get_by_text("Confusion matrix", exact=True)).to_be_visible(timeout=LONG_TIMEOUT_MS)
    (run,) = RunStore(open_workspace(prepared.home)).list(kind="finetune", status="done")[:1]
    assert run.result is not None and [stage.frozen for stage in run.result.stages] == [
        True,
        True,
        False,
        False,
    ]


def test_export_then_import_under_another_name_then_delete(
    server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(height=1600)
    archive = tmp_path / "backbone.zip"
    page.goto(f"{server.url}/backbones")
    wait_until_idle(page)
    page.get_by_role("button", name="More").first.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as a zip archive").click()
    download.value.save_as(archive)
    page.reload()
    wait_until_idle(page)
    page.get_by_text("Import a backbone").click()
    page.locator('input[type="file"]').set_input_files(archive)
    fill(page, "Name in this workspace", "Handed on")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("heading", name="Handed on")).to_be_visible(timeout=LONG_TIMEOUT_MS)
    wait_until_idle(page)
    expect(page.locator(".stMarkdownBadge", has_text="imported").first).to_be_visible()
    cards = list_backbones(open_workspace(server.home))
    taken = next(card for card in cards if card.name == "Handed on")
    (made,) = (
        card
        for card in cards
        if card.id != taken.id and card.weights_sha256 == taken.weights_sha256
    )
    assert taken.imported and taken.stages == made.stages

    page.get_by_role("button", name="More").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    # The menu that led here is a dialog too, for as long as it takes to fade.
    page.get_by_role("dialog").filter(has_text="This cannot be undone").get_by_role(
        "button", name="Delete"
    ).click()
    expect(page.get_by_role("heading", name="Handed on")).to_have_count(0)
    wait_until_idle(page)
    assert not taken.folder.exists()
