"""A real server and a real browser: a page that shows an exception, logs an error or calls out
fails its test."""

from collections.abc import Iterator
from urllib.parse import urlparse

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from core.workspace import PROJECT
from tests.e2e.helpers import OpenPage, Server

expect.set_options(timeout=30_000)

# An exception that a rerun wipes away again must fail the test too, so the page itself watches for
# one.
WATCH_FOR_EXCEPTIONS = """
new MutationObserver(() => {
  for (const node of document.querySelectorAll('[data-testid="stException"]:not([data-seen])')) {
    node.dataset.seen = "yes";
    console.error("The page shows an exception: " + node.innerText);
  }
}).observe(document, { childList: true, subtree: true });
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app as `streamlit run app.py` starts it; .url, .home (its workspace), and start/stop to
    restart it."""
    server = Server(PROJECT / "app.py", tmp_path_factory.mktemp("home"))
    server.start()
    yield server
    server.stop()
    server.stop_workers()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """open_page(width=1440, height=900, color_scheme="light") -> a fresh Page, checked when the
    test ends."""
    contexts = []
    complaints: list[str] = []

    def open_one(width: int = 1440, height: int = 900, color_scheme: str = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if color_scheme == "dark" else "light",
            accept_downloads=True,
        )
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(WATCH_FOR_EXCEPTIONS)
        page.on("pageerror", lambda error: complaints.append(f"uncaught error: {error}"))
        page.on(
            "console",
            lambda message: complaints.append(message.text) if _is_complaint(message) else None,
        )
        page.on(
            "request",
            lambda request: (
                complaints.append(f"calls out: {request.url}") if _outside(request) else None
            ),
        )
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """A page 1440 pixels wide in the light theme."""
    return open_page()


def _is_complaint(message: ConsoleMessage) -> bool:
    # On a deep link Streamlit looks for its server below the page's own path first and gets a 404,
    # as it expects.
    probing = "/_stcore/" in message.location["url"] and "404" in message.text
    return message.type == "error" and not probing


def _outside(request: Request) -> bool:
    return urlparse(request.url).hostname not in ("127.0.0.1", None)
