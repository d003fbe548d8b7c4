"""AUC with its uncertainty, by DeLong, DeLong and Clarke-Pearson (1988).

The placement value of a positive is the share of negatives scored below it, that of a negative the
share of positives scored above it; ties count half. The AUC is the mean of either, and their
variances give that of the AUC. They are computed from mid-ranks (Sun and Xu 2014), in
O(n_rows log n_rows).
"""

from dataclasses import dataclass

import numpy as np

from core.evaluation.validation import validate_scores


@dataclass(frozen=True)
class AUCDifference:
    """The AUC of scoring a minus that of scoring b on the same rows.

    Args:
        delta: the difference; NaN with a single class.
        low, high: both ends of its 95 % interval; NaN where the rows define none.
        p: two-sided p-value of no difference; NaN where the rows define none.
    """

    delta: float
    low: float
    high: float
    p: float


def roc_auc(y_true: np.ndarray, y_score: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive is scored above a negative, ties half.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: scores, shape ``(n_rows,)``; more means a click is likelier.

    Returns:
        The AUC, from 0 to 1; 0.5 is guessing. NaN where a class is absent.

    Raises:
        BadInput: shapes differ, a label is not 0 or 1, or a score is not finite.

    >>> roc_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    auc, _, _ = placement_values(y_true, y_score)
    return auc


def placement_values(
    y_true: np.ndarray, y_score: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The AUC and the placement values behind it.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: scores, shape ``(n_rows,)``.

    Returns:
        ``(auc, of_positives, of_negatives)``: for each positive the share of negatives below it,
        and for each negative the share of positives above it, in the order of the rows. NaN and
        empty arrays where a class is absent.

    Raises:
        BadInput: see `validate_scores`.

    >>> placement_values(np.array([0, 1, 0, 1]), np.array([0.1, 0.3, 0.4, 0.8]))
    (0.75, array([0.5, 1. ]), array([1. , 0.5]))
    """
    y_true, y_score = validate_scores(y_true, y_score)
    positive = y_true == 1
    n_positives, n_negatives = int(positive.sum()), int((~positive).sum())
    if not n_positives or not n_negatives:
        return float("nan"), np.zeros(0), np.zeros(0)
    # One sort serves all mid-ranks. Rows with equal scores form a group; below a row lie all rows
    # of lower groups, and half of those of its own.
    order = np.argsort(y_score)
    ordered = y_score[order]
    group_ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1
    group_starts = np.append(0, group_ends[:-1])
    positives_up_to = np.cumsum(positive[order])[group_ends - 1]
    positives_before = np.append(0, positives_up_to[:-1])
    positives_below = (positives_before + positives_up_to) / 2
    negatives_below = (group_starts - positives_before + group_ends - positives_up_to) / 2
    group = np.empty(len(order), dtype=np.intp)
    group[order] = np.repeat(np.arange(len(group_ends)), group_ends - group_starts)
    of_positives = negatives_below[group[positive]] / n_negatives
    of_negatives = 1 - positives_below[group[~positive]] / n_positives
    return float(of_positives.mean()), of_positives, of_negatives


def auc_variance(y_true: np.ndarray, y_score: np.ndarray) -> tuple[float, float]:
    """The AUC and DeLong's variance of it.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: scores, shape ``(n_rows,)``.

    Returns:
        ``(auc, variance)``; NaN where a class is absent, and the variance with fewer than two rows
        of a class.
    """
    auc, of_positives, of_negatives = placement_values(y_true, y_score)
    if len(of_positives) < 2 or len(of_negatives) < 2:
        return auc, float("nan")
    return auc, float(
        of_positives.var(ddof=1) / len(of_positives) + of_negatives.var(ddof=1) / len(of_negatives)
    )


def auc_interval(auc: float, variance: float, level: float = 0.95) -> tuple[float, float]:
    """Both ends of the normal interval of an AUC, cut to [0, 1]; NaN where the variance is.

    >>> [round(end, 4) for end in auc_interval(0.75, 0.0001)]
    [0.7304, 0.7696]
    """
    if variance != variance:
        return float("nan"), float("nan")
    half = _normal_quantile(0.5 + level / 2) * variance**0.5
    return max(0.0, auc - half), min(1.0, auc + half)


def delong_test(y_true: np.ndarray, a: np.ndarray, b: np.ndarray) -> AUCDifference:
    """Compare the AUCs of two scorings of the same rows (DeLong's paired test).

    Equal scorings give p = 1. Interval and p are NaN with fewer than two rows of a class, and where
    the scorings differ but their difference has no variance, as between a complete separation and
    its reverse.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        a, b: scores, shape ``(n_rows,)`` each.
    """
    auc_a, positives_a, negatives_a = placement_values(y_true, a)
    auc_b, positives_b, negatives_b = placement_values(y_true, b)
    delta, nan = auc_a - auc_b, float("nan")
    if len(positives_a) < 2 or len(negatives_a) < 2:
        return AUCDifference(delta, nan, nan, nan)
    # Differences row by row, so that what both scorings share cancels.
    positives, negatives = positives_a - positives_b, negatives_a - negatives_b
    standard_error = (
        positives.var(ddof=1) / len(positives) + negatives.var(ddof=1) / len(negatives)
    ) ** 0.5
    if standard_error == 0:
        if delta == 0:
            return AUCDifference(delta, delta, delta, 1.0)
        return AUCDifference(delta, nan, nan, nan)
    half = _normal_quantile(0.975) * standard_error
    p = 2 * _normal_cdf(-abs(delta) / standard_error)
    return AUCDifference(delta, delta - half, delta + half, p)


def _normal_quantile(probability: float) -> float:
    # SciPy loads in a third of a second, which everything that reads stored metrics would wait for.
    from scipy.special import ndtri

    return float(ndtri(probability))


def _normal_cdf(x: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(x))
