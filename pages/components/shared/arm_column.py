"""The first column of tables with a row for each arm."""

from collections.abc import Iterable

import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

MAX_PINNED, PIXELS_PER_LETTER, PADDING, MAX_WIDTH = 32, 6.4, 20, 320
"""Letters up to which the column may stay in place on a telephone; its width in pixels."""


def arm_column(titles: Iterable[str]) -> ColumnConfig:
    """Return the column, as wide as its longest title.

    The table itself would take a title that is much longer than the others for an outlier and cut
    it, such as that of a blend.
    """
    longest = max((len(title) for title in titles), default=0)
    return st.column_config.TextColumn(
        width=min(MAX_WIDTH, round(PIXELS_PER_LETTER * longest) + PADDING),
        pinned=longest <= MAX_PINNED,
    )
