"""Security headers of every response.

They say who may frame the app, which scripts may run, and what other sites learn.
"""

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
    # Within the app, requests keep their Referer, which return_after_sign_in.py needs.
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
"""Headers that are the same for every response of every instance."""


def parse_ancestors(text: str) -> tuple[str, ...]:
    """Parse $THAW_FRAME_ANCESTORS: origins that may frame the app, separated by blanks.

    Returns:
        The origins; () if there are none.

    Raises:
        BadInput: an entry is not an origin, such as one without a scheme or with a path, or "*".
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
    """Return all headers by name.

    Args:
        ancestors: origins that may frame the app.
    """
    # X-Frame-Options cannot name a site, so it is left out where sites may frame the app.
    framing = {} if ancestors else {"X-Frame-Options": "DENY"}
    return {**FIXED_HEADERS, **framing, "Content-Security-Policy": content_policy(ancestors)}


def content_policy(ancestors: Sequence[str] = ()) -> str:
    """Return the Content-Security-Policy.

    It allows only the app's own resources, and inline scripts by their hash.
    """
    inline = re.findall(r"<script>(.*?)</script>", _INDEX.read_text(encoding="utf-8"), re.DOTALL)
    hashes = [_source_hash(script) for script in (*inline, *INLINE_SCRIPTS)]
    rules = {
        "default-src": ["'self'"],
        # Streamlit loads component scripts from blobs, and plotly compiles code for parallel
        # coordinates. Both need a script that is already running; scripts in a page's text stay
        # blocked.
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
    """Middleware that sets the headers on every response, including errors."""

    def __init__(self, app: ASGIApp, ancestors: Sequence[str] = ()) -> None:
        self.app = app
        self.headers = security_headers(ancestors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers when the response starts, also to unexpected errors."""
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
