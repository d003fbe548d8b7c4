"""Uploads are accepted only from pages that show an uploader, within limits, and are freed with
it."""

import asyncio
from types import SimpleNamespace

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from core.read_only import READ_ONLY
from pages.server import upload_limit
from pages.server.upload_limit import (
    FILES_PER_SESSION,
    UploaderRegistry,
    UploadLimit,
    drop_unused_uploads,
    held_bytes,
)
from tests.pages.server.asgi import Inner, answer, ask, http, run

MIB = 2**20
PART = b"0" * (MIB // 4)


class Server:
    """Streamlit's runtime with connected sessions, of which "shows" shows an uploader; 4 MiB a
    session, 6 in all."""

    def __init__(self) -> None:
        self.active = {"shows", "other", "bare"}
        self.uploaded_file_mgr = MemoryUploadedFileManager("/_stcore/upload_file")
        self.shown = UploaderRegistry()
        self.shown.on_uploader_drawn("shows")
        self.shown.on_uploader_drawn("other")
        self.inner = Inner()
        self.app = UploadLimit(self.inner, self.shown)

    def is_active_session(self, session: str) -> bool:
        return session in self.active

    def keep(self, session: str, file: str, size: int) -> None:
        self.uploaded_file_mgr.add_file(
            session, UploadedFileRec(file, "x", "text/plain", bytes(size))
        )

    def put(self, session: str, file: str = "f", size: int = MIB, chunked: bool = False) -> int:
        """The status of an upload; chunked: without saying its size."""
        length = {} if chunked else {"content_length": str(size)}
        return answer(self.app, upload(session, file, **length), [PART] * (size // len(PART)))


def upload(session: str, file: str = "f", **headers: str) -> Scope:
    return http("PUT", f"/_stcore/upload_file/{session}/{file}", **headers)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(runtime, "get_instance", lambda: server)
    monkeypatch.setattr(upload_limit, "max_upload_bytes", lambda: 3 * MIB)
    monkeypatch.setattr(upload_limit, "max_total_upload_bytes", lambda: 6 * MIB)
    return server


def test_a_page_without_an_uploader_takes_none_and_reads_nothing(server: Server) -> None:
    for chunked in (False, True):
        assert server.put("bare", chunked=chunked) == 403
        assert server.put("shows", chunked=chunked) == 200
    assert len(server.inner.asked) == 2 and server.inner.read == 2 * MIB


def test_a_read_only_instance_takes_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(READ_ONLY, "1")
    assert [server.put(session) for session in ("shows", "bare", "unknown")] == [403] * 3
    assert not server.inner.asked


def test_a_session_that_is_not_connected_is_streamlits_to_refuse(server: Server) -> None:
    server.put("unknown")
    assert len(server.inner.asked) == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_beyond_the_bound_of_a_session_is_refused(server: Server, chunked: bool) -> None:
    assert server.put("shows", size=4 * MIB, chunked=chunked) == 200, (
        "of that much, 1 MiB is the multipart's own"
    )
    if chunked:
        with pytest.raises(HTTPException) as refused:
            server.put("shows", size=5 * MIB, chunked=True)
        assert refused.value.status_code == 413 and refused.value.headers == {"Connection": "close"}
        assert server.inner.read == 8 * MIB, "nothing beyond the limit is passed on"
    else:
        assert server.put("shows", size=5 * MIB) == 413
        assert server.inner.read == 4 * MIB
    assert server.put("shows") == 200, "what was refused takes up no room"


@pytest.mark.parametrize("chunked", [False, True])
def test_uploads_of_other_sessions_reduce_the_limit(server: Server, chunked: bool) -> None:
    server.keep("other", "a", 3 * MIB)
    server.keep("bare", "a", 2 * MIB)
    assert server.put("shows", size=MIB, chunked=chunked) == 200
    if chunked:
        with pytest.raises(HTTPException) as refused:
            server.put("shows", size=2 * MIB, chunked=True)
        assert refused.value.status_code == 429
    else:
        assert server.put("shows", size=2 * MIB) == 429


def test_the_oldest_file_makes_room(server: Server) -> None:
    for file in "abc":
        assert server.put("shows", file) == 200
        server.keep("shows", file, MIB)
    assert list(held_bytes()["shows"]) == ["b", "c"] and FILES_PER_SESSION == 2
    assert server.put("shows", "b") == 200 and list(held_bytes()["shows"]) == ["b", "c"], (
        "the same file anew"
    )


def test_uploads_on_their_way_count(server: Server) -> None:
    """Eight at once of one session: two are taken, and those refused are not waited for."""

    async def eight() -> tuple[list[int], int]:
        go = asyncio.Event()

        async def waits(scope: Scope, receive: Receive, send: Send) -> None:
            await go.wait()
            await server.inner(scope, receive, send)

        server.app.app = waits
        puts = [
            asyncio.create_task(ask(server.app, upload("shows", str(at), content_length="1")))
            for at in range(8)
        ]
        done, waiting = await asyncio.wait(puts, timeout=0.5)
        go.set()
        await asyncio.wait(waiting)
        return [task.result()[0]["status"] for task in done], len(waiting)

    assert run(eight) == ([429] * 6, 2)


def test_an_upload_that_never_arrives_is_closed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_limit, "IDLE_SECONDS", 0.01)

    async def never() -> Message:
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def asking() -> None:
        async def send(_: Message) -> None:
            raise AssertionError("an answer")

        await server.app(upload("shows", content_length="100"), never, send)

    with pytest.raises(HTTPException) as refused:
        run(asking)
    assert refused.value.status_code == 408


def test_an_upload_that_arrives_too_slowly_is_closed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_limit, "WINDOW_SECONDS", -1)
    with pytest.raises(HTTPException) as refused:
        answer(server.app, upload("shows", content_length="100"), [b"0"] * 100)
    assert refused.value.status_code == 408
    assert server.put("shows") == 200


def drawn(shown: UploaderRegistry, uploader: bool) -> bool:
    """Whether uploads of the session are taken once a page with or without an uploader was
    drawn."""
    shown.on_run_start("s")
    if uploader:
        shown.on_uploader_drawn("s")
    shown.on_run_end("s")
    return "s" in shown


def test_an_uploader_counts_until_a_page_was_drawn_without_one() -> None:
    shown = UploaderRegistry()
    assert [drawn(shown, uploader) for uploader in (False, True, True)] == [False, True, True]
    shown.on_run_start("s")
    assert "s" in shown, "it is still on the screen"
    shown.on_run_end("s")
    assert "s" not in shown and not drawn(shown, uploader=False)


def test_files_leave_memory_with_the_uploader_and_with_the_session(server: Server) -> None:
    since: dict[str, float] = {}
    for session in ("shows", "other", "bare", "gone"):
        server.keep(session, "f", 1)

    def at(now: float) -> set[str]:
        drop_unused_uploads(server.shown, since, now, seconds=120)
        return {*held_bytes()}

    assert at(0) == at(4) == {"shows", "other", "bare", "gone"}
    assert at(5) == {"shows", "other", "gone"}, "no uploader is on the page of that one"
    server.active.remove("other")
    assert at(119) == {"shows", "other", "gone"}
    assert at(120) == {"shows", "other"}
    server.active.add("other")
    assert at(200) == {"shows", "other"}, "a tab that came back in time finds its file"
    server.active.remove("other")
    assert at(300) == {"shows", "other"} and at(420) == {"shows"}
    assert "other" not in server.shown and "shows" in server.shown and not since


def test_half_of_the_memory_is_the_most_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_limit, "st", SimpleNamespace(get_option=lambda _: 2048))
    for memory, expected in ((2**30, 2**29), (2**40, 2**32)):
        monkeypatch.setattr(upload_limit, "max_memory_bytes", lambda memory=memory: memory)
        assert upload_limit.max_total_upload_bytes() == expected
