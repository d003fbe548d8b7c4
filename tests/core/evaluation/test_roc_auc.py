"""DeLong's test compared with structural components written out, scikit-learn, and simulations with
known truth."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from core.evaluation.roc_auc import auc_interval, auc_variance, delong_test


def brute(labels: np.ndarray, *scorings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(AUCs, covariance matrix) by DeLong 1988, equations over all pairs of a positive and a
    negative."""
    aucs, v10, v01 = [], [], []
    for scores in scorings:
        positives, negatives = scores[labels == 1], scores[labels == 0]
        psi = (positives[:, None] > negatives[None, :]) + 0.5 * (
            positives[:, None] == negatives[None, :]
        )
        aucs.append(psi.mean())
        v10.append(psi.mean(axis=1))
        v01.append(psi.mean(axis=0))
    covariance = np.atleast_2d(np.cov(v10)) / len(v10[0]) + np.atleast_2d(np.cov(v01)) / len(v01[0])
    return np.array(aucs), covariance


def data(
    seed: int, rows: int = 120, ties: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = (generator.random(rows) < 0.3).astype(float)
    labels[:4] = (0, 0, 1, 1)
    signal = labels + generator.normal(0, 1, rows)
    a, b = signal + generator.normal(0, 0.5, rows), signal + generator.normal(0, 1.0, rows)
    return (labels, np.round(a), np.round(b)) if ties else (labels, a, b)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_equals_structural_components_by_hand(seed: int, ties: bool) -> None:
    labels, a, b = data(seed, ties=ties)
    aucs, covariance = brute(labels, a, b)
    for scores, auc, variance in zip((a, b), aucs, np.diag(covariance), strict=True):
        got = auc_variance(labels, scores)
        assert got[0] == pytest.approx(auc) == pytest.approx(roc_auc_score(labels, scores))
        assert got[1] == pytest.approx(variance)
    spread = (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]) ** 0.5
    difference = delong_test(labels, a, b)
    assert difference.delta == pytest.approx(aucs[0] - aucs[1])
    assert difference.p == pytest.approx(2 * norm.sf(abs(difference.delta) / spread))
    assert (difference.high - difference.low) / 2 == pytest.approx(norm.ppf(0.975) * spread)


def test_interval_covers_the_truth_about_95_percent_of_the_time() -> None:
    truth = norm.cdf(1 / 2**0.5)
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(600):
        labels = (generator.random(400) < 0.25).astype(float)
        auc, variance = auc_variance(labels, labels + generator.normal(0, 1, 400))
        low, high = auc_interval(auc, variance)
        covered += low <= truth <= high
    assert 0.925 < covered / 600 < 0.975


def test_equally_good_scorings_are_called_different_about_5_percent_of_the_time() -> None:
    generator = np.random.default_rng(4)
    different = 0
    for _ in range(600):
        labels = (generator.random(400) < 0.25).astype(float)
        shared = labels + generator.normal(0, 1, 400)
        a, b = shared + generator.normal(0, 0.7, 400), shared + generator.normal(0, 0.7, 400)
        different += delong_test(labels, a, b).p < 0.05
    assert 0.025 < different / 600 < 0.08


def test_a_better_scoring_is_found_as_often_as_its_true_difference_predicts() -> None:
    """Power within a few points of the normal approximation's, from both sides."""
    generator = np.random.default_rng(6)
    # Signal 1 apart; noise of the shared part 1, of each scoring 0.2 and 1.
    truth = norm.cdf(1 / (2 * (1 + 0.2**2)) ** 0.5) - norm.cdf(1 / (2 * (1 + 1.0**2)) ** 0.5)
    found, deviations = 0, []
    for _ in range(600):
        labels = (generator.random(400) < 0.25).astype(float)
        shared = labels + generator.normal(0, 1, 400)
        a, b = shared + generator.normal(0, 0.2, 400), shared + generator.normal(0, 1.0, 400)
        difference = delong_test(labels, a, b)
        found += difference.p < 0.05 and difference.delta > 0
        deviations.append((difference.high - difference.low) / (2 * norm.ppf(0.975)))
    expected = norm.sf(norm.ppf(0.975) - truth / np.mean(deviations))
    assert found / 600 == pytest.approx(expected, abs=0.08)
    assert 0.3 < expected < 0.9


def test_width_at_the_sizes_the_design_quotes() -> None:
    generator = np.random.default_rng(5)
    separation = 2**0.5 * norm.ppf(0.81)
    labels = (generator.random(10_000) < 0.256).astype(float)
    auc, variance = auc_variance(labels, separation * labels + generator.normal(0, 1, 10_000))
    assert 1.96 * variance**0.5 == pytest.approx(0.011, abs=0.002) and auc == pytest.approx(
        0.81, abs=0.02
    )


def test_degenerate_input() -> None:
    labels = np.array([0.0, 1, 0, 1])
    assert np.isnan(auc_variance(np.ones(4), np.arange(4.0))).all()
    assert auc_variance(labels, np.full(4, 0.5))[0] == 0.5
    assert np.isnan(auc_variance(np.array([0.0, 1, 1]), np.array([0.1, 0.2, 0.3]))[1])
    assert auc_interval(0.999, 1.0) == (0.0, 1.0)
    same = delong_test(labels, np.array([0.1, 0.4, 0.3, 0.2]), np.array([0.1, 0.4, 0.3, 0.2]))
    assert (same.delta, same.p) == (0.0, 1.0)
    assert np.isnan(delong_test(np.ones(4), np.arange(4.0), np.arange(4.0)).p)
