"""What chance does to calibration: a perfect model's ECE, and the interval of predicted clicks.

The expected calibration error (ECE) of a perfectly calibrated model is not 0 on finitely many
rows: the click rate of a bin differs from its mean score by chance. `calibration_floor` computes
what such a model would have on the same rows, so that an ECE can be judged.
"""

from itertools import pairwise

import numpy as np

N_BINS = 15
"""Bins of equally many rows."""
DRAWS = 2000
"""Sets of labels that are drawn for the floor."""
_NORMAL_VARIANCE = 25.0
"""From this variance on, the number of clicks of a bin is drawn from a normal distribution."""
_POISSON_RATIO = 1.02
"""Up to this ratio of the mean to the variance, the rarer label of a bin is drawn as Poisson."""
_MAX_UNIFORMS = 2_000_000
"""Random numbers held at a time, about 16 MB."""


def calibration_floor(
    y_score: np.ndarray, n_bins: int = N_BINS, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Return the ECE of a perfectly calibrated model on these rows: mean and 95 % quantile.

    Labels are drawn from the scores, so that the scores are perfectly calibrated, and the ECE is
    computed of each set of labels. An ECE below the quantile is no evidence of miscalibration.

    Args:
        y_score: click probabilities, shape ``(n_rows,)``.
        n_bins: bins of equally many rows, by rising score.
        draws: sets of labels.
        seed: of the draws, so that the same scores give the same numbers.

    Returns:
        NaN twice without rows.

    >>> floor, high = calibration_floor(np.full(15000, 0.5))
    >>> round(floor, 4), round(high, 4)
    (0.0126, 0.0167)
    """
    y_score = np.asarray(y_score, np.float64)
    if not len(y_score):
        return float("nan"), float("nan")
    scores = np.sort(y_score)
    edges = np.unique(np.linspace(0, len(scores), n_bins + 1).round().astype(int))
    generator = np.random.default_rng(seed)
    errors = np.zeros(draws)
    for start, end in pairwise(edges):
        errors += np.abs(_draw_excess_clicks(scores[start:end], draws, generator))
    errors /= len(scores)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def predicted_over_actual_bounds(y_true: np.ndarray, y_score: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of predicted over actual clicks, for other rows of the same kind.

    It is symmetric for the logarithm of the ratio, whose variance is that of a ratio of two means
    of the same rows (delta method).

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: click probabilities, shape ``(n_rows,)``.

    Returns:
        NaN twice with fewer than two clicks, or if nothing is predicted.
    """
    predicted, actual = float(np.sum(y_score)), float(np.sum(y_true))
    if actual < 2 or predicted <= 0:
        return float("nan"), float("nan")
    # What a row adds to the logarithm of the ratio, to first order.
    rows = y_score / predicted - y_true / actual
    half = 1.96 * float(np.sqrt(np.sum(rows**2)))
    ratio = predicted / actual
    return ratio * float(np.exp(-half)), ratio * float(np.exp(half))


def _draw_excess_clicks(
    scores: np.ndarray, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw labels from the scores of a bin: clicks minus those expected, shape ``(draws,)``."""
    variance = float(np.sum(scores * (1 - scores)))
    if variance >= _NORMAL_VARIANCE:
        return generator.normal(0.0, variance**0.5, draws)
    clicks, others = float(np.sum(scores)), float(np.sum(1 - scores))
    # Rare clicks, or rare rows without one, of many rows are Poisson: then both variances agree.
    if min(clicks, others) <= _POISSON_RATIO * variance:
        rare = min(clicks, others)
        excess = generator.poisson(rare, draws) - rare
        return excess if clicks < others else -excess
    at_once = max(1, _MAX_UNIFORMS // len(scores))
    counts = [
        (generator.random((min(at_once, draws - start), len(scores))) < scores).sum(axis=1)
        for start in range(0, draws, at_once)
    ]
    return np.concatenate(counts) - clicks
