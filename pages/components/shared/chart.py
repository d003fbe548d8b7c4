"""The one way a page draws a plot: live figures redraw in place, keep the user's zoom and follow
the theme."""

from collections.abc import Callable, Hashable
from functools import lru_cache

import plotly
import plotly.graph_objects as go
import streamlit as st

from core.workspace import PROJECT

# st.plotly_chart makes a new DOM node for every changed figure, so a live chart blinks and loses
# its zoom.
_CHART = st.components.v2.component(
    "thaw_chart",
    html=(
        '<div class="thaw-chart" role="img"></div>\n<p class="thaw-chart-message" role="alert"></p>'
    ),
    css=".thaw-chart { width: 100%; }\n.thaw-chart-message { margin: 0; color: var(--st-red-text-color); }\n"
    # Plotly puts a white glow around the ticks of parallel coordinates, which blurs them on a dark
    # page.
    ".thaw-chart .parcoords text { text-shadow: none !important; }\n",
    js=(PROJECT / "assets" / "chart.js").read_text(encoding="utf-8"),
    # Plotly puts its styles into the document's head, which a shadow root would not see.
    isolate_styles=False,
)


def chart(
    figure: go.Figure | str, key: str, height: int = 360, alt: str = "", modebar: bool = True
) -> None:
    """Draws `figure`, or the one that is JSON already, over the full width, `height` pixels high.

    key: unique on the page and the same on every rerun; that is what keeps the node and the zoom.
    alt: what a screen reader says; the figure's title when empty. modebar: whether hovering shows
    the zoom and save buttons. Font, grid, hover and series colours come from the theme unless a
    trace names its own; background is clear.
    """
    if not isinstance(figure, str):
        alt = alt or (figure.layout.title.text if figure.layout.title else None) or "Chart"
        figure = figure.to_json()
    _CHART(
        data={
            "figure": figure,
            "height": height,
            "alt": alt,
            "modebar": modebar,
            "version": plotly.__version__,
        },
        key=key,
        height=height,
    )


@lru_cache(maxsize=256)
def cached_figure_json(figure: Callable[..., go.Figure], *about: Hashable) -> str:
    """The JSON of `figure(*about)`, kept: a rerun draws finished runs as the one before did."""
    return str(figure(*about).to_json())


def preload_charts() -> None:
    """Has the browser load what draws charts while the user still reads: the next page then draws
    its first at once."""
    data = {"figure": "", "height": 0, "alt": "", "modebar": False, "version": plotly.__version__}
    _CHART(data=data, key="expected", height="content")
