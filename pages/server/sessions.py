"""WebSockets: so many at once, fewer from one address, and none that never says anything."""

import asyncio
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pages.server.hosts import refuse

MOST = 200
"""Open tabs of all browsers together."""
MOST_A_CLIENT = 100
"""Open tabs from one address, so that one client cannot keep everybody else out."""
FIRST_SECONDS = 20
"""A browser's page asks for its first drawing at once."""
FULL = "This Thaw has as many open pages as it can serve; close some, or try again later."


class Sessions:
    """Middleware that counts WebSockets, refuses those beyond the bound, and closes silent ones.

    One that has spoken stays open: a tab may lie idle for days. Whether its browser is still there, the server's own
    pings tell.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is not refused."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        client = (scope.get("client") or ("",))[0]
        if self._open.total() >= MOST or self._open[client] >= MOST_A_CLIENT:
            await refuse(scope, receive, send, 503, FULL)
            return
        self._open[client] += 1
        try:
            await self.app(scope, _spoken_in_time(receive, send), send)
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]


def _spoken_in_time(receive: Receive, send: Send) -> Receive:
    """`receive` that closes the WebSocket if the first message after its opening does not come in time."""
    heard = 0

    async def first_in_time() -> Message:
        nonlocal heard
        heard += 1
        if heard != 2:
            # The first is the opening itself.
            return await receive()
        try:
            return await asyncio.wait_for(receive(), FIRST_SECONDS)
        except TimeoutError:
            await send({"type": "websocket.close", "code": 1008, "reason": "Nothing was asked for."})
            return {"type": "websocket.disconnect", "code": 1008}

    return first_in_time
