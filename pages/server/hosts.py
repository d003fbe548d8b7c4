"""Accepted hosts and origins.

The app answers only to its own names, and only to pages that it served itself.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import BadInput

HOSTS_VARIABLE = "THAW_HOSTS"
LOCAL_NAMES = ("127.0.0.1", "localhost")
UNSAFE_METHODS = frozenset({"PUT", "POST", "DELETE", "PATCH"})
_ENTRY = re.compile(
    r"(?P<name>\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True)
class Hosts:
    """Host names that the app accepts, and the addresses at which browsers see it.

    Addresses are host or host:port. A request for any other name could come from a foreign name
    that points at this machine (DNS rebinding); a browser would take its pages for the app's own.
    """

    names: tuple[str, ...]
    addresses: frozenset[str]

    def accepts(self, host: str) -> bool:
        """Return whether a Host header names the app.

        Ports are not compared, because containers map them.
        """
        name = host.rpartition(":")[0] if re.search(r":[0-9]+$", host) else host
        return any(
            pattern == "*"
            or name == pattern
            or (pattern.startswith("*.") and name.endswith(pattern[1:]))
            for pattern in self.names
        )

    def same_origin(self, origin: str, host: str) -> bool:
        """Return whether `origin` is the app itself: the same host *and port* as the request.

        A proxy may change the Host header; the outside address is then one of `addresses`.
        """
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        address = parts.netloc.lower()
        return (
            parts.scheme in ("http", "https")
            and bool(address)
            and (address == host or address in self.addresses)
        )


def parse_hosts(text: str) -> Hosts:
    """Parse $THAW_HOSTS: names separated by commas.

    Examples are thaw.example.com and thaw.example.com:8443.

    Raises:
        BadInput: an entry is not a host, such as one with a scheme or a path.
    """
    entries = [entry for entry in (part.strip().lower() for part in text.split(",")) if entry]
    names, addresses = list(LOCAL_NAMES), set()
    for entry in entries:
        match = _ENTRY.fullmatch(entry)
        if match is None or int(match["port"] or 1) not in range(1, 65536):
            raise BadInput(
                f"{HOSTS_VARIABLE} has {entry!r}, which is no host; give names such as "
                "thaw.example.com or thaw.example.com:8443, without https:// and separated "
                "by commas."
            )
        names.append(match["name"])
        if "*" not in entry:
            addresses.add(entry)
    return Hosts(tuple(names), frozenset(addresses))


class SameOriginOnly:
    """Middleware that refuses other hosts, and WebSockets and unsafe requests from other origins.

    Streamlit alone accepts a WebSocket from any port of this machine, so a page of another local
    server could control the app; and for an unknown origin it asks a host on the network for this
    machine's external address.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes from the app's own pages."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        if not self.hosts.accepts(host):
            await refuse(scope, receive, send, 400, "Invalid host header")
            return
        asks = scope["type"] == "websocket" or scope["method"] in UNSAFE_METHODS
        if asks and origin is not None and not self.hosts.same_origin(origin, host):
            await refuse(scope, receive, send, 403, "This page was not served by the app.")
            return
        if scope["type"] == "websocket" and origin is not None:
            # Streamlit compares origin and host again and does not know the address outside of a
            # proxy.
            scope = {**scope, "headers": _with_host(scope["headers"], urlsplit(origin).netloc)}
        await self.app(scope, receive, send)


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, sentence: str) -> None:
    """Respond with a status and a sentence; the opening of a WebSocket is answered with 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": sentence})
        return
    await PlainTextResponse(sentence, status)(scope, receive, send)


def route_of(scope: Scope) -> str:
    """Return the path of an HTTP request below Streamlit's base path; "" for anything else."""
    if scope["type"] != "http":
        return ""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    path = str(scope["path"])
    return path.removeprefix(f"/{base}") if base else path


def _with_host(headers: Iterable[tuple[bytes, bytes]], host: str) -> list[tuple[bytes, bytes]]:
    return [(name, host.encode("latin-1") if name == b"host" else value) for name, value in headers]
