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

With few seeds, their part is known badly: K - 1 degrees of freedom, against infinitely many, or
n - 1, of the rows' part. Satterthwaite (1946) gives the sum ``(K - 1) / share**2`` degrees of
freedom, where `share` is the seeds' part of the variance. That takes the share as known. Where it
is by chance too small, the degrees are by chance too many: with 3 seeds a test of size 5 % rejects
up to 8 % of true hypotheses, with 2 up to 13 %. The exponent is therefore ``2 v / (v + 2)`` for
v = K - 1: 0.67 with 2 seeds, 1 with 3, 1.33 with 5, and Satterthwaite's 2 in the limit. It was
chosen by simulation; docs/validation.md has the sizes that it gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MeanVariance:
    """The parts of the variance of a mean over seeds and rows; each contains `interaction`.

    Args:
        rows: from test rows; NaN with fewer than two.
        seeds: from seeds; 0 with one, so that all holds for that seed alone.
        interaction: what both contain; 0 with one seed.
        n_seeds: number of seeds.
        row_freedom: degrees of freedom of `rows`.
    """

    rows: float
    seeds: float
    interaction: float
    n_seeds: int
    row_freedom: float = float("inf")

    @property
    def total(self) -> float:
        """The variance of the mean; NaN where that of the rows is.

        >>> MeanVariance(rows=5.0, seeds=3.0, interaction=1.0, n_seeds=3).total
        7.0
        """
        return self.seeds + self._rows_alone

    @property
    def degrees_of_freedom(self) -> float:
        """Of Student's t for the mean over the square root of `total`; at least those of a part.

        >>> round(MeanVariance(6.0, 3.0, 1.0, n_seeds=3).degrees_of_freedom, 2)
        5.33
        >>> MeanVariance(rows=6.0, seeds=0.0, interaction=0.0, n_seeds=1).degrees_of_freedom
        inf
        """
        total = self.total
        if not total > 0:
            return float("inf")
        reciprocal = (self._rows_alone / total) ** 2 / self.row_freedom
        if self.seeds:
            freedom = self.n_seeds - 1
            reciprocal += (self.seeds / total) ** (2 * freedom / (freedom + 2)) / freedom
        return 1 / reciprocal if reciprocal else float("inf")

    @property
    def _rows_alone(self) -> float:
        """The rows' part without the interaction, not below 0; NaN stays NaN."""
        return float(np.maximum(self.rows - self.interaction, 0.0))


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
