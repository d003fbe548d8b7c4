"""A limit on connections, and on their idle time without a request or without reading the response.

Uvicorn waits for the end of a request's headers, and for a client that reads nothing, as long as
the client likes; a few hundred such connections use up the files that a process may open. Streamlit
offers no way to give uvicorn another protocol, so the protocol is wrapped where the event loop
creates one for each connection.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from pages.server.limits import max_open_files

REQUEST_SECONDS = 15.0
"""A connection without a complete request for this long is closed, whether new or between
requests.
"""
ANSWER_SECONDS = 120.0
"""A connection whose client reads nothing of the response for this long is closed."""
MESSAGE_BYTES = 2**21
"""Maximum size of a WebSocket message; a browser sends the values of all fields of a page at
once.
"""
CHECK_SECONDS = 1.0


def max_connections() -> int:
    """Return the maximum number of connections, including those of sessions."""
    return min(512, max_open_files() // 4)


class Connection(asyncio.Protocol):
    """One connection: forwards everything to uvicorn's protocol and records since when it is idle.

    A WebSocket takes over the transport, so nothing more arrives here afterwards.
    """

    def __init__(self, inner: Any, watch: "ConnectionLimit") -> None:
        self.inner = inner
        self.limit = watch
        self.transport: Any = None
        self.waiting_since: float | None = None
        self.blocked_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register; if there are too many connections, an idle one is closed."""
        self.transport = transport
        self.waiting_since = self.limit.now()
        self.inner.connection_made(transport)
        self.limit.admit(self)

    def data_received(self, data: bytes) -> None:
        """Forward the bytes."""
        self.inner.data_received(data)
        if self.is_served():
            self.waiting_since = None
        if self.is_websocket():
            limit_message_size(self.transport.get_protocol())

    def eof_received(self) -> bool | None:
        """Forward the end of the stream."""
        return self.inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forward the loss and forget the connection."""
        self.limit.connections.discard(self)
        self.inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Record that the client does not read what is sent."""
        self.blocked_since = self.limit.now()
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """Record that it reads again."""
        self.blocked_since = None
        self.inner.resume_writing()

    def is_served(self) -> bool:
        """Return whether a request is being answered.

        `cycle` is the name in uvicorn's protocols.
        """
        cycle = getattr(self.inner, "cycle", None)
        return self.is_websocket() or (cycle is not None and not cycle.response_complete)

    def is_websocket(self) -> bool:
        """Return whether uvicorn has given the transport to its WebSocket protocol."""
        return self.transport.get_protocol() is not self


def limit_message_size(protocol: Any) -> None:
    """Make uvicorn's WebSocket refuse messages above MESSAGE_BYTES before reading them whole.

    Streamlit has one limit for both directions, and its own messages are larger.
    """
    connection = getattr(protocol, "conn", None)
    if connection is not None:
        connection.max_message_size = MESSAGE_BYTES


class ConnectionLimit:
    """All connections of the server.

    Args:
        now: the clock, in seconds.
        maximum: connections at the same time.
    """

    def __init__(self, now: Callable[[], float], most: int) -> None:
        self.now = now
        self.maximum = most
        self.connections: set[Connection] = set()

    def admit(self, new: Connection) -> None:
        """Add a connection; if there are too many, close the longest idle one, else the new one."""
        self.connections.add(new)
        if len(self.connections) <= self.maximum:
            return
        self.connections = {
            connection for connection in self.connections if not connection.transport.is_closing()
        }
        if len(self.connections) > self.maximum:
            waiting = [
                connection
                for connection in self.connections
                if connection is not new and not connection.is_served()
            ]
            last = min(
                waiting, key=lambda connection: connection.waiting_since or self.now(), default=new
            )
            self._end(last)

    def close_idle(self) -> None:
        """Close connections that were idle for too long and forget closed ones."""
        now = self.now()
        for connection in list(self.connections):
            if connection.transport.is_closing():
                self.connections.discard(connection)
            elif connection.is_served():
                connection.waiting_since = None
                if (
                    connection.blocked_since is not None
                    and now - connection.blocked_since >= ANSWER_SECONDS
                ):
                    self._end(connection)
            elif connection.waiting_since is None:
                connection.waiting_since = now
            elif now - connection.waiting_since >= REQUEST_SECONDS:
                self._end(connection)

    def _end(self, connection: Connection) -> None:
        self.connections.discard(connection)
        connection.transport.abort()


def limit_connections(loop: asyncio.AbstractEventLoop) -> ConnectionLimit:
    """Watch every connection of the servers that `loop` creates from now on."""
    watch = ConnectionLimit(loop.time, max_connections())
    create = loop.create_server

    async def create_watched(
        factory: Callable[[], asyncio.Protocol], *args: Any, **settings: Any
    ) -> Any:
        return await create(lambda: Connection(factory(), watch), *args, **settings)

    loop.create_server = create_watched  # type: ignore[assignment, method-assign]
    return watch
