"""AUC with its uncertainty: DeLong, DeLong and Clarke-Pearson (1988) by mid-ranks (Sun and Xu
2014)."""

from dataclasses import dataclass

import numpy as np

from core.evaluation.validation import validate_scores


@dataclass(frozen=True)
class AUCDifference:
    """AUC of a less AUC of b, its 95 % interval, and the two-sided p-value of no difference; NaN
    where undefined."""

    delta: float
    low: float
    high: float
    p: float


def placement_values(
    y_true: np.ndarray, y_score: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """(AUC, the share of negatives below each positive, the share of positives above each
    negative).

    Ties count half. NaN and empty arrays when either class is absent.
    """
    y_true, y_score = validate_scores(y_true, y_score)
    positive = y_true == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return float("nan"), np.zeros(0), np.zeros(0)
    # One sort serves all three mid-ranks: what lies below a row are whole rows, and half of those
    # it is tied with.
    order = np.argsort(y_score)
    ordered = y_score[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1
    positives = np.cumsum(positive[order])[ends - 1]
    starts = np.append(0, ends[:-1])
    positives_before = np.append(0, positives[:-1])
    positives_below = (positives_before + positives) / 2
    negatives_below = (starts - positives_before + ends - positives) / 2
    group = np.empty(len(order), dtype=np.intp)
    group[order] = np.repeat(np.arange(len(ends)), ends - starts)
    of_positives = negatives_below[group[positive]] / n
    of_negatives = 1 - positives_below[group[~positive]] / m
    return float(of_positives.mean()), of_positives, of_negatives


def auc_variance(y_true: np.ndarray, y_score: np.ndarray) -> tuple[float, float]:
    """(AUC, variance of the AUC); variance NaN with fewer than two rows of a class."""
    auc, of_positives, of_negatives = placement_values(y_true, y_score)
    if len(of_positives) < 2 or len(of_negatives) < 2:
        return auc, float("nan")
    return auc, float(
        of_positives.var(ddof=1) / len(of_positives) + of_negatives.var(ddof=1) / len(of_negatives)
    )


def auc_interval(auc: float, variance: float, level: float = 0.95) -> tuple[float, float]:
    """The normal interval of the AUC, cut to [0, 1]; (NaN, NaN) where the variance is."""
    if variance != variance:
        return float("nan"), float("nan")
    half = _normal_quantile(0.5 + level / 2) * variance**0.5
    return max(0.0, auc - half), min(1.0, auc + half)


def delong_test(y_true: np.ndarray, a: np.ndarray, b: np.ndarray) -> AUCDifference:
    """Compares two scorings of the same rows; equal scorings give p = 1.

    Interval and p are NaN with fewer than two rows of a class, and where the scorings differ but
    the difference has no variance (such as a complete separation against its reverse).
    """
    auc_a, positives_a, negatives_a = placement_values(y_true, a)
    auc_b, positives_b, negatives_b = placement_values(y_true, b)
    delta = auc_a - auc_b
    if len(positives_a) < 2 or len(negatives_a) < 2:
        return AUCDifference(delta, float("nan"), float("nan"), float("nan"))
    positives, negatives = positives_a - positives_b, negatives_a - negatives_b
    deviation = (
        positives.var(ddof=1) / len(positives) + negatives.var(ddof=1) / len(negatives)
    ) ** 0.5
    if deviation == 0:
        nan = float("nan")
        return (
            AUCDifference(delta, delta, delta, 1.0)
            if delta == 0
            else AUCDifference(delta, nan, nan, nan)
        )
    half = _normal_quantile(0.975) * deviation
    return AUCDifference(
        delta, delta - half, delta + half, 2 * _normal_cdf(-abs(delta) / deviation)
    )


def _normal_quantile(probability: float) -> float:
    # SciPy loads in a third of a second, which everything that reads stored metrics would wait for.
    from scipy.special import ndtri

    return float(ndtri(probability))


def _normal_cdf(x: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(x))
