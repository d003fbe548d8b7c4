"""The pictures of docs/guide.md and the README, taken from the real app by `make screenshots`.

A workspace of its own is filled by the demo; Debian's Chromium opens every page. Nothing of the
user's own is read.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, sync_playwright

from core.errors import RunError
from core.jobs.store import RunStore
from core.runs.demo import demo_sweep, run_demo, wait_for_demo
from core.runs.subprocess_commands import weight_drift_in_subprocess
from core.workspace import PROJECT, Workspace, open_workspace, write_json
from pages.components.shared.tour import SEEN_FILE

WIDTH, HEIGHT = 1280, 1000
SCHEMES: dict[Literal["light", "dark"], str] = {"light": "", "dark": "-dark"}
BOTH = ("finetune", "story")
"""Pictures of the README, which shows them in the reader's own scheme: taken in the dark as well,
as NAME-dark.png."""
START_SECONDS = 60.0


def shots(workspace: Workspace) -> list[tuple[str, str, str]]:
    """Return (file name, address, text to scroll to) of every picture.

    The text is empty for the top of the page.
    """
    sweep = demo_sweep(workspace)
    if sweep is None:
        raise RunError("The demo is not in the workspace, so there is nothing to show.")
    runs = RunStore(workspace).list_group(sweep.id)
    half = next(run.id for run in runs if run.finetune_request.freeze_depth == 2)
    return [
        ("home", "", ""),
        ("story", "", "Demo results"),
        ("data", "data", ""),
        ("backbones", "backbones", ""),
        ("finetune", "finetune?depth=3", ""),
        ("sweep", f"sweep?sweep={sweep.id}", ""),
        ("run", f"run?run={half}", "Results at one threshold"),
        ("moved", f"run?run={half}", "Weight drift"),
        (
            "compare",
            f"compare?runs={','.join(run.id for run in runs[:8])}",
            "AUC by freeze depth",
        ),
        ("score", f"score?run={half}", ""),
        ("learn", f"learn?run={half}", ""),
    ]


def fill(workspace: Workspace) -> None:
    """The demo carried out, one run measured, and no tour in the pictures."""
    write_json(workspace.root / SEEN_FILE, {"seen": True})
    sweep = run_demo(workspace)
    print(*wait_for_demo(workspace, sweep), sep="\n")
    for run in RunStore(workspace).list_group(sweep.id):
        if run.finetune_request.freeze_depth == 2:
            weight_drift_in_subprocess(workspace, run.id)
            return


@contextmanager
def served(workspace: Workspace) -> Iterator[str]:
    """The app on a free port, by its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    app = subprocess.Popen(
        [*command, "--server.port", str(port)],
        cwd=PROJECT,
        env={**os.environ, "THAW_HOME": str(workspace.root)},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=2).close()
                break
            except OSError:
                if time.monotonic() > deadline or app.poll() is not None:
                    raise RunError("The app did not start.") from None
                time.sleep(0.2)
        yield url
    finally:
        app.terminate()
        app.wait()


def take(page: Page, address: str, target: str, path: Path) -> None:
    """Opens the address, waits until it is drawn, scrolls to the text and writes the picture."""
    page.goto(address)
    page.wait_for_selector('[data-testid="stMain"] h1')
    page.wait_for_selector(
        '[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=60_000
    )
    # Charts draw themselves after the script; a picture needs their last frame.
    page.wait_for_timeout(2500)
    if target:
        page.get_by_text(target, exact=True).first.evaluate(
            "node => node.scrollIntoView({ block: 'start' })"
        )
        page.get_by_test_id("stMain").evaluate("node => node.scrollBy(0, -80)")
        page.wait_for_timeout(800)
    page.screenshot(path=path)


def main() -> int:
    """Takes every picture; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m assets.screenshots", description=main.__doc__)
    parser.add_argument(
        "--workspace", type=Path, help="to put the demo into (default: a temporary one)"
    )
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "images")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print(
            "Chromium is not on the PATH; install it (Debian: sudo apt-get install chromium).",
            file=sys.stderr,
        )
        return 1
    # The demo's worker waits for more runs in that folder, and may write there while it is removed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        workspace = open_workspace(options.workspace or folder)
        fill(workspace)
        with served(workspace) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for scheme, ending in SCHEMES.items():
                page = browser.new_page(
                    viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme
                )
                for name, address, target in shots(workspace):
                    if scheme == "light" or name in BOTH:
                        path = options.out / f"{name}{ending}.png"
                        take(page, f"{url}/{address}", target, path)
                        print(path)
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
