"""P-values of several comparisons, adjusted together."""

from collections.abc import Sequence

import numpy as np


def holm_adjust(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjustment (1979).

    Rejecting where the adjusted value is below the level keeps the chance of any false rejection
    below it too.

    Args:
        p_values: NaN where nothing could be tested; the others are not adjusted for it.

    Returns:
        float64 in the order given; NaN stays NaN.

    >>> holm_adjust([0.01, 0.04, float("nan"), 0.03])
    array([0.03, 0.06,  nan, 0.06])
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(
        1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    )
    return adjusted
