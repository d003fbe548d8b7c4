"""Signed in, one is back at the page whose link one came by; Streamlit by itself leads everyone to
Home."""

from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.workspace import PROJECT

LOGIN, CALLBACK = "/auth/login", "/oauth2callback"
"""Streamlit's own addresses: the browser goes to the first to sign in, and the provider sends it
back to the second."""
COOKIE_NAME = "thaw_way_back"
COOKIE_SECONDS = 900
MAX_LINK_LENGTH = 2000
"""Letters of a link that are kept, so that a cookie can hold it."""
PAGES = frozenset(path.stem for path in (PROJECT / "pages").glob("[!_]*.py")) - {"home", "router"}


def internal_link(address: str) -> str:
    """The page and query that an address names, such as "run?run=r-1"; empty for Home and whatever
    is no page here.

    Nothing else of the address is kept, so that it cannot lead out of the app.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    page = parts.path.rpartition("/")[2]
    query = urlencode(parse_qsl(parts.query, keep_blank_values=True))
    link = f"{page}?{query}" if query else page
    return link if page in PAGES and len(link) <= MAX_LINK_LENGTH else ""


class ReturnAfterSignIn:
    """Middleware that keeps the page on which someone presses "Sign in" in a cookie, and leads
    there afterwards."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on, and adds to the answers of Streamlit's two addresses."""
        path = scope["path"] if scope["type"] == "http" else ""
        change = (
            _remember_page
            if path.endswith(LOGIN)
            else _redirect_back
            if path.endswith(CALLBACK)
            else None
        )

        async def answer(message: Message) -> None:
            if change and message["type"] == "http.response.start":
                change(MutableHeaders(scope=message), Headers(scope=scope))
            await send(message)

        await self.app(scope, receive, answer)


def _remember_page(answer: MutableHeaders, asked: Headers) -> None:
    """A browser names the page it comes from to its own host in full; where it does not, one lands
    on Home."""
    link = internal_link(asked.get("referer", ""))
    _set_cookie(answer, quote(link, safe=""), COOKIE_SECONDS if link else 0)


def _redirect_back(answer: MutableHeaders, asked: Headers) -> None:
    """Checked anew: a cookie is whatever someone has put into the browser."""
    link = internal_link(unquote(cookie_parser(asked.get("cookie", "")).get(COOKIE_NAME, "")))
    if link and "location" in answer:
        answer["location"] = f"{answer['location'].rstrip('/')}/{link}"
        _set_cookie(answer, "", 0)


def _set_cookie(answer: MutableHeaders, value: str, seconds: int) -> None:
    response = Response()
    response.set_cookie(COOKIE_NAME, value, max_age=seconds, httponly=True, samesite="lax")
    answer.append("set-cookie", response.headers["set-cookie"])
