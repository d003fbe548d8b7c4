"""Every page in a browser at every size and theme, deep links on a fresh server, and the whole
demo."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.jobs.store import RunStore
from core.runs.demo import demo_sweep
from core.runs.sweep import cancel_sweep
from core.workspace import PROJECT, open_workspace
from tests.e2e.helpers import OpenPage, Server, wait_until_idle

pytestmark = pytest.mark.e2e
PAGES = {
    "": "Home",
    "data": "Data",
    "backbones": "Backbones",
    "finetune": "Fine-tune",
    "sweep": "Sweep",
    "run": "Run",
    "score": "Score",
    "compare": "Compare",
    "learn": "Learn",
}
DEMO_MILLISECONDS = 240_000
PALE_TEXT = (Path(__file__).parent / "pale_text.js").read_text(encoding="utf-8")


def navigation(page: Page) -> list[str]:
    links = page.get_by_test_id("stTopNavLink")
    return [re.sub(r"^[a-z_]+\s", "", text).strip() for text in links.all_inner_texts()]


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that no browser has opened yet."""
    server = Server(PROJECT / "app.py", tmp_path_factory.mktemp("home"))
    server.start()
    yield server
    server.stop()


def test_a_deep_link_on_a_fresh_server_goes_through_the_router(page: Page, fresh: Server) -> None:
    page.goto(f"{fresh.url}/run?run=r-00000000")
    wait_until_idle(page)
    assert navigation(page) == [*PAGES.values()]
    expect(page.locator("h1").first).to_have_text("Run")
    assert page.title() == "Run · Thaw"

    # A store that a newer Thaw wrote: an error no page expects is still a sentence and not a
    # traceback.
    with sqlite3.connect(fresh.home / "thaw.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    page.goto(fresh.url)
    expect(page.get_by_text("open it with the newer Thaw").first).to_be_visible()


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_fits_and_is_readable(
    open_page: OpenPage, server: Server, width: int, color_scheme: str
) -> None:
    page = open_page(width=width, color_scheme=color_scheme)
    for path in PAGES:
        page.goto(f"{server.url}/{path}")
        wait_until_idle(page)
        box = page.get_by_test_id("stMain").evaluate("node => [node.scrollWidth, node.clientWidth]")
        assert box[0] <= box[1], f"/{path} is {box[0]} px wide in a window of {box[1]} px"
        ground = page.get_by_test_id("stApp").evaluate(
            "node => getComputedStyle(node).backgroundColor"
        )
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 21, 36)"}[color_scheme]
        page.locator('[data-testid="stSkeleton"]').first.wait_for(state="detached")
        assert page.evaluate(PALE_TEXT) == [], path


def test_the_demo_runs_from_one_click_to_the_comparison(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.get_by_role("button", name="Run the demo").click()
    expect(page.get_by_text(re.compile(r"\d of 18 runs done$"))).to_be_visible()
    page.get_by_role("link", name="Watch it train").click()
    page.locator(".thaw-chart.js-plotly-plot").first.wait_for(timeout=60_000)

    page.goto(server.url)
    # The first seed of every arm; the second would say the same and double the time.
    expect(page.get_by_text(re.compile(r"^1\d of 18 runs done$"))).to_be_visible(
        timeout=DEMO_MILLISECONDS
    )
    expect(page.get_by_text("Demo results so far", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile("on validation rows")).first).to_be_visible()
    workspace = open_workspace(server.home)
    sweep = demo_sweep(workspace)
    assert sweep
    cancel_sweep(workspace, sweep)
    store = RunStore(workspace)
    for mixing in store.list(kind="interpolate"):
        store.request_cancel(mixing.id)
    runs = store.list_group(sweep.id)
    aucs: dict[str, float] = {}
    for run in runs:
        if run.result:
            auc = run.result.metrics["target_test"]["auc"]
            aucs[run.strategy] = max(auc, aucs.get(run.strategy, 0.0))
    fitted = {"scratch", "logistic-regression", "gradient-boosting"}
    assert set(aucs) == {"depth", "zero-shot", *fitted}
    best = max(aucs["zero-shot"], *(aucs[name] for name in fitted))
    assert aucs["depth"] > best > 0.6, "transfer pays in these simulated rows"

    page.get_by_role("link", name="Compare the runs").click()
    expect(page).to_have_url(re.compile(r"/compare\?.*runs="))
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    page.locator(".thaw-chart.js-plotly-plot").first.wait_for(timeout=30_000)
