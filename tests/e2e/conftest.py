"""A real server and a real browser: every page that shows an exception, logs an error or calls out fails its test."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from core.runs.store import RunStore
from core.workspace import PROJECT, open_workspace

START_SECONDS = 60.0
expect.set_options(timeout=30_000)
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# An exception that a rerun wipes away again must fail the test too, so the page itself watches for one.
WATCH_FOR_EXCEPTIONS = """
new MutationObserver(() => {
  for (const node of document.querySelectorAll('[data-testid="stException"]:not([data-seen])')) {
    node.dataset.seen = "yes";
    console.error("The page shows an exception: " + node.innerText);
  }
}).observe(document, { childList: true, subtree: true });
"""

OpenPage = Callable[..., Page]
_COUNT = itertools.count()


class Server:
    """The app on a free port of its own with a workspace of its own."""

    def __init__(self, script: Path, home: Path) -> None:
        self.script = script
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        command = [sys.executable, "-m", "streamlit", "run", str(self.script), "--server.port", str(self.port)]
        self.log = (self.home / "server.log").open("ab")
        # One thread a worker: two test processes with two threads each on two cores mostly wait for one another.
        settings = {"THAW_HOME": str(self.home), "THAW_WORKER_LINGER": "20", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*command, "--server.headless", "true"],
            cwd=PROJECT,
            env=os.environ | settings,
            stdout=self.log,
            stderr=self.log,
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        self.stop()
        pytest.fail(f"The app did not start: {(self.home / 'server.log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Stops the server; workers live on."""
        self.process.terminate()
        self.process.wait(timeout=20)
        self.log.close()

    def stop_workers(self) -> None:
        """Kills the workers that still run something; idle ones leave by themselves."""
        for run in RunStore(open_workspace(self.home)).list(status="running"):
            if run.worker_pid:
                os.kill(run.worker_pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app as `streamlit run app.py` starts it; .url, .home (its workspace), and start/stop to restart it."""
    server = Server(PROJECT / "app.py", tmp_path_factory.mktemp("home"))
    server.start()
    yield server
    server.stop()
    server.stop_workers()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; a missing one is a failure and not a skip."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("The browser tests need Chromium on the PATH (Debian: apt-get install chromium); see `make test`.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """open_page(width=1440, height=900, color_scheme="light") -> a fresh Page, checked when the test ends."""
    contexts = []
    complaints: list[str] = []

    def open_one(width: int = 1440, height: int = 900, color_scheme: str = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if color_scheme == "dark" else "light",
            accept_downloads=True,
        )
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(WATCH_FOR_EXCEPTIONS)
        page.on("pageerror", lambda error: complaints.append(f"uncaught error: {error}"))
        page.on("console", lambda message: complaints.append(message.text) if _is_complaint(message) else None)
        page.on(
            "request", lambda request: complaints.append(f"calls out: {request.url}") if _outside(request) else None
        )
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """A page 1440 pixels wide in the light theme."""
    return open_page()


STILL_MS = 250
"""How long a page has to stand still: a click just made is on its way to the server for as long on a busy machine."""
STANDS_STILL = """
([id, milliseconds]) => {
  const running = !document.querySelector('[data-testid="stApp"][data-test-script-state="notRunning"]');
  const now = performance.now();
  if (running || window.stillness?.id !== id) window.stillness = { id, since: now };
  return now - window.stillness.since >= milliseconds;
}
"""


def settled(page: Page) -> None:
    """Waits until the page has drawn itself and its script runs no more."""
    page.wait_for_function(STANDS_STILL, arg=[next(_COUNT), STILL_MS])
    page.wait_for_selector('[data-testid="stMain"] h1')


def _is_complaint(message: ConsoleMessage) -> bool:
    # On a deep link Streamlit looks for its server below the page's own path first and gets a 404, as it expects.
    probing = "/_stcore/" in message.location["url"] and "404" in message.text
    return message.type == "error" and not probing


def _outside(request: Request) -> bool:
    return urlparse(request.url).hostname not in ("127.0.0.1", None)
