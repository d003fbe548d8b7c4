"""Connections that send no request, or read no response, are closed and keep nobody out."""

import asyncio
from types import SimpleNamespace
from typing import Any

from pages.server.connection_limit import (
    ANSWER_SECONDS,
    REQUEST_SECONDS,
    Connection,
    ConnectionLimit,
    limit_connections,
)
from tests.pages.server.asgi import run


class Transport:
    """What the event loop gives a protocol."""

    def __init__(self) -> None:
        self.protocol: object = None
        self.closed = False

    def get_protocol(self) -> object:
        return self.protocol

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class Uvicorn(asyncio.Protocol):
    """Uvicorn's protocol as far as it matters: b"GET" begins an answer."""

    def __init__(self) -> None:
        self.cycle: Any = None

    def data_received(self, data: bytes) -> None:
        if data == b"GET":
            self.cycle = SimpleNamespace(response_complete=False)


class Clock:
    """A watch over connections of its own, at a time that the test sets."""

    def __init__(self, most: int = 100) -> None:
        self.now = 0.0
        self.watch = ConnectionLimit(lambda: self.now, most)

    def open(self) -> tuple[Connection, Transport]:
        connection, transport = Connection(Uvicorn(), self.watch), Transport()
        transport.protocol = connection
        connection.connection_made(transport)  # type: ignore[arg-type]
        return connection, transport

    def at(self, now: float) -> None:
        self.now = now
        self.watch.close_idle()


def test_one_that_never_asks_for_anything_is_closed() -> None:
    """Not a byte, or a header that trickles in."""
    clock = Clock()
    (_, silent), (trickles, slow) = clock.open(), clock.open()
    for second in range(int(REQUEST_SECONDS)):
        clock.at(second)
        trickles.data_received(b"X")
    assert not silent.closed and not slow.closed
    clock.at(REQUEST_SECONDS)
    assert silent.closed and slow.closed and not clock.watch.connections


def test_one_that_is_served_stays_and_is_closed_when_it_asks_for_nothing_more() -> None:
    clock = Clock()
    connection, transport = clock.open()
    connection.data_received(b"GET")
    clock.at(1000)
    assert not transport.closed
    connection.inner.cycle.response_complete = True
    clock.at(1001)
    connection.data_received(b"G")
    clock.at(1000 + REQUEST_SECONDS)
    assert not transport.closed
    clock.at(1001 + REQUEST_SECONDS)
    assert transport.closed


def test_a_client_that_reads_nothing_is_disconnected() -> None:
    clock = Clock()
    (reads, kept), (blocks, lost) = clock.open(), clock.open()
    for connection in (reads, blocks):
        connection.data_received(b"GET")
        connection.pause_writing()
    clock.at(ANSWER_SECONDS - 1)
    reads.resume_writing()
    clock.at(ANSWER_SECONDS)
    assert lost.closed and not kept.closed


def test_a_websocket_is_left_alone() -> None:
    clock = Clock()
    _, transport = clock.open()
    transport.protocol = object()
    clock.at(10_000)
    assert not transport.closed


def test_where_there_are_too_many_the_one_that_waits_longest_goes() -> None:
    clock = Clock(most=3)
    served, busy = clock.open()
    served.data_received(b"GET")
    clock.at(1)
    _, oldest = clock.open()
    clock.at(2)
    _, older = clock.open()
    clock.at(3)
    _, newest = clock.open()
    assert [busy.closed, oldest.closed, older.closed, newest.closed] == [False, True, False, False]
    for connection in list(clock.watch.connections):
        connection.data_received(b"GET")
    assert clock.open()[1].closed, "all others are being served"
    busy.closed = True
    assert not clock.open()[1].closed


def test_every_connection_of_a_server_is_watched() -> None:
    """A real connection is counted, passed to the protocol, and forgotten at its end."""

    async def body() -> tuple[int, bytes, int]:
        class Echo(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def data_received(self, data: bytes) -> None:
                self.transport.write(data)

        loop = asyncio.get_running_loop()
        watch = limit_connections(loop)
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        received = await reader.readexactly(5)
        during = len(watch.connections)
        writer.close()
        while watch.connections:
            await asyncio.sleep(0.01)
        server.close()
        return during, received, len(watch.connections)

    assert run(body) == (1, b"hello", 0)
