"""Everything the server puts before Streamlit, in order, and what it looks after while it runs."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import streamlit as st
from starlette.middleware import Middleware

from core.errors import BadInput
from core.rights import private_files
from pages.components.way_back import WayBack
from pages.server.answers import SmallParts
from pages.server.connections import SWEEP_SECONDS, Watch, watch_connections
from pages.server.headers import VARIABLE as FRAME_ANCESTORS
from pages.server.headers import SecurityHeaders, read_ancestors
from pages.server.hosts import VARIABLE as HOSTS
from pages.server.hosts import OwnPagesOnly, read_hosts
from pages.server.private import Private
from pages.server.sessions import Sessions, most_sessions
from pages.server.uploads import SHOWN, Uploads, free_unused


def guards() -> list[Middleware]:
    """The middleware, outermost first. A setting that cannot be used ends the process with its
    sentence."""
    try:
        hosts = read_hosts(os.environ.get(HOSTS, ""))
        ancestors = read_ancestors(os.environ.get(FRAME_ANCESTORS, ""))
    except BadInput as error:
        sys.exit(str(error))
    return [
        Middleware(SecurityHeaders, ancestors=ancestors),
        Middleware(OwnPagesOnly, hosts=hosts),
        Middleware(Private),
        Middleware(Sessions, most=most_sessions()),
        Middleware(Uploads),
        Middleware(SmallParts),
        Middleware(WayBack),
    ]


@asynccontextmanager
async def looking_after(_: st.App) -> AsyncIterator[dict[str, Any]]:
    """While the server runs: closes connections that nobody uses, and frees uploads of sessions
    that have ended.

    Whatever it makes meanwhile is for its owner alone.
    """
    watch = watch_connections(asyncio.get_running_loop())
    task = asyncio.create_task(_look_after(watch))
    try:
        with private_files():
            yield {}
    finally:
        task.cancel()


async def _look_after(watch: Watch) -> None:
    unused_since: dict[str, float] = {}
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        watch.sweep()
        # A tab that lost its connection comes back within this time, and finds what it has
        # uploaded.
        free_unused(
            SHOWN, unused_since, watch.now(), float(st.get_option("server.disconnectedSessionTTL"))
        )
