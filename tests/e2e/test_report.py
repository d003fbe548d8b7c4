"""A report as its reader opens it: from disk, without a network, in both themes, on a phone and on
paper."""

import time
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request

from core.data.datasets import Dataset
from core.jobs.store import RunStore
from core.report.html_page import Section
from core.report.html_page import page as whole_page
from core.report.html_report import write_report
from core.report.report_data import sweep_report_data
from core.workspace import Workspace
from tests.core.report.helpers import finished_sweep
from tests.e2e.helpers import OpenPage

pytestmark = pytest.mark.e2e
DRAWN = (
    "[...document.querySelectorAll('.thaw-plot')].every(node => node.querySelector('.main-svg"
    " .trace'))"
)


def note(asked: list[str], request: Request) -> None:
    asked.append(request.url)


def until(page: Page, condition: str) -> None:
    """Waits for `condition`; the page's policy forbids the browser's own way, which evaluates a
    string in the page."""
    deadline = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def test_a_report_opens_offline(
    open_page: OpenPage, tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    workspace, dataset = tiny
    sweep = finished_sweep(workspace, dataset, (0,))
    store = RunStore(workspace)
    evil = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
    store.annotate(store.list_group(sweep.id)[0].id, evil, [evil], evil)
    write_report(workspace, sweep_report_data(workspace, sweep), tmp_path / "report.html")
    grounds = []
    for width, color_scheme in ((1200, "light"), (390, "dark")):
        asked: list[str] = []
        page = open_page(width=width, color_scheme=color_scheme)
        page.on("request", partial(note, asked))
        page.context.set_offline(True)
        page.goto((tmp_path / "report.html").as_uri())
        until(page, DRAWN)
        assert asked == [(tmp_path / "report.html").as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("window.hit") is None
        assert page.get_by_text(evil, exact=True).first.is_visible()
        assert page.get_by_role("note").inner_text().startswith("Simulated data")
        inks = page.evaluate(
            "[getComputedStyle(document.body).color,"
            " document.querySelector('.thaw-plot')._fullLayout.font.color]"
        )
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert (
            inks
            == {"light": ["rgb(20, 33, 58)", "#14213a"], "dark": ["rgb(228, 235, 246)", "#e4ebf6"]}[
                color_scheme
            ]
        )
    assert grounds == ["rgb(255, 255, 255)", "rgb(13, 21, 36)"]

    page.emulate_media(media="print")
    until(page, "document.querySelector('.thaw-plot')._fullLayout.font.color === '#14213a'")
    assert page.pdf()[:5] == b"%PDF-"


def test_the_policy_blocks_an_injected_script(browser: Browser, tmp_path: Path) -> None:
    """The second wall: were the escaping broken, the script still would not run, nor anything be
    fetched."""
    text = whole_page("One", {}, "", [Section("Two", "two", [])])
    added = (
        "<script>window.hit = 1</script><img src='http://127.0.0.1:9/x.png' onerror='window.hit"
        " = 2'>"
    )
    (tmp_path / "broken.html").write_text(text.replace("<h2>Two</h2>", added), encoding="utf-8")
    page = browser.new_page()
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text))
    page.goto((tmp_path / "broken.html").as_uri())
    assert page.evaluate("typeof Plotly") == "object"
    assert page.evaluate("window.hit") is None
    assert len(blocked) >= 3 and all("Content Security Policy" in line for line in blocked)
    page.context.close()
