"""Sign-in on a fresh server: nothing is shown before it, and pages of other hosts are refused."""

import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlparse
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from core.workspace import PROJECT
from tests.e2e.helpers import OpenPage, Server, wait_until_idle
from tests.e2e.provider import CLIENT, SECRET, Provider, running_provider

pytestmark = pytest.mark.e2e
SECRETS = """
[auth]
redirect_uri = "{app}/oauth2callback"
cookie_secret = "not-a-secret-and-long-enough-for-the-check"
client_id = "{client}"
client_secret = "{secret}"
server_metadata_url = "{provider}/.well-known/openid-configuration"

[thaw]
allowed = ["ann@example.com"]
"""
ANN = {"email": "ann@example.com", "email_verified": True}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("guarded")
    server = Server(PROJECT / "app.py", home)
    secrets = home / "secrets.toml"
    secrets.write_text(
        SECRETS.format(app=server.url, client=CLIENT, secret=SECRET, provider=provider.url)
    )
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


def test_a_request_from_a_page_of_another_host_is_refused(guarded: Server) -> None:
    """Whatever name it has given this machine's address (DNS rebinding): the browser says where the
    page came from."""
    own = f"127.0.0.1:{guarded.port}"
    assert " 101 " in handshake(guarded.port, own, f"http://{own}")
    assert " 403 " in handshake(guarded.port, own, "http://evil.example")
    for port in (guarded.port + 1, 80):
        assert " 403 " in handshake(guarded.port, own, f"http://127.0.0.1:{port}"), (
            "another server of this machine"
        )
    assert " 403 " in handshake(guarded.port, own, f"http://localhost:{guarded.port}")
    evil = f"evil.example:{guarded.port}"
    assert " 101 " not in handshake(guarded.port, evil, f"http://{evil}")


def status(server: Server, method: str, path: str, **headers: str) -> int:
    """The status of a request that sends these headers and no cookie."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, headers=headers)
    found = connection.getresponse().status
    connection.close()
    return found


def test_requests_for_other_hosts_and_uploads_without_a_token_are_refused(guarded: Server) -> None:
    """A form on another site can send an upload, and knows no token of this one (XSRF)."""
    assert status(guarded, "GET", "/_stcore/health") == 200
    for host in ("evil.example", f"evil.example:{guarded.port}", "127.0.0.1.evil.example", ""):
        assert status(guarded, "GET", "/_stcore/health", Host=host) == 400, host
    upload = f"/_stcore/upload_file/{'0' * 36}/{'1' * 36}"
    assert status(guarded, "PUT", upload) == status(guarded, "DELETE", upload) == 403
    assert (
        status(
            guarded,
            "PUT",
            upload,
            **{"X-Xsrftoken": "2|00|00|0", "Cookie": "_streamlit_xsrf=2|11|11|0"},
        )
        == 403
    )
    with urlopen(f"{guarded.url}/_stcore/health") as answer:
        token = SimpleCookie(answer.headers["Set-Cookie"])["_streamlit_xsrf"].value
    known = {"X-Xsrftoken": token, "Cookie": f"_streamlit_xsrf={token}"}
    assert status(guarded, "PUT", upload, **known) == 400, (
        "with a token what is wrong is the session that there is not"
    )


def test_metrics_and_media_take_a_sign_in(page: Page, guarded: Server, provider: Provider) -> None:
    for path in ("/_stcore/metrics", "/_stcore/metrics?families=session_events", "/media/0f.png"):
        assert status(guarded, "GET", path) == 403, path
    provider.user = ANN
    page.goto(guarded.url)
    sign_in(page)
    expect(page.get_by_role("heading", name="Latest runs")).to_be_visible()
    assert page.request.get(f"{guarded.url}/_stcore/metrics").status == 200
    assert page.request.get(f"{guarded.url}/media/0f.png").status == 404, (
        "let in, and there is none"
    )


def test_a_deep_link_on_a_fresh_server_asks_to_sign_in(page: Page, guarded: Server) -> None:
    for path in ("/data", "/compare", "/"):
        page.goto(f"{guarded.url}{path}")
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        expect(page.get_by_role("heading", name="Thaw")).to_be_visible()
        expect(page.get_by_role("heading", name="Data")).to_have_count(0)
        expect(page.get_by_role("heading", name="Compare")).to_have_count(0)


def sign_in(page: Page) -> None:
    """Goes to the provider, which sends one straight back."""
    page.get_by_role("button", name="Sign in").click()


def test_signed_in_by_a_provider_the_page_is_shown(
    page: Page, guarded: Server, provider: Provider
) -> None:
    """From a deep link to the provider and back to it, with its query; from then on by any
    address."""
    provider.user, before = ANN, provider.redeemed
    page.goto(f"{guarded.url}/backbones?section=Vocabulary+check&backbone=a%26b")
    sign_in(page)
    expect(page.get_by_role("heading", name="Backbones")).to_be_visible()
    expect(page.get_by_role("radio", name="Vocabulary check")).to_be_checked()
    assert parse_qs(urlparse(page.url).query)["section"] == ["Vocabulary check"]
    assert provider.redeemed == before + 1
    page.goto(f"{guarded.url}/compare")
    wait_until_idle(page)
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    assert provider.redeemed == before + 1


def test_signed_in_from_home_one_is_at_home(
    page: Page, guarded: Server, provider: Provider
) -> None:
    """Whatever link was followed before, and not followed through."""
    provider.user = ANN
    page.goto(f"{guarded.url}/compare")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.goto(guarded.url)
    sign_in(page)
    expect(page.get_by_role("heading", name="Latest runs")).to_be_visible()
    assert urlparse(page.url).path == "/"


@pytest.mark.parametrize(
    "user",
    [{"email": "bob@example.com", "email_verified": True}, ANN | {"email_verified": False}],
    ids=["unknown", "unverified"],
)
def test_signed_in_but_not_let_in(
    user: dict[str, object], open_page: OpenPage, guarded: Server, provider: Provider
) -> None:
    """An unknown user, and one whose address is not verified; after signing out one may sign in as
    another."""
    provider.user = user
    page = open_page()
    page.goto(f"{guarded.url}/data")
    sign_in(page)
    expect(page.get_by_text("This account may not use this Thaw")).to_be_visible()
    page.goto(f"{guarded.url}/data")
    expect(page.get_by_text("This account may not use this Thaw")).to_be_visible()
    expect(page.get_by_role("heading", name="Data")).to_have_count(0)
    provider.user = ANN
    page.get_by_role("button", name="Sign out").click()
    sign_in(page)
    expect(page.get_by_role("heading", name="Latest runs")).to_be_visible()
