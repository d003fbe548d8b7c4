"""The Data page in a browser: upload, prepare, restart, find again; a damaged file gives a
message."""

import gzip
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.data.simulate import simulate
from tests.e2e.helpers import Server, wait_until_idle

pytestmark = pytest.mark.e2e
MINUTE = 60_000


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """A file of 20,000 rows of both domains."""
    path = tmp_path / "week 1.tsv.gz"
    simulate(path, 20_000, "both", seed=11)
    return path


def open_data(page: Page, server: Server, query: str = "") -> None:
    page.goto(f"{server.url}/data{query}")
    expect(page.get_by_role("heading", name="Data", exact=True)).to_be_visible()
    wait_until_idle(page)


def upload(page: Page, path: Path) -> None:
    """Chooses the file and presses the button; the form is folded away where there are samples
    already."""
    folded = page.get_by_text("Add another sample")
    uploader = page.locator('input[type="file"]')
    if folded.count() and not page.get_by_text("Add rows from").is_visible():
        folded.click()
    uploader.set_input_files(path)
    page.get_by_role("button", name="Add the sample").click()


def added(page: Page) -> None:
    """Waits until the sample is in and the form has folded: until then every button below it slides
    up the page, and another sample may be shown."""
    expect(page.get_by_text("Add rows from")).to_be_hidden(timeout=MINUTE)
    wait_until_idle(page)


def test_upload_prepare_restart_and_find_again(server: Server, page: Page, rows_file: Path) -> None:
    open_data(page, server)
    upload(page, rows_file)
    added(page)
    expect(page.get_by_text("Kaggle DAC train.txt")).to_be_visible()
    expect(page.get_by_test_id("stMetric").filter(has_text="Rows").first).to_contain_text("20,000")
    expect(page.locator(".thaw-chart.js-plotly-plot").first).to_be_visible()
    page.get_by_role("button", name="Split it into domains").click()
    expect(page.get_by_role("button", name="Prepare the dataset")).to_be_visible(timeout=MINUTE)
    page.get_by_role("button", name="Prepare the dataset").click()
    expect(page.get_by_text("Source and target")).to_be_visible(timeout=MINUTE)
    expect(page).to_have_url(re.compile(r"dataset=d-[0-9a-f]{12}"))
    found = page.get_by_text(re.compile("content hash"))
    expect(found).to_be_visible()
    content_hash = found.inner_text().rpartition(" ")[2]
    query = "?" + page.url.partition("?")[2]
    # A page left open would complain while the server is away.
    page.goto("about:blank")
    server.stop()
    server.start()
    open_data(page, server, query)
    expect(page.get_by_text(content_hash)).to_be_visible(timeout=MINUTE)
    expect(page.get_by_role("combobox").first).to_have_value(re.compile("^week 1, by row order"))


def test_a_broken_upload_gives_a_message(
    server: Server, page: Page, rows_file: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.tsv.gz"
    broken.write_bytes(rows_file.read_bytes()[:50_000])
    before = {*(server.home / "uploads").glob("*")}
    open_data(page, server)
    upload(page, broken)
    expect(page.get_by_test_id("stAlert").filter(has_text="'broken.tsv.gz'")).to_contain_text(
        "truncated", timeout=MINUTE
    )
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    assert {*(server.home / "uploads").glob("*")} == before


def test_bad_rows_are_skipped_when_asked(
    server: Server, page: Page, rows_file: Path, tmp_path: Path
) -> None:
    lines = gzip.decompress(rows_file.read_bytes()).splitlines(keepends=True)[:2000]
    lines[6] = b"7" + lines[6][1:]
    bad = tmp_path / "one bad row.tsv"
    bad.write_bytes(b"".join(lines))
    open_data(page, server)
    upload(page, bad)
    expect(page.get_by_test_id("stAlert")).to_contain_text("ow 7", timeout=MINUTE)
    page.get_by_role("button", name="Skip bad rows and try again").click()
    expect(page.get_by_text("1 bad row was skipped")).to_be_visible(timeout=MINUTE)
