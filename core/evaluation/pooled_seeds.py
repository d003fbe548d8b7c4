"""The variance between seeds, pooled over the comparisons of a sweep.

Three seeds say little about how much seeds differ, but the arms of a sweep are trained alike, so
each comparison says something about the others too. The variance of each is moved towards that of
all, as far as they are alike: by how much, the scatter of their logarithms says (Smyth 2004,
"Linear models and empirical Bayes methods for assessing differential expression"; limma in
genomics). If seeds vary far more in one arm than in another, the scatter is wide and little is
pooled.

Comparisons with the same arm are not independent, so their scatter is a little too narrow. The
degrees of freedom that pooling adds are therefore at most a third of those of all arms but one.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import digamma, polygamma

from core.evaluation.crossed_variance import MeanVariance

MAX_SHARE_POOLED = 1 / 3
"""Of the degrees of freedom of all arms but one, how many pooling may add."""


def pool_seed_variances(variances: Sequence[MeanVariance], n_arms: int) -> list[MeanVariance]:
    """Return the variances with the part of the seeds moved towards that of all.

    What has a single seed, or no variance between seeds, is left as it is and pools nothing.

    Args:
        variances: of comparisons of the same metric on the same rows.
        n_arms: how many arms the comparisons are of.
    """
    pooled = [one for one in variances if one.n_seeds > 1 and one.seeds > 0]
    if len(pooled) < 2:
        return [*variances]
    seeds = np.array([one.seeds for one in pooled])
    freedom = np.array([one.n_seeds - 1.0 for one in pooled])
    most = MAX_SHARE_POOLED * (n_arms - 1) * float(freedom.mean())
    prior, added = _prior(seeds, freedom, most)
    moved = iter((added * prior + freedom * seeds) / (added + freedom))
    return [
        replace(one, seeds=float(next(moved)), pooled_freedom=added + one.n_seeds - 1)
        if one.n_seeds > 1 and one.seeds > 0
        else one
        for one in variances
    ]


def _prior(seeds: np.ndarray, freedom: np.ndarray, most: float) -> tuple[float, float]:
    """Return (variance of all, degrees of freedom that it adds), by the moments of the logarithms.

    The logarithm of an estimate with v degrees of freedom has the mean ``log(true) + digamma(v/2) -
    log(v/2)`` and the variance ``trigamma(v/2)``; what it scatters beyond is that of the true ones.
    """
    logs = np.log(seeds) - digamma(freedom / 2) + np.log(freedom / 2)
    beyond = float(logs.var(ddof=1) - polygamma(1, freedom / 2).mean())
    added = 2 * _inverse_trigamma(beyond) if beyond > 0 else np.inf
    if added >= most:
        return float(np.average(seeds, weights=freedom)), most
    return float(np.exp(logs.mean() + digamma(added / 2) - np.log(added / 2))), added


def _inverse_trigamma(value: float) -> float:
    """The x whose trigamma is `value`, above 0, by Newton's method on the reciprocal (Smyth 2004).

    >>> round(_inverse_trigamma(float(polygamma(1, 3.5))), 6)
    3.5
    """
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x
