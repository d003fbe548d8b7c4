"""Pooling the variance between seeds: what it assumes, what it keeps and what it wins."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from core.evaluation.crossed_variance import MeanVariance
from core.evaluation.multiplicity import holm_adjust
from core.evaluation.pooled_seeds import _prior, pool_seed_variances

ARMS = 9
PAIRS = [(arm, 0) for arm in range(1, ARMS)] + [(arm, 1) for arm in range(2, ARMS)]


def sweep(
    generator: np.random.Generator, seed_variance: float, spread: float, effect: float
) -> tuple[list[float], list[MeanVariance]]:
    """Differences of nine arms with three seeds from a reference and from a leading arm.

    The row part has a variance of 1, the seeds' part `seed_variance`; the deviations of arms differ
    by a factor of exp(`spread`).
    """
    factors = np.exp(spread * generator.normal(size=(ARMS, 1)))
    of_seeds = factors * generator.normal(size=(ARMS, 3)) * (3 * seed_variance / 2) ** 0.5
    arms = of_seeds + generator.normal(size=(ARMS, 1)) * 0.5**0.5
    differences = np.array([arms[a] - arms[b] for a, b in PAIRS])
    return list(differences.mean(axis=1) + effect), [
        MeanVariance(1.0, float(one.var(ddof=1) / 3), 0.0, 3) for one in differences
    ]


@pytest.mark.parametrize(("seed_variance", "spread"), [(0.05, 0.0), (1.0, 0.0), (10.0, 0.5)])
def test_holm_keeps_its_size_over_a_sweep_and_pooling_wins_power(
    seed_variance: float, spread: float
) -> None:
    generator = np.random.default_rng(0)
    simulations, any_false, found, found_alone = 500, 0, 0, 0
    for _ in range(simulations):
        deltas, variances = sweep(generator, seed_variance, spread, 0.0)
        pooled = pool_seed_variances(variances, ARMS)
        p = [one.p_value(delta) for one, delta in zip(pooled, deltas, strict=True)]
        any_false += holm_adjust(p).min() < 0.05
    for _ in range(60):
        effect = 5 * (1 + seed_variance) ** 0.5
        deltas, variances = sweep(generator, seed_variance, spread, effect)
        for compared, counted in ((pool_seed_variances(variances, ARMS), 1), (variances, 0)):
            p = [one.p_value(delta) for one, delta in zip(compared, deltas, strict=True)]
            number = int((holm_adjust(p) < 0.05).sum())
            found, found_alone = found + counted * number, found_alone + (1 - counted) * number
    assert any_false <= stats.binom.ppf(1 - 1e-4, simulations, 0.05)
    assert any_false >= 1
    assert found > (1.5 if seed_variance >= 1 else 1) * found_alone
    assert found > 0.4 * 60 * len(PAIRS)


def test_the_prior_is_recovered_from_many_variances() -> None:
    generator = np.random.default_rng(1)
    true = 4.0 * 8 / generator.chisquare(8, size=20_000)
    seeds = true * generator.chisquare(2, size=20_000) / 2
    prior, added = _prior(seeds, np.full(20_000, 2.0), most=1e6)
    assert prior == pytest.approx(4, rel=0.05) and added == pytest.approx(8, rel=0.15)


def test_variances_that_differ_widely_are_hardly_pooled() -> None:
    alike = [MeanVariance(1.0, 2.0, 0.0, 3)] * 10
    assert [one.seeds for one in pool_seed_variances(alike, 11)] == pytest.approx([2.0] * 10)
    wide = [replace(alike[0], seeds=10.0**power) for power in range(-5, 5)]
    alone = pool_seed_variances(wide, 11)
    assert max(one.seed_freedom for one in alone) < 2.5
    for one, before in zip(alone[5:], wide[5:], strict=True):
        assert one.seeds == pytest.approx(before.seeds, rel=0.25)


def test_what_has_no_variance_between_seeds_is_left_alone() -> None:
    one_seed = MeanVariance(1.0, 0.0, 0.0, 1)
    fixed = MeanVariance(1.0, 0.0, 0.0, 3)
    several = MeanVariance(1.0, 2.0, 0.5, 3)
    found = pool_seed_variances([one_seed, fixed, several], 4)
    assert found == [one_seed, fixed, several]
    found = pool_seed_variances([one_seed, several, replace(several, seeds=3.0)], 4)
    assert found[0] == one_seed and found[1].seed_freedom > 2
    assert 2.0 < found[1].seeds < found[2].seeds < 3.0
