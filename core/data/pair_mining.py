"""Choose the pairs of fields whose joint values say more of clicks than the single values do.

An additive logistic regression on the one-hot ids of all fields stands for what single values
say. A pair's gain is what its target statistic, added to that model with one coefficient, takes
off the log loss, to second order: the score test (Rao 1948) of the column. Both the model's
logits and the target statistic are out of fold, so that a pair with as many keys as rows gains
nothing by remembering them.
"""

from collections.abc import Iterator

import numpy as np

from core.data.parallel import map_ordered
from core.data.target_statistics import PRIOR_ROWS, assign_folds, click_rate

MAX_MINING_ROWS = 200_000
"""Training rows that pairs are chosen on; of more, a random sample."""
N_MINING_FOLDS = 5
_SWEEPS = 6
"""Passes over the fields until the additive model has converged to 0.0001 in log loss."""
_RIDGE = 20.0
_N_SLOTS = 2**17


def choose_pairs(
    ids: np.ndarray, labels: np.ndarray, n_pairs: int, seed: int = 0
) -> tuple[tuple[int, int], ...]:
    """Return the `n_pairs` pairs of columns with the largest out-of-fold gain, best first.

    Args:
        ids: of the training rows, int32, shape ``(n_rows, n_fields)``.
        labels: 0 or 1, shape ``(n_rows,)``.
        n_pairs: how many; all pairs if there are fewer.
        seed: of the folds and of the sample of the rows.
    """
    if len(ids) > MAX_MINING_ROWS:
        generator = np.random.default_rng(seed)
        chosen = np.sort(generator.choice(len(ids), MAX_MINING_ROWS, replace=False))
        ids, labels = ids[chosen], labels[chosen]
    gains = pair_gains(ids, labels, seed)
    return tuple(sorted(gains, key=lambda pair: (-gains[pair], pair))[:n_pairs])


def pair_gains(ids: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[tuple[int, int], float]:
    """Return the gain of every pair of columns, in nats over all rows; below 0 where it harms.

    Args:
        ids: int32, shape ``(n_rows, n_fields)``.
        labels: 0 or 1, shape ``(n_rows,)``.
        seed: of the folds.
    """
    folds = assign_folds(len(ids), seed, N_MINING_FOLDS)
    columns = np.ascontiguousarray(ids.T)
    labels = np.asarray(labels, np.float32)
    logits = np.empty(len(ids))
    for fold in range(N_MINING_FOLDS):
        own = folds == fold
        logits[own] = fit_additive_logits(columns, labels, ~own)[own]

    def gains_of(first: int) -> dict[tuple[int, int], float]:
        statistics = pair_statistics(columns, labels, folds, first)
        return {pair: score_test(column, logits, labels) for pair, column in statistics}

    gains: dict[tuple[int, int], float] = {}
    for found in map_ordered(gains_of, range(len(columns))):
        gains |= found
    return gains


def fit_additive_logits(columns: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the log-odds of an additive logistic regression for all rows, float64.

    It has a weight for every id of every field, with a ridge penalty, fitted by Newton steps on
    one field after the other: within a field the Hessian is diagonal, as a row has one id.

    Args:
        columns: int32, shape ``(n_fields, n_rows)``.
        labels: 0.0 or 1.0, shape ``(n_rows,)``.
        mask: bool, same shape: the rows to fit on.
    """
    base_rate = click_rate(labels[mask])
    logits = np.full(len(labels), np.log(base_rate / (1 - base_rate)))
    weights = [np.zeros(column.max(initial=0) + 1) for column in columns]
    for _ in range(_SWEEPS):
        for column, weight in zip(columns, weights, strict=True):
            probabilities = 1 / (1 + np.exp(-logits))
            gradient = np.bincount(column, mask * (labels - probabilities), len(weight))
            hessian = np.bincount(column, mask * probabilities * (1 - probabilities), len(weight))
            step = (gradient - _RIDGE * weight) / (hessian + _RIDGE)
            weight += step
            logits += step[column]
    return logits


def pair_statistics(
    columns: np.ndarray, labels: np.ndarray, folds: np.ndarray, first: int
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Yield each pair of `first` with a later column, and its out-of-fold target statistic.

    Args:
        columns: int32, shape ``(n_fields, n_rows)``.
        labels: 0.0 or 1.0, float32, shape ``(n_rows,)``.
        folds: int8, same shape.
        first: index of a column.
    """
    from core.data.columns.kernels import count_fold_keys, fill_out_of_fold_logits

    shape = (_N_SLOTS, N_MINING_FOLDS + 1)
    clicks, rows = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    keys, statistic = np.empty(len(labels), np.int32), np.empty(len(labels))
    prior_clicks = PRIOR_ROWS * click_rate(labels)
    for second in range(first + 1, len(columns)):
        size = int(columns[second].max(initial=0)) + 1
        count_fold_keys(columns[first], columns[second], size, labels, folds, keys, clicks, rows)
        fill_out_of_fold_logits(keys, folds, clicks, rows, prior_clicks, PRIOR_ROWS, statistic)
        yield (first, second), statistic


def score_test(column: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> float:
    """Return how much a further column lowers the log loss of a logistic model, to second order.

    The model is refitted in an intercept, a factor of its own logits and the coefficient of the
    column. The gain is in nats over all rows; its sign is that of the coefficient, since a target
    statistic that counts against clicks has found noise.

    Args:
        column: float64, shape ``(n_rows,)``.
        logits: of the model, same shape.
        labels: 0.0 or 1.0, same shape.
    """
    probabilities = 1 / (1 + np.exp(-logits))
    residuals, curvature = labels - probabilities, probabilities * (1 - probabilities)
    model = np.stack([np.ones(len(logits)), logits], axis=1)
    weighted = model * curvature[:, None]
    # What the intercept and the model's own logits explain of the column is no gain of the pair.
    coefficients = np.linalg.lstsq(weighted.T @ model, weighted.T @ column, rcond=None)[0]
    rest = column - model @ coefficients
    score, information = residuals @ rest, curvature @ rest**2
    return float(score * abs(score) / (2 * information)) if information > 1e-9 else 0.0
