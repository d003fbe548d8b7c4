"""How alike two sets of vectors of the same rows are, and a picture of them in the plane."""

import numpy as np


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment of activations (rows, floats) of the same rows (Kornblith et
    al., ICML 2019).

    1 where one is the other turned, shifted or scaled; near 0 where they have nothing in common.
    NaN where either is the same for every row. The two may differ in width.
    """
    x, y = (np.asarray(one, dtype=np.float64) for one in (x, y))
    same = x.shape == y.shape and np.array_equal(x, y)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    if not x.any() or not y.any():
        return float("nan")
    if same:
        return 1.0
    if max(x.shape[1], y.shape[1]) > len(x):
        # Between rows instead of floats: the same number, and smaller matrices.
        k, m = x @ x.T, y @ y.T
        return float((k * m).sum() / (np.linalg.norm(k) * np.linalg.norm(m)))
    shared = np.square(x.T @ y).sum()
    return float(shared / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def pca_2d(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Vectors (values, floats) before and after in the plane that shows most of both (PCA of all of
    them together).

    Gives two arrays (values, 2) in the same axes, and the share of the variance that the plane
    shows.
    """
    both = np.concatenate([before, after]).astype(np.float64)
    both -= both.mean(axis=0)
    _, strengths, axes = np.linalg.svd(both, full_matrices=False)
    variance = np.square(strengths)
    places = both @ axes[:2].T
    return (
        places[: len(before)],
        places[len(before) :],
        float(variance[:2].sum() / max(variance.sum(), 1e-300)),
    )
