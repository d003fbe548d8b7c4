"""Headers of every response, errors included, and who may frame the app."""

import base64
import hashlib

import pytest
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from core.errors import BadInput
from pages.components.shared.inline_scripts import SCROLL_TO_TOP
from pages.server.headers import SecurityHeaders, content_policy, parse_ancestors, security_headers
from tests.pages.server.asgi import Inner, ask, http, run


def rules(policy: str) -> dict[str, list[str]]:
    """The directives of a policy by name."""
    return {name: sources for name, *sources in (rule.split() for rule in policy.split(";"))}


def headers_of(said: list[Message]) -> Headers:
    return Headers(raw=said[0]["headers"])


@pytest.mark.parametrize("status", [200, 204, 304, 400, 404])
def test_every_response_has_the_headers(status: int) -> None:
    found = headers_of(run(lambda: ask(SecurityHeaders(Inner(status)), http("GET", "/"))))
    for name, value in security_headers().items():
        assert found.getlist(name) == [value]
    assert found["x-frame-options"] == "DENY" and found["x-content-type-options"] == "nosniff"
    # The way back after signing in is read from it, within the app; no other site hears it.
    assert found["referrer-policy"] == "same-origin"


def test_an_unexpected_error_has_the_headers_too() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("unforeseen")

    said: list[Message] = []

    async def asking() -> None:
        async def send(message: Message) -> None:
            said.append(message)

        async def receive() -> Message:
            return {"type": "http.request"}

        with pytest.raises(RuntimeError, match="unforeseen"):
            await SecurityHeaders(broken)(http("GET", "/"), receive, send)

    run(asking)
    assert (
        said[0]["status"] == 500
        and "frame-ancestors" in headers_of(said)["content-security-policy"]
    )
    assert b"unforeseen" not in said[1]["body"]


def test_scripts_come_from_the_app_or_have_a_known_hash() -> None:
    found = rules(content_policy())
    assert found["default-src"] == ["'self'"] and found["object-src"] == ["'none'"]
    assert "'unsafe-inline'" not in found["script-src"] and "*" not in " ".join(found["script-src"])
    digest = base64.b64encode(hashlib.sha256(SCROLL_TO_TOP.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in found["script-src"]


def test_only_named_sites_may_frame_the_app() -> None:
    assert rules(content_policy())["frame-ancestors"] == ["'none'"]
    sites = parse_ancestors(
        "https://huggingface.co  https://*.hf.space http://localhost:3000 https://a.org:*"
    )
    found = security_headers(sites)
    assert rules(found["Content-Security-Policy"])["frame-ancestors"] == ["'self'", *sites]
    assert "X-Frame-Options" not in found, "it cannot name a site, and would forbid them all"
    assert parse_ancestors("  ") == ()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "*",
            "huggingface.co",
            "https://",
            "https://a.org/x",
            "https://a.org;script-src *",
            "'none'",
            "https://*",
        ),
        *(
            "https://a.org,b.org",
            "ftp://a.org",
            "javascript:x",
            "https://a.org\r\nX: y",
            "https://a*.org",
        ),
    ],
)
def test_what_names_no_site_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(
        BadInput, match="THAW_FRAME_ANCESTORS has .*, which names no site; give origins such as"
    ):
        parse_ancestors(text)
