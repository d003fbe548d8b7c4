"""The variance of a mean over test rows and seeds, which are crossed: every seed scores every row.

With ``d[s, i] = mean + A[s] + R[i] + I[s, i]`` for seed s of K and row i of n, and independent
effects of seeds, of rows, and of rows within a seed (the interaction, to which all noise belongs
that seeds and rows do not share), the mean over both has the variance

    var(A) / K + var(R) / n + var(I) / (K n).

Two parts can be estimated without bias, and each contains the last term:

    rows:  the variance between rows of their means over seeds, / n, is var(R) / n + var(I) / (K n)
    seeds: the variance between seeds of their means over rows, / K, is var(A) / K + var(I) / (K n)

Their sum would count the interaction twice. With W the mean over seeds of the variance between the
rows of a seed, and B that between the rows' means over seeds, var(I) is estimated by
``K (W - B) / (K - 1)``, which equals the mean square of the interaction in an analysis of variance.
The variance is therefore ``seeds + max(rows - interaction, 0)``: unbiased where it is not cut, and
never below the seeds' part, so never negative (Hillis 2007 for several readers of several cases;
Gallas et al. 2009 compare estimators).

With few seeds, their part is known badly: K - 1 degrees of freedom, against many of the rows' part.
The mean less its expectation is distributed as ``sqrt(rows) * z + sqrt(seeds) * t``, with a normal
z and Student's t of K - 1 degrees (Behrens 1929, Fisher 1935): Student's where seeds alone differ,
and normal where rows alone do. Intervals and p-values are those of this sum. The usual alternative,
one Student's t with Satterthwaite's (1946) degrees of freedom, takes the seeds' share as known.
Where that is small by chance, the degrees are many by chance: with 3 seeds a test of size 5 %
rejects up to 8 % of true hypotheses, and one of size 0.3 %, as Holm's adjustment of 15 comparisons
makes, up to 2.3 %. The sum above rejects no more than its size at any level, and 2 to 5 % at 5 %;
docs/validation.md has the simulations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtr, stdtridf, stdtrit

NODES = 400
"""Points at which the distribution of a variance with few degrees of freedom is summed."""


@dataclass(frozen=True)
class MeanVariance:
    """The parts of the variance of a mean over seeds and rows; each contains `interaction`.

    Args:
        rows: from test rows; NaN with fewer than two.
        seeds: from seeds; 0 with one, so that all holds for that seed alone.
        interaction: what both contain; 0 with one seed.
        n_seeds: number of seeds.
        row_freedom: degrees of freedom of `rows`.
        pooled_freedom: those of `seeds` where it was pooled with that of other comparisons; 0 where
            it is its own, which has ``n_seeds - 1``.
    """

    rows: float
    seeds: float
    interaction: float
    n_seeds: int
    row_freedom: float = float("inf")
    pooled_freedom: float = 0.0

    @property
    def seed_freedom(self) -> float:
        """Degrees of freedom of `seeds`."""
        return self.pooled_freedom or self.n_seeds - 1

    @property
    def total(self) -> float:
        """The variance of the mean; NaN where that of the rows is.

        >>> MeanVariance(rows=5.0, seeds=3.0, interaction=1.0, n_seeds=3).total
        7.0
        """
        return self.seeds + self._rows_alone

    def p_value(self, difference: float) -> float:
        """How likely a mean is at least as far from its expectation, to either side.

        >>> round(MeanVariance(1.0, 0.0, 0.0, n_seeds=1).p_value(1.96), 3)
        0.05
        """
        distance = abs(difference)
        if not self.total > 0 or not np.isfinite(distance):
            return float("nan")
        if not self.seeds:
            return 2 * _student_cdf(-distance / self.total**0.5, self.row_freedom)
        variances, weights = _inverse_chi_square(self.seed_freedom)
        deviations = np.sqrt(self._normal_rows + self.seeds * variances)
        return float(2 * weights @ ndtr(-distance / deviations))

    @cached_property
    def half_width(self) -> float:
        """Half the width of the 95 % interval; NaN where the variance is.

        >>> round(MeanVariance(0.0, 1.0, 0.0, n_seeds=3).half_width, 3)
        4.303
        """
        if not self.total > 0:
            return self.total
        error = self.total**0.5
        if not self.seeds:
            return error * _student_quantile(self.row_freedom)
        # Between the quantiles of a normal distribution and of Student's t with the fewest degrees.
        rows = (self._normal_rows + self.seeds) ** 0.5
        low, high = 0.99 * _student_quantile(np.inf), 1.01 * _student_quantile(self.seed_freedom)
        found = brentq(lambda width: self.p_value(width * rows) - 0.05, low, high, xtol=1e-9)
        return float(found * rows)

    @property
    def degrees_of_freedom(self) -> float:
        """Of Student's t whose 95 % interval, with the root of `total`, is `half_width` wide.

        >>> round(MeanVariance(0.0, 3.0, 0.0, n_seeds=3).degrees_of_freedom, 3)
        2.0
        >>> MeanVariance(6.0, 0.0, 0.0, n_seeds=1).degrees_of_freedom
        inf
        """
        if not self.total > 0:
            return float("inf")
        if not self.seeds:
            return self.row_freedom
        quantile = self.half_width / self.total**0.5
        if quantile <= _student_quantile(1e7):
            return float("inf")
        return float(stdtridf(0.975, quantile))

    @property
    def _rows_alone(self) -> float:
        """The rows' part without the interaction, not below 0; NaN stays NaN."""
        return float(np.maximum(self.rows - self.interaction, 0.0))

    @property
    def _normal_rows(self) -> float:
        """The variance of a normal distribution that is as wide as the rows' part at 95 %."""
        factor = _student_quantile(self.row_freedom) / _student_quantile(np.inf)
        return self._rows_alone * factor**2


def _student_quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t."""
    return float(ndtri(0.975) if np.isinf(freedom) else stdtrit(freedom, 0.975))


def _student_cdf(x: float, freedom: float) -> float:
    return float(ndtr(x) if np.isinf(freedom) else stdtr(freedom, x))


@lru_cache(maxsize=64)
def _inverse_chi_square(freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of ``freedom / chi**2`` and their probabilities, ``(NODES,)`` each.

    The trapezoidal rule in the logarithm of chi squared, in which its density is smooth and falls
    to nothing on both sides.
    """
    low, high = -70 / freedom - 12 / freedom**0.5, np.log(5 + 80 / freedom)
    logs = np.linspace(low, high, NODES)
    density = freedom / 2 * (logs - np.exp(logs))
    weights = np.exp(density - density.max())
    return np.exp(-logs), weights / weights.sum()


def mean_variance(
    seed_means: np.ndarray, samples: Sequence[np.ndarray], row_freedom: float = float("inf")
) -> MeanVariance:
    """Return the variance of the mean of `seed_means`.

    Args:
        seed_means: the statistic of every seed, shape ``(n_seeds,)``: the sum of the means of its
            rows in all `samples`, up to a constant.
        samples: what every row contributes, one array of shape ``(n_seeds, n_rows)`` for each
            independent sample of rows. An average has one sample, an AUC two: the placement values
            of positives and of negatives.
        row_freedom: degrees of freedom of the rows' part.
    """
    n_seeds = len(seed_means)
    rows = interaction = 0.0
    for sample in samples:
        n_rows = sample.shape[1]
        if n_rows < 2:
            rows = float("nan")
            continue
        # From the first row on, so that what is the same for every row has exactly no variance.
        centred = sample - sample[:, :1]
        between = float(centred.mean(axis=0).var(ddof=1))
        rows += between / n_rows
        if n_seeds > 1:
            within = float(centred.var(axis=1, ddof=1).mean())
            # Rounding may leave seeds that score alike a difference below 0.
            interaction += max(within - between, 0.0) / ((n_seeds - 1) * n_rows)
    seeds = float(seed_means.var(ddof=1) / n_seeds) if n_seeds > 1 else 0.0
    return MeanVariance(rows, seeds, interaction, n_seeds, row_freedom)
