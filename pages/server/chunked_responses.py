"""Large responses sent in chunks.

A client that reads slowly then costs no more memory than one chunk.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pages.server.hosts import route_of

CHUNK_BYTES = 65_536


class ChunkedResponses:
    """Middleware that sends a large body in chunks, each after the previous one has been sent.

    In one piece uvicorn copies the whole body for every connection: hundreds of clients that
    request plotly.js or an export and read nothing would fill the memory. For the same reason range
    requests on downloads are answered with the whole file.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything else on unchanged."""
        if route_of(scope).startswith("/media/"):
            scope = {
                **scope,
                "headers": [(name, value) for name, value in scope["headers"] if name != b"range"],
            }

        async def answer(message: Message) -> None:
            body = message.get("body", b"") if message["type"] == "http.response.body" else b""
            last = max(0, len(body) - 1) // CHUNK_BYTES * CHUNK_BYTES
            for start in range(0, last, CHUNK_BYTES):
                await send(
                    {
                        "type": "http.response.body",
                        "body": body[start : start + CHUNK_BYTES],
                        "more_body": True,
                    }
                )
            await send({**message, "body": body[last:]} if last else message)

        await self.app(scope, receive, answer)
