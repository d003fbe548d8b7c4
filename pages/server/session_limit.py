"""A limit on WebSockets: in total, per client address, and on those that never send anything."""

import asyncio
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pages.server.hosts import refuse
from pages.server.limits import max_open_files

FIRST_MESSAGE_SECONDS = 20
"""A WebSocket must send its first message within this time; a browser does so at once."""
FULL_SENTENCE = "This Thaw has as many open pages as it can serve; close some, or try again later."


def max_sessions() -> int:
    """Return the maximum number of open tabs.

    Each takes four files, and three for some minutes after closing.
    """
    return min(200, max_open_files() // 16)


class SessionLimit:
    """Middleware that counts WebSockets, refuses those above the limit and closes silent ones.

    A WebSocket that has sent a message stays open: a tab may be idle for days, and the server's own
    pings notice when its browser is gone. One that has sent nothing is closed if its place is
    needed.

    Args:
        most: WebSockets at the same time. One address may hold half of them, so that a single
            client cannot keep everybody else out.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most
        self._open: set[_Socket] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is not refused."""
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
        """Return whether one more fits, if necessary in place of one that has sent nothing yet."""
        clients = Counter(socket.client for socket in self._open)
        if clients[client] >= max(1, self.most // 2):
            rivals = [socket for socket in self._open if socket.client == client]
        elif clients.total() >= self.most:
            rivals = [*self._open]
        else:
            return True
        silent = [socket for socket in rivals if not socket.has_sent]
        if not silent:
            return False
        first = min(silent, key=lambda socket: socket.opened)
        self._open.discard(first)
        first.give_way.set()
        return True


class _Socket:
    """One WebSocket until its first message.

    The message must come in time and before the place is needed.
    """

    def __init__(self, client: str, receive: Receive, send: Send) -> None:
        self.client, self._receive, self._send = client, receive, send
        self.opened = asyncio.get_running_loop().time()
        self.give_way = asyncio.Event()
        self.has_sent = False
        self._opening = True

    async def receive(self) -> Message:
        """Return the next message; the first one is the opening, which the app gets at once."""
        if self.has_sent or self._opening:
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
            self.has_sent = True
            return message.result()
        message.cancel()
        await self._send(
            {"type": "websocket.close", "code": 1008, "reason": "No message arrived in time."}
        )
        return {"type": "websocket.disconnect", "code": 1008}
