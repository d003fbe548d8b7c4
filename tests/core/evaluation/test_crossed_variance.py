"""Two-way random effects with known variances: the estimate, its degrees of freedom, their size."""

import numpy as np
import pytest
from scipy import special, stats

from core.evaluation.crossed_variance import MeanVariance, mean_variance

SIMULATIONS = 3000
ROWS = 60
WORLDS = {
    # Standard deviations of the effects of seeds, rows, and rows within a seed.
    "seeds": (1.0, 0.5, 0.5),
    "rows": (0.01, 3.0, 0.5),
    "interaction": (0.0, 0.0, 3.0),
    "all alike": (0.3, 2.0, 3.0),
}


def crossed(
    generator: np.random.Generator, seeds: int, deviations: tuple[float, float, float]
) -> np.ndarray:
    """Differences of shape (n_seeds, n_rows) whose mean is 0."""
    of_seeds, of_rows, of_both = deviations
    return np.asarray(
        of_seeds * generator.normal(size=(seeds, 1))
        + of_rows * generator.normal(size=(1, ROWS))
        + of_both * generator.normal(size=(seeds, ROWS))
    )


def variance_of(sample: np.ndarray) -> MeanVariance:
    return mean_variance(sample.mean(axis=1), [sample], row_freedom=ROWS - 1)


def test_the_interaction_is_the_mean_square_of_an_analysis_of_variance() -> None:
    sample = crossed(np.random.default_rng(0), 3, WORLDS["all alike"])
    squares = 0.0
    for seed in range(3):
        for row in range(ROWS):
            fitted = sample[seed].mean() + sample[:, row].mean() - sample.mean()
            squares += (sample[seed, row] - fitted) ** 2
    found = variance_of(sample)
    assert found.interaction * 3 * ROWS == pytest.approx(squares / (2 * (ROWS - 1)))
    assert found.rows == pytest.approx(sample.mean(axis=0).var(ddof=1) / ROWS)
    assert found.seeds == pytest.approx(sample.mean(axis=1).var(ddof=1) / 3)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("world", WORLDS)
def test_the_variance_is_unbiased_and_the_test_keeps_its_size(world: str, seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    of_seeds, of_rows, of_both = WORLDS[world]
    true = of_seeds**2 / seeds + of_rows**2 / ROWS + of_both**2 / (seeds * ROWS)
    totals, rejected, twice = [], 0, []
    for _ in range(SIMULATIONS):
        sample = crossed(generator, seeds, WORLDS[world])
        found = variance_of(sample)
        totals.append(found.total)
        twice.append(found.rows + found.seeds)
        rejected += found.p_value(float(sample.mean())) < 0.05
    # Cutting at 0 adds at most what chance does below it: a tenth where there is only interaction.
    error = np.std(totals) / SIMULATIONS**0.5
    assert true - 4 * error < np.mean(totals) < 1.12 * true + 4 * error
    if world == "interaction":
        # Without the subtraction it would be twice as much.
        assert np.mean(twice) > 1.8 * true
    # The size may be anything from 2 % (1 % with two seeds) to the nominal 5 %, beyond which a
    # binomial bound that a test within these leaves once in 10,000 times.
    low = stats.binom.ppf(1e-4, SIMULATIONS, 0.01 if seeds == 2 else 0.02)
    high = stats.binom.ppf(1 - 1e-4, SIMULATIONS, 0.05)
    assert low <= rejected <= high


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_small_p_values_are_no_more_frequent_than_they_say(seeds: int) -> None:
    """As Holm's adjustment needs; Satterthwaite's degrees of freedom fail this."""
    generator = np.random.default_rng(10 + seeds)
    number, level = 40_000, 0.003
    # Drawn as the parts of a large sample are: that of the seeds is a tenth known.
    rows, of_seeds = 0.3, 3.0
    deltas = (rows + of_seeds) ** 0.5 * generator.normal(size=number)
    parts = of_seeds * generator.chisquare(seeds - 1, number) / (seeds - 1)
    rejected = satterthwaite = 0
    for delta, part in zip(deltas, parts, strict=True):
        # Most are far from the level by the narrower of the two.
        total = rows + part
        freedom = (seeds - 1) * (total / part) ** 2
        if 2 * special.stdtr(freedom, -abs(delta) / total**0.5) < level:
            satterthwaite += 1
            rejected += MeanVariance(rows, part, 0.0, seeds).p_value(delta) < level
    assert rejected <= stats.binom.ppf(1 - 1e-4, number, level)
    assert satterthwaite > stats.binom.ppf(1 - 1e-4, number, level)


@pytest.mark.parametrize(("rows", "of_seeds", "seeds"), [(1.0, 0.5, 2), (0.2, 2.0, 3), (3, 1, 5)])
def test_p_and_interval_are_those_of_a_normal_and_a_students_t_added(
    rows: float, of_seeds: float, seeds: int
) -> None:
    found = MeanVariance(rows, of_seeds, 0.0, seeds)
    generator = np.random.default_rng(1)
    drawn = rows**0.5 * generator.normal(size=10**6)
    drawn += of_seeds**0.5 * generator.standard_t(seeds - 1, size=10**6)
    assert np.mean(np.abs(drawn) > found.half_width) == pytest.approx(0.05, abs=0.001)
    for distance in (0.5, 2.0, 6.0):
        share = np.mean(np.abs(drawn) > distance)
        assert found.p_value(distance) == pytest.approx(share, abs=0.002, rel=0.02)
    quantile = stats.t.ppf(0.975, found.degrees_of_freedom)
    assert quantile * found.total**0.5 == pytest.approx(found.half_width)


def test_one_part_alone_is_normal_or_students() -> None:
    for seeds in (2, 3, 50, 2000):
        found = MeanVariance(0.0, 2.0, 0.0, seeds)
        for distance in (1.0, 5.0, 30.0):
            expected = 2 * stats.t.sf(distance / 2**0.5, seeds - 1)
            assert found.p_value(distance) == pytest.approx(expected, rel=1e-6, abs=1e-14)
        assert found.degrees_of_freedom == pytest.approx(seeds - 1, rel=1e-4)
    assert MeanVariance(2.0, 0.0, 0.0, 3, row_freedom=9).degrees_of_freedom == 9
    assert MeanVariance(2.0, 0.0, 0.0, 1).degrees_of_freedom == np.inf
    assert MeanVariance(2.0, 1e-12, 0.0, 3).half_width == pytest.approx(1.959964 * 2**0.5)


def test_it_is_never_negative_nor_below_the_part_of_the_seeds() -> None:
    found = MeanVariance(rows=1.0, seeds=0.5, interaction=2.0, n_seeds=3)
    assert found.total == 0.5 and found.degrees_of_freedom == pytest.approx(2)


def test_what_is_the_same_for_every_row_has_no_variance_and_a_single_row_none_known() -> None:
    # 0.1 has no exact mean in floating point.
    assert variance_of(np.full((3, ROWS), 0.1)).total == 0
    assert np.isnan(mean_variance(np.zeros(2), [np.zeros((2, 1))]).total)
