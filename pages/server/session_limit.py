"""WebSockets: so many at once, fewer from one address, and none that never says anything."""

import asyncio
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pages.server.hosts import refuse
from pages.server.limits import max_open_files

FIRST_MESSAGE_SECONDS = 20
"""A browser's page asks for its first drawing at once."""
FULL_SENTENCE = "This Thaw has as many open pages as it can serve; close some, or try again later."


def max_sessions() -> int:
    """Open tabs of all browsers together; each takes four files, and three for some minutes after
    it is closed."""
    return min(200, max_open_files() // 16)


class SessionLimit:
    """Middleware that counts WebSockets, refuses those beyond the bound, and closes silent ones.

    One that has spoken stays open: a tab may lie idle for days. Whether its browser is still there,
    the server's own pings tell. One that has not gives way to a new one where there are too many.

    most: at once. Half of them may come from one address, so that one client cannot keep everybody
    else out.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most
        self._open: set[_Socket] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is not refused."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        socket = _Socket((scope.get("client") or ("",))[0], receive, send)
        if not self._has_room(socket.client):
            await refuse(scope, receive, send, 503, FULL_SENTENCE)
            return
        self._open.add(socket)
        try:
            await self.app(scope, socket.receive, send)
        finally:
            self._open.discard(socket)

    def _has_room(self, client: str) -> bool:
        """Whether there is a place for one more, if need be that of one that has said nothing
        yet."""
        clients = Counter(socket.client for socket in self._open)
        if clients[client] >= max(1, self.most // 2):
            rivals = [socket for socket in self._open if socket.client == client]
        elif clients.total() >= self.most:
            rivals = [*self._open]
        else:
            return True
        silent = [socket for socket in rivals if not socket.spoken]
        if not silent:
            return False
        first = min(silent, key=lambda socket: socket.opened)
        self._open.discard(first)
        first.give_way.set()
        return True


class _Socket:
    """One WebSocket, until its first message: that has to come in time, and while the place is not
    needed."""

    def __init__(self, client: str, receive: Receive, send: Send) -> None:
        self.client, self._receive, self._send = client, receive, send
        self.opened = asyncio.get_running_loop().time()
        self.give_way = asyncio.Event()
        self.spoken = False
        self._opening = True

    async def receive(self) -> Message:
        """The next message; the first is the opening, which the app is told at once."""
        if self.spoken or self._opening:
            self._opening = False
            return await self._receive()
        message = asyncio.ensure_future(self._receive())
        way = asyncio.ensure_future(self.give_way.wait())
        try:
            await asyncio.wait(
                {message, way}, timeout=FIRST_MESSAGE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            way.cancel()
        if message.done():
            self.spoken = True
            return message.result()
        message.cancel()
        await self._send(
            {"type": "websocket.close", "code": 1008, "reason": "Nothing was asked for."}
        )
        return {"type": "websocket.disconnect", "code": 1008}
