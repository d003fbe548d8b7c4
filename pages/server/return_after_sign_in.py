"""Return to the page of the link after signing in; Streamlit itself leads everyone to Home."""

from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.workspace import PROJECT

LOGIN, CALLBACK = "/auth/login", "/oauth2callback"
"""Streamlit's own routes: the first starts the sign-in, the provider redirects to the second."""
COOKIE_NAME = "thaw_way_back"
COOKIE_SECONDS = 900
MAX_LINK_LENGTH = 2000
"""Maximum length of a stored link, so that it fits into a cookie."""
PAGES = frozenset(path.stem for path in (PROJECT / "pages").glob("[!_]*.py")) - {"home", "router"}


def internal_link(address: str) -> str:
    """Return page and query of a URL, such as "run?run=r-1".

    The result is "" for Home and for anything that is not a page of the app. Nothing else of the
    URL is kept, so that it cannot lead out of the app.
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
    """Middleware that returns the user to the page on which "Sign in" was pressed.

    It stores the page in a cookie, and redirects there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; change only the responses of Streamlit's two sign-in routes."""
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


def _remember_page(answer: MutableHeaders, request: Headers) -> None:
    """Set the cookie from the Referer; a browser that sends none ends up on Home."""
    link = internal_link(request.get("referer", ""))
    _set_cookie(answer, quote(link, safe=""), COOKIE_SECONDS if link else 0)


def _redirect_back(answer: MutableHeaders, request: Headers) -> None:
    """Redirect to the stored page, checked again: a cookie can hold anything."""
    link = internal_link(unquote(cookie_parser(request.get("cookie", "")).get(COOKIE_NAME, "")))
    if link and "location" in answer:
        answer["location"] = f"{answer['location'].rstrip('/')}/{link}"
        _set_cookie(answer, "", 0)


def _set_cookie(answer: MutableHeaders, value: str, seconds: int) -> None:
    response = Response()
    response.set_cookie(COOKIE_NAME, value, max_age=seconds, httponly=True, samesite="lax")
    answer.append("set-cookie", response.headers["set-cookie"])
