"""From a dataset and a bundled backbone to a finished run, and from an unknown vocabulary to a new
backbone."""

import re
import time
from collections.abc import Callable
from functools import partial

import pytest
from playwright.sync_api import Page, Position, WebSocketRoute, expect

from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.store import RunStore
from core.workspace import open_workspace, read_json, write_json
from tests.e2e.helpers import (
    LONG_TIMEOUT_MS,
    OpenPage,
    Server,
    choose_option,
    set_number,
    wait_until_idle,
)

pytestmark = pytest.mark.e2e
TOP: Position = {"x": 20, "y": 4}
"""A place near the top of a block, from its corner in pixels."""


@pytest.fixture(scope="module")
def prepared(server: Server) -> Server:
    """The server with two datasets: journey, and strange, which passes for real traffic."""
    workspace = open_workspace(server.home)
    for name, seed in (("strange", 5), ("journey", 4)):
        path = workspace.uploads / f"{name}.tsv"
        simulate(path, 3000, "both", seed=seed)
        dataset = prepare(
            workspace, ingest(workspace, path, name, simulated=True), SplitSpec(), name, min_count=5
        )
        if name == "strange":
            stored = dataset.folder / "dataset.json"
            write_json(stored, read_json(stored) | {"simulated": False})
    return server


def test_move_the_freeze_line_launch_and_read_the_result(prepared: Server, page: Page) -> None:
    page.goto(f"{prepared.url}/finetune?dataset=journey&backbone=Simulated+DCNv2")
    wait_until_idle(page)
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    wait_until_idle(page)
    expect(page).to_have_url(re.compile("depth=2"))
    # The line is dragged above one stage more, and a click on a stage puts it back above that one.
    page.locator(".thaw-line span").drag_to(
        page.locator(".thaw-block", has_text="Cross 2"), target_position=TOP
    )
    expect(page).to_have_url(re.compile("depth=3"))
    expect(page.get_by_role("slider")).to_have_value("3")
    page.locator(".thaw-block", has_text="Cross 1").click()
    expect(page).to_have_url(re.compile("depth=2"))
    wait_until_idle(page)
    expect(page.locator(".thaw-block.thaw-frozen")).to_have_count(2)
    expect(page.locator(".thaw-block.thaw-trained")).to_have_count(4)
    set_number(page, "Epochs", "2")
    page.get_by_text("The same on the command line").click()
    expect(page.locator('[data-testid="stCode"]')).to_contain_text("--freeze-depth 2 --epochs 2")
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url("**/run?run=r-*")
    expect(page.get_by_text("Confusion matrix", exact=True)).to_be_visible(timeout=LONG_TIMEOUT_MS)
    # Other journeys may have left runs of their own with this server.
    store = RunStore(open_workspace(prepared.home))
    runs = store.list_group(store.get(page.url.rpartition("run=")[2]).group)
    controls = ["gradient-boosting", "logistic-regression", "zero-shot"]
    assert sorted(run.strategy for run in runs) == ["depth", *controls]


class SlowAnswers:
    """Hold back the server's messages to the page until released; the page's messages pass at
    once."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.holding = False
        self.held: list[Callable[[], None]] = []
        page.route_web_socket(re.compile("_stcore/stream"), self._carry)

    def _carry(self, socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        server.on_message(lambda message: self._hear(partial(socket.send, message)))

    def _hear(self, deliver: Callable[[], None]) -> None:
        if self.holding:
            self.held.append(deliver)
        else:
            deliver()

    def wait(self) -> None:
        """Until the server has answered and says no more."""
        before = -1
        deadline = time.monotonic() + LONG_TIMEOUT_MS / 1000
        while not self.held or before < len(self.held):
            assert time.monotonic() < deadline, (
                f"The server does not come to an end: {len(self.held)} messages."
            )
            before = len(self.held)
            self.page.wait_for_timeout(700)

    def release(self) -> None:
        """Everything held, in order, and all that comes from now on."""
        self.holding = False
        for deliver in self.held:
            deliver()


def test_a_launch_before_the_servers_answer_uses_the_chosen_values(
    prepared: Server, page: Page
) -> None:
    answers = SlowAnswers(page)
    page.goto(f"{prepared.url}/finetune?dataset=journey&backbone=Simulated+DCNv2")
    wait_until_idle(page)
    article = page.get_by_role("radio", name="article")
    article.wait_for()
    answers.holding = True
    block = page.locator(".thaw-block", has_text="Cross 2")
    while "thaw-frozen" not in str(block.get_attribute("class")):
        # The picture is there a moment before what listens to clicks on it.
        block.click()
        page.wait_for_timeout(100)
    answers.wait()
    article.click()
    answers.wait()
    page.get_by_role("button", name="Launch").click()
    answers.wait()
    answers.release()
    page.wait_for_url("**/run?run=r-*")
    store = RunStore(open_workspace(prepared.home))
    run = store.get(page.url.rpartition("run=")[2])
    for one in store.list_group(run.group):
        store.request_cancel(one.id)
    assert run.strategy == "depth" and run.finetune_request.freeze_depth == 3
    assert (run.request.train.batch_size, run.request.train.epochs) == (32, 10)


def test_the_choice_is_in_the_address_and_back_takes_it_back(prepared: Server, page: Page) -> None:
    page.goto(f"{prepared.url}/finetune?dataset=journey&backbone=Simulated+DNN")
    wait_until_idle(page)
    choose_option(page, "Backbone", "Simulated DCNv2")
    expect(page).to_have_url(re.compile(r"backbone=Simulated\+DCNv2"))
    page.reload()
    wait_until_idle(page)
    expect(page.get_by_role("combobox", name="Backbone")).to_have_value("Simulated DCNv2")
    page.go_back()
    expect(page.get_by_role("combobox", name="Backbone")).to_have_value("Simulated DNN")


def test_a_backbone_that_does_not_know_the_values_leads_to_pretraining(
    prepared: Server, open_page: OpenPage
) -> None:
    page = open_page(width=390)
    # The first look at a dataset's costs waits for a process that counts them.
    page.set_default_timeout(LONG_TIMEOUT_MS)
    page.goto(
        f"{prepared.url}/backbones?section=Vocabulary+check&dataset=strange&backbone=Simulated+DNN"
    )
    wait_until_idle(page)
    expect(page.get_by_text("does not know the hashes in real Criteo traffic")).to_be_visible()
    page.get_by_role("button", name="Pretrain on the source rows of strange").click()
    # Until then the page shows the section before as well, with a box of the same name.
    expect(page.get_by_role("combobox", name="Dataset")).to_have_count(1)
    wait_until_idle(page)
    expect(page.get_by_role("combobox", name="Dataset")).to_have_value("strange")
    page.get_by_role("textbox", name="Name of the backbone").fill("Strange DNN")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    set_number(page, "Epochs", "1")
    page.get_by_role("button", name="Pretrain", exact=True).click()
    page.wait_for_url("**/run?run=r-*")
    expect(page.get_by_text("Confusion matrix", exact=True)).to_be_visible(timeout=LONG_TIMEOUT_MS)
    page.goto(f"{prepared.url}/backbones")
    expect(page.get_by_role("heading", name="Strange DNN")).to_be_visible()
