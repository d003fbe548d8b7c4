"""Arms compared over windows: SciPy's t-test, and size and coverage from both sides."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from core.evaluation.rolling import compare_over_windows

REPEATS = 2000


@pytest.mark.parametrize("windows", [2, 3, 8])
def test_equals_scipy(windows: int) -> None:
    deltas = np.random.default_rng(windows).normal(0.002, 0.003, windows)
    found, expected = compare_over_windows([*deltas]), ttest_1samp(deltas, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (found.windows, found.delta) == (windows, pytest.approx(deltas.mean()))


def test_what_has_no_variance_has_no_interval() -> None:
    assert compare_over_windows([]).windows == 0
    one = compare_over_windows([0.01])
    assert one.delta == 0.01 and math.isnan(one.p) and math.isnan(one.low)
    assert math.isnan(compare_over_windows([0.01, float("nan")]).p)
    same = compare_over_windows([0.01, 0.01, 0.01])
    assert math.isnan(same.p) and math.isnan(same.low)
    zero = compare_over_windows([0.0, 0.0])
    assert (zero.p, zero.low, zero.high) == (1.0, 0.0, 0.0)


def simulated(truth: float, windows: int, seeds: int, generator: np.random.Generator) -> np.ndarray:
    """Differences of windows: of the window itself, of its test rows and of the seeds."""
    own = generator.normal(truth, 0.002, (REPEATS, windows))
    rows = generator.normal(0, 0.003, (REPEATS, windows))
    of_seeds = generator.normal(0, 0.004, (REPEATS, windows, seeds)).mean(axis=2)
    return np.asarray(own + rows + of_seeds)


@pytest.mark.parametrize(("windows", "seeds"), [(3, 1), (4, 3), (9, 3)])
def test_size_and_coverage_from_both_sides(windows: int, seeds: int) -> None:
    """With a truth of 0 and of 0.01: neither more errors than 5 % nor far fewer."""
    generator = np.random.default_rng([windows, seeds])
    # Four standard errors of a share of 5 % in so many repeats.
    tolerance = 4 * (0.05 * 0.95 / REPEATS) ** 0.5
    for truth in (0.0, 0.01):
        found = [compare_over_windows(one) for one in simulated(truth, windows, seeds, generator)]
        below = np.mean([one.high < truth for one in found])
        above = np.mean([one.low > truth for one in found])
        assert abs(below + above - 0.05) < tolerance
        assert abs(below - 0.025) < tolerance and abs(above - 0.025) < tolerance
        rejected = np.mean([one.p < 0.05 for one in found])
        if truth:
            assert rejected > 0.35
        else:
            assert abs(rejected - 0.05) < tolerance


def test_windows_that_resemble_one_another_make_the_interval_too_short() -> None:
    """The assumption that is stated beside every verdict: here each difference carries over."""
    generator = np.random.default_rng(1)
    noise = generator.normal(0, 0.003, (REPEATS, 6))
    for window in range(1, 6):
        noise[:, window] += 0.6 * noise[:, window - 1]
    rejected = np.mean([compare_over_windows(one).p < 0.05 for one in noise])
    assert rejected > 0.1
