"""The variance of a stored comparison, taken apart, and with other numbers of rows and seeds.

A comparison stores the standard errors from test rows, from seeds, and of what both contain
(core.evaluation.crossed_variance). These give the distribution of the difference at every level,
and what it would be with more rows or seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

from scipy.optimize import brentq

from core.evaluation.crossed_variance import MeanVariance
from core.evaluation.paired_comparison import PairedDifference, pool_over_comparisons
from core.evaluation.pooled_seeds import pool_seed_variances


@dataclass(frozen=True)
class VarianceParts:
    """What the variance of a difference consists of, for one row and one seed.

    Args:
        rows: between test rows.
        seeds: between seeds; NaN with a single seed, which does not tell.
        interaction: of rows within a seed; 0 with a single seed, where `rows` contains it.
        row_freedom_is_finite: whether the rows' part has n - 1 degrees of freedom (a mean over
            rows) instead of infinitely many (AUC).
        pooling: how many degrees of freedom the seeds' part has for each seed but the first, where
            it is pooled with that of other comparisons; 0 where it is not.
    """

    rows: float
    seeds: float
    interaction: float
    row_freedom_is_finite: bool = False
    pooling: float = 0.0

    def variance(self, rows: float, seeds: int) -> MeanVariance:
        """The variance with other numbers; with an unknown part of the seeds, without it."""
        interaction = self.interaction / (seeds * rows)
        part = 0.0 if math.isnan(self.seeds) else self.seeds / seeds + interaction
        return MeanVariance(
            rows=self.rows / rows + interaction,
            seeds=part,
            interaction=interaction if part else 0.0,
            n_seeds=seeds,
            row_freedom=rows - 1 if self.row_freedom_is_finite else float("inf"),
            pooled_freedom=self.pooling * (seeds - 1),
        )


def variance_parts(
    difference: PairedDifference, row_freedom_is_finite: bool = False
) -> VarianceParts:
    """Return the parts of a comparison's variance.

    With the comparison's own rows and seeds they give its standard error again.

    Args:
        difference: the comparison.
        row_freedom_is_finite: as in `VarianceParts`.
    """
    n_rows, n_seeds = difference.rows, difference.seeds
    if n_seeds == 1:
        rows = difference.test_standard_error**2 * n_rows
        return VarianceParts(rows, float("nan"), 0.0, row_freedom_is_finite)
    row_part, seed_part = difference.test_standard_error**2, difference.seed_standard_error**2
    # The interaction is in both parts. Where it is by chance above the seeds' part, that is all
    # there is of it.
    interaction = min(difference.interaction_standard_error**2, seed_part)
    rows = max(row_part - difference.interaction_standard_error**2, 0.0)
    return VarianceParts(
        rows=rows * n_rows,
        seeds=(seed_part - interaction) * n_seeds,
        interaction=interaction * n_rows * n_seeds,
        row_freedom_is_finite=row_freedom_is_finite,
        pooling=getattr(difference, "seed_freedom", 0.0) / (n_seeds - 1),
    )


@dataclass(frozen=True)
class PooledDifference(PairedDifference):
    """A comparison whose variance between seeds is pooled with that of others.

    Args:
        seed_freedom: degrees of freedom of that variance; 0 where it is the comparison's own.
    """

    seed_freedom: float = 0.0


def pool_differences(
    differences: Sequence[PairedDifference], n_arms: int, of_rows: bool
) -> list[PairedDifference]:
    """Return comparisons in one metric with the variance between seeds pooled, as verdicts have it.

    Args:
        differences: on the same rows.
        n_arms: how many arms they are of.
        of_rows: whether the metric is a mean over rows, as log loss is and the AUC is not.
    """
    pooled = pool_over_comparisons(differences, n_arms, of_rows)
    variances = pool_seed_variances([variance_of(one, of_rows) for one in differences], n_arms)
    return [
        PooledDifference(**asdict(one), seed_freedom=variance.pooled_freedom)
        for one, variance in zip(pooled, variances, strict=True)
    ]


def variance_of(difference: PairedDifference, of_rows: bool = False) -> MeanVariance:
    """Return the variance of a comparison as it is, by which p-values of any level follow.

    Args:
        difference: the comparison.
        of_rows: see `pool_differences`.
    """
    several = difference.seeds > 1
    return MeanVariance(
        rows=difference.test_standard_error**2,
        seeds=difference.seed_standard_error**2 if several else 0.0,
        interaction=difference.interaction_standard_error**2 if several else 0.0,
        n_seeds=difference.seeds,
        row_freedom=difference.rows - 1 if of_rows else float("inf"),
        pooled_freedom=getattr(difference, "seed_freedom", 0.0),
    )


@lru_cache(maxsize=2**12)
def one_sided_half_width(variance: MeanVariance, level: float) -> float:
    """Return how far a one-sided bound lies from the estimate.

    Args:
        variance: of the estimate, above 0.
        level: such as 0.05 for 95 %.

    >>> variance = MeanVariance(rows=4.0, seeds=0.0, interaction=0.0, n_seeds=1)
    >>> round(one_sided_half_width(variance, 0.05), 3)
    3.29
    """
    error = variance.total**0.5
    high = 4.0
    while variance.p_value(high * error) > 2 * level:
        high *= 2
    found = brentq(lambda width: variance.p_value(width * error) - 2 * level, 0.0, high, xtol=1e-6)
    return float(found) * error


def one_sided_p(distance: float, variance: MeanVariance) -> float:
    """Return the chance of an estimate at least that far above its expectation; above 0.5 below it.

    >>> variance = MeanVariance(rows=1.0, seeds=0.0, interaction=0.0, n_seeds=1)
    >>> round(one_sided_p(1.645, variance), 3), round(one_sided_p(-1.645, variance), 3)
    (0.05, 0.95)
    """
    half = variance.p_value(distance) / 2
    return half if distance >= 0 else 1 - half
