"""After signing in the user returns to a page of the app, and never elsewhere."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from urllib.parse import quote

import pytest
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import Message, Scope

from pages.server.return_after_sign_in import (
    CALLBACK,
    COOKIE_NAME,
    LOGIN,
    MAX_LINK_LENGTH,
    PAGES,
    ReturnAfterSignIn,
    internal_link,
)
from tests.pages.helpers import PAGE_FILES

HOME = "http://testserver/"
OUTSIDE = (
    "https://evil.example/",
    "https://evil.example/login?next=/compare",
    "//evil.example",
    "javascript:alert(1)",
    "/compare/../../evil",
    "/\\evil.example",
    "/compare\\@evil.example",
    "http://[evil/compare",
    "/router",
    "/home",
    "/auth/login",
    "compare?find=" + "x" * MAX_LINK_LENGTH,
    "",
)


def answer(path: str, **asked: str) -> Headers:
    """Headers of the answer to a request, where the app behind the middleware sends everyone to its
    Home."""
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in asked.items()],
    }
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        said.append(message)

    async def asking() -> None:
        await ReturnAfterSignIn(RedirectResponse("/", 302))(scope, receive, send)

    # In a thread of its own: where tests in a browser ran before, this one has an event loop that
    # runs already.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, asking()).result()
    return Headers(raw=said[0]["headers"])


def kept(referer: str) -> str:
    """The cookie that a browser holds once someone has pressed "Sign in" there, as it sends it
    back; empty for none."""
    morsel = SimpleCookie(answer(LOGIN, referer=referer)["set-cookie"])[COOKIE_NAME]
    return f"{COOKIE_NAME}={morsel.value}" if int(morsel["max-age"]) > 0 else ""


def test_every_page_but_home_can_be_returned_to() -> None:
    assert {f"{page}.py" for page in PAGES} | {"home.py"} == set(PAGE_FILES)


@pytest.mark.parametrize("link", ["run?run=r-1", "compare?runs=r-1%2Cr-2&find=a+%26+b%3B", "learn"])
def test_one_comes_back_to_the_page_and_its_query(link: str) -> None:
    cookie = answer(LOGIN, referer=HOME + link)["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    back = answer(CALLBACK, cookie=kept(HOME + link))
    assert back["location"] == f"/{link}" and "Max-Age=0" in back["set-cookie"]


def test_other_answers_are_left_alone() -> None:
    back = answer("/compare", cookie=kept(f"{HOME}run"), referer=f"{HOME}learn")
    assert back["location"] == "/" and "set-cookie" not in back


@pytest.mark.parametrize("address", OUTSIDE)
def test_nothing_leads_out_of_the_app(address: str) -> None:
    """Neither where the browser says it comes from, nor a cookie that someone has put there. An
    earlier link goes."""
    assert internal_link(address) == kept(address) == ""
    assert answer(CALLBACK, cookie=f"{COOKIE_NAME}={quote(address, safe='')}")["location"] == "/"


@pytest.mark.parametrize(
    "address", ["https://evil.example/compare", "//evil.example/compare", "javascript:/compare"]
)
def test_a_page_of_that_name_elsewhere_is_the_one_here(address: str) -> None:
    assert internal_link(address) == "compare"


def test_no_header_can_be_added_by_a_query() -> None:
    assert internal_link("/run?run=r%0d%0aSet-Cookie:+x=1") == "run?run=r%0D%0ASet-Cookie%3A+x%3D1"
