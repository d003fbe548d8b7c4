"""CKA and PCA compared with their definitions and scikit-learn."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from core.evaluation.geometry import linear_cka, pca_2d


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with centring matrices, as the paper writes it."""
    n = len(x)
    centre = np.eye(n) - np.ones((n, n)) / n

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        return float(np.trace(k @ centre @ m @ centre) / (n - 1) ** 2)

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("widths", [(5, 7), (90, 4), (90, 80)])
def test_cka_is_the_papers(widths: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    x = generator.normal(size=(40, widths[0])) + 3
    y = generator.normal(size=(40, widths[1])) + x[:, :1]
    assert linear_cka(x, y) == pytest.approx(by_definition(x, y), rel=1e-9)


def test_cka_in_closed_form() -> None:
    generator = np.random.default_rng(2)
    x = generator.normal(size=(50, 6))
    turn, _ = np.linalg.qr(generator.normal(size=(6, 6)))
    assert linear_cka(x, x) == 1
    assert linear_cka(x, 3 * x @ turn + 7) == pytest.approx(1)
    # Of single columns it is the squared correlation.
    assert linear_cka(x[:, :1], x[:, 1:2]) == pytest.approx(
        np.corrcoef(x[:, 0], x[:, 1])[0, 1] ** 2
    )
    assert np.isnan(linear_cka(x, np.ones((50, 2))))


def test_pca_equals_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    before, after = generator.normal(size=(2, 30, 8)) * np.arange(1, 9)
    first, second, share = pca_2d(before, after)
    model = PCA(2)
    wanted = model.fit_transform(np.concatenate([before, after]))
    np.testing.assert_allclose(np.abs(np.concatenate([first, second])), np.abs(wanted), atol=1e-9)
    assert share == pytest.approx(model.explained_variance_ratio_.sum())
