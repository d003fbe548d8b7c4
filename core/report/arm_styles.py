"""The colour and dash of an arm, chosen by its title alone.

So an arm looks the same in every figure, on every page and after a restart.
"""

import re
import zlib
from collections.abc import Sequence

from core.freezing.strategies import control_titles
from core.report.palette import FROZEN, NEUTRAL, RED, SOURCE, TARGET, TRAINED, VIOLET

DEPTH_COLORS = (TRAINED, RED, TARGET, VIOLET, FROZEN, SOURCE)
"""By freeze depth, from warm to cold: the more is frozen, the colder."""
_CONTROL_DASHES = ("dash", "dot", "solid", "dashdot", "2px,8px")
"""One for each control: all are grey, and lines of several stand in one figure."""
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")

Style = tuple[str, str]
"""(colour as ``#rrggbb``, plotly's name of a dash)."""


def arm_styles(titles: Sequence[str]) -> dict[str, Style]:
    """Return the style of each arm of one figure, by its title.

    Titles are many and colours few: arms that share a colour get different dashes, as long as there
    are any left.
    """
    styles: dict[str, Style] = {}
    for title in titles:
        color, dash = _preferred_style(title)
        taken = set(styles.values())
        free = (one for one in (dash, *_DASHES) if (color, one) not in taken)
        styles[title] = (color, next(free, dash))
    return styles


def arm_colors(titles: Sequence[str]) -> list[str]:
    """Return the colour of each arm, in the order of the titles."""
    return [_preferred_style(title)[0] for title in titles]


def _preferred_style(title: str) -> Style:
    """Return the style of the arm when it is alone in a figure."""
    if depth := re.match(r"freeze depth (\d+)", title):
        return DEPTH_COLORS[int(depth[1]) % len(DEPTH_COLORS)], "solid"
    if title.startswith("full fine-tuning"):
        return DEPTH_COLORS[0], "solid"
    for control, dash in zip(control_titles(), _CONTROL_DASHES, strict=True):
        if title.startswith(control):
            return NEUTRAL, dash
    # A hash that is stable: Python's own differs between processes.
    return DEPTH_COLORS[zlib.crc32(title.encode()) % len(DEPTH_COLORS)], "dashdot"
