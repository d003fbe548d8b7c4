"""Start the app on a free port, and drive its widgets in Chromium."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from core.jobs.store import RunStore
from core.workspace import PROJECT, open_workspace

START_SECONDS = 60.0

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

OpenPage = Callable[..., Page]

_WAIT_IDS = itertools.count()


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
        command = [
            sys.executable,
            "-m",
            "streamlit",
            "run",
            str(self.script),
            "--server.port",
            str(self.port),
        ]
        self.log = (self.home / "server.log").open("ab")
        # One thread a worker: two test processes with two threads each on two cores mostly wait for
        # one another.
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


# A click just made may take this long to reach the server on a busy machine.
IDLE_MS = 250


# True once the script has not run for `milliseconds` since the wait with this `id` began.
IS_IDLE = """
([id, milliseconds]) => {
  const idle = '[data-testid="stApp"][data-test-script-state="notRunning"]';
  const running = !document.querySelector(idle);
  const now = performance.now();
  if (running || window.stillness?.id !== id) window.stillness = { id, since: now };
  return now - window.stillness.since >= milliseconds;
}
"""


def wait_until_idle(page: Page) -> None:
    """Wait until the page is drawn and its script has finished."""
    page.wait_for_function(IS_IDLE, arg=[next(_WAIT_IDS), IDLE_MS])
    page.wait_for_selector('[data-testid="stMain"] h1')


LONG_TIMEOUT_MS = 120_000


def set_number(page: Page, label: str, value: str) -> None:
    page.get_by_role("spinbutton", name=label, exact=True).fill(value)
    page.keyboard.press("Enter")
    wait_until_idle(page)


def choose_option(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    wait_until_idle(page)
