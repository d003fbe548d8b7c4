"""The colours of Thaw: the only place that defines what a frozen or a trained stage looks like.

Figures take the colours from here, the stack of blocks through CSS variables (`block_css`), and
`.streamlit/config.toml`, which cannot read Python, holds copies that a test compares with these.
"""

from dataclasses import dataclass

FROZEN = "#3b7fd4"
"""A frozen stage: cold. In figures; contrast at least 3 on a light and on a dark page, as for all
colours of figures, and distinguishable for the colour-blind."""
TRAINED = "#dd7318"
"""A trained stage: warm."""
SOURCE = "#12917a"
"""The source domain."""
TARGET = "#b4559f"
"""The target domain."""
NEUTRAL = "#7b879c"
"""References, controls, missing values."""
RED = "#c2413b"
VIOLET = "#8a6fd1"
SERIES = (FROZEN, TRAINED, SOURCE, TARGET, RED, VIOLET, NEUTRAL)
"""For runs in one figure, in this order; also Streamlit's ``chartCategoricalColors``."""

Shades = tuple[str, str]
"""A colour on a light page, and on a dark one."""
FROZEN_WORD: Shades = ("#2563c9", "#6ea4ff")
"""For the word "frozen" and badges; Streamlit's ``blueColor``. Stronger than FROZEN, as small text
needs more contrast than a line."""
TRAINED_WORD: Shades = ("#d9650b", "#ff9a4d")
"""For the word "trained"; Streamlit's ``orangeColor``."""


@dataclass(frozen=True)
class BlockColors:
    """How a stage is drawn as a block. The text's contrast to the background is at least 4.5."""

    text: Shades
    background: Shades
    border: Shades


BLOCKS = {
    "frozen": BlockColors(
        text=("#0f3d86", "#cfe2ff"),
        background=("#e3eefe", "#14305c"),
        border=("#a9c8f5", "#2c5aa3"),
    ),
    "trained": BlockColors(
        text=("#7a3200", "#ffdcc0"),
        background=("#fff0e2", "#59300f"),
        border=("#f6bd88", "#a4601f"),
    ),
}
"""By the state of a stage."""


def block_css() -> str:
    """Return BLOCKS as CSS variables for ``assets/stack.css``.

    The variables are ``--thaw-frozen-text`` and so on.
    """
    lines = []
    for state, block in BLOCKS.items():
        for name, (light, dark) in vars(block).items():
            lines.append(f"  --thaw-{state}-{name}: light-dark({light}, {dark});")
    return "\n".join([":root {", *lines, "}", ""])


def with_alpha(color: str, alpha: float) -> str:
    """Return a colour with an opacity of 0 to 1, as plotly writes it.

    >>> with_alpha("#3b7fd4", 0.5)
    'rgba(59,127,212,0.5)'
    """
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
