"""Two strategies compared over several seeds on the same test rows.

Two kinds of noise differ: other test rows would give other numbers (test-row noise), and so would other seeds
(training noise). Both go into the interval: the test-row variance of the mean difference, by DeLong's components
averaged over the seeds, plus the variance between the seeds' differences over their number. The interval is Student's,
its degrees of freedom by Satterthwaite (1946); with one seed it holds for the test rows alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from core.evaluation.delong import components

RESAMPLES = 2000
CHUNK_COUNTS = 4_000_000
"""How often each row is drawn is counted for so many (resample, row) at a time: about 100 MB."""


@dataclass(frozen=True)
class SeedDifference:
    """Mean of a metric of a less that of b over seeds, its 95 % interval and two-sided p-value.

    test_deviation: standard error from test rows. seed_deviation: from seeds; NaN with a single one.
    """

    delta: float
    low: float
    high: float
    p: float
    test_deviation: float
    seed_deviation: float
    seeds: int
    rows: int


def compare_auc(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> SeedDifference:
    """AUC of a less AUC of b. labels: (rows,). a, b: scores (seeds, rows), the same seeds in the same order."""
    _check(labels, a, b)
    deltas, positives, negatives = [], [], []
    for one, other in zip(a, b, strict=True):
        auc_a, positives_a, negatives_a = components(labels, one)
        auc_b, positives_b, negatives_b = components(labels, other)
        deltas.append(auc_a - auc_b)
        positives.append(positives_a - positives_b)
        negatives.append(negatives_a - negatives_b)
    variance = 0.0
    for parts in (np.mean(positives, axis=0), np.mean(negatives, axis=0)):
        variance += parts.var(ddof=1) / len(parts) if len(parts) > 1 else float("nan")
    return _difference(np.array(deltas), variance, len(labels))


def compare_log_loss(labels: np.ndarray, a: np.ndarray, b: np.ndarray, seed: int = 0) -> SeedDifference:
    """Log loss of a less that of b (below 0: a is better), by a bootstrap paired over rows and over seeds.

    RESAMPLES times rows and seeds are drawn with replacement, independently; the interval is the percentile one, the
    p-value twice the smaller share of resamples beyond 0 (Efron and Tibshirani 1993).
    """
    return compare_log_losses(labels, [(a, b)], seed)[0]


def compare_log_losses(
    labels: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]], seed: int = 0
) -> list[SeedDifference]:
    """compare_log_loss of every (a, b), all on the same draws of rows, which cost nearly all of the time."""
    for a, b in pairs:
        _check(labels, a, b)
    losses = [_loss(labels, a) - _loss(labels, b) for a, b in pairs]
    if not losses:
        return []
    rows, stacked = len(labels), np.concatenate(losses)
    generator = np.random.default_rng(seed)
    sums = np.empty((RESAMPLES, len(stacked)))
    chunk = max(1, CHUNK_COUNTS // rows)
    for start in range(0, RESAMPLES, chunk):
        size = min(chunk, RESAMPLES - start)
        drawn = generator.integers(rows, size=(size, rows)) + rows * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
        sums[start : start + size] = counts.astype(np.float64) @ stacked.T
    ends = np.cumsum([len(one) for one in losses])
    return [_bootstrapped(own, sums[:, end - len(own) : end], generator) for own, end in zip(losses, ends, strict=True)]


def _bootstrapped(losses: np.ndarray, sums: np.ndarray, generator: np.random.Generator) -> SeedDifference:
    """losses: (seeds, rows). sums: (RESAMPLES, seeds), of each seed's losses over the rows that a resample drew."""
    seeds, rows = losses.shape
    of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
    means = np.einsum("rs,rs->r", of_seeds, sums) / (rows * seeds)
    low, high = np.quantile(means, [0.025, 0.975])
    beyond = min((means <= 0).sum(), (means >= 0).sum())
    p = 1.0 if not losses.any() else min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1))
    test = float(losses.mean(axis=0).std(ddof=1) / rows**0.5)
    between = float(losses.mean(axis=1).std(ddof=1) / seeds**0.5) if seeds > 1 else float("nan")
    return SeedDifference(float(losses.mean()), float(low), float(high), p, test, between, seeds, rows)


def _difference(deltas: np.ndarray, test_variance: float, rows: int) -> SeedDifference:
    seeds = len(deltas)
    delta = float(deltas.mean())
    seed_variance = float(deltas.var(ddof=1) / seeds) if seeds > 1 else 0.0
    total = test_variance + seed_variance
    deviations = (test_variance**0.5, seed_variance**0.5 if seeds > 1 else float("nan"))
    if total == 0:
        return SeedDifference(delta, delta, delta, 1.0 if delta == 0 else 0.0, *deviations, seeds, rows)
    # The test-row part has the degrees of freedom of thousands of rows; the seeds' part those of few seeds.
    freedom = (seeds - 1) * (total / seed_variance) ** 2 if seed_variance else float("inf")
    half = float(student.ppf(0.975, freedom)) * total**0.5
    p = float(2 * student.sf(abs(delta) / total**0.5, freedom))
    return SeedDifference(delta, delta - half, delta + half, p, *deviations, seeds, rows)


def _loss(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    epsilon = np.finfo(np.float64).eps
    clipped = np.clip(scores.astype(np.float64), epsilon, 1 - epsilon)
    return -(labels * np.log(clipped) + (1 - labels) * np.log1p(-clipped))


def _check(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != len(labels):
        raise ValueError(f"scores of shapes {a.shape} and {b.shape} do not belong together and to {len(labels)} labels")
