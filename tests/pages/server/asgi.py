"""Call an ASGI app without a server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


def run(make: Callable[[], Awaitable[Any]]) -> Any:
    """What the coroutine returns; in a thread of its own, since tests in a browser leave an event
    loop in this one."""

    async def body() -> Any:
        return await make()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, body()).result()


def http(method: str, path: str, client: str = "127.0.0.1", **headers: str) -> Scope:
    """The scope of a request; underscores in names of headers stand for hyphens."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "client": (client, 1234),
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }


def websocket(client: str = "127.0.0.1", **headers: str) -> Scope:
    """The scope of the opening of a WebSocket."""
    scope = http("GET", "/_stcore/stream", client, **headers)
    return {**scope, "type": "websocket"}


@dataclass
class Inner:
    """The app behind a middleware: says what it was asked, and answers 200 after it has read the
    body."""

    status: int = 200
    asked: list[Scope] = field(default_factory=list)
    read: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
        more = True
        while more:
            message = await receive()
            self.read += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b"inner"})


async def ask(app: ASGIApp, scope: Scope, body: Sequence[bytes] = (b"",)) -> list[Message]:
    """What the app sends for a request with this body, or for a WebSocket that is opened and
    closed."""
    said: list[Message] = []
    parts: list[Message] = [
        {"type": "http.request", "body": part, "more_body": at < len(body) - 1}
        for at, part in enumerate(body)
    ]
    if scope["type"] == "websocket":
        parts = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]

    async def receive() -> Message:
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        said.append(message)

    await app(scope, receive, send)
    return said


def answer(app: ASGIApp, scope: Scope, body: Sequence[bytes] = (b"",)) -> int:
    """The status of the answer; of a WebSocket 101 or 403."""
    first = run(lambda: ask(app, scope, body))[0]
    return int(first.get("status", 101 if first["type"] == "websocket.accept" else 403))
