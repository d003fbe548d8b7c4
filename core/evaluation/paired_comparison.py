"""Two strategies compared over several seeds on the same test rows.

Two kinds of noise differ: other test rows would give other numbers (test-row noise), and so would
other seeds (training noise). Both go into the interval: the test-row variance of the mean
difference, by DeLong's components averaged over the seeds, plus the variance between the seeds'
differences over their number. The interval is Student's, its degrees of freedom by Satterthwaite
(1946); with one seed it holds for the test rows alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.roc_auc import placement_values

RESAMPLES = 2000
PlacementValues = tuple[float, np.ndarray, np.ndarray]
"""AUC, and DeLong's components of the positives and of the negatives."""
MAX_ROW_LOSS = 64
"""Above the log loss of any row: row_losses clips scores, which ends it at 36."""
MAX_COUNTS_AT_ONCE = 4_000_000
"""How often each row is drawn is counted for so many (resample, row) at a time: about 32 MB."""


@dataclass(frozen=True)
class PairedDifference:
    """Mean of a metric of a less that of b over seeds, its 95 % interval and two-sided p-value; NaN
    where undefined.

    test_standard_error: standard error from test rows; NaN with fewer than two rows (of a class,
        for the AUC). seed_standard_error: from seeds; NaN with a single one.
    """

    delta: float
    low: float
    high: float
    p: float
    test_standard_error: float
    seed_standard_error: float
    seeds: int
    rows: int


@dataclass(frozen=True)
class MeanEstimate:
    """Mean of a metric over seeds and its 95 % interval, for other test rows and other seeds; NaN
    where undefined."""

    value: float
    low: float
    high: float


def compare_auc(y_true: np.ndarray, a: np.ndarray, b: np.ndarray) -> PairedDifference:
    """AUC of a less AUC of b. labels: (rows,). a, b: scores (seeds, rows), the same seeds in the
    same order."""
    _check_shapes(y_true, a, b)
    return compare_placement_values(
        placement_values_by_seed(y_true, a), placement_values_by_seed(y_true, b), len(y_true)
    )


def placement_values_by_seed(y_true: np.ndarray, y_score: np.ndarray) -> list[PlacementValues]:
    """DeLong's components of every seed's scores (seeds, rows)."""
    return [placement_values(y_true, one) for one in y_score]


def compare_placement_values(
    a: Sequence[PlacementValues], b: Sequence[PlacementValues], rows: int
) -> PairedDifference:
    """compare_auc for those who compare the same scores with several others, and take their
    components once."""
    deltas = np.array([one[0] - other[0] for one, other in zip(a, b, strict=True)])
    positives = [one[1] - other[1] for one, other in zip(a, b, strict=True)]
    negatives = [one[2] - other[2] for one, other in zip(a, b, strict=True)]
    return _student_difference(deltas, _variance(positives, negatives), rows)


def mean_auc(parts: Sequence[PlacementValues]) -> MeanEstimate:
    """AUC of one strategy from the components of its seeds."""
    variance = _variance([one[1] for one in parts], [one[2] for one in parts])
    return _student_mean(np.array([one[0] for one in parts]), variance)


def mean_over_rows(values: np.ndarray) -> MeanEstimate:
    """Mean of what every row adds, such as its log loss or cost; values: (seeds, rows)."""
    rows = values.shape[1]
    variance = float(values.mean(axis=0).var(ddof=1) / rows) if rows > 1 else float("nan")
    return _student_mean(values.mean(axis=1), variance)


def compare_log_loss(
    y_true: np.ndarray, a: np.ndarray, b: np.ndarray, seed: int = 0
) -> PairedDifference:
    """Log loss of a less that of b (below 0: a is better), by a bootstrap paired over rows and over
    seeds.

    RESAMPLES times rows and seeds are drawn with replacement, independently; the interval is the
    percentile one, the p-value twice the smaller share of resamples beyond 0 (Efron and Tibshirani
    1993).
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
    """compare_log_loss of every pair, all on the same draws, and each strategy's losses summed
    once.

    losses: n of (rows,), of every strategy and seed. pairs: which of the n are a's and which b's,
    the same seeds in the same order. What is said of a pair is the same bits as alone.
    """
    if not pairs:
        return []
    sums = _resample_sums(losses, seed)
    # The draws of seeds hang on nothing but their number either.
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
    """Sums (RESAMPLES, n) of each of n losses (rows,) over the rows that a resample drew."""
    rows = len(losses[0])
    # Whole numbers below 2^53 add up exactly in whatever order a matrix product takes, which hangs
    # on how many there are: so a sum is the same bits beside others as alone. They are losses to at
    # least eight decimals.
    unit = 2.0 ** (52 - np.ceil(np.log2(rows * MAX_ROW_LOSS)))
    whole = np.empty((len(losses), rows))
    for place, one in enumerate(losses):
        np.rint(one * unit, out=whole[place])
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
    losses: np.ndarray, sums: np.ndarray, of_seeds: np.ndarray
) -> PairedDifference:
    """losses: (seeds, rows), a's less b's. sums: (RESAMPLES, seeds), of them over the rows that a
    resample drew.

    of_seeds: (RESAMPLES, seeds), how often a resample drew each seed.
    """
    seeds, rows = losses.shape
    means = np.einsum("rs,rs->r", of_seeds, sums) / (rows * seeds)
    if rows < 2:
        # A resample of one row is that row again, whatever the difference: an interval of width 0
        # and a p of 0.001.
        low = high = p = test = float("nan")
    else:
        low, high = np.quantile(means, [0.025, 0.975])
        beyond = min((means <= 0).sum(), (means >= 0).sum())
        p = 1.0 if not losses.any() else min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1))
        # Where all of few rows favour one side, so does every resample; a sign test of them gives
        # no less than this.
        p = max(float(p), 2.0 ** (1 - rows))
        test = float(losses.mean(axis=0).std(ddof=1) / rows**0.5)
    between = float(losses.mean(axis=1).std(ddof=1) / seeds**0.5) if seeds > 1 else float("nan")
    return PairedDifference(
        float(losses.mean()), float(low), float(high), p, test, between, seeds, rows
    )


def _student_difference(deltas: np.ndarray, test_variance: float, rows: int) -> PairedDifference:
    seeds = len(deltas)
    delta = float(deltas.mean())
    total, freedom = _total(deltas, test_variance)
    deviations = (
        test_variance**0.5,
        float(deltas.std(ddof=1) / seeds**0.5) if seeds > 1 else float("nan"),
    )
    if total == 0:
        nan = float("nan")
        low, high, p = (delta, delta, 1.0) if delta == 0 else (nan, nan, nan)
        return PairedDifference(delta, low, high, p, *deviations, seeds, rows)
    half = float(student.ppf(0.975, freedom)) * total**0.5
    p = float(2 * student.sf(abs(delta) / total**0.5, freedom))
    return PairedDifference(delta, delta - half, delta + half, p, *deviations, seeds, rows)


def _student_mean(values: np.ndarray, test_variance: float) -> MeanEstimate:
    value = float(values.mean())
    total, freedom = _total(values, test_variance)
    half = float(student.ppf(0.975, freedom)) * total**0.5
    return MeanEstimate(value, value - half, value + half)


def _total(values: np.ndarray, test_variance: float) -> tuple[float, float]:
    """(variance of the mean of the seeds' values, its degrees of freedom)."""
    seeds = len(values)
    seed_variance = float(values.var(ddof=1) / seeds) if seeds > 1 else 0.0
    total = test_variance + seed_variance
    # The test-row part has the degrees of freedom of thousands of rows; the seeds' part those of
    # few seeds.
    return total, (seeds - 1) * (total / seed_variance) ** 2 if seed_variance else float("inf")


def _variance(*sides: Sequence[np.ndarray]) -> float:
    """Test-row variance from the components of positives and of negatives, each averaged over the
    seeds."""
    means = [np.mean(one, axis=0) for one in sides]
    return sum(float(one.var(ddof=1) / len(one)) if len(one) > 1 else float("nan") for one in means)


def _check_shapes(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != len(labels):
        raise ValueError(
            f"scores of shapes {a.shape} and {b.shape} do not belong together and to {len(labels)}"
            " labels"
        )
