"""The chart in a browser: live points keep its node and the user's zoom; it follows theme and
width, and goes away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.e2e.helpers import Server

pytestmark = pytest.mark.e2e
NODE = ".thaw-chart.js-plotly-plot"
STATE = """node => ({
  mark: node.mark ?? null,
  points: node.calcdata[0].length,
  range: node._fullLayout.xaxis.range.map(Number),
  ink: node._fullLayout.font.color,
  width: node.querySelector(".main-svg").getBoundingClientRect().width,
})"""


@pytest.fixture(scope="module")
def live_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(Path(__file__).with_name("live_chart.py"), tmp_path_factory.mktemp("home"))
    server.start()
    yield server
    server.stop()


def state(page: Page) -> dict[str, Any]:
    return page.locator(NODE).evaluate(STATE)


def wait_for_points(page: Page, points: int) -> None:
    page.wait_for_function(f"document.querySelector('{NODE}')?.calcdata[0].length >= {points}")


def zoom(page: Page) -> None:
    box = page.locator(f"{NODE} .nsewdrag").bounding_box()
    assert box
    left, top = box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"]
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + 0.3 * box["width"], top + 0.3 * box["height"], steps=5)
    page.mouse.up()


def test_live_points_keep_the_node_and_the_zoom(page: Page, live_app: Server) -> None:
    page.goto(live_app.url)
    wait_for_points(page, 22)
    page.locator(NODE).evaluate("node => { node.mark = 'mine' }")
    before = state(page)
    wait_for_points(page, before["points"] + 2)
    growing = state(page)
    assert growing["mark"] == "mine"
    assert growing["range"][1] > before["range"][1], "without a zoom the axis follows the points"

    zoom(page)
    zoomed = state(page)
    assert zoomed["range"][0] > growing["range"][0]
    wait_for_points(page, zoomed["points"] + 3)
    later = state(page)
    assert later["range"] == zoomed["range"]
    assert later["mark"] == "mine"
    assert page.locator(".thaw-chart").count() == 1
    assert page.get_by_role("img", name="Loss by step").count() == 1


def test_the_chart_follows_theme_and_width(page: Page, live_app: Server) -> None:
    page.goto(live_app.url)
    wait_for_points(page, 21)
    light = state(page)
    page.emulate_media(color_scheme="dark")
    # Plotly fills its layout anew while it draws.
    font = f"document.querySelector('{NODE}')._fullLayout.font"
    page.wait_for_function(f"{font} && {font}.color != '{light['ink']}'")
    page.set_viewport_size({"width": 500, "height": 900})
    page.wait_for_function(
        f"document.querySelector('{NODE} .main-svg').getBoundingClientRect().width <= 500 &&"
        f" document.querySelector('{NODE} .main-svg').getBoundingClientRect().width > 300"
    )


def test_the_chart_is_purged_when_its_page_is_left(page: Page, live_app: Server) -> None:
    page.goto(live_app.url)
    wait_for_points(page, 21)
    node = page.locator(NODE).element_handle()
    page.get_by_role("link", name="Other").click()
    page.get_by_role("heading", name="Other").wait_for()
    page.wait_for_function("node => !node.isConnected && !node._fullLayout", arg=node)
    page.get_by_role("link", name="Plot").click()
    wait_for_points(page, 21)


def test_the_script_comes_packed_and_is_kept(page: Page, live_app: Server) -> None:
    answer = page.request.get(
        f"{live_app.url}/assets/plotly.min.js", headers={"Accept-Encoding": "gzip"}
    )
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.body().startswith(b"/**")
