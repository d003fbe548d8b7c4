"""Comparisons over seeds: DeLong for one seed, closed forms, and simulations with known truth."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss, roc_auc_score

from core.evaluation.paired_comparison import (
    compare_auc,
    compare_log_loss,
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
    assert all(low <= number <= high for number in covered.values())


@dataclass(frozen=True)
class Noise:
    """Standard deviations, in logits, of what differs between two arms of equal quality.

    Args:
        skill: of a seed's slope on the truth, which moves AUC and log loss.
        bias: of a seed's intercept, which moves log loss alone.
        row: of a row, the same for all seeds of an arm.
        both: of a row within a seed.
    """

    skill: float
    bias: float
    row: float
    both: float


NOISES = {
    "seeds dominate": Noise(0.5, 0.5, 0.1, 0.1),
    "rows dominate": Noise(0.01, 0.01, 0.6, 0.1),
    "interaction dominates": Noise(0.0, 0.0, 0.0, 0.8),
}


def rejections(
    noise: Noise, seeds: int, gain: float, simulations: int, rows: int = 250
) -> dict[str, tuple[int, int]]:
    """In how many simulations arm a is called significantly better, and worse, in each metric.

    Both arms are drawn alike, so without a gain their expected difference is 0 in any metric.
    """
    generator = np.random.default_rng(4)
    found = {"auc": [0, 0], "log loss": [0, 0]}
    for _ in range(simulations):
        truth = generator.normal(size=rows)
        labels = (generator.random(rows) < 1 / (1 + np.exp(-truth))).astype(float)

        def arm(slope: float, truth: np.ndarray = truth) -> np.ndarray:
            skills = slope + noise.skill * generator.normal(size=(seeds, 1))
            logits = skills * truth + noise.bias * generator.normal(size=(seeds, 1))
            logits = logits + noise.row * generator.normal(size=rows)
            logits += noise.both * generator.normal(size=(seeds, rows))
            return np.asarray(1 / (1 + np.exp(-logits)))

        # Less than the true slope of 1, so that a gain improves both metrics.
        a, b = arm(0.2 + gain), arm(0.2)
        auc, loss = compare_auc(labels, a, b), compare_log_loss(labels, a, b)
        found["auc"][0] += auc.p < 0.05 and auc.delta > 0
        found["auc"][1] += auc.p < 0.05 and auc.delta < 0
        found["log loss"][0] += loss.p < 0.05 and loss.delta < 0
        found["log loss"][1] += loss.p < 0.05 and loss.delta > 0
    return {metric: (better, worse) for metric, (better, worse) in found.items()}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_equally_good_strategies_are_called_different_in_5_percent_of_simulations(
    seeds: int, noise: str
) -> None:
    """The size of the tests, from both sides: one that never finds a difference fails too.

    With one seed a test holds for that seed alone, so seeds must not differ there.
    """
    drawn = NOISES[noise]
    if seeds == 1:
        drawn = dataclasses.replace(drawn, skill=0, bias=0, row=max(drawn.row, 0.3))
    simulations = 500
    # As in test_crossed_variance: several seeds may claim less than 5 %, as their variance is known
    # badly. Binomial bounds left once in 10,000 times.
    low = stats.binom.ppf(1e-4, simulations, 0.05 if seeds == 1 else 0.025)
    high = stats.binom.ppf(1 - 1e-4, simulations, 0.05)
    for better, worse in rejections(drawn, seeds, 0, simulations).values():
        assert low <= better + worse <= high
        assert min(better, worse) > 0


@pytest.mark.parametrize(
    ("noise", "gain"), [("rows dominate", 0.7), ("interaction dominates", 0.7)]
)
@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_a_better_strategy_is_found_and_more_often_the_better_it_is(
    seeds: int, noise: str, gain: float
) -> None:
    """The power of the tests, in AUC and log loss."""
    drawn = NOISES[noise] if seeds > 1 else dataclasses.replace(NOISES[noise], skill=0, bias=0)
    found = rejections(drawn, seeds, gain, 100, rows=1000)
    smaller = rejections(drawn, seeds, gain / 8, 100, rows=1000)
    for metric, (better, worse) in found.items():
        assert better >= stats.binom.ppf(1e-4, 100, 0.8) and worse == 0
        assert smaller[metric][0] < 0.8 * better


def test_where_seeds_dominate_more_seeds_find_what_few_cannot() -> None:
    noise = dataclasses.replace(NOISES["seeds dominate"], skill=0.3, bias=0.3)
    few, many = (rejections(noise, seeds, 0.7, 100, 600) for seeds in (2, 10))
    for metric in few:
        assert few[metric][0] < 0.7 * many[metric][0] and many[metric][0] > 50


def test_a_p_of_log_loss_can_be_as_small_as_many_comparisons_need() -> None:
    labels, a, b = world(np.random.default_rng(5), 3000, 3, -0.8, 0.02)
    # The bootstrap could not go below 0.001, with which Holm's adjustment over 51 comparisons, and
    # more, could reject nothing.
    assert compare_log_loss(labels, a, b).p < 0.05 / 51
    assert compare_log_loss(labels, a[:1], b[:1]).p < 1e-12


def test_equal_scores_differ_in_nothing() -> None:
    labels, a, _ = world(np.random.default_rng(5), 100, 3, 0, 0.1)
    for comparison in (compare_auc(labels, a, a), compare_log_loss(labels, a, a)):
        assert comparison.delta == 0 and comparison.p == 1


def test_scores_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong"):
        compare_auc(np.zeros(3), np.zeros((2, 3)), np.zeros((1, 3)))


def test_the_interval_of_a_mean_is_students_where_one_kind_of_noise_is_absent() -> None:
    generator = np.random.default_rng(4)
    rows = generator.normal(2, 1, (1, 5000))
    found = mean_over_rows(rows)
    expected = stats.t.interval(0.95, 4999, rows.mean(), rows.std(ddof=1) / 5000**0.5)
    assert (found.low, found.high) == pytest.approx(expected)
    # Rows all alike: only the seeds differ, and Student's degrees of freedom are theirs.
    seeds = np.repeat(generator.normal(2, 1, (4, 1)), 100, axis=1)
    found, values = mean_over_rows(seeds), seeds[:, 0]
    expected = stats.t.interval(0.95, 3, values.mean(), values.std(ddof=1) / 2)
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), *expected))


def test_one_seed_compares_log_loss_by_the_paired_t_test() -> None:
    labels, a, b = world(np.random.default_rng(8), 40, 1, 0.3, 0.1)
    losses = [-np.log(np.where(labels == 1, one[0], 1 - one[0])) for one in (a, b)]
    expected, found = stats.ttest_rel(*losses), compare_log_loss(labels, a, b)
    interval = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high, found.degrees_of_freedom) == pytest.approx(
        (expected.pvalue, interval.low, interval.high, 39)
    )
    assert found.delta / found.standard_error == pytest.approx(expected.statistic)


def test_the_parts_of_the_standard_error_add_up() -> None:
    labels, a, b = world(np.random.default_rng(9), 500, 4, 0.3, 0.2)
    for found in (compare_auc(labels, a, b), compare_log_loss(labels, a, b)):
        total = found.standard_error**2 + found.interaction_standard_error**2
        parts = found.test_standard_error**2 + found.seed_standard_error**2
        assert total == pytest.approx(parts)
        assert (found.high - found.low) / 2 == pytest.approx(
            stats.t.ppf(0.975, found.degrees_of_freedom) * found.standard_error
        )


def test_the_mean_auc_of_one_seed_has_delongs_interval() -> None:
    labels, scores, _ = world(np.random.default_rng(6), 800, 1, 0.5, 0.0)
    found = mean_auc(placement_values_by_seed(labels, scores))
    expected = auc_interval(*auc_variance(labels, scores[0]))
    assert (found.value, found.low, found.high) == pytest.approx(
        (roc_auc_score(labels, scores[0]), *expected)
    )
