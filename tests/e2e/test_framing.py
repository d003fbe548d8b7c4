"""The headers in a browser: no injected script runs, and no page of another site shows the app in a
frame."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from core.workspace import PROJECT
from tests.e2e.helpers import Server

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def other_site(server: Server) -> Iterator[tuple[str, list[str]]]:
    """(the address of another site, the addresses that its page shows in a frame)."""
    framed: list[str] = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(
                "".join(
                    f'<iframe src="{one}" width=900 height=700></iframe>' for one in framed
                ).encode()
            )

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_address[1]}", framed
        site.shutdown()


def test_another_site_cannot_frame_the_app(
    browser: Browser, server: Server, other_site: tuple[str, list[str]]
) -> None:
    address, framed = other_site
    framed[:] = [server.url]
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(address)
    page.wait_for_timeout(1000)
    assert page.frame_locator("iframe").get_by_role("heading", name="Thaw").count() == 0
    assert any("frame-ancestors" in words for words in said), said
    page.close()


def test_a_named_site_can_frame_the_app(
    browser: Browser, other_site: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    address, framed = other_site
    open_to_it = Server(PROJECT / "app.py", tmp_path_factory.mktemp("framed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THAW_FRAME_ANCESTORS", f"https://huggingface.co {address}")
        open_to_it.start()
    framed[:] = [open_to_it.url]
    page = browser.new_page()
    page.goto(address)
    frame = page.frame_locator("iframe")
    expect(frame.locator('[data-testid="stMain"] h1').first).to_be_visible()
    page.close()
    open_to_it.stop()


def test_a_script_in_text_does_not_run_and_one_of_a_component_does(
    browser: Browser, server: Server
) -> None:
    """Were something of a user's drawn as HTML by mistake, its handlers and scripts would be
    dead."""
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(server.url)
    expect(page.locator('[data-testid="stMain"] h1').first).to_be_visible()
    assert not said, "the app itself breaks no rule"
    page.evaluate("""() => {
            const image = '<img src="data:," onerror="window.ran = 1">';
            document.body.insertAdjacentHTML("beforeend", image);
            const script = document.createElement("script");
            script.textContent = "window.ran = 2";
            document.body.append(script);
            const other = document.createElement("script");
            other.src = "http://127.0.0.1:1/x.js";
            document.body.append(other);
        }""")
    page.wait_for_timeout(500)
    assert page.evaluate("window.ran") is None
    assert len([words for words in said if "Content Security Policy" in words]) >= 3
    page.close()
