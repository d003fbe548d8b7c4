"""The entry point of `streamlit run app.py`: the pages, and plotly.js as installed."""

import gzip
from functools import cache
from pathlib import Path

import plotly
import streamlit as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.errors import ThawError
from pages.components.shared.errors import error_sentence, show_error
from pages.server.middleware import build_middleware, lifespan

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


@cache
def _plotly() -> bytes:
    return PLOTLY.read_bytes()


@cache
def _packed_plotly() -> bytes:
    return gzip.compress(_plotly(), compresslevel=6)


def serve_plotly(request: Request) -> Response:
    """Serve plotly.min.js, so that charts work without a network.

    The URL carries plotly's version, so the response can be cached forever.
    """
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(_plotly(), media_type="text/javascript", headers=headers)
    headers["Content-Encoding"] = "gzip"
    return Response(_packed_plotly(), media_type="text/javascript", headers=headers)


def explain(error: Exception) -> bool:
    """Show an error that a page did not catch as a sentence, if it has one.

    Returns:
        True, which keeps Streamlit from showing the traceback, if the error was explained.
    """
    sentence = error_sentence(error)
    if sentence is None:
        return False
    show_error(ThawError(sentence))
    return True


PLOTLY_ROUTE = Route("/assets/plotly.min.js", serve_plotly)

# The main script is the router inside pages/: a pages/ folder beside it would let a deep link skip
# the router.
app = st.App(
    "pages/router.py",
    routes=[PLOTLY_ROUTE],
    middleware=build_middleware(),
    lifespan=lifespan,
    on_script_error=explain,
)
