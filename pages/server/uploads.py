"""Uploads: taken only from a session whose page shows an uploader, and held in memory within bounds.

Streamlit takes an upload for any session that is connected, whether its page asks for a file or not, and keeps it in
memory until the session has ended.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import streamlit as st
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.access import SENTENCE, read_only

ROUTE = re.compile(r"(?:/.*)?/_stcore/upload_file/(?P<session>[^/]+)/(?P<file>[^/]+)")
FILES_A_SESSION = 2
"""Files of one session held at once; the oldest makes room. A page shows no more uploaders than that."""
IDLE_SECONDS = 30
"""A body of which nothing comes for so long is given up."""
WINDOW_SECONDS, WINDOW_BYTES = 60, 65_536
"""A body that brings fewer bytes within any such time is given up: it would hold its place for hours."""
LINGER_SECONDS = 2
"""For so long the rest of a refused body is read and dropped, since a client that still sends hears no answer."""
FRAMING = 2**20
"""Bytes that the body of an upload may have beside the file's."""


class Shown:
    """Sessions whose page shows an uploader; told by the script threads, asked by the server.

    A page is drawn anew from top to bottom while an upload is on its way, so what the run before showed counts until
    the run has ended.
    """

    def __init__(self) -> None:
        self._shown: dict[str, bool] = {}
        """By session: whether the run under way (or else the last one) has shown an uploader."""

    def run_begins(self, session: str) -> None:
        """A page is about to be drawn; an uploader of the run before is still on the screen."""
        if session in self._shown:
            self._shown[session] = False

    def uploader(self, session: str) -> None:
        """The page has just drawn an uploader."""
        self._shown[session] = True

    def run_ended(self, session: str) -> None:
        """The page is drawn; if it has drawn no uploader, none is on the screen any longer."""
        if not self._shown.get(session, False):
            self._shown.pop(session, None)

    def __contains__(self, session: str) -> bool:
        return session in self._shown

    def keep(self, is_active: Callable[[str], bool]) -> None:
        """Forgets sessions that are gone."""
        for session in [session for session in list(self._shown) if not is_active(session)]:
            self._shown.pop(session, None)


SHOWN = Shown()


def session_id() -> str:
    """The session whose script runs in this thread; empty outside of one."""
    context = get_script_run_ctx(suppress_warning=True)
    return context.session_id if context else ""


def forget_upload(uploaded: UploadedFile) -> None:
    """Drops an upload that was copied to the disk from the server's memory."""
    if runtime.exists():
        runtime.get_instance().uploaded_file_mgr.remove_file(session_id(), uploaded.file_id)


def largest_upload() -> int:
    """Bytes that one file may have, and one session may hold: what Streamlit itself is set to."""
    return int(st.get_option("server.maxUploadSize")) * 2**20


def largest_together() -> int:
    """Bytes of uploads that all sessions together may hold: of two largest files, and at most half of the memory."""
    return min(2 * largest_upload(), _memory() // 2)


def _memory() -> int:
    """Bytes of memory this process may use: the machine's, or a container's share of it."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError):
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(sizes)


def held() -> dict[str, dict[str, int]]:
    """Bytes of every file that is held, by session and file id, oldest first."""
    return {
        session: {key: len(file.data) for key, file in list(files.items())}
        for session, files in list(_manager().file_storage.items())
    }


def _manager() -> MemoryUploadedFileManager:
    manager = runtime.get_instance().uploaded_file_mgr
    assert isinstance(manager, MemoryUploadedFileManager)
    return manager


class Uploads:
    """Middleware that refuses an upload before its body is read, or as soon as it exceeds the room there is."""

    def __init__(self, app: ASGIApp, shown: Shown = SHOWN) -> None:
        self.app = app
        self.shown = shown
        self._coming: list[_Body] = []
        """Bodies on their way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes an upload on with a body that is counted and timed; everything else as it is."""
        match = ROUTE.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "PUT" else None
        if match is None:
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        body = _Body(self, match["session"], receive)
        try:
            self._admit(match["session"], match["file"])
            self.set_aside(body, int(length) if length.isdecimal() else 0)
        except HTTPException as refusal:
            await _refuse(receive, send, refusal)
            return
        self._coming.append(body)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self._coming.remove(body)

    def _admit(self, session: str, file: str) -> None:
        """Makes room for one more file of the session; an HTTPException where it may not upload."""
        if read_only():
            raise HTTPException(403, SENTENCE)
        if session not in self.shown or not runtime.get_instance().is_active_session(session):
            raise HTTPException(403, "No page of this session asks for a file.")
        coming = sum(body.session == session for body in self._coming)
        if coming >= FILES_A_SESSION:
            raise HTTPException(429, "This session is uploading other files; wait until they are there.")
        others = [key for key in held().get(session, {}) if key != file]
        for oldest in others[: max(0, len(others) + coming + 1 - FILES_A_SESSION)]:
            _manager().remove_file(session, oldest)

    def set_aside(self, body: "_Body", size: int) -> None:
        """Counts `size` more bytes of the body as on their way; an HTTPException where they have no room."""
        held_by = {session: sum(files.values()) for session, files in held().items()}
        mine = held_by.get(body.session, 0) + sum(one.size for one in self._coming if one.session == body.session)
        if mine + size > largest_upload() + FRAMING:
            raise HTTPException(413, f"{size:,} bytes are too many: a session may hold {largest_upload():,} at once.")
        if sum(held_by.values()) + sum(one.size for one in self._coming) + size > largest_together():
            raise HTTPException(429, "The server holds as many uploads as it has room for; try again in a minute.")
        body.size += size


class _Body:
    """The body of one upload: counted where the request does not say its size, and given up when it does not come.

    size: bytes set aside for it.
    """

    def __init__(self, uploads: Uploads, session: str, receive: Receive) -> None:
        self.uploads, self.session, self._receive = uploads, session, receive
        self.size = 0
        self._came = 0
        self._window_ends, self._window_came = time.monotonic() + WINDOW_SECONDS, 0

    async def receive(self) -> Message:
        """The next part of the body. Raises HTTPException, which the app answers with its status."""
        try:
            message = await asyncio.wait_for(self._receive(), IDLE_SECONDS)
            self._count(len(message.get("body", b"")), bool(message.get("more_body")))
        except TimeoutError:
            raise HTTPException(408, "The file stopped coming.", {"Connection": "close"}) from None
        except HTTPException as refusal:
            refusal.headers = {"Connection": "close"}
            raise
        return message

    def _count(self, came: int, more: bool) -> None:
        self._came += came
        self._window_came += came
        if self._came > self.size:
            self.uploads.set_aside(self, self._came - self.size)
        if time.monotonic() > self._window_ends:
            if more and self._window_came < WINDOW_BYTES:
                raise HTTPException(408, "The file comes too slowly.")
            self._window_ends, self._window_came = time.monotonic() + WINDOW_SECONDS, 0


async def _refuse(receive: Receive, send: Send, refusal: HTTPException) -> None:
    """Answers at once, drops what still comes for a moment so that the client hears it, and closes the connection."""
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


def free_ended_sessions(gone_since: dict[str, float], now: float, seconds: float) -> None:
    """Drops uploads of sessions that are not connected, once they have been so for `seconds`.

    Streamlit drops them when it next has to do with sessions, which on a quiet server may be never.

    gone_since: when each was first seen disconnected; kept up by this function.
    """
    instance = runtime.get_instance()
    sessions = held()
    active = {session for session in sessions if instance.is_active_session(session)}
    for session in [session for session in gone_since if session not in sessions or session in active]:
        del gone_since[session]
    for session in sessions.keys() - active:
        if now - gone_since.setdefault(session, now) >= seconds:
            _manager().remove_session_files(session)
            del gone_since[session]
