"""Large responses are sent in parts and complete; range requests are not served."""

import pytest
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from pages.server.chunked_responses import CHUNK_BYTES, ChunkedResponses
from tests.pages.server.asgi import Inner, answer, ask, http, run


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 5 * CHUNK_BYTES + 7]
)
def test_a_large_body_goes_out_in_parts(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    said: list[Message] = run(
        lambda: ask(ChunkedResponses(inner), http("GET", "/assets/plotly.min.js"))
    )
    parts = said[1:]
    assert b"".join(part["body"] for part in parts) == body
    assert all(len(part["body"]) <= CHUNK_BYTES for part in parts)
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]


def test_range_requests_are_not_served() -> None:
    inner = Inner()
    app = ChunkedResponses(inner)
    for path in ("/media/0f.zip", "/static/x.js"):
        assert answer(app, http("GET", path, range="bytes=1-", accept="*/*")) == 200
    media, static = (Headers(scope=scope) for scope in inner.asked)
    assert "range" not in media and media["accept"] == "*/*" and static["range"] == "bytes=1-"
