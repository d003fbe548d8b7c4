"""The chart component of all pages.

Figures are redrawn in place, keep the user's zoom, and follow the theme.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache

import plotly
import plotly.graph_objects as go
import streamlit as st

from core.workspace import PROJECT

# st.plotly_chart creates a new DOM node for every changed figure, so a live chart flickers and
# loses its zoom.
_CHART = st.components.v2.component(
    "thaw_chart",
    html=(
        '<div class="thaw-chart" role="img"></div>\n<p class="thaw-chart-message" role="alert"></p>'
    ),
    css=".thaw-chart { width: 100%; }\n.thaw-chart-message { margin: 0; color: "
    "var(--st-red-text-color); }\n"
    # Plotly gives the ticks of parallel coordinates a white shadow, which blurs them in dark mode.
    ".thaw-chart .parcoords text { text-shadow: none !important; }\n",
    js=(PROJECT / "assets" / "chart.js").read_text(encoding="utf-8"),
    # Plotly adds its styles to the document's head, where a shadow root would not see them.
    isolate_styles=False,
)


def chart(
    figure: go.Figure | str, key: str, height: int = 360, alt: str = "", modebar: bool = True
) -> None:
    """Draw a figure over the full width.

    Font, grid, hover and series colours come from the theme unless a trace sets its own; the
    background is transparent.

    Args:
        figure: the figure, or its JSON.
        key: unique on the page and the same on every rerun; it keeps the DOM node and with it the
            zoom.
        height: in pixels.
        alt: text for screen readers; defaults to the figure's title.
        modebar: whether hovering shows the zoom and save buttons.
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
    """Return the JSON of ``figure(*figure_args)``, cached across reruns."""
    return str(figure(*about).to_json())


def preload_charts() -> None:
    """Load plotly.js in the browser ahead of time.

    The next page can then draw its first chart at once.
    """
    data = {"figure": "", "height": 0, "alt": "", "modebar": False, "version": plotly.__version__}
    _CHART(data=data, key="expected", height="content")
