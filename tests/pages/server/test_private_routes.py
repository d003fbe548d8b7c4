"""What routes beside the pages reveal, and to whom."""

import json
from types import SimpleNamespace

import pytest
from starlette.types import Scope
from streamlit.web.server.starlette import starlette_websocket
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from pages.server import private_routes
from pages.server.private_routes import PrivateRoutes
from tests.pages.server.asgi import Inner, answer, http

SECRET = "not-a-secret-and-long-enough"
CLOSED = ("/_stcore/metrics", "/_stcore/metrics/", "/_stcore/script-health-check", "/media/0f.csv")
OPEN = (
    "/",
    "/data",
    "/_stcore/health",
    "/_stcore/host-config",
    "/static/media/font.woff2",
    "/assets/plotly.min.js",
)
LOCAL = "127.0.0.1:8501"


def status(path: str, client: str = "127.0.0.1", host: str = LOCAL, cookie: str = "") -> int:
    scope: Scope = http("GET", path, client, host=host, **({"cookie": cookie} if cookie else {}))
    return answer(PrivateRoutes(Inner()), scope)


def signed(user: dict[str, object], secret: str = SECRET) -> str:
    """The cookie of someone who has signed in."""
    value = create_signed_value(
        secret, USER_COOKIE_NAME, json.dumps({"is_logged_in": True, **user})
    )
    return f"{USER_COOKIE_NAME}={value.decode()}"


@pytest.fixture
def sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign-in is on, for ann@example.com."""
    monkeypatch.setattr(private_routes, "sign_in_enabled", lambda: True)
    monkeypatch.setattr(private_routes, "allowed_users", lambda: ["ann@example.com"])
    monkeypatch.setattr(starlette_websocket, "get_cookie_secret", lambda: SECRET)


@pytest.mark.usefixtures("sign_in")
@pytest.mark.parametrize("path", CLOSED)
def test_with_sign_in_they_are_for_whoever_is_let_in(path: str) -> None:
    ann: dict[str, object] = {"email": "ann@example.com", "email_verified": True}
    assert status(path) == 403
    assert status(path, cookie=signed(ann)) == 200
    assert status(path, cookie=signed(ann, "another-secret")) == 403
    assert status(path, cookie=signed(ann | {"email": "bob@example.com"})) == 403
    assert status(path, cookie=signed(ann | {"email_verified": False})) == 403
    assert status(path, cookie=signed(ann | {"is_logged_in": False})) == 403
    assert status(path, cookie=f"{USER_COOKIE_NAME}=nonsense") == 403


@pytest.mark.usefixtures("sign_in")
@pytest.mark.parametrize("path", OPEN)
def test_what_a_page_takes_to_ask_for_sign_in_is_open(path: str) -> None:
    assert status(path) == 200


@pytest.mark.parametrize(
    ("client", "host", "expected"),
    [
        ("127.0.0.1", LOCAL, 200),
        ("::1", "localhost:8501", 200),
        ("127.0.0.1", "thaw.example.com", 403),
        ("10.0.0.1", LOCAL, 403),
        ("", LOCAL, 403),
    ],
)
def test_without_sign_in_metrics_are_for_this_machine(
    client: str, host: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_routes, "sign_in_enabled", lambda: False)
    assert status("/_stcore/metrics", client, host) == expected
    assert status("/media/0f.csv", client, host) == 200


def test_a_base_path_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_routes, "sign_in_enabled", lambda: False)
    monkeypatch.setattr("pages.server.hosts.st", SimpleNamespace(get_option=lambda _: "team/thaw"))
    assert status("/team/thaw/_stcore/metrics", "10.0.0.1") == 403
    assert status("/team/thaw/data", "10.0.0.1") == 200
