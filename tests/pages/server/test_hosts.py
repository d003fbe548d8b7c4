"""Which hosts and origins the app answers."""

import pytest
from starlette.datastructures import Headers

from core.errors import BadInput
from pages.server.hosts import SameOriginOnly, parse_hosts
from tests.pages.server.asgi import Inner, answer, http, websocket

OWN = "127.0.0.1:8501"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (OWN, 200),
        ("localhost:9000", 200),
        ("127.0.0.1", 200),
        ("LOCALHOST", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("evil.example:8501", 400),
        ("localhost@evil.example", 400),
        ("localhost:x", 400),
        ("", 400),
    ],
)
def test_only_own_names_are_answered(host: str, status: int) -> None:
    assert answer(SameOriginOnly(Inner(), parse_hosts("")), http("GET", "/", host=host)) == status


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (f"http://{OWN}", OWN, 101),
        # Mapped to another port by a container: still the one that the browser asked.
        ("http://localhost:9000", "localhost:9000", 101),
        ("http://127.0.0.1:9999", OWN, 403),
        ("http://localhost:8501", OWN, 403),
        ("http://127.0.0.1", OWN, 403),
        ("http://evil.example", OWN, 403),
        ("null", OWN, 403),
        ("", OWN, 403),
        ("file://", OWN, 403),
        (f"chrome-extension://{OWN}", OWN, 403),
        (f"http://user@{OWN}", OWN, 403),
    ],
)
def test_a_request_from_a_page_of_another_port_or_host_is_refused(
    origin: str, host: str, status: int
) -> None:
    app = SameOriginOnly(Inner(), parse_hosts(""))
    assert answer(app, websocket(host=host, origin=origin)) == status
    refused = 403 if status == 403 else 200
    for method in ("PUT", "POST", "DELETE"):
        assert (
            answer(app, http(method, "/_stcore/upload_file/a/b", host=host, origin=origin))
            == refused
        )
    assert answer(app, http("GET", "/", host=host, origin=origin)) == 200


def test_a_client_without_an_origin_is_accepted() -> None:
    assert answer(SameOriginOnly(Inner(), parse_hosts("")), websocket(host=OWN)) == 101


@pytest.mark.parametrize(
    ("named", "origin", "host", "status"),
    [
        # The proxy hands the host on as it was, without its port, or changes it to the app's own.
        ("thaw.example.com", "https://thaw.example.com", "thaw.example.com", 101),
        ("thaw.example.com:8443", "https://thaw.example.com:8443", "thaw.example.com:8443", 101),
        ("thaw.example.com:8443", "https://thaw.example.com:8443", "thaw.example.com", 101),
        ("thaw.example.com", "https://thaw.example.com", OWN, 101),
        ("thaw.example.com", "https://thaw.example.com:8443", "thaw.example.com", 403),
        ("thaw.example.com", "https://thaw.example.com:8443", OWN, 403),
        ("thaw.example.com", "https://evil.example", "thaw.example.com", 403),
        ("*.example.com", "https://a.example.com", "a.example.com", 101),
        ("*.example.com", "https://b.example.com", "a.example.com", 403),
    ],
)
def test_behind_a_proxy_the_public_address_is_used(
    named: str, origin: str, host: str, status: int
) -> None:
    inner = Inner()
    assert (
        answer(
            SameOriginOnly(inner, parse_hosts(f" {named} ,")), websocket(host=host, origin=origin)
        )
        == status
    )
    # Streamlit compares both once more.
    assert all(f"https://{Headers(scope=scope)['host']}" == origin for scope in inner.asked)


@pytest.mark.parametrize(
    "text",
    [
        "https://a.org",
        "a.org/x",
        "a.org:0",
        "a.org:70000",
        "a b",
        "a.org:",
        "*.",
        "a..org",
        "b.org,a,https://x",
    ],
)
def test_an_invalid_host_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(BadInput, match="THAW_HOSTS has '.*', which is no host; give names such as"):
        parse_hosts(text)
