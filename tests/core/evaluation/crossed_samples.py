"""Comparisons drawn from known effects of rows, of seeds, and of both."""

import numpy as np

from core.evaluation.paired_comparison import PairedDifference, compare_row_means


def rows_of(
    random: np.random.Generator, n: int, seeds: int, mean: float, sizes: tuple[float, float, float]
) -> PairedDifference:
    """A comparison of known mean, with the given deviations of rows, seeds and interaction."""
    of_rows, of_seeds, of_both = sizes
    values = (
        mean
        + random.normal(0, of_rows, n)
        + random.normal(0, of_seeds, (seeds, 1))
        + random.normal(0, of_both, (seeds, n))
    )
    return compare_row_means([*values], [*np.zeros((seeds, n))])
