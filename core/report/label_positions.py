"""Where the names of points are placed, so that none covers another or is cut off at an edge."""

from collections.abc import Iterable

import numpy as np

LABEL_WIDTH, LABEL_HEIGHT = 0.3, 0.07
"""Space that a name needs in a scatter plot, as shares of the axes' ranges."""


def label_positions(x: np.ndarray, y: np.ndarray, labelled: Iterable[int]) -> dict[int, str]:
    """Return plotly's text position for each point whose name fits, by the point's index.

    Of two names that would overlap, the lower one is left out.

    Args:
        x: of all points, as the axis shows them (logarithms for a logarithmic axis).
        y: of all points.
        labelled: indices of the points that should have a name.
    """
    across, up = _as_shares_of_range(x), _as_shares_of_range(y)
    positions: dict[int, str] = {}
    for index in sorted(labelled, key=lambda index: -float(up[index])):
        if all(
            abs(across[index] - across[other]) > LABEL_WIDTH
            or abs(up[index] - up[other]) > LABEL_HEIGHT
            for other in positions
        ):
            # Inwards from both edges, which would cut it.
            side = (
                "right" if across[index] < 1 / 3 else "left" if across[index] > 2 / 3 else "center"
            )
            positions[index] = f"top {side}"
    return positions


def _as_shares_of_range(values: np.ndarray) -> np.ndarray:
    """Return the values scaled to 0 to 1; 0.5 for each if all are equal."""
    spread = np.ptp(values) if len(values) else 0.0
    return (values - values.min()) / spread if spread else np.full(len(values), 0.5)
