"""Access to routes beside the pages that reveal something about the server or its sessions."""

import json
import re
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import _get_signed_cookie_with_chunks

from pages.components.shared.sign_in import allowed_users, is_allowed, sign_in_enabled
from pages.server.hosts import LOCAL_NAMES, refuse, route_of

METRICS_ROUTE = re.compile("/_stcore/(metrics|script-health-check)/?")
"""Routes that reveal how many people use the app and how much memory it uses."""
MEDIA_ROUTE = re.compile("/media/.*")
"""Figures and downloads. (Uploads need a page that shows an uploader, and so a signed-in user.)"""


class PrivateRoutes:
    """Middleware that restricts the routes of metrics and media.

    With sign-in, these routes need a signed-in user; otherwise metrics are local only.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may be seen."""
        path = route_of(scope)
        metrics = METRICS_ROUTE.fullmatch(path)
        if (metrics or MEDIA_ROUTE.fullmatch(path)) and sign_in_enabled():
            if not is_allowed(signed_in_user(Headers(scope=scope)), allowed_users()):
                await refuse(scope, receive, send, 403, "Sign in first.")
                return
        elif metrics and not is_local_request(scope):
            await refuse(
                scope,
                receive,
                send,
                403,
                "This is only available on the machine that runs the app.",
            )
            return
        await self.app(scope, receive, send)


def signed_in_user(headers: Headers) -> dict[str, object]:
    """Return the user of Streamlit's signed cookie; {} without one or with a wrong signature."""
    cookies = cookie_parser(headers.get("cookie", ""))
    signed = _get_signed_cookie_with_chunks(cookies, USER_COOKIE_NAME)
    user = json.loads(signed) if signed else {}
    return user if isinstance(user, dict) else {}


def is_local_request(scope: Scope) -> bool:
    """Return whether a request comes from this machine under its local name.

    Requests through a proxy do not count.
    """
    host = Headers(scope=scope).get("host", "").lower()
    client = (scope.get("client") or ("",))[0]
    try:
        loopback = ip_address(client).is_loopback
    except ValueError:
        return False
    return loopback and re.sub(r":[0-9]+$", "", host) in LOCAL_NAMES
