"""A run in a browser: live without flicker, cancelled, resumed, through a restart, then
compared."""

import contextlib
import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator

import psutil
import pytest
from playwright.sync_api import Page, expect

from core.data.datasets import Dataset
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.jobs.store import Run, RunStore
from core.runs.launch import ensure_worker
from core.workspace import Workspace, open_workspace
from tests.e2e.helpers import OpenPage, Server, wait_until_idle

pytestmark = pytest.mark.e2e
PATIENCE = 120_000
LONG = TrainSettings(epochs=20, batch_size=2, early_stopping=0, plateau=0, device="cpu")
SHORT = TrainSettings(epochs=1, device="cpu")
POINTS = "() => document.querySelector('.thaw-chart.js-plotly-plot')?.calcdata?.[0].length"


@pytest.fixture(scope="module")
def dataset(server: Server) -> Dataset:
    """A small dataset in the server's workspace."""
    workspace = open_workspace(server.home)
    path = workspace.uploads / "watched.tsv"
    simulate(path, 3000, "both", seed=8)
    return prepare(
        workspace,
        ingest(workspace, path, "watched", simulated=True),
        SplitSpec(),
        "watched",
        min_count=5,
    )


def launch(
    workspace: Workspace, dataset: Dataset, train: TrainSettings, depth: int = 1, group: str = ""
) -> Run:
    request = FinetuneRequest(dataset.id, "simulated-dnn", "depth", depth, train=train, group=group)
    run = RunStore(workspace).submit(request, f"watched at depth {depth}", "cpu")
    ensure_worker(workspace, "cpu")
    return run


def ended(workspace: Workspace, run: Run) -> str:
    deadline = time.monotonic() + PATIENCE / 1000
    while RunStore(workspace).get(run.id).active and time.monotonic() < deadline:
        time.sleep(0.1)
    return RunStore(workspace).get(run.id).status


@contextlib.contextmanager
def held(workspace: Workspace, run_id: str) -> Iterator[int]:
    """The run's worker stands still meanwhile, so that the run cannot end while pages open; gives
    the worker."""
    store = RunStore(workspace)
    deadline = time.monotonic() + PATIENCE / 1000
    while not (run := store.get(run_id)).step and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = run.worker_pid
    assert worker, f"No worker began: {run}"
    os.kill(worker, signal.SIGSTOP)
    while not writable(workspace) and time.monotonic() < deadline:
        os.kill(worker, signal.SIGCONT)
        time.sleep(0.05)
        os.kill(worker, signal.SIGSTOP)
    try:
        yield worker
    finally:
        os.kill(worker, signal.SIGCONT)


def writable(workspace: Workspace) -> bool:
    """Whether the store can be written: no stopped process holds its lock."""
    with contextlib.closing(sqlite3.connect(workspace.database, timeout=0.2)) as store:
        try:
            store.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True


def test_live_then_cancelled_then_resumed_to_the_end(
    server: Server, dataset: Dataset, open_page: OpenPage
) -> None:
    workspace = open_workspace(server.home)
    run = launch(workspace, dataset, LONG)
    page = open_page()
    page.goto(f"{server.url}/run?run={run.id}")
    # The page draws itself anew when the run leaves the queue; from then on nothing may be
    # replaced.
    expect(page.get_by_text(re.compile(r"Training · epoch \d+ of 20"))).to_be_visible(
        timeout=PATIENCE
    )
    page.wait_for_function(
        "() => document.querySelector('.thaw-chart.js-plotly-plot')?.calcdata?.[0].length > 3",
        timeout=PATIENCE,
    )
    before = page.evaluate(POINTS)
    page.evaluate(
        "() => { const node = document.querySelector('.thaw-chart.js-plotly-plot');"
        " node.dataset.mark = 'mine'; return Plotly.relayout(node, {'xaxis.range[0]': 1,"
        " 'xaxis.range[1]': 9}); }"
    )
    page.wait_for_function(
        "() => document.querySelector('.thaw-chart.js-plotly-plot')?.calcdata?.[0].length >"
        f" {before + 5}",
        timeout=PATIENCE,
    )
    node = page.locator(".thaw-chart.js-plotly-plot").first
    expect(node).to_have_attribute("data-mark", "mine")
    assert node.evaluate("node => node.layout.xaxis.range") == [1, 9]
    expect(page.get_by_text(re.compile(r"Training · epoch \d+ of 20"))).to_be_visible()

    with held(workspace, run.id):
        second = open_page(width=390, color_scheme="dark")
        second.goto(f"{server.url}/run?run={run.id}")
        expect(second.get_by_text(re.compile(r"epoch \d+ of 20"))).to_be_visible(timeout=PATIENCE)
        page.reload()
        expect(page.get_by_text(re.compile(r"epoch \d+ of 20"))).to_be_visible(timeout=PATIENCE)
        page.get_by_role("button", name="Cancel").click()
    for view in (page, second):
        expect(
            view.get_by_text("Cancelled. Resume goes on from the last checkpoint.")
        ).to_be_visible(timeout=PATIENCE)
    assert RunStore(workspace).get(run.id).status == "cancelled"

    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Confusion matrix", exact=True)).to_be_visible(timeout=PATIENCE)
    wait_until_idle(page)
    expect(page.get_by_text("On the target", exact=False).first).to_be_visible()
    finished = RunStore(workspace).get(run.id)
    assert finished.status == "done" and finished.step == finished.steps
    steps, _ = RunStore(workspace).points(run.id)["validation_loss"]
    assert len(steps) == 21

    page.get_by_role("slider").focus()
    recall = page.get_by_test_id("stMetric").filter(has_text="Recall")
    shown = recall.inner_text()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    expect(recall).not_to_have_text(shown, use_inner_text=True)


def test_restarting_the_app_changes_nothing_of_the_run(
    server: Server, dataset: Dataset, page: Page
) -> None:
    workspace = open_workspace(server.home)
    run = launch(workspace, dataset, LONG, depth=2)
    page.goto(f"{server.url}/run?run={run.id}")
    expect(page.get_by_text(re.compile(r"epoch \d+ of 20"))).to_be_visible(timeout=PATIENCE)
    # A page left open would complain while the server is away.
    page.goto("about:blank")
    server.stop()
    assert RunStore(workspace).get(run.id).status == "running"
    server.start()
    page.goto(f"{server.url}/run?run={run.id}")
    expect(page.get_by_text("Confusion matrix", exact=True)).to_be_visible(timeout=PATIENCE)
    assert RunStore(workspace).get(run.id).status == "done"


def workers(server: Server) -> list[int]:
    """Processes that work, or wait to, in the server's workspace."""
    mine = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        command = process.info["cmdline"] or []
        if "core.runs.worker" in command and str(server.home) in command:
            mine.append(process.info["pid"])
    return mine


def test_two_apps_on_one_workspace(server: Server, dataset: Dataset, open_page: OpenPage) -> None:
    """Launched in one app and watched in the other; one worker executes the run, and continues when
    its app is killed."""
    workspace = open_workspace(server.home)
    store = RunStore(workspace)
    other = Server(server.script, server.home)
    other.start()
    try:
        first, second = open_page(), open_page()
        settings = "small,epochs=12,batch_size=2,early_stopping=0,plateau=0"
        first.goto(
            f"{other.url}/finetune?dataset=watched&backbone=Simulated+DNN&training={settings}"
        )
        wait_until_idle(first)
        first.get_by_role("button", name="Launch").click()
        first.wait_for_url("**/run?run=r-*")
        run_id = first.url.split("run=")[1]
        with held(workspace, run_id) as worker:
            second.goto(f"{server.url}/run?run={run_id}")
            expect(second.get_by_text(re.compile(r"epoch \d+ of 12"))).to_be_visible(
                timeout=PATIENCE
            )
            for control in store.list("queued"):
                store.request_cancel(control.id)
            # A page left open would complain of a server that is gone.
            first.close()
            other.process.kill()
            other.process.wait()
            run = store.get(run_id)
            assert (
                run.status == "running" and run.worker_pid == worker and workers(server) == [worker]
            )
    finally:
        other.process.kill()
        other.stop()
    expect(second.get_by_text("Confusion matrix", exact=True)).to_be_visible(timeout=PATIENCE)
    assert (
        store.get(run_id).status == "done" and len(store.points(run_id)["validation_loss"][0]) == 13
    )


def test_runs_side_by_side(server: Server, dataset: Dataset, page: Page) -> None:
    workspace = open_workspace(server.home)
    runs = [launch(workspace, dataset, SHORT, depth, "g-journey") for depth in (0, 3)]
    assert [ended(workspace, run) for run in runs] == ["done", "done"]
    page.goto(f"{server.url}/compare?runs={runs[0].id},{runs[1].id}")
    wait_until_idle(page)
    expect(page.get_by_text("2 selected", exact=False)).to_be_visible()
    expect(page.get_by_text("What the results support")).to_be_visible()
    expect(page.get_by_text("One threshold for all arms")).to_be_visible()
    # AUC and log loss by arm and by depth, forgetting, cost, two learning curves; at the threshold
    # ROC, precision, calibration, gains, lift, scores; the costs and the slices.
    expect(page.locator(".thaw-chart.js-plotly-plot")).to_have_count(16)
    page.goto(f"{server.url}/run?run={runs[1].id}")
    wait_until_idle(page)
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/compare?runs=*")
    expect(page.get_by_text("2 selected", exact=False)).to_be_visible()
