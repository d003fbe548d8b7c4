"""Response times of the app (docs/performance.md).

`python -m benchmarks.speed_app` writes its section of docs/performance.md.

A workspace with one real run copied to 200 of 10,000 points each; the app in headless Chromium;
every page rerun in Streamlit's own test runner; evaluation of a million rows.
"""

import argparse
import os
import secrets
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright
from streamlit.testing.v1 import AppTest

from benchmarks.page_section import put_section
from benchmarks.timing import machine, time_call
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.evaluation.curves import (
    calibration_curve,
    cumulative_gains,
    precision_recall_curve,
    roc_curve,
    threshold_table,
)
from core.evaluation.roc_auc import auc_interval, auc_variance
from core.jobs.run import ACTIVE
from core.jobs.store import RunStore
from core.report.run_figures import (
    calibration_figure,
    confusion_figure,
    gains_figure,
    precision_recall_figure,
    roc_figure,
    score_histogram_figure,
)
from core.runs.launch import QUEUES, is_worker_alive
from core.workspace import PROJECT, Workspace, open_workspace

HEADING = "The app"
PAGES = ("home", "data", "backbones", "finetune", "sweep", "run", "compare")
RUNS, POINTS, EVALUATED = 200, 10_000, 1_000_000
RUNS_TOGETHER = 5
LINGER = 15
"""Seconds a worker waits for the next run: longer than there are between launches here."""
BACKBONE = "Simulated DCNv2"
FIRST_POINT = """() => [...document.querySelectorAll('.js-plotly-plot')].some(
  plot => (plot._fullData || []).some(trace => (trace.x || []).length > 0))"""


@dataclass
class Seen:
    """What a page in the browser received: bytes of each websocket frame since `clear`."""

    frames: list[int] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Counts from now on."""
        page.on("websocket", lambda socket: socket.on("framereceived", self._count))

    def _count(self, payload: str | bytes) -> None:
        self.frames.append(len(payload))


def fill(home: Path, rows: int) -> Workspace:
    """Make a dataset, a real run on it, and copies of that run."""
    workspace = open_workspace(home)
    file = workspace.uploads / "bench.tsv"
    simulate(file, rows, "both")
    prepare(workspace, ingest(workspace, file, "bench", simulated=True), SplitSpec(), "bench")
    options = [
        "--dataset",
        "bench",
        "--backbone",
        BACKBONE,
        "--freeze-depth",
        "2",
        "--epochs",
        "2",
        "--device",
        "cpu",
    ]
    subprocess.run(
        [sys.executable, "-m", "core", "finetune", *options],
        cwd=PROJECT,
        env=os.environ | {"THAW_HOME": str(home)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    copy_runs(workspace)
    return workspace


def copy_runs(workspace: Workspace) -> None:
    """Copies the one run there is, under new ids, each with POINTS points."""
    (run,) = RunStore(workspace).list()
    names = ("train_loss", "validation_loss", "validation_auc", "seconds")
    with sqlite3.connect(workspace.database) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(runs)")]
        others = ", ".join(name for name in columns if name not in ("id", "name", "grouping"))
        for number in range(RUNS - 1):
            copy = f"r-{secrets.token_hex(4)}"
            db.execute(
                f"INSERT INTO runs (id, name, grouping, {others}) SELECT ?, ?, ?, {others} FROM"
                " runs WHERE id = ?",
                (copy, f"{run.name} {number}", f"g-{number // RUNS_TOGETHER}", run.id),
            )
            # Linked, for nothing writes into a finished run here: 200 copies of its weights take a
            # gigabyte.
            shutil.copytree(workspace.runs / run.id, workspace.runs / copy, copy_function=os.link)
        values = 0.5 + np.random.default_rng(0).normal(size=POINTS // len(names)).cumsum() * 1e-3
        points = [
            (step, name, float(value))
            for name in names
            for step, value in enumerate(values, start=1)
        ]
        for (one,) in db.execute("SELECT id FROM runs").fetchall():
            db.executemany(
                "INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)",
                [(one, *point) for point in points],
            )


@contextmanager
def app(home: Path) -> Iterator[str]:
    """Start the app on a free port; yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "streamlit",
            "run",
            "app.py",
            "--server.port",
            str(port),
            "--server.headless",
            "true",
        ],
        cwd=PROJECT,
        env=os.environ | {"THAW_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                    break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        # A browser that still holds its connection keeps the server from ending when asked to.
        server.kill()
        server.wait()


def wait_for_page(page: Page) -> None:
    """Wait until the page's script has run."""
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    page.wait_for_selector('[data-testid="stMain"] h1')


def first_point(page: Page, url: str, store: RunStore) -> float:
    """Seconds from the click on Launch to a loss point drawn on the run's page."""
    page.goto(f"{url}/finetune?dataset=bench&backbone={BACKBONE.replace(' ', '+')}")
    wait_for_page(page)
    button = page.get_by_role("button", name="Launch")
    button.wait_for()
    began = time.perf_counter()
    button.click()
    page.wait_for_url("**/run?run=r-*")
    page.wait_for_function(FIRST_POINT, timeout=120_000, polling=20)
    taken = time.perf_counter() - began
    # What was launched would keep the worker from the next launch, for minutes on a busy machine.
    for status in reversed(ACTIVE):
        for run in store.list(status=status):
            store.request_cancel(run.id)
    while store.count_by_status().keys() & set(ACTIVE):
        time.sleep(0.2)
    return taken


def wait_for_idle_workers(workspace: Workspace) -> None:
    """Wait until no worker is alive, as opening pages starts one."""
    while any(is_worker_alive(workspace, queue) for queue in QUEUES):
        time.sleep(0.2)


def print_step(words: str) -> None:
    """Print to standard error what is measured now."""
    print(f"{datetime.now(UTC):%H:%M:%S} {words}", file=sys.stderr, flush=True)


def page_bytes(browser: Browser, url: str, address: str) -> tuple[int, int]:
    """Return the size of the websocket frames of a first visit to `address`.

    Returns:
        (bytes of the largest frame, bytes of all frames).
    """
    page, seen = browser.new_page(), Seen()
    seen.watch(page)
    page.goto(f"{url}/{address}")
    wait_for_page(page)
    page.wait_for_timeout(1500)
    page.close()
    return max(seen.frames), sum(seen.frames)


def rerun_seconds(name: str, rounds: int) -> tuple[float, float]:
    """Return the seconds of a page's script: (first run, median of later ones).

    They include Streamlit's own work in building the elements.
    """
    page = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=120)
    page.switch_page(f"{name}.py")
    first = time_call(page.run)
    assert not page.exception, f"{name}: {page.exception[0].value}"
    return first, statistics.median(time_call(page.run) for _ in range(rounds))


def evaluation(rounds: int) -> tuple[float, float]:
    """Medians of (evaluating a million rows, moving the threshold with every figure it changes)."""
    generator = np.random.default_rng(0)
    labels = (generator.random(EVALUATED) < 0.256).astype(np.float32)
    scores = 1 / (1 + np.exp(-(generator.normal(size=EVALUATED) + 1.2 * labels - 2))).astype(
        np.float32
    )

    def everything() -> None:
        auc_interval(*auc_variance(labels, scores))
        table = threshold_table(labels, scores)
        (
            roc_curve(table),
            precision_recall_curve(table),
            cumulative_gains(table),
            calibration_curve(labels, scores),
        )

    table = threshold_table(labels, scores)
    curves = {
        "roc": roc_curve(table),
        "pr": precision_recall_curve(table),
        "gains": cumulative_gains(table),
    }
    bins, rate = calibration_curve(labels, scores), float(labels.mean())

    def move() -> None:
        at = table.confusion_at(generator.random())
        figures = (
            confusion_figure(at),
            roc_figure({True: curves["roc"]}, {True: at}),
            precision_recall_figure({True: curves["pr"]}, {True: at}, rate),
            calibration_figure({True: bins}),
            score_histogram_figure(table, 0.5),
            gains_figure({True: curves["gains"]}),
        )
        for figure in figures:
            figure.to_json()

    moves = [time_call(move) for _ in range(rounds + 1)][1:]
    return statistics.median(time_call(everything) for _ in range(rounds)), statistics.median(moves)


def measure(home: Path, rows: int, rounds: int) -> str:
    """Everything, as the section's text."""
    stand = machine()
    # Pages rerun in this very process wake a worker too, which would outlive the workspace by ten
    # minutes.
    os.environ |= {"THAW_HOME": str(home), "THAW_WORKER_LINGER": str(LINGER)}
    print_step(f"evaluating {EVALUATED:,} rows")
    all_at_once, moved = evaluation(rounds)
    print_step(f"making a workspace of {RUNS} runs")
    workspace = fill(home, rows)
    reruns = {}
    for name in PAGES:
        print_step(f"rerunning {name}")
        reruns[name] = rerun_seconds(name, rounds)
    with sync_playwright() as playwright, app(home) as url:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        newest = RunStore(workspace).list()[-1].id
        addresses = {
            name: f"run?run={newest}" if name == "run" else name for name in PAGES if name != "home"
        }
        frames = {}
        for name, address in addresses.items():
            print_step(f"looking at {name}")
            frames[name] = page_bytes(browser, url, address)
        page, store = browser.new_page(), RunStore(workspace)
        print_step("launching without a worker")
        wait_for_idle_workers(workspace)
        cold, warm = first_point(page, url, store), []
        for number in range(rounds):
            print_step(f"launching, {number + 1} of {rounds}")
            warm.append(first_point(page, url, store))
        browser.close()
    wait_for_idle_workers(workspace)
    slowest = max(reruns, key=lambda name: reruns[name][1])
    largest = max(frames, key=lambda name: frames[name][0])

    def listed(values: dict[str, float]) -> str:
        return ", ".join(f"{name} {value:.0f}" for name, value in values.items())

    lines = [
        (
            f"Made by `python -m benchmarks.speed_app` on {datetime.now(UTC):%Y-%m-%d} ({stand})."
            f" {RUNS} runs of {POINTS:,} points; medians of {rounds}."
        ),
        "",
        "| what | expected | observed |",
        "|---|---|---|",
        (
            f"| click to first loss point, worker warm | under 1 s | {statistics.median(warm):.2f}"
            f" s ({min(warm):.2f} to {max(warm):.2f}) |"
        ),
        f"| click to first loss point, no worker yet | under 8 s | {cold:.2f} s |",
        (
            f"| rerun of a page's script | under 200 ms | slowest {slowest}"
            f" {1000 * reruns[slowest][1]:.0f} ms;"
            f" {listed({name: 1000 * again for name, (_, again) in reruns.items()})} |"
        ),
        f"| {EVALUATED:,} rows evaluated | under 1 s | {all_at_once:.2f} s |",
        (
            f"| threshold moved over {EVALUATED:,} rows, six figures drawn again | under 50 ms |"
            f" {1000 * moved:.0f} ms |"
        ),
        (
            f"| largest message to the browser (a chart is one) | under 200 kB | {largest}"
            f" {frames[largest][0] / 1000:.0f} kB;"
            f" {listed({name: most / 1000 for name, (most, _) in frames.items()})} |"
        ),
        (
            "| whole first look at a page | |"
            f" {listed({name: every / 1000 for name, (_, every) in frames.items()})} kB |"
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measures in a temporary workspace and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        text = measure(Path(home), options.rows, options.rounds)
    print(text)
    put_section(options.out, HEADING, text)


if __name__ == "__main__":
    main()
