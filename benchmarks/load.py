"""Many sessions on one server, and pages over 5,000 runs (docs/reliability.md).

`python -m benchmarks.load [--sessions 50] [--minutes 10] [--runs 5000]` writes its section of
docs/reliability.md. First one session alone looks at every page; then every other session watches a
run that is training, and the rest go from page to page, read for some seconds, and type words of
their own. Sessions are those of benchmarks/load_session.py, which need hardly any processor time,
so that the seconds are the server's; one tab of a real browser visits pages among them. The
benchmark ends by itself: a request that is not answered within a minute is counted and not waited
for.
"""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
from playwright.async_api import Error, Page, async_playwright

from benchmarks.load_session import LIMIT, NOTHING, Session
from benchmarks.load_store import POINTS, fill, start_long_run
from benchmarks.reliability import write_section
from core.jobs.store import RunStore
from core.runs.launch import ensure_worker
from core.workspace import PROJECT, Workspace
from tests.e2e.helpers import CHROMIUM_FLAGS, Server

PAGES = ("", "data", "backbones", "finetune", "sweep", "run", "score", "compare", "learn")
READING_SECONDS = (10.0, 30.0)
"""Seconds that a session stays on a page before the next one."""
VISITS_ALONE, VISITS_PER_TAB = 5, 12
"""Visits to each page by one session alone, and pages that a tab opens before it is closed."""
SAMPLE_SECONDS = 2.0


class Load:
    """What is measured while the server works: seconds and bytes by request, memory over time."""

    def __init__(self, server: Server, watched: str) -> None:
        self.server = server
        self.watched = watched
        self.sessions: list[Session] = []
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.bytes: defaultdict[str, list[int]] = defaultdict(list)
        self.drawn: list[float] = []
        self.undrawn = 0
        self.memory: list[int] = []

    def record(self, what: str, seconds: float, size: int) -> None:
        """Note that a request was answered."""
        self.seconds[what].append(seconds)
        self.bytes[what].append(size)

    def open(self) -> Session:
        """Open one more session."""
        self.sessions.append(Session(self.server.url, len(self.sessions), self.record))
        return self.sessions[-1]

    async def alone(self) -> None:
        """Visit every page several times in one tab.

        The first visit fills caches that later ones use.
        """
        session = self.open()
        for page in PAGES:
            for _ in range(VISITS_ALONE):
                await session.look(page)
        await session.close()

    async def watch(self, session: Session, dice: random.Random) -> None:
        """Watches the run that trains."""
        await asyncio.sleep(dice.uniform(0, READING_SECONDS[0]))
        while True:
            await session.look("run", f"run={self.watched}")
            await session.stay(dice.uniform(60, 180), "run")

    async def go_about(self, session: Session, dice: random.Random) -> None:
        """Go from page to page, and type into text fields."""
        for visits in range(10**6):
            await asyncio.sleep(dice.uniform(0, READING_SECONDS[0]))
            page = dice.choice(PAGES)
            await session.look(page)
            if page == "sweep":
                await session.write(page, "Name")
            if page == "compare":
                await session.write(page, "Find in name, note, tag or id", NOTHING)
            await session.stay(dice.uniform(*READING_SECONDS), page or "home")
            if visits % VISITS_PER_TAB == VISITS_PER_TAB - 1:
                await session.close()

    async def in_a_browser(self, page: Page, dice: random.Random) -> None:
        """Go from page to page in a real browser tab, waiting until each is drawn."""
        while True:
            began = time.monotonic()
            try:
                await page.goto(f"{self.server.url}/{dice.choice(PAGES)}", timeout=1000 * LIMIT)
                await page.wait_for_selector(
                    '[data-testid="stApp"][data-test-script-state="notRunning"]',
                    timeout=1000 * LIMIT,
                )
                await page.wait_for_selector('[data-testid="stMain"] h1', timeout=1000 * LIMIT)
                self.drawn.append(time.monotonic() - began)
            except Error:
                self.undrawn += 1
            await asyncio.sleep(dice.uniform(*READING_SECONDS))

    async def sample(self) -> None:
        """Record the server's memory."""
        process = psutil.Process(self.server.process.pid)
        while True:
            self.memory.append(process.memory_info().rss)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def all_together(self, sessions: int, minutes: float) -> None:
        """Run the load itself."""
        dice = random.Random(1)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS
            )
            jobs = [self.sample(), self.in_a_browser(await browser.new_page(), dice)]
            jobs += [
                (self.watch, self.go_about)[number % 2](self.open(), dice)
                for number in range(sessions)
            ]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*jobs), 60 * minutes)
            for session in self.sessions:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(session.close(), 5)
            await browser.close()


def measure(workspace: Workspace, sessions: int, minutes: float) -> tuple[list[str], bool]:
    """Run the load; return the section's lines, and whether anything went wrong."""
    watched = start_long_run(workspace)
    server = Server(PROJECT / "app.py", workspace.root)
    server.start()
    try:
        load = Load(server, watched.id)
        process = psutil.Process(server.process.pid)
        asyncio.run(load.alone())
        alone, load.seconds = load.seconds, defaultdict(list)
        memory = process.memory_info().rss
        ensure_worker(workspace, "cpu")
        before, began = process.cpu_times(), time.monotonic()
        asyncio.run(load.all_together(sessions, minutes))
        after, wall = process.cpu_times(), time.monotonic() - began
    finally:
        server.process.kill()
        server.process.wait()
        RunStore(workspace).request_cancel(watched.id)
        time.sleep(3)
        server.stop_workers()
    share = (after.user + after.system - before.user - before.system) / wall
    thirds = [part.mean() / 2**20 for part in np.array_split(np.array(load.memory), 3)]
    rows = [
        f"| {what} | {np.median(alone[what][1:]) if what in alone else float('nan'):.2f} |"
        f" {len(found)} | {np.median(found):.2f} | {np.percentile(found, 95):.2f} |"
        f" {np.median(load.bytes[what]) / 1000:.0f} |"
        for what, found in sorted(load.seconds.items())
    ]
    every = load.sessions[1:]
    said = {
        name: sum(getattr(one, name) for one in load.sessions)
        for name in ("foreign", "lost", "unanswered")
    }
    broken = sum(one.broken for one in load.sessions)
    runs = sum(RunStore(workspace).count_by_status().values())
    wrong = bool(broken or load.undrawn or any(said.values()))
    lines = [
        (
            f"{len(every)} sessions for {minutes:g} minutes on a store of {runs:,} runs with"
            f" {POINTS} points each, {(len(every) + 1) // 2} watching a run that was training, the"
            f" others going from page to page and reading each for {READING_SECONDS[0]:.0f} to"
            f" {READING_SECONDS[1]:.0f} s. Seconds from the request until the server said that the"
            " script had finished, every message read. Server, worker, sessions and one real"
            " browser"
            f" shared {os.cpu_count()} cores (load {os.getloadavg()[0]:.1f} at the end); the server"
            f" took {share:.2f} of a core."
        ),
        "",
        f"| page | alone, median of {VISITS_ALONE - 1}, s | visits | median, s "
        "| 95th percentile, s | kB |",
        "|---|---|---|---|---|---|",
        *[row.replace("nan", "–") for row in rows],
        "",
        (
            f"A real tab among them drew {len(load.drawn)} pages, in"
            f" {np.median(load.drawn or [0]):.1f} s (median; the slowest"
            f" {max(load.drawn, default=0):.1f} s); {load.undrawn} were not drawn within"
            f" {LIMIT:.0f} s. Requests not answered within {LIMIT:.0f} s: {said['unanswered']}."
            f" Exceptions on a page: {broken}. Words of one session found in another:"
            f" {said['foreign']}; own words lost: {said['lost']}."
        ),
        "",
        (
            f"The server's memory was {memory / 2**20:.0f} MB after one session, and"
            f" {thirds[0]:.0f}, {thirds[1]:.0f} and {thirds[2]:.0f} MB on average in the first,"
            f" second and last third (at most {max(load.memory) / 2**20:.0f} MB)."
        ),
    ]
    return lines, wrong


def main() -> int:
    """Runs the load and writes the section; 1 when anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", "--count", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=int, default=5000)
    options = parser.parse_args()
    os.environ |= {"THAW_WORKER_LINGER": "5", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        lines, wrong = measure(fill(Path(folder), options.runs), options.sessions, options.minutes)
    write_section("Load", "python -m benchmarks.load", lines)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
