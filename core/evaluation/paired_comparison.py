"""Paired comparison of two arms over several seeds on the same test rows.

Two kinds of noise differ: other test rows would give other numbers, and so would other seeds. Both
are in the interval. What every row contributes to the difference (for log loss its loss, for the
AUC its placement value) gives the test-row variance, the differences of the seeds give that of the
seeds, and what both contain is counted once. The interval and the p-value are those of a normal
(rows) and a Student's t (seeds) added, see core.evaluation.crossed_variance. With one seed they
hold for the test rows alone.

AUC, log loss and calibration error are compared by the same recipe, and so are the means of one arm
alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluation.crossed_variance import MeanVariance, mean_variance
from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.pooled_seeds import pool_seed_variances
from core.evaluation.roc_auc import placement_values

RECIPE = 2
"""Version of the numbers that these functions give, part of the key of whatever caches them.

1: log loss by a percentile bootstrap, the interaction of rows and seeds counted twice.
"""
PlacementValues = tuple[float, np.ndarray, np.ndarray]
"""``(auc, of_positives, of_negatives)``, see core.evaluation.roc_auc.placement_values."""


@dataclass(frozen=True)
class PairedDifference:
    """The mean over seeds of a metric of arm a minus that of arm b.

    Args:
        delta: the mean difference.
        low, high: both ends of its 95 % interval; NaN where undefined.
        p: two-sided p-value of no difference; NaN where undefined.
        test_standard_error: from test rows; NaN with fewer than two (of a class, for the AUC).
        seed_standard_error: from seeds; NaN with a single one.
        seeds, rows: how many it rests on.
        standard_error: of `delta`, from test rows and seeds together; NaN where undefined.
        degrees_of_freedom: of the Student's t that gives the interval, its 97.5 % quantile times
            `standard_error` to both sides. Where it rests on rows alone, infinite for the AUC
            (DeLong) and ``rows - 1`` for a mean over rows.
        interaction_standard_error: of the part that the errors from test rows and from seeds both
            contain: the squares of these add up to that of `standard_error` plus that of this; NaN
            with a single seed.
    """

    delta: float
    low: float
    high: float
    p: float
    test_standard_error: float
    seed_standard_error: float
    seeds: int
    rows: int
    standard_error: float = float("nan")
    degrees_of_freedom: float = float("inf")
    interaction_standard_error: float = float("nan")


@dataclass(frozen=True)
class MeanEstimate:
    """The mean over seeds of a metric, with its 95 % interval for other test rows and seeds.

    NaN where undefined.
    """

    value: float
    low: float
    high: float


def compare_auc(y_true: np.ndarray, a: np.ndarray, b: np.ndarray) -> PairedDifference:
    """Compare the AUCs of two arms.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        a, b: scores, shape ``(n_seeds, n_rows)`` each, the same seeds in the same order.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    _check_shapes(y_true, a, b)
    return compare_placement_values(
        placement_values_by_seed(y_true, a), placement_values_by_seed(y_true, b), len(y_true)
    )


def placement_values_by_seed(y_true: np.ndarray, y_score: np.ndarray) -> list[PlacementValues]:
    """The placement values of every seed's scores, `y_score` of shape ``(n_seeds, n_rows)``."""
    return [placement_values(y_true, one) for one in y_score]


def compare_placement_values(
    a: Sequence[PlacementValues], b: Sequence[PlacementValues], rows: int
) -> PairedDifference:
    """`compare_auc` from placement values, which one arm keeps for its comparisons with all others.

    Args:
        a, b: one entry for each seed, the same seeds in the same order.
        rows: number of test rows.
    """
    pairs = [*zip(a, b, strict=True)]
    deltas = np.array([one[0] - other[0] for one, other in pairs])
    samples = [np.stack([one[side] - other[side] for one, other in pairs]) for side in (1, 2)]
    return _difference(float(deltas.mean()), mean_variance(deltas, samples), rows)


def compare_log_loss(y_true: np.ndarray, a: np.ndarray, b: np.ndarray) -> PairedDifference:
    """Compare the log losses of two arms.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        a, b: click probabilities, shape ``(n_seeds, n_rows)`` each, the same seeds in the same
            order.

    Returns:
        Log loss of a minus that of b in nats; below 0, a is better.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    _check_shapes(y_true, a, b)
    return compare_row_means([*log_loss_per_row(y_true, a)], [*log_loss_per_row(y_true, b)])


def compare_row_means(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> PairedDifference:
    """Compare two arms in the mean of what every row contributes, such as its log loss.

    Args:
        a, b: ``(n_rows,)`` for each seed, the same seeds in the same order.
    """
    differences = np.stack([one - other for one, other in zip(a, b, strict=True)])
    deltas, rows = differences.mean(axis=1), differences.shape[1]
    variance = mean_variance(deltas, [differences], row_freedom=rows - 1)
    return _difference(float(deltas.mean()), variance, rows)


def pool_over_comparisons(
    differences: Sequence[PairedDifference], n_arms: int, of_rows: bool
) -> list[PairedDifference]:
    """Return the differences with the variance between seeds pooled over all of them.

    Intervals and p-values follow from the pooled variance; see core.evaluation.pooled_seeds.

    Args:
        differences: in one metric, on the same rows.
        n_arms: how many arms they are of.
        of_rows: whether the metric is a mean over rows, as log loss is and the AUC is not.
    """
    variances = [
        MeanVariance(
            rows=one.test_standard_error**2,
            seeds=one.seed_standard_error**2 if one.seeds > 1 else 0.0,
            interaction=one.interaction_standard_error**2 if one.seeds > 1 else 0.0,
            n_seeds=one.seeds,
            row_freedom=one.rows - 1 if of_rows else float("inf"),
        )
        for one in differences
    ]
    pooled = pool_seed_variances(variances, n_arms)
    return [
        _difference(one.delta, variance, one.rows) if variance.pooled_freedom else one
        for one, variance in zip(differences, pooled, strict=True)
    ]


def mean_auc(parts: Sequence[PlacementValues]) -> MeanEstimate:
    """The mean AUC of one arm, from the placement values of its seeds."""
    values = np.array([one[0] for one in parts])
    samples = [np.stack([one[side] for one in parts]) for side in (1, 2)]
    return _mean(values, mean_variance(values, samples))


def mean_over_rows(values: np.ndarray) -> MeanEstimate:
    """The mean of what every row contributes, such as its log loss or cost.

    Args:
        values: shape ``(n_seeds, n_rows)``.
    """
    means = values.mean(axis=1)
    return _mean(means, mean_variance(means, [values], row_freedom=values.shape[1] - 1))


def _difference(delta: float, variance: MeanVariance, rows: int) -> PairedDifference:
    """The comparison from the mean difference and its variance."""
    nan = float("nan")
    if variance.total == 0:
        low, high, p = (delta, delta, 1.0) if delta == 0 else (nan, nan, nan)
    else:
        low, high = delta - variance.half_width, delta + variance.half_width
        p = variance.p_value(delta)
    several = variance.n_seeds > 1
    return PairedDifference(
        delta,
        low,
        high,
        p,
        test_standard_error=variance.rows**0.5,
        seed_standard_error=variance.seeds**0.5 if several else nan,
        seeds=variance.n_seeds,
        rows=rows,
        standard_error=variance.total**0.5,
        degrees_of_freedom=variance.degrees_of_freedom,
        interaction_standard_error=variance.interaction**0.5 if several else nan,
    )


def _mean(values: np.ndarray, variance: MeanVariance) -> MeanEstimate:
    """The mean with its interval. values: one for each seed, ``(n_seeds,)``."""
    value = float(values.mean())
    return MeanEstimate(value, value - variance.half_width, value + variance.half_width)


def _check_shapes(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != len(labels):
        raise ValueError(
            f"scores of shapes {a.shape} and {b.shape} do not belong together and to {len(labels)}"
            " labels"
        )
