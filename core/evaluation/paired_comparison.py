"""Paired comparison of two arms over several seeds on the same test rows.

Two kinds of noise differ: other test rows would give other numbers, and so would other seeds. Both
are in the interval: the test-row variance of the mean difference, from DeLong's placement values
averaged over the seeds, plus the variance between the seeds' differences divided by their number.
The interval is Student's, its degrees of freedom by Satterthwaite (1946). With one seed it holds
for the test rows alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.roc_auc import placement_values

RESAMPLES = 2000
PlacementValues = tuple[float, np.ndarray, np.ndarray]
"""``(auc, of_positives, of_negatives)``, see core.evaluation.roc_auc.placement_values."""
MAX_ROW_LOSS = 64
"""Above the log loss of any row, which is at most 36.1 (see log_loss_per_row)."""
MAX_COUNTS_AT_ONCE = 4_000_000
"""Counts of drawn rows held at a time, one for each resample and row: about 32 MB."""


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
        degrees_of_freedom: of Student's t for `delta` over `standard_error`; infinite where it
            rests on rows alone.
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
    deltas = np.array([one[0] - other[0] for one, other in zip(a, b, strict=True)])
    positives = [one[1] - other[1] for one, other in zip(a, b, strict=True)]
    negatives = [one[2] - other[2] for one, other in zip(a, b, strict=True)]
    return _student_difference(deltas, _test_variance(positives, negatives), rows)


def mean_auc(parts: Sequence[PlacementValues]) -> MeanEstimate:
    """The mean AUC of one arm, from the placement values of its seeds."""
    variance = _test_variance([one[1] for one in parts], [one[2] for one in parts])
    return _student_mean(np.array([one[0] for one in parts]), variance)


def mean_over_rows(values: np.ndarray) -> MeanEstimate:
    """The mean of what every row contributes, such as its log loss or cost.

    Args:
        values: shape ``(n_seeds, n_rows)``.
    """
    rows = values.shape[1]
    variance = float(values.mean(axis=0).var(ddof=1) / rows) if rows > 1 else float("nan")
    return _student_mean(values.mean(axis=1), variance)


def compare_log_loss(
    y_true: np.ndarray, a: np.ndarray, b: np.ndarray, seed: int = 0
) -> PairedDifference:
    """Compare the log losses of two arms by a bootstrap paired over rows and over seeds.

    RESAMPLES times rows and seeds are drawn with replacement, independently. The interval is the
    percentile one, the p-value twice the smaller share of resamples on one side of 0 (Efron and
    Tibshirani 1993).

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        a, b: click probabilities, shape ``(n_seeds, n_rows)`` each, the same seeds in the same
            order.
        seed: of the draws.

    Returns:
        Log loss of a minus that of b in nats; below 0, a is better.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    _check_shapes(y_true, a, b)
    seeds = range(len(a))
    pair = ([*seeds], [len(a) + place for place in seeds])
    return compare_log_losses(
        np.concatenate([log_loss_per_row(y_true, a), log_loss_per_row(y_true, b)]), [pair], seed
    )[0]


def compare_log_losses(
    losses: Sequence[np.ndarray] | np.ndarray,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    seed: int = 0,
) -> list[PairedDifference]:
    """`compare_log_loss` of many pairs on the same draws, each arm's losses summed once.

    Each result has the same bits as if its pair had been compared alone.

    Args:
        losses: cross entropy of every row, ``(n_rows,)`` for each arm and seed.
        pairs: indices into `losses` of a and of b, the same seeds in the same order.
        seed: of the draws.
    """
    if not pairs:
        return []
    sums = _resample_sums(losses, seed)
    # Pairs with the same number of seeds share the draws of seeds, whatever else is compared.
    draws = {
        seeds: (
            np.random.default_rng([seed, seeds]).multinomial(
                seeds, np.full(seeds, 1 / seeds), size=RESAMPLES
            )
        )
        for seeds in {len(a) for a, _ in pairs}
    }
    return [
        _bootstrap_difference(
            np.stack([losses[i] - losses[j] for i, j in zip(a, b, strict=True)]),
            sums[:, a] - sums[:, b],
            draws[len(a)],
        )
        for a, b in pairs
    ]


def _resample_sums(losses: Sequence[np.ndarray] | np.ndarray, seed: int) -> np.ndarray:
    """Sums of each of `losses` over the rows of each resample, shape ``(RESAMPLES, n_losses)``."""
    rows = len(losses[0])
    # The order in which a matrix product adds depends on its size, so sums of floats would differ
    # in their last bits with the number of losses. Integers below 2^53 add up exactly in any order.
    # As such the losses keep at least eight decimals.
    unit = 2.0 ** (52 - np.ceil(np.log2(rows * MAX_ROW_LOSS)))
    whole = np.empty((len(losses), rows))
    for index, row_losses in enumerate(losses):
        np.rint(row_losses * unit, out=whole[index])
    generator = np.random.default_rng(seed)
    sums = np.empty((RESAMPLES, len(losses)))
    counts = np.empty((max(1, min(RESAMPLES, MAX_COUNTS_AT_ONCE // rows)), rows))
    for start in range(0, RESAMPLES, len(counts)):
        size = min(len(counts), RESAMPLES - start)
        for resample in range(size):
            counts[resample] = np.bincount(generator.integers(rows, size=rows), minlength=rows)
        sums[start : start + size] = counts[:size] @ whole.T
    return sums / unit


def _bootstrap_difference(
    losses: np.ndarray, sums: np.ndarray, seed_counts: np.ndarray
) -> PairedDifference:
    """The comparison of one pair.

    Args:
        losses: of a minus those of b, shape ``(n_seeds, n_rows)``.
        sums: of `losses` over the rows of each resample, shape ``(RESAMPLES, n_seeds)``.
        seed_counts: how often each resample drew each seed, shape ``(RESAMPLES, n_seeds)``.
    """
    seeds, rows = losses.shape
    means = np.einsum("rs,rs->r", seed_counts, sums) / (rows * seeds)
    if rows < 2:
        # Every resample of one row is that row again: the interval would have width 0, and p would
        # be 0.001, whatever the difference.
        low = high = p = test = float("nan")
    else:
        low, high = np.quantile(means, [0.025, 0.975])
        beyond = min((means <= 0).sum(), (means >= 0).sum())
        p = 1.0 if not losses.any() else min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1))
        # Where all of a few rows favour one side, so does every resample. A sign test would give at
        # least 2^(1 - n) then, so p is no smaller.
        p = max(float(p), 2.0 ** (1 - rows))
        test = float(losses.mean(axis=0).std(ddof=1) / rows**0.5)
    between = float(losses.mean(axis=1).std(ddof=1) / seeds**0.5) if seeds > 1 else float("nan")
    return PairedDifference(
        float(losses.mean()), float(low), float(high), p, test, between, seeds, rows
    )


def _student_difference(deltas: np.ndarray, test_variance: float, rows: int) -> PairedDifference:
    """The comparison by Student's t. deltas: the difference of each seed, ``(n_seeds,)``."""
    seeds = len(deltas)
    delta = float(deltas.mean())
    total, freedom = _total_variance(deltas, test_variance)
    errors = (
        test_variance**0.5,
        float(deltas.std(ddof=1) / seeds**0.5) if seeds > 1 else float("nan"),
    )
    error = total**0.5
    if total == 0:
        nan = float("nan")
        low, high, p = (delta, delta, 1.0) if delta == 0 else (nan, nan, nan)
        return PairedDifference(delta, low, high, p, *errors, seeds, rows, error, freedom)
    half = float(student.ppf(0.975, freedom)) * error
    p = float(2 * student.sf(abs(delta) / error, freedom))
    return PairedDifference(
        delta, delta - half, delta + half, p, *errors, seeds, rows, error, freedom
    )


def _student_mean(values: np.ndarray, test_variance: float) -> MeanEstimate:
    """The mean with Student's interval. values: one for each seed, ``(n_seeds,)``."""
    value = float(values.mean())
    total, freedom = _total_variance(values, test_variance)
    half = float(student.ppf(0.975, freedom)) * total**0.5
    return MeanEstimate(value, value - half, value + half)


def _total_variance(values: np.ndarray, test_variance: float) -> tuple[float, float]:
    """The variance of the mean over seeds, and its degrees of freedom (Satterthwaite)."""
    seeds = len(values)
    seed_variance = float(values.var(ddof=1) / seeds) if seeds > 1 else 0.0
    total = test_variance + seed_variance
    # The test-row part comes from thousands of rows, so its degrees of freedom count as infinite;
    # those of the seeds' part are few.
    return total, (seeds - 1) * (total / seed_variance) ** 2 if seed_variance else float("inf")


def _test_variance(*sides: Sequence[np.ndarray]) -> float:
    """Test-row variance from the placement values of positives and of negatives.

    Each is averaged over the seeds first: seeds share the test rows, so their noise is not
    independent.
    """
    means = [np.mean(one, axis=0) for one in sides]
    return sum(float(one.var(ddof=1) / len(one)) if len(one) > 1 else float("nan") for one in means)


def _check_shapes(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != len(labels):
        raise ValueError(
            f"scores of shapes {a.shape} and {b.shape} do not belong together and to {len(labels)}"
            " labels"
        )
