"""Headers on every response: who may frame the app, which scripts a page may run, what it tells
other sites."""

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import streamlit
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import BadInput
from pages.components.shared.inline_scripts import INLINE_SCRIPTS

ANCESTORS_VARIABLE = "THAW_FRAME_ANCESTORS"
_ANCESTOR = re.compile(r"https?://(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*(:([0-9]{1,5}|\*))?")
_INDEX = Path(streamlit.__file__).parent / "static" / "index.html"
FIXED_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Within the app a link still names the page it leads from, which the way back after signing in
    # is read from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(
        f"{feature}=()"
        for feature in (
            *(
                "accelerometer",
                "autoplay",
                "camera",
                "display-capture",
                "geolocation",
                "gyroscope",
                "hid",
            ),
            *(
                "magnetometer",
                "microphone",
                "midi",
                "payment",
                "serial",
                "usb",
                "xr-spatial-tracking",
            ),
        )
    ),
}
"""The same for every answer of every instance."""


def parse_ancestors(text: str) -> tuple[str, ...]:
    """Sites that may show the app in a frame, from $THAW_FRAME_ANCESTORS: origins separated by
    blanks; () for none.

    Raises:
        BadInput: one is no origin, such as one without a scheme or with a path, or "*".
    """
    for site in text.split():
        if not _ANCESTOR.fullmatch(site):
            raise BadInput(
                f"{ANCESTORS_VARIABLE} has {site!r}, which names no site; give origins such as"
                " https://huggingface.co or https://*.hf.space, without a path and separated by"
                " blanks."
            )
    return tuple(text.split())


def security_headers(ancestors: Sequence[str] = ()) -> dict[str, str]:
    """All headers by name. ancestors: sites that may frame the app."""
    # X-Frame-Options cannot name a site.
    framing = {} if ancestors else {"X-Frame-Options": "DENY"}
    return {**FIXED_HEADERS, **framing, "Content-Security-Policy": content_policy(ancestors)}


def content_policy(ancestors: Sequence[str] = ()) -> str:
    """The Content-Security-Policy: everything from the app itself, and scripts by their hash where
    they are inline."""
    inline = re.findall(r"<script>(.*?)</script>", _INDEX.read_text(encoding="utf-8"), re.DOTALL)
    hashes = [_source_hash(script) for script in (*inline, *INLINE_SCRIPTS)]
    rules = {
        "default-src": ["'self'"],
        # Streamlit loads a component's script from a blob, and plotly compiles what draws parallel
        # coordinates: both take a script that runs already. Scripts that a page's text would bring
        # along stay out.
        "script-src": ["'self'", "blob:", "'unsafe-eval'", *hashes],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'", "data:"],
        "worker-src": ["'self'", "blob:"],
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
        "frame-src": ["'self'"],
        "frame-ancestors": ["'self'", *ancestors] if ancestors else ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in rules.items())


def _source_hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


class SecurityHeaders:
    """Middleware that puts the headers on every response, errors included."""

    def __init__(self, app: ASGIApp, ancestors: Sequence[str] = ()) -> None:
        self.app = app
        self.headers = security_headers(ancestors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Adds them as the answer starts; also to that of an unforeseen error, which the server
        would give bare."""
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                started = True
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception:
            if scope["type"] == "http" and not started:
                await PlainTextResponse("Internal Server Error", 500)(scope, receive, answer)
            raise
