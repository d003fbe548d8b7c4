"""Comparison of two arms over the windows of a rolling evaluation.

Every window has test rows of its own and gives one difference between the two arms, paired on these
rows and seeds. The windows are the unit of the comparison: the mean of their differences is tested
by Student's t with one degree of freedom less than there are windows (the paired t-test; Demšar
2006 and Bouckaert and Frank 2004 discuss it over data sets and over resamples). The variance
between windows contains that of test rows and of seeds, so neither is added again.

It assumes that the differences of windows are independent and come from one distribution. Windows
have different test rows, but they share the backbone and the seeds, and where each goes on from the
model of the last one, also what was learnt before: then neighbouring windows may resemble one
another, and the interval is too short. Few windows have few degrees of freedom, which the interval
shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student


@dataclass(frozen=True)
class WindowDifference:
    """The mean over windows of a metric of arm a minus that of arm b.

    Args:
        delta: the mean difference.
        low, high: both ends of its 95 % interval; NaN with fewer than two windows.
        p: two-sided p-value of no difference; NaN with fewer than two windows.
        deviation: standard deviation between the windows' differences; NaN with a single one.
        windows: how many it rests on.
    """

    delta: float
    low: float
    high: float
    p: float
    deviation: float
    windows: int


def compare_over_windows(deltas: Sequence[float]) -> WindowDifference:
    """Test the mean of the windows' differences by Student's t.

    Args:
        deltas: difference of each window, ``(n_windows,)``.

    Returns:
        The comparison. Where all differences are the same, there is no variance to test with: an
        interval and p only where all are 0.

    >>> found = compare_over_windows([0.002, 0.004, 0.003])
    >>> round(found.delta, 6), round(found.p, 4)
    (0.003, 0.0351)
    """
    values = np.asarray(deltas, dtype=np.float64)
    windows, nan = len(values), float("nan")
    if not windows:
        return WindowDifference(nan, nan, nan, nan, nan, 0)
    delta = float(values.mean())
    if windows == 1 or not np.isfinite(values).all():
        return WindowDifference(delta, nan, nan, nan, nan, windows)
    deviation = float(values.std(ddof=1))
    error = deviation / windows**0.5
    # Differences that are equal but for rounding have no variance either.
    if error <= 1e-12 * max(1.0, abs(delta)):
        low, high, p = (delta, delta, 1.0) if abs(delta) <= 1e-12 else (nan, nan, nan)
        return WindowDifference(delta, low, high, p, deviation, windows)
    half = float(student.ppf(0.975, windows - 1)) * error
    p = float(2 * student.sf(abs(delta) / error, windows - 1))
    return WindowDifference(delta, delta - half, delta + half, p, deviation, windows)
