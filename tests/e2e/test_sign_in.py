"""A fresh server with sign-in set up: nothing for whoever has not signed in, and no ear for pages of other hosts."""

import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from core.workspace import PROJECT
from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e
SECRETS = """
[auth]
redirect_uri = "http://127.0.0.1:8501/oauth2callback"
cookie_secret = "not-a-secret-and-long-enough-for-the-check"
client_id = "thaw"
client_secret = "none"
server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("guarded")
    secrets = home / "secrets.toml"
    secrets.write_text(SECRETS)
    server = Server(PROJECT / "app.py", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMLIT_SECRETS_FILES", str(secrets))
        server.start()
    yield server
    server.stop()


def handshake(port: int, host: str, origin: str) -> str:
    """The status line that answers the opening of a WebSocket."""
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host}",
        f"Origin: {origin}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return connection.recv(200).decode("latin-1").splitlines()[0]


def test_a_page_of_another_host_is_not_heard(guarded: Server) -> None:
    """Whatever name it has given this machine's address (DNS rebinding): the browser says where the page came from."""
    own = f"127.0.0.1:{guarded.port}"
    assert " 101 " in handshake(guarded.port, own, f"http://{own}")
    assert " 403 " in handshake(guarded.port, own, "http://evil.example")
    evil = f"evil.example:{guarded.port}"
    assert " 101 " not in handshake(guarded.port, evil, f"http://{evil}")


def test_a_deep_link_on_a_fresh_server_asks_to_sign_in(page: Page, guarded: Server) -> None:
    for path in ("/data", "/compare", "/"):
        page.goto(f"{guarded.url}{path}")
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        expect(page.get_by_role("heading", name="Thaw")).to_be_visible()
        expect(page.get_by_role("heading", name="Data")).to_have_count(0)
        expect(page.get_by_role("heading", name="Compare")).to_have_count(0)
