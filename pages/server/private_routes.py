"""Addresses beside the pages that show something of the server or its sessions, kept from whoever
is not let in."""

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
"""What tells how many people use the app, and how much memory it takes."""
MEDIA_ROUTE = re.compile("/media/.*")
"""What pages draw and give away. (An upload takes a page that asks for a file, and so someone who
is signed in.)"""


class PrivateRoutes:
    """Middleware: with sign-in on, those addresses are for whoever is let in; else metrics are for
    this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what may be seen."""
        path = route_of(scope)
        metrics = METRICS_ROUTE.fullmatch(path)
        if (metrics or MEDIA_ROUTE.fullmatch(path)) and sign_in_enabled():
            if not is_allowed(signed_in_user(Headers(scope=scope)), allowed_users()):
                await refuse(scope, receive, send, 403, "Sign in first.")
                return
        elif metrics and not is_local_request(scope):
            await refuse(
                scope, receive, send, 403, "This is shown on the machine that runs the app alone."
            )
            return
        await self.app(scope, receive, send)


def signed_in_user(headers: Headers) -> dict[str, object]:
    """Whom the signed cookie of Streamlit's sign-in names; {} where there is none, or its signature
    is not ours."""
    cookies = cookie_parser(headers.get("cookie", ""))
    signed = _get_signed_cookie_with_chunks(cookies, USER_COOKIE_NAME)
    user = json.loads(signed) if signed else {}
    return user if isinstance(user, dict) else {}


def is_local_request(scope: Scope) -> bool:
    """Whether a request comes from this machine and asks for it by its own name, and not by way of
    a proxy."""
    host = Headers(scope=scope).get("host", "").lower()
    client = (scope.get("client") or ("",))[0]
    try:
        loopback = ip_address(client).is_loopback
    except ValueError:
        return False
    return loopback and re.sub(r":[0-9]+$", "", host) in LOCAL_NAMES
