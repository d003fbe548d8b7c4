"""Whether the server's memory stops growing: `python -m benchmarks.soak [--minutes 4]`.

Writes its section of docs/reliability.md. Two sessions at a time open the pages of a workspace with
a few finished runs as fast as the server answers, six pages each; then their tabs are closed and
new ones opened.
"""

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.load_session import Session
from benchmarks.load_store import fill
from benchmarks.reliability import write_section
from core.workspace import PROJECT
from tests.e2e.helpers import Server

PAGES = ("", "data", "backbones", "finetune", "sweep", "run", "score", "compare", "learn")
RUNS = 20
AT_ONCE = 2
PAGES_PER_TAB = 6
SAMPLES = 8


async def soak(server: Server, seconds: float) -> list[tuple[int, float]]:
    """(pages drawn so far, the server's memory in MB) at SAMPLES moments."""
    pages, dice, deadline = 0, random.Random(2), time.monotonic() + seconds
    process, found = psutil.Process(server.process.pid), []

    def note(*_: object) -> None:
        nonlocal pages
        pages += 1

    async def tabs(number: int) -> None:
        while time.monotonic() < deadline:
            session = Session(server.url, number, note)
            for _ in range(PAGES_PER_TAB):
                await session.look(dice.choice(PAGES))
            await session.close()

    async def sample() -> None:
        for _ in range(SAMPLES):
            await asyncio.sleep(seconds / SAMPLES)
            found.append((pages, process.memory_info().rss / 2**20))

    await asyncio.gather(sample(), *(tabs(number) for number in range(AT_ONCE)))
    return found


def main() -> None:
    """Runs the soak and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = Server(PROJECT / "app.py", fill(Path(folder), RUNS).root)
        server.start()
        try:
            found = asyncio.run(soak(server, 60 * options.minutes))
        finally:
            server.stop()
    lines = [
        "| pages drawn | MB |",
        "|---|---|",
        *(f"| {pages:,} | {megabytes:.0f} |" for pages, megabytes in found),
    ]
    about = (
        f"{AT_ONCE} sessions at a time, {RUNS} runs, {PAGES_PER_TAB} pages a tab, as fast as the"
        " server answers."
    )
    write_section("Memory over many pages", "python -m benchmarks.soak", [about, "", *lines])


if __name__ == "__main__":
    main()
