"""Similarity of two representations of the same rows, and their projection to two dimensions."""

import numpy as np


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment (Kornblith et al., ICML 2019).

    Args:
        x, y: activations of the same rows, shapes ``(n_rows, width_x)`` and ``(n_rows, width_y)``.

    Returns:
        1 where one is the other rotated, shifted or scaled, near 0 where they are unrelated; NaN
        where either is constant.

    >>> x = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 3.0]])
    >>> round(linear_cka(x, 5 * x[:, ::-1]), 6)
    1.0
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    same = x.shape == y.shape and np.array_equal(x, y)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    if not x.any() or not y.any():
        return float("nan")
    if same:
        return 1.0
    if max(x.shape[1], y.shape[1]) > len(x):
        # Gram matrices of rows give the same number, and are smaller here than those of columns.
        k, m = x @ x.T, y @ y.T
        return float((k * m).sum() / (np.linalg.norm(k) * np.linalg.norm(m)))
    shared = np.square(x.T @ y).sum()
    return float(shared / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def pca_2d(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Project two sets of vectors on the first two principal components of both together.

    Args:
        before, after: vectors of the same values, shape ``(n_values, width)``.

    Returns:
        Both as arrays of shape ``(n_values, 2)`` in the same axes, and the share of the variance
        that the two components explain.
    """
    both = np.concatenate([before, after]).astype(np.float64)
    both -= both.mean(axis=0)
    _, singular_values, components = np.linalg.svd(both, full_matrices=False)
    variance = np.square(singular_values)
    projected = both @ components[:2].T
    # The least positive number keeps 0 / 0, of vectors that are all equal, at 0.
    explained = float(variance[:2].sum() / max(variance.sum(), 1e-300))
    return projected[: len(before)], projected[len(before) :], explained
