"""A real server under attack: uploads that nobody asked for, and half-open connections."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from core.read_only import READ_ONLY
from core.workspace import PROJECT
from pages.server.connection_limit import REQUEST_SECONDS
from pages.server.headers import security_headers
from pages.server.session_limit import FIRST_MESSAGE_SECONDS
from tests.e2e.helpers import Server
from tests.e2e.visitor import Session, falls_below, memory, put

pytestmark = pytest.mark.e2e
MIB = 2**20
HUNDRED = 100 * MIB


def started(tmp_path_factory: pytest.TempPathFactory, **settings: str) -> Iterator[Server]:
    server = Server(PROJECT / "app.py", tmp_path_factory.mktemp("server"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        server.start()
    # What the first drawing of a page imports stays in memory.
    first = Session(server.port, "backbones")
    first.draw("")
    first.close()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes files of 150 MB, and forgets a session two seconds after its tab was
    closed."""
    settings = {
        "STREAMLIT_SERVER_MAX_UPLOAD_SIZE": "150",
        "STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL": "2",
    }
    yield from started(tmp_path_factory, **settings)


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from started(tmp_path_factory, **{READ_ONLY: "1"})


def test_uploads_by_bare_put_leave_memory_as_it_was(small: Server) -> None:
    """Eight of 100 MB each, with their size said and without: none is taken where no uploader is
    shown."""
    session = Session(small.port)
    before = memory(small.process.pid)
    said = [put(small.port, session.id, f"f{at}", HUNDRED, chunked=at % 2 == 1) for at in range(8)]
    assert set(said) <= {403, 0} and 403 in said
    assert memory(small.process.pid) < before + HUNDRED
    session.close()


def test_uploads_where_one_is_asked_for_are_bounded_and_freed(small: Server) -> None:
    """Of one session, two files at most, and no more bytes than one file may have; all gone with
    the uploader."""
    session = Session(small.port, "backbones")
    before = memory(small.process.pid)
    assert put(small.port, session.id, "f", 50 * MIB) == 204
    assert put(small.port, session.id, "g", HUNDRED, chunked=True) == 204
    assert put(small.port, session.id, "h", 160 * MIB) in (413, 0)
    assert put(small.port, session.id, "h", 160 * MIB, chunked=True) in (413, 0)
    assert put(small.port, session.id, "h", HUNDRED) in (
        413,
        0,
    ), "together with what is held it is too much"
    assert memory(small.process.pid) < before + 250 * MIB
    session.draw("")
    assert put(small.port, session.id, "f", MIB) == 403
    assert falls_below(small.process.pid, before + 50 * MIB)
    session.close()


def test_uploads_are_freed_when_the_tab_is_closed(small: Server) -> None:
    session = Session(small.port, "backbones")
    before = memory(small.process.pid)
    assert put(small.port, session.id, "f", HUNDRED) == 204
    assert memory(small.process.pid) > before + 50 * MIB
    session.close()
    assert falls_below(small.process.pid, before + 50 * MIB)


def test_a_read_only_instance_takes_no_upload(read_only: Server) -> None:
    session = Session(read_only.port, "backbones")
    before = memory(read_only.process.pid)
    assert {put(read_only.port, session.id, f"f{at}", HUNDRED) for at in range(3)} <= {403, 0}
    assert put(read_only.port, session.id, "f", 0) == 403
    assert memory(read_only.process.pid) < before + HUNDRED
    session.close()


def test_half_open_connections_keep_nobody_out_and_do_not_stay(small: Server) -> None:
    """400: without a byte, without the end of the headers, idle after an answer, and WebSockets
    that say nothing."""
    own = f"127.0.0.1:{small.port}"
    opening = (
        f"GET /_stcore/stream HTTP/1.1\r\nHost: {own}\r\nUpgrade: websocket\r\nConnection:"
        " Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version:"
        " 13\r\n\r\n"
    )
    kinds = (
        "",
        f"GET / HTTP/1.1\r\nHost: {own}\r\nX-Never: ",
        f"GET /_stcore/health HTTP/1.1\r\nHost: {own}\r\n\r\nG",
        opening,
    )
    connections = []
    for at in range(400):
        connection = socket.create_connection(("127.0.0.1", small.port), timeout=60)
        connection.sendall(kinds[at % len(kinds)].encode())
        connections.append(connection)
    visitor = Session(small.port)
    deadline = time.monotonic() + max(REQUEST_SECONDS, FIRST_MESSAGE_SECONDS) + 40
    for connection in connections:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        while ended_with(connection):
            pass
        connection.close()
    visitor.draw("backbones")
    visitor.close()


def test_clients_that_read_nothing_cost_little(small: Server) -> None:
    """100 that ask for plotly.js as it is, of 5 MB, and do not read."""
    before = memory(small.process.pid)
    connections = []
    for _ in range(100):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", small.port))
        connection.sendall(
            f"GET /assets/plotly.min.js HTTP/1.1\r\nHost: 127.0.0.1:{small.port}\r\n\r\n".encode()
        )
        connections.append(connection)
    connection.settimeout(60)
    assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
    assert memory(small.process.pid) < before + 100 * MIB
    for connection in connections:
        connection.close()


def test_a_message_larger_than_any_page_is_not_taken_in(small: Server) -> None:
    """Streamlit alone takes 25 MB in, and reads 200 MB before it says no."""
    session = Session(small.port)
    session.socket.send(b"0" * (3 * MIB))
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            session.socket.recv(timeout=20)
    assert closed.value.rcvd and closed.value.rcvd.code == 1009


def ended_with(connection: socket.socket) -> bytes:
    """What the server still says; empty once it has closed the connection. A TimeoutError while it
    has not."""
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/", "", 200),
        ("/data", "", 200),
        ("/media/nothing.png", "", 404),
        ("/_stcore/health", "", 200),
        ("/_stcore/metrics", "", 200),
        ("/static/favicon.png", "", 200),
        ("/assets/plotly.min.js", "", 200),
        ("/..%2f..%2fetc/passwd", "", 400),
        ("/", "evil.example", 400),
    ],
)
def test_every_response_has_the_security_headers(
    path: str, host: str, status: int, small: Server
) -> None:
    connection = HTTPConnection("127.0.0.1", small.port, timeout=20)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    assert answer.status == status
    for name, value in security_headers().items():
        assert answer.getheader(name) == value, name
    connection.close()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "THAW_FRAME_ANCESTORS",
            "huggingface.co",
            "THAW_FRAME_ANCESTORS has 'huggingface.co', which names no site",
        ),
        (
            "THAW_HOSTS",
            "https://thaw.example.com",
            "THAW_HOSTS has 'https://thaw.example.com', which is no host",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_at_the_start(
    name: str, value: str, sentence: str, tmp_path: Path
) -> None:
    words = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "app.py",
        "--server.port",
        "0",
        "--server.headless",
        "true",
    ]
    environment = os.environ | {name: value, "THAW_HOME": str(tmp_path)}
    done = subprocess.run(
        words, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert sentence in done.stderr and "Traceback" not in done.stderr
