"""Several tabs at once on one server, a light version of benchmarks/load.py."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.load_session import NOTHING, Session
from benchmarks.load_store import fill
from core.workspace import PROJECT
from tests.e2e.helpers import Server

TABS = 6


async def use(session: Session) -> None:
    """Goes about as a user of one tab does, and types words that are this tab's own."""
    for page in ("", "run", "sweep", "compare"):
        await session.look(page)
        if page == "sweep":
            await session.write(page, "Name")
        if page == "compare":
            await session.write(page, "Find in name, note, tag or id", NOTHING)
    await session.close()


def test_several_tabs_are_answered_and_none_sees_anothers_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "THAW_WORKER_LINGER", "1")
    workspace = fill(tmp_path, 20)
    asked: list[str] = []
    server = Server(PROJECT / "app.py", workspace.root)
    server.start()
    try:
        tabs = [
            Session(server.url, number, lambda what, *_: asked.append(what))
            for number in range(TABS)
        ]

        async def all_together() -> None:
            await asyncio.gather(*map(use, tabs))

        # Playwright's own loop runs in the thread of the tests.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, all_together()).result()
    finally:
        server.stop()
    expected = ("home", "run", "sweep", "sweep, typed", "compare", "compare, typed")
    assert {what: asked.count(what) for what in expected} == {
        what: TABS * (2 if "typed" in what else 1) for what in expected
    }
    for tab in tabs:
        assert (tab.foreign, tab.lost, tab.unanswered, tab.broken) == (0, 0, 0, 0)
