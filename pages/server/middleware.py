"""The middleware in front of Streamlit, in order, and its periodic clean-up."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import streamlit as st
from starlette.middleware import Middleware

from core.errors import BadInput
from core.files.permissions import private_files
from pages.server.chunked_responses import ChunkedResponses
from pages.server.connection_limit import CHECK_SECONDS, ConnectionLimit, limit_connections
from pages.server.headers import ANCESTORS_VARIABLE as FRAME_ANCESTORS
from pages.server.headers import SecurityHeaders, parse_ancestors
from pages.server.hosts import HOSTS_VARIABLE as HOSTS
from pages.server.hosts import SameOriginOnly, parse_hosts
from pages.server.private_routes import PrivateRoutes
from pages.server.return_after_sign_in import ReturnAfterSignIn
from pages.server.session_limit import SessionLimit, max_sessions
from pages.server.upload_limit import UPLOADERS, UploadLimit, drop_unused_uploads


def build_middleware() -> list[Middleware]:
    """Return the middleware, outermost first; exits with a sentence if a setting cannot be used."""
    try:
        hosts = parse_hosts(os.environ.get(HOSTS, ""))
        ancestors = parse_ancestors(os.environ.get(FRAME_ANCESTORS, ""))
    except BadInput as error:
        sys.exit(str(error))
    return [
        Middleware(SecurityHeaders, ancestors=ancestors),
        Middleware(SameOriginOnly, hosts=hosts),
        Middleware(PrivateRoutes),
        Middleware(SessionLimit, most=max_sessions()),
        Middleware(UploadLimit),
        Middleware(ChunkedResponses),
        Middleware(ReturnAfterSignIn),
    ]


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[dict[str, Any]]:
    """Close idle connections and free uploads of ended sessions while the server runs.

    All files created meanwhile are readable by their owner only.
    """
    watch = limit_connections(asyncio.get_running_loop())
    task = asyncio.create_task(_clean_up_periodically(watch))
    try:
        with private_files():
            yield {}
    finally:
        task.cancel()


async def _clean_up_periodically(watch: ConnectionLimit) -> None:
    unused_since: dict[str, float] = {}
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        watch.close_idle()
        # A tab that lost its connection may return within this time and needs its uploads.
        drop_unused_uploads(
            UPLOADERS,
            unused_since,
            watch.now(),
            float(st.get_option("server.disconnectedSessionTTL")),
        )
