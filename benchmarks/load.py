"""Many browser sessions on one server, and pages over 5,000 runs. Writes its section of docs/reliability.md.

`python -m benchmarks.load [--sessions 50] [--minutes 10] [--runs 5000]`. One session in two watches a run that is going
on, the others go from page to page; each types a word of its own on Compare and looks whether it is still its own.
"""

import argparse
import itertools
import os
import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright

from benchmarks.kills import workspace_with_a_backbone
from benchmarks.reliability import write_section
from core.models.library import list_backbones
from core.runs.launch import ensure_worker
from core.runs.store import RunStore
from core.training.settings import FinetuneRequest, TrainSettings
from core.workspace import PROJECT, Workspace, open_workspace
from tests.core.training.helpers import QUICK, carry_out
from tests.e2e.conftest import CHROMIUM_FLAGS, Server, settled

PAGES = ("", "data", "backbones", "finetune", "sweep", "compare", "run")


def fill(workspace: Workspace, runs: int) -> str:
    """So many finished runs with a curve each, and one long run that goes on; the id of that."""
    store, dataset = RunStore(workspace), next(workspace.datasets.glob("d-*")).name
    card = next(card for card in list_backbones(workspace) if not card.bundled)
    done = carry_out(workspace, FinetuneRequest(dataset, card.id, "depth", 1, train=QUICK))
    wanted = [
        (FinetuneRequest(dataset, card.id, "depth", 1, group=f"g-{number // 10}"), f"run {number}")
        for number in range(runs)
    ]
    for run in store.submit_all(wanted, "cpu"):
        store.claim_run(run.id, 1)
        store.add_points(run.id, [(step, "train_loss", 1 / step) for step in range(1, 51)])
        store.finish(run.id, "done", result=done.result)
        (workspace.runs / run.id).mkdir()
        predictions = workspace.runs / done.id / "predictions.npz"
        (workspace.runs / run.id / "predictions.npz").hardlink_to(predictions)
    train = TrainSettings(epochs=1000, batch_size=16, early_stopping=0, plateau=0, device="cpu")
    watched = store.submit(FinetuneRequest(dataset, card.id, "depth", 0, train=train), "watched", "cpu")
    ensure_worker(workspace, "cpu")
    return watched.id


def visit(page: Page, url: str) -> float:
    """Seconds until the page has drawn itself."""
    began = time.monotonic()
    page.goto(url)
    settled(page)
    return time.monotonic() - began


def mixed_up(page: Page, url: str, word: str) -> bool:
    """Whether a word typed into Compare's filter is any other when the page is done with it."""
    visit(page, f"{url}/compare")
    field = page.get_by_label("Find in name, note or tag")
    field.fill(word)
    field.press("Enter")
    settled(page)
    return field.input_value() != word


def main() -> None:
    """Runs the load and writes the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=int, default=5000)
    options = parser.parse_args()
    os.environ["THAW_WORKER_LINGER"] = "5"
    dice = random.Random(1)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        workspace = open_workspace(workspace_with_a_backbone(Path(folder)).root)
        watched = fill(workspace, options.runs)
        server = Server(PROJECT / "app.py", workspace.root)
        server.start()
        memory, times, mixed = [], defaultdict(list), 0
        try:
            process = psutil.Process(server.process.pid)
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_FLAGS)
            alone = {path: visit(browser.new_page(), f"{server.url}/{path}") for path in PAGES}
            memory.append(process.memory_info().rss)
            tabs = [browser.new_context().new_page() for _ in range(options.sessions)]
            for page in tabs[::2]:
                times["run, watched"].append(visit(page, f"{server.url}/run?run={watched}"))
            end = time.monotonic() + 60 * options.minutes
            for number in itertools.count():
                if time.monotonic() > end:
                    break
                page, path = dice.choice(tabs[1::2]), dice.choice(PAGES)
                times[path or "home"].append(visit(page, f"{server.url}/{path}"))
                mixed += number % 10 == 0 and mixed_up(page, server.url, f"word {number}")
                memory.append(process.memory_info().rss)
            browser.close()
        finally:
            server.stop()
            RunStore(workspace).request_cancel(watched)
            time.sleep(3)
            server.stop_workers()
    megabytes = np.array(memory) / 2**20
    thirds = [part.mean() for part in np.array_split(megabytes[1:], 3)]
    rows = [
        f"| {path} | {len(found)} | {np.median(found):.2f} | {np.percentile(found, 95):.2f} |"
        for path, found in sorted(times.items())
    ]
    first = ", ".join(f"{path or 'home'} {seconds:.1f}" for path, seconds in alone.items())
    write_section(
        "Load",
        "python -m benchmarks.load",
        [
            f"{options.sessions} browser sessions for {options.minutes:g} minutes on a store of {options.runs:,} runs "
            "with 50 points each; every other session watched a run that was training, the others went about. "
            f"Server, worker and browser shared {os.cpu_count()} cores (load {os.getloadavg()[0]:.1f} at the end), so "
            "the seconds are those of the browser at work as well.",
            "",
            "| page | visits | median s | 95th percentile s |",
            "|---|---|---|---|",
            *rows,
            "",
            f"One session alone, the first visit of each, in seconds: {first}.",
            "",
            f"The server's memory was {megabytes[0]:.0f} MB with one session, and {thirds[0]:.0f}, {thirds[1]:.0f} and "
            f"{thirds[2]:.0f} MB on average in the first, second and last third. Words of one session found in "
            f"another: {mixed}.",
        ],
    )


if __name__ == "__main__":
    main()
