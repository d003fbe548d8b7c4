"""The colour of an arm: its title alone decides, so that it is the same in every figure and on
every page."""

import re
import zlib
from collections.abc import Sequence

from core.report.palette import FROZEN, NEUTRAL, SOURCE, TARGET, TRAINED

DEPTH_COLORS = (TRAINED, "#c2413b", TARGET, "#8a6fd1", FROZEN, SOURCE)
"""By freeze depth, from warm to cold: the more is frozen, the colder."""
_CONTROLS = {"from scratch": (NEUTRAL, "dash"), "zero-shot": (NEUTRAL, "dot")}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")

Style = tuple[str, str]
"""(colour, plotly's name of a dash)."""


def arm_styles(titles: Sequence[str]) -> dict[str, Style]:
    """The style of each arm by its title; arms of one figure whose colours meet differ in their
    dashes."""
    found: dict[str, Style] = {}
    for title in titles:
        color, dash = _preferred_style(title)
        taken = set(found.values())
        free = (one for one in (dash, *_DASHES) if (color, one) not in taken)
        found[title] = (color, next(free, dash))
    return found


def arm_colors(titles: Sequence[str]) -> list[str]:
    """The colour of each arm, in the order of the titles."""
    return [_preferred_style(title)[0] for title in titles]


def _preferred_style(title: str) -> Style:
    """What the arm would have alone."""
    if depth := re.match(r"freeze depth (\d+)", title):
        return DEPTH_COLORS[int(depth[1]) % len(DEPTH_COLORS)], "solid"
    if title.startswith("full fine-tuning"):
        return DEPTH_COLORS[0], "solid"
    for control, style in _CONTROLS.items():
        if title.startswith(control):
            return style
    # Not Python's hash, which is another one in every process.
    return DEPTH_COLORS[zlib.crc32(title.encode()) % len(DEPTH_COLORS)], "dashdot"
