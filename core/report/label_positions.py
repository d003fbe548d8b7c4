"""Where names stand beside the points of a scatter, so that none covers another or is cut at an
edge."""

from collections.abc import Iterable

import numpy as np

LABEL_WIDTH, LABEL_HEIGHT = 0.3, 0.07
"""Room that an arm's name takes in a scatter, as shares of the ranges."""


def label_positions(x: np.ndarray, y: np.ndarray, labelled: Iterable[int]) -> dict[int, str]:
    """Plotly's text position by place; the lower of two whose names would cover one another has
    none.

    x, y: of all points, as the axes show them (logarithms on a logarithmic one). named: places that
    want a name.
    """
    across, up = _as_shares_of_range(x), _as_shares_of_range(y)
    found: dict[int, str] = {}
    for place in sorted(labelled, key=lambda one: -float(up[one])):
        if all(
            abs(across[place] - across[other]) > LABEL_WIDTH
            or abs(up[place] - up[other]) > LABEL_HEIGHT
            for other in found
        ):
            # Inwards from both edges, which would cut it.
            side = (
                "right" if across[place] < 1 / 3 else "left" if across[place] > 2 / 3 else "center"
            )
            found[place] = f"top {side}"
    return found


def _as_shares_of_range(values: np.ndarray) -> np.ndarray:
    """The values as shares of their range."""
    spread = np.ptp(values) if len(values) else 0.0
    return (values - values.min()) / spread if spread else np.full(len(values), 0.5)
