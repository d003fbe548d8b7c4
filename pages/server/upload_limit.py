"""Uploads: accepted only from a session whose page shows an uploader, and limited in memory.

Streamlit accepts an upload from any connected session, whether its page asks for a file or not, and
keeps it in memory until the session has ended.
"""

import asyncio
import re
import time
from contextlib import suppress

import streamlit as st
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.read_only import READ_ONLY_MESSAGE, is_read_only
from pages.server.hosts import route_of
from pages.server.limits import max_memory_bytes

ROUTE = re.compile("/_stcore/upload_file/(?P<session>[^/]+)/(?P<file>[^/]+)")
FILES_PER_SESSION = 2
"""Files of one session in memory; the oldest is dropped first. No page shows more uploaders."""
IDLE_SECONDS = 30
"""A body that sends nothing for this long is aborted."""
WINDOW_SECONDS, WINDOW_BYTES = 60, 65_536
"""A body that sends fewer bytes in any such window is aborted: it would occupy its place for
hours.
"""
LINGER_SECONDS = 2
"""How long the rest of a refused body is read and dropped: a client that is still sending does not
read the answer."""
HIDDEN_UPLOADER_SECONDS = 5
"""How long a file stays in memory after its uploader has left the page."""
FRAMING_BYTES = 2**20
"""Bytes that the body of an upload may have in addition to the file."""


class UploaderRegistry:
    """Sessions whose page shows an uploader; written by script threads, read by the server.

    A page is redrawn from top to bottom while an upload is in progress, so an uploader of the
    previous run counts until the current run has ended.
    """

    def __init__(self) -> None:
        self._shown: dict[str, bool] = {}
        """By session: whether the current (or last) script run has drawn an uploader."""

    def on_run_start(self, session: str) -> None:
        """A script run starts; an uploader of the previous run is still on the screen."""
        if session in self._shown:
            self._shown[session] = False

    def on_uploader_drawn(self, session: str) -> None:
        """The page has drawn an uploader."""
        self._shown[session] = True

    def on_run_end(self, session: str) -> None:
        """The script run has ended; if it drew no uploader, none is on the screen any longer."""
        if not self._shown.get(session, False):
            self._shown.pop(session, None)

    def __contains__(self, session: str) -> bool:
        return session in self._shown

    def forget(self, session: str) -> None:
        """The session has ended."""
        self._shown.pop(session, None)

    def sessions(self) -> list[str]:
        """Return all registered sessions."""
        return list(self._shown)


UPLOADERS = UploaderRegistry()


def session_id() -> str:
    """Return the session whose script runs in this thread; "" outside of one."""
    context = get_script_run_ctx(suppress_warning=True)
    return context.session_id if context else ""


def forget_upload(uploaded: UploadedFile) -> None:
    """Remove an upload from the server's memory after it was copied to disk."""
    manager = runtime.get_instance().uploaded_file_mgr if runtime.exists() else None
    if isinstance(manager, MemoryUploadedFileManager):
        manager.remove_file(session_id(), uploaded.file_id)


def max_upload_bytes() -> int:
    """Return the size limit of one file and of one session: Streamlit's own setting."""
    return int(st.get_option("server.maxUploadSize")) * 2**20


def max_total_upload_bytes() -> int:
    """Return the limit of the uploads of all sessions together.

    It is twice the limit of one file, and at most half of the memory.
    """
    return min(2 * max_upload_bytes(), max_memory_bytes() // 2)


def held_bytes() -> dict[str, dict[str, int]]:
    """Return the size of every file in memory, by session and file id, oldest first."""
    return {
        session: {key: len(file.data) for key, file in list(files.items())}
        for session, files in list(_manager().file_storage.items())
    }


def _manager() -> MemoryUploadedFileManager:
    manager = runtime.get_instance().uploaded_file_mgr
    assert isinstance(manager, MemoryUploadedFileManager)
    return manager


class UploadLimit:
    """Middleware that refuses an upload before its body is read.

    An upload that does not state its size is refused as soon as it exceeds the limit.
    """

    def __init__(self, app: ASGIApp, shown: UploaderRegistry = UPLOADERS) -> None:
        self.app = app
        self.shown = shown
        self._coming: list[_Body] = []
        """Uploads in progress."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an upload on with a body that is counted and timed; everything else unchanged."""
        match = ROUTE.fullmatch(route_of(scope)) if scope.get("method") == "PUT" else None
        # Streamlit itself refuses an upload for a session that is not connected, without reading
        # it.
        if match is None or not (
            is_read_only() or runtime.get_instance().is_active_session(match["session"])
        ):
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        body = _Body(self, match["session"], receive)
        try:
            self._admit(match["session"], match["file"])
            self.reserve(body, int(length) if length.isdecimal() else 0)
        except HTTPException as refusal:
            await _refuse(receive, send, refusal)
            return
        self._coming.append(body)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self._coming.remove(body)

    def _admit(self, session: str, file: str) -> None:
        """Make room for one more file of the session.

        Raises:
            HTTPException: the session may not upload.
        """
        if is_read_only():
            raise HTTPException(403, READ_ONLY_MESSAGE)
        if session not in self.shown:
            raise HTTPException(403, "No page of this session asks for a file.")
        coming = sum(body.session == session for body in self._coming)
        if coming >= FILES_PER_SESSION:
            raise HTTPException(
                429, "This session is uploading other files; wait until they are there."
            )
        others = [key for key in held_bytes().get(session, {}) if key != file]
        for oldest in others[: max(0, len(others) + coming + 1 - FILES_PER_SESSION)]:
            _manager().remove_file(session, oldest)

    def reserve(self, body: "_Body", size: int) -> None:
        """Reserve `size` more bytes for the body.

        Raises:
            HTTPException: there is no room for them.
        """
        held_by = {session: sum(files.values()) for session, files in held_bytes().items()}
        session_bytes = held_by.get(body.session, 0) + sum(
            other.size for other in self._coming if other.session == body.session
        )
        if session_bytes + size > max_upload_bytes() + FRAMING_BYTES:
            raise HTTPException(
                413,
                f"{size:,} bytes are too many: a session may hold {max_upload_bytes():,} at once.",
            )
        if (
            sum(held_by.values()) + sum(other.size for other in self._coming) + size
            > max_total_upload_bytes()
        ):
            raise HTTPException(
                429, "The server holds as many uploads as it has room for; try again in a minute."
            )
        body.size += size


class _Body:
    """The body of one upload.

    It is counted if the request does not state its size, and aborted if it stalls.

    Attributes:
        size: bytes reserved for it.
    """

    def __init__(self, uploads: UploadLimit, session: str, receive: Receive) -> None:
        self.uploads, self.session, self._receive = uploads, session, receive
        self.size = 0
        self._came = 0
        self._ended = False
        self._window_ends, self._window_came = time.monotonic() + WINDOW_SECONDS, 0

    async def receive(self) -> Message:
        """Return the next part of the body.

        Raises:
            HTTPException: the body stalled or is too large; the app answers with its status.
        """
        if self._ended:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), IDLE_SECONDS)
            self._count(len(message.get("body", b"")), bool(message.get("more_body")))
        except TimeoutError:
            raise HTTPException(408, "The file stopped coming.", {"Connection": "close"}) from None
        except HTTPException as refusal:
            refusal.headers = {"Connection": "close"}
            raise
        self._ended = not message.get("more_body")
        return message

    def _count(self, came: int, more: bool) -> None:
        self._came += came
        self._window_came += came
        if self._came > self.size:
            self.uploads.reserve(self, self._came - self.size)
        if time.monotonic() > self._window_ends:
            if more and self._window_came < WINDOW_BYTES:
                raise HTTPException(408, "The file comes too slowly.")
            self._window_ends, self._window_came = time.monotonic() + WINDOW_SECONDS, 0


async def _refuse(receive: Receive, send: Send, refusal: HTTPException) -> None:
    """Answer at once, then close the connection.

    The rest of the body is read and dropped for a moment, so that the client sees the answer.
    """
    text = refusal.detail.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    headers += [(b"retry-after", b"60")] if refusal.status_code == 429 else []
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": text, "more_body": True})
    ends = time.monotonic() + LINGER_SECONDS
    with suppress(TimeoutError):
        more = True
        while more and (left := ends - time.monotonic()) > 0:
            message = await asyncio.wait_for(receive(), left)
            more = message["type"] == "http.request" and message.get("more_body", False)
    await send({"type": "http.response.body", "body": b""})


def drop_unused_uploads(
    shown: UploaderRegistry, unused_since: dict[str, float], now: float, seconds: float
) -> None:
    """Drop uploads of sessions whose page shows no uploader, and of sessions gone for `seconds`.

    Streamlit keeps them until a session has ended and it next handles sessions, which on a quiet
    server may be never.

    Args:
        unused_since: when each session was first seen unused; updated in place.
        now: the clock, in seconds.
        seconds: how long an ended session keeps its uploads.
    """
    instance = runtime.get_instance()
    known = {*held_bytes(), *shown.sessions()}
    for session in known | unused_since.keys():
        active = instance.is_active_session(session)
        if session not in known or (active and session in shown):
            unused_since.pop(session, None)
        elif now - unused_since.setdefault(session, now) >= (
            HIDDEN_UPLOADER_SECONDS if active else seconds
        ):
            _manager().remove_session_files(session)
            shown.forget(session)
            del unused_since[session]
