"""Colours of figures: contrast 3 or more, light and dark; pairs stay apart for the colour-blind."""

FROZEN = "#3b7fd4"
"""A frozen stage: cold."""
TRAINED = "#dd7318"
"""A trained stage: warm."""
SOURCE = "#12917a"
"""The source domain."""
TARGET = "#b4559f"
"""The target domain."""
NEUTRAL = "#7b879c"
"""What is neither: references, controls, missing values."""
SERIES = (FROZEN, TRAINED, SOURCE, TARGET, "#c2413b", "#8a6fd1", NEUTRAL)
"""For runs side by side, in this order."""


def with_alpha(color: str, alpha: float) -> str:
    """`color` (#rrggbb) with an opacity of 0 to 1, as plotly writes it."""
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
