"""How many more test rows or seeds would settle whether an arm loses less than a margin.

The variance of a difference over n test rows and K seeds is

    var(seeds) / K + var(rows) / n + var(interaction) / (K n)

(core.evaluation.crossed_variance), and the stored standard errors of a comparison give all three
parts. With other numbers of rows and seeds the standard error and the degrees of freedom follow,
and with them the power: the probability that a bound of the loss lies on one side of the margin, if
the true loss is the one estimated. For Student's t that is the noncentral t distribution (Johnson,
Kotz and Balakrishnan 1995, chapter 31), for infinite degrees of freedom the normal one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import nct, norm

from core.evaluation.crossed_variance import MeanVariance
from core.evaluation.non_inferiority import NonInferiority
from core.evaluation.variance_parts import one_sided_half_width, variance_parts

POWER = 0.8
"""The power at which a number of rows or seeds counts as enough."""
MAX_ROWS = 10**9
MAX_SEEDS = 100
"""More are not asked for: a sweep takes at most 100 further seeds at a time."""


def power_to_settle(loss: float, margin: float, variance: MeanVariance, level: float) -> float:
    """Return the probability that a one-sided bound of the loss lies on its side of the margin.

    Args:
        loss: taken for the true one. Below the margin, the upper bound has to lie below it; above,
            the lower bound above it.
        margin: in the unit of `loss`.
        variance: of the estimated loss.
        level: one-sided level of the bound.

    >>> variance = MeanVariance(rows=0.25, seeds=0.0, interaction=0.0, n_seeds=1)
    >>> round(power_to_settle(0.0, 1.0, variance, 0.05), 3)  # the normal's P(Z < 2 - 1.645)
    0.639
    """
    error, freedom = variance.total**0.5, _freedom(variance)
    if math.isnan(error) or math.isnan(loss):
        return float("nan")
    if error == 0:
        return 1.0
    distance = abs(margin - loss) / error
    quantile = one_sided_half_width(variance, level) / error
    if math.isinf(freedom):
        return float(norm.cdf(distance - quantile))
    found = float(nct.sf(quantile, freedom, distance))
    # Far out scipy's noncentral t gives NaN, where the power is 1 to many digits.
    return 1.0 if math.isnan(found) else found


def _freedom(variance: MeanVariance) -> float:
    """Degrees of freedom of the estimated variance, by Satterthwaite's formula.

    It takes the parts as known, as they are here.
    """
    seeds, rows = variance.seeds, variance.total - variance.seeds
    squares = rows**2 / variance.row_freedom
    if seeds:
        squares += seeds**2 / variance.seed_freedom
    return variance.total**2 / squares if squares else float("inf")


@dataclass(frozen=True)
class Power:
    """The power of a comparison in both metrics, by numbers of test rows and seeds.

    Args:
        arm, reference: titles.
        rows, seeds: of the comparison as it is.
        now: power with these.
        more_rows: how many more test rows give POWER; None where no number does.
        more_seeds: how many more seeds do; None where at most MAX_SEEDS do not, or where a single
            seed does not tell how much seeds differ.
        by_rows: (test rows, power), ascending, with the seeds as they are.
        by_seeds: (seeds, power), with the rows as they are; empty with a single seed.
        both: more rows and more seeds that do together, where neither does alone; None where one
            does, or where up to 64 times the rows and MAX_SEEDS do not.
    """

    arm: str
    reference: str
    rows: int
    seeds: int
    now: float
    more_rows: int | None
    more_seeds: int | None
    by_rows: tuple[tuple[int, float], ...]
    by_seeds: tuple[tuple[int, float], ...]
    both: tuple[int, int] | None = None


def power_of(comparison: NonInferiority) -> Power:
    """Return how many more rows or seeds would settle a comparison.

    Non-inferiority needs both metrics, so its power is taken as that of the metric which has less.
    Where an estimated loss is above its margin, that metric alone decides.
    """
    metrics = [
        (comparison.auc, variance_parts(comparison.auc_difference)),
        (comparison.log_loss, variance_parts(comparison.log_loss_difference, True)),
    ]
    above = [(loss, parts) for loss, parts in metrics if loss.loss > loss.margin]
    deciding = above or metrics
    # Where one metric is enough, the one with more power decides.
    combine = max if above else min

    def power(rows: float, seeds: int) -> float:
        found = [
            power_to_settle(loss.loss, loss.margin, one.variance(rows, seeds), loss.level)
            for loss, one in deciding
        ]
        return float("nan") if any(map(math.isnan, found)) else combine(found)

    rows, seeds = comparison.rows, comparison.seeds
    needed_rows = _smallest(lambda n: power(n, seeds) >= POWER, rows, MAX_ROWS)
    several = seeds > 1
    needed_seeds = (
        _smallest(lambda k: power(rows, k) >= POWER, seeds, seeds + MAX_SEEDS) if several else None
    )
    both = None
    if several and needed_rows is None and needed_seeds is None:
        both = _both(power, rows, seeds)
    last_row = max(4 * rows, min(2 * (needed_rows or 0), 1000 * rows))
    last_seed = min(max(2 * seeds, 2 * (needed_seeds or 20)), seeds + MAX_SEEDS)
    row_numbers = np.unique(np.geomspace(max(rows / 4, 2), last_row, 25).astype(int))
    return Power(
        comparison.arm,
        comparison.reference,
        rows,
        seeds,
        power(rows, seeds),
        None if needed_rows is None else needed_rows - rows,
        None if needed_seeds is None else needed_seeds - seeds,
        tuple((int(n), power(int(n), seeds)) for n in row_numbers),
        tuple((k, power(rows, k)) for k in range(2, last_seed + 1)) if several else (),
        both,
    )


def _both(power: Callable[[float, int], float], rows: int, seeds: int) -> tuple[int, int] | None:
    """Return how many more rows and more seeds give POWER together, with the fewest of both.

    Rows are tried in doublings; the one with the lowest product of rows and seeds is taken.
    """
    found = []
    for factor in (2, 4, 8, 16, 32, 64):
        needed = _smallest(
            lambda k, n=factor * rows: power(n, k) >= POWER,  # type: ignore[misc]
            seeds,
            seeds + MAX_SEEDS,
        )
        if needed is not None:
            found.append((factor * needed, (factor - 1) * rows, needed - seeds))
    return min(found)[1:] if found else None


def _smallest(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the smallest number from `low` to `high` for which `holds`; None if `high` fails.

    `holds` must go from False to True once.
    """
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def rounded_up(number: int) -> int:
    """Return a number with two significant digits, not below it.

    >>> rounded_up(30_412), rounded_up(7), rounded_up(996)
    (31000, 7, 1000)
    """
    unit = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // unit) * unit
