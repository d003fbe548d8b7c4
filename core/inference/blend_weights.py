"""The weights of a blend: a weighted mean of logits with the lowest log loss.

Weights are not negative and add up to 1. Without the first, similar models get large weights of
opposite signs (Breiman: Stacked regressions, 1996); a free sum would also scale the scores, which
few validation rows do not determine. The log loss is convex in the weights.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from core.errors import BadInput
from core.evaluation.metric_functions import clip_probabilities

_NONE = 1e-6
"""A weight below this is 0, as no score in float32 shows it."""


def logits_of(scores: np.ndarray) -> np.ndarray:
    """Return the logits of click probabilities, float64.

    >>> logits_of(np.array([0.5])).tolist()
    [0.0]
    """
    return np.asarray(logit(clip_probabilities(scores)), np.float64)


def fit_weights(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the weights with the lowest log loss: none is below 0, and their sum is 1.

    Args:
        logits: of each run, float64 ``(n_rows, n_runs)``.
        labels: 0 or 1, shape ``(n_rows,)``.

    Returns:
        float64 ``(n_runs,)``.

    Raises:
        BadInput: there are no rows.
    """
    n_rows, n_runs = logits.shape
    if not n_rows:
        raise BadInput("There are no validation rows on which the weights could be fitted.")
    clicks = np.asarray(labels, np.float64)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total = logits @ weights
        value = np.mean(np.logaddexp(0.0, total) - clicks * total)
        return float(value), logits.T @ (expit(total) - clicks) / n_rows

    # The mean is where runs that score alike share their weight equally.
    found = minimize(
        loss,
        np.full(n_runs, 1 / n_runs),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n_runs,
        constraints={
            "type": "eq",
            "fun": lambda weights: weights.sum() - 1,
            "jac": lambda weights: np.ones(n_runs),
        },
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    weights = np.where(found.x < _NONE, 0.0, found.x)
    return np.asarray(weights / weights.sum(), np.float64)


def blend_scores(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the click probabilities of a blend, float32 ``(n_rows,)``.

    Args:
        scores: click probabilities of each run, ``(n_runs, n_rows)``.
        weights: of each run.

    >>> blend_scores(np.array([[0.2, 0.9], [0.8, 0.9]]), np.array([0.5, 0.5])).round(3).tolist()
    [0.5, 0.8999999761581421]
    """
    total = np.zeros(scores.shape[1])
    for one, weight in zip(scores, weights, strict=True):
        total += weight * logits_of(one)
    return np.asarray(expit(total), np.float32)
