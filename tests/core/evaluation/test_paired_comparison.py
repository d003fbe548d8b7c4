"""Comparisons over seeds: DeLong for one seed, closed forms, and simulations with known truth."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss, roc_auc_score

from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.paired_comparison import (
    compare_auc,
    compare_log_loss,
    compare_log_losses,
    mean_auc,
    mean_over_rows,
    placement_values_by_seed,
)
from core.evaluation.roc_auc import auc_interval, auc_variance, delong_test


def world(
    generator: np.random.Generator, rows: int, seeds: int, gain: float, seed_noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and scores of two strategies whose logits see the same truth, with noise a row and in
    skill a seed."""
    truth = generator.normal(size=rows)
    labels = (generator.random(rows) < 1 / (1 + np.exp(-truth))).astype(float)
    shared = generator.normal(size=rows)

    def strategy(skill: float) -> np.ndarray:
        skills = skill + seed_noise * generator.normal(size=seeds)
        own = generator.normal(size=(seeds, rows))
        return 1 / (1 + np.exp(-(skills[:, None] * truth + shared + 0.3 * own)))

    return labels, strategy(1 + gain), strategy(1)


def test_one_seed_is_delong() -> None:
    labels, a, b = world(np.random.default_rng(0), 400, 1, 0.3, 0.1)
    ours, theirs = compare_auc(labels, a, b), delong_test(labels, a[0], b[0])
    for name in ("delta", "low", "high", "p"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=1e-12)
    assert np.isnan(ours.seed_standard_error)


def test_delta_is_the_mean_of_scikit_learns() -> None:
    labels, a, b = world(np.random.default_rng(1), 300, 4, 0.2, 0.1)
    auc = np.mean(
        [roc_auc_score(labels, x) - roc_auc_score(labels, y) for x, y in zip(a, b, strict=True)]
    )
    assert compare_auc(labels, a, b).delta == pytest.approx(auc, abs=1e-12)
    loss = np.mean([log_loss(labels, x) - log_loss(labels, y) for x, y in zip(a, b, strict=True)])
    assert compare_log_loss(labels, a, b).delta == pytest.approx(loss, abs=1e-12)


def test_when_rows_are_plenty_it_is_students_t_over_seeds() -> None:
    labels, a, b = world(np.random.default_rng(2), 20_000, 5, 0.05, 0.5)
    ours = compare_auc(labels, a, b)
    deltas = [
        roc_auc_score(labels, x) - roc_auc_score(labels, y) for x, y in zip(a, b, strict=True)
    ]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(deltas), scale=stats.sem(deltas))
    assert ours.test_standard_error < 0.1 * ours.seed_standard_error
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=0.05, abs=1e-3)


def truth_of(gain: float) -> tuple[float, float]:
    """The AUC and log loss differences that infinitely many rows would show without training
    noise."""
    labels, a, b = world(np.random.default_rng(99), 400_000, 1, gain, 0)
    return (
        roc_auc_score(labels, a[0]) - roc_auc_score(labels, b[0]),
        log_loss(labels, a[0]) - log_loss(labels, b[0]),
    )


@pytest.mark.parametrize("seeds", [1, 5])
def test_the_95_interval_covers_the_truth_in_95_percent_of_simulations(seeds: int) -> None:
    true_auc, true_loss = truth_of(0.3)
    generator = np.random.default_rng(3)
    simulations = 300
    covered = {"auc": 0, "loss": 0}
    for _ in range(simulations):
        labels, a, b = world(generator, 250, seeds, 0.3, 0.1 if seeds > 1 else 0)
        auc, loss = compare_auc(labels, a, b), compare_log_loss(labels, a, b)
        covered["auc"] += auc.low <= true_auc <= auc.high
        covered["loss"] += loss.low <= true_loss <= loss.high
    # Binomial bounds that a correct interval leaves once in 10,000 times.
    low, high = stats.binom.interval(0.9999, simulations, 0.95)
    assert low <= covered["auc"] <= high
    # The bootstrap of few seeds may cover 2 percentage points less, or 1 more.
    low = stats.binom.ppf(1e-4, simulations, 0.95 if seeds == 1 else 0.93)
    high = stats.binom.ppf(1 - 1e-4, simulations, 0.95 if seeds == 1 else 0.96)
    assert low <= covered["loss"] <= high < simulations


def significant_share(
    gain: float, seeds: int, rows: int, seed_noise: float, simulations: int
) -> tuple[int, int]:
    """In how many simulations each of the two strategies is called significantly better."""
    generator = np.random.default_rng(4)
    better = worse = 0
    for _ in range(simulations):
        found = compare_auc(*world(generator, rows, seeds, gain, seed_noise))
        better += found.p < 0.05 and found.delta > 0
        worse += found.p < 0.05 and found.delta < 0
    return better, worse


def test_equally_good_strategies_are_called_different_in_5_percent_of_simulations() -> None:
    """The size of the test, from both sides: one that never finds a difference fails too."""
    better, worse = significant_share(0.0, 3, 200, 0.2, 400)
    low, high = stats.binom.interval(0.9999, 400, 0.05)
    assert low <= better + worse <= high
    assert min(better, worse) > 0


@pytest.mark.parametrize(
    ("gain", "seeds", "seed_noise"), [(0.6, 1, 0.0), (0.6, 3, 0.1), (1.0, 3, 0.1)]
)
def test_a_better_strategy_is_found_and_more_often_the_better_it_is(
    gain: float, seeds: int, seed_noise: float
) -> None:
    """The power of the test: with 400 rows these gains are large compared with the noise."""
    better, worse = significant_share(gain, seeds, 400, seed_noise, 200)
    assert better >= stats.binom.ppf(1e-4, 200, 0.85)
    assert worse == 0
    smaller, _ = significant_share(gain / 4, seeds, 400, seed_noise, 200)
    assert smaller < 0.7 * better


def test_equal_scores_differ_in_nothing() -> None:
    labels, a, _ = world(np.random.default_rng(5), 100, 3, 0, 0.1)
    for comparison in (compare_auc(labels, a, a), compare_log_loss(labels, a, a)):
        assert comparison.delta == 0 and comparison.p == 1


def test_pairs_on_shared_draws_equal_each_pair_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # Small enough for several chunks.
    monkeypatch.setattr("core.evaluation.paired_comparison.MAX_COUNTS_AT_ONCE", 300 * 130)
    labels, a, b = world(np.random.default_rng(6), 300, 3, 0.4, 0.1)
    losses = np.concatenate([log_loss_per_row(labels, a), log_loss_per_row(labels, b)])
    together = compare_log_losses(
        losses, [([0, 1, 2], [3, 4, 5]), ([3], [0]), ([0, 1, 2], [0, 1, 2])]
    )
    # As text, which tells every bit and takes NaN for equal.
    alone = [compare_log_loss(labels, a, b), compare_log_loss(labels, b[:1], a[:1])]
    assert repr(together[:2]) == repr(alone)
    assert together[2].p == 1 and compare_log_losses(losses, []) == []


def test_scores_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong"):
        compare_auc(np.zeros(3), np.zeros((2, 3)), np.zeros((1, 3)))


def test_the_interval_of_a_mean_is_students_where_one_kind_of_noise_is_absent() -> None:
    generator = np.random.default_rng(4)
    rows = generator.normal(2, 1, (1, 5000))
    found = mean_over_rows(rows)
    expected = stats.norm.interval(0.95, rows.mean(), rows.std(ddof=1) / 5000**0.5)
    assert (found.low, found.high) == pytest.approx(expected)
    # Rows all alike: only the seeds differ, and Student's degrees of freedom are theirs.
    seeds = np.repeat(generator.normal(2, 1, (4, 1)), 100, axis=1)
    found, values = mean_over_rows(seeds), seeds[:, 0]
    expected = stats.t.interval(0.95, 3, values.mean(), values.std(ddof=1) / 2)
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), *expected))


def test_the_mean_auc_of_one_seed_has_delongs_interval() -> None:
    labels, scores, _ = world(np.random.default_rng(6), 800, 1, 0.5, 0.0)
    found = mean_auc(placement_values_by_seed(labels, scores))
    expected = auc_interval(*auc_variance(labels, scores[0]))
    assert (found.value, found.low, found.high) == pytest.approx(
        (roc_auc_score(labels, scores[0]), *expected)
    )
