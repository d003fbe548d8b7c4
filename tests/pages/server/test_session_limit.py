"""A limit on WebSockets in total and per address; silent ones are closed."""

import asyncio

import pytest
from starlette.types import Message

from pages.server import session_limit
from pages.server.session_limit import SessionLimit
from tests.pages.server.asgi import Inner, run, websocket

OPENED, REFUSED = "websocket.accept", "websocket.close"


class Tab:
    """A WebSocket to the middleware, as a browser's tab opens one."""

    def __init__(self, app: SessionLimit, client: str = "10.0.0.1") -> None:
        self.said: list[str] = []
        self.coming: asyncio.Queue[Message] = asyncio.Queue()
        self.coming.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(app(websocket(client), self.coming.get, self._send))

    async def _send(self, message: Message) -> None:
        self.said.append(message["type"])

    async def says(self) -> list[str]:
        """What came back so far."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.said

    async def speak(self) -> None:
        """Says something, as a browser does at once."""
        self.coming.put_nowait({"type": "websocket.receive", "bytes": b"draw"})
        await self.says()

    async def close(self) -> None:
        """Closes the tab."""
        self.coming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task


def test_an_active_tab_stays_and_none_is_opened_beyond_the_limit() -> None:
    async def body() -> None:
        app = SessionLimit(Inner(), most=4)
        tabs = [Tab(app, f"10.0.0.{at}") for at in range(4)]
        for tab in tabs:
            await tab.speak()
        assert [await tab.says() for tab in tabs] == [[OPENED]] * 4
        assert await Tab(app, "10.0.0.9").says() == [REFUSED]
        await tabs[0].close()
        assert await Tab(app, "10.0.0.9").says() == [OPENED]

    run(body)


def test_one_address_takes_half_of_the_places() -> None:
    async def body() -> None:
        app = SessionLimit(Inner(), most=4)
        for _ in range(2):
            await Tab(app, "10.0.0.1").speak()
        assert await Tab(app, "10.0.0.1").says() == [REFUSED]
        assert await Tab(app, "10.0.0.2").says() == [OPENED]

    run(body)


def test_the_oldest_silent_connection_is_closed_first() -> None:
    """A client that occupies all places silently keeps nobody out."""

    async def body() -> None:
        app = SessionLimit(Inner(), most=4)
        speaks = Tab(app)
        await speaks.speak()
        silent = Tab(app)
        await silent.says()
        newest = Tab(app)
        assert await newest.says() == [OPENED] and await silent.says() == [OPENED, REFUSED]
        await newest.speak()
        assert await Tab(app).says() == [REFUSED], (
            "both places of this address are taken by tabs that spoke"
        )
        assert await speaks.says() == [OPENED]

    run(body)


def test_a_silent_connection_is_closed_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_limit, "FIRST_MESSAGE_SECONDS", 0.05)

    async def body() -> None:
        app = SessionLimit(Inner(), most=2)
        speaks, silent = Tab(app, "10.0.0.1"), Tab(app, "10.0.0.2")
        await speaks.speak()
        await asyncio.wait_for(silent.task, 10)
        assert silent.said == [OPENED, REFUSED]
        assert not speaks.task.done() and speaks.said == [OPENED]

    run(body)
