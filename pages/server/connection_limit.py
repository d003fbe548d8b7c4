"""Connections: so many at once, and none that stays open without a request or without taking its
answer.

Uvicorn waits for the end of a request's headers, and for a client that takes nothing in, as long as
the client likes; a few hundred such connections use up the files that a process may open. Streamlit
leaves no way to hand uvicorn a protocol of ours, so the protocol is wrapped where the event loop
makes one for each connection.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from pages.server.limits import max_open_files

REQUEST_SECONDS = 15.0
"""A connection without a complete request for so long is closed, be it new or between two
requests."""
ANSWER_SECONDS = 120.0
"""A client that takes in nothing of its answer for so long is closed."""
MESSAGE_BYTES = 2**21
"""What a browser says at once: the values of all fields of a page."""
CHECK_SECONDS = 1.0


def max_connections() -> int:
    """Connections at once, those of sessions included."""
    return min(512, max_open_files() // 4)


class Connection(asyncio.Protocol):
    """One connection: hands everything on to uvicorn's protocol, and notes since when nobody is
    served.

    A WebSocket takes the transport over, so that from then on nothing is heard of it here.
    """

    def __init__(self, inner: Any, watch: "ConnectionLimit") -> None:
        self.inner = inner
        self.limit = watch
        self.transport: Any = None
        self.waiting_since: float | None = None
        self.blocked_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Registers; where there are too many, another one that waits gives way."""
        self.transport = transport
        self.waiting_since = self.limit.now()
        self.inner.connection_made(transport)
        self.limit.admit(self)

    def data_received(self, data: bytes) -> None:
        """Hands the bytes on."""
        self.inner.data_received(data)
        if self.is_served():
            self.waiting_since = None
        if self.is_websocket():
            limit_message_size(self.transport.get_protocol())

    def eof_received(self) -> bool | None:
        """Hands it on."""
        return self.inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hands it on and forgets the connection."""
        self.limit.connections.discard(self)
        self.inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take in what is sent."""
        self.blocked_since = self.limit.now()
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self.blocked_since = None
        self.inner.resume_writing()

    def is_served(self) -> bool:
        """Whether a request is being answered (`cycle` is what uvicorn's protocols call it)."""
        cycle = getattr(self.inner, "cycle", None)
        return self.is_websocket() or (cycle is not None and not cycle.response_complete)

    def is_websocket(self) -> bool:
        """Whether uvicorn has given the transport to its WebSocket protocol."""
        return self.transport.get_protocol() is not self


def limit_message_size(protocol: Any) -> None:
    """Has a WebSocket of uvicorn's refuse a message of more than MESSAGE_BYTES, before it is read
    whole.

    Streamlit has one bound for both directions, and its own messages are larger.
    """
    connection = getattr(protocol, "conn", None)
    if connection is not None:
        connection.max_message_size = MESSAGE_BYTES


class ConnectionLimit:
    """All connections of the server. now: the clock, in seconds. maximum: connections at once."""

    def __init__(self, now: Callable[[], float], most: int) -> None:
        self.now = now
        self.maximum = most
        self.connections: set[Connection] = set()

    def admit(self, new: Connection) -> None:
        """Takes a connection in; where there are too many, the one that waits longest goes, else
        the new one."""
        self.connections.add(new)
        if len(self.connections) <= self.maximum:
            return
        self.connections = {one for one in self.connections if not one.transport.is_closing()}
        if len(self.connections) > self.maximum:
            waiting = [one for one in self.connections if one is not new and not one.is_served()]
            last = min(waiting, key=lambda one: one.waiting_since or self.now(), default=new)
            self._end(last)

    def close_idle(self) -> None:
        """Closes what has waited too long, and forgets what is closed."""
        now = self.now()
        for one in list(self.connections):
            if one.transport.is_closing():
                self.connections.discard(one)
            elif one.is_served():
                one.waiting_since = None
                if one.blocked_since is not None and now - one.blocked_since >= ANSWER_SECONDS:
                    self._end(one)
            elif one.waiting_since is None:
                one.waiting_since = now
            elif now - one.waiting_since >= REQUEST_SECONDS:
                self._end(one)

    def _end(self, one: Connection) -> None:
        self.connections.discard(one)
        one.transport.abort()


def limit_connections(loop: asyncio.AbstractEventLoop) -> ConnectionLimit:
    """Watches every connection of the servers that `loop` creates from now on."""
    watch = ConnectionLimit(loop.time, max_connections())
    create = loop.create_server

    async def create_watched(
        factory: Callable[[], asyncio.Protocol], *args: Any, **settings: Any
    ) -> Any:
        return await create(lambda: Connection(factory(), watch), *args, **settings)

    loop.create_server = create_watched  # type: ignore[assignment, method-assign]
    return watch
