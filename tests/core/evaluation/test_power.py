"""Power: the closed form against simulation, and the numbers that would settle a comparison."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import norm

from core.evaluation.non_inferiority import Margins, NonInferiority, metric_loss, non_inferiority
from core.evaluation.paired_comparison import PairedDifference
from core.evaluation.power import (
    MAX_SEEDS,
    POWER,
    power_of,
    power_to_settle,
)
from core.evaluation.variance_parts import VarianceParts, variance_parts
from tests.core.evaluation.crossed_samples import rows_of

MARGINS = Margins(auc=0.002, log_loss_percent=0.5)


def comparison(auc: PairedDifference, log_loss: PairedDifference) -> NonInferiority:
    return non_inferiority("a", "b", (auc, log_loss), 0.4, MARGINS)


def known(delta: float, row: float, seed: float, both: float, n: int, k: int) -> PairedDifference:
    """A comparison with exactly these variances of one row, seed and pair of both."""
    interaction = both / (k * n)
    rows, seeds = row / n + interaction, seed / k + interaction
    return PairedDifference(
        delta,
        math.nan,
        math.nan,
        math.nan,
        rows**0.5,
        seeds**0.5 if k > 1 else math.nan,
        k,
        n,
        (rows + seeds - interaction) ** 0.5 if k > 1 else rows**0.5,
        float("inf"),
        interaction**0.5 if k > 1 else math.nan,
    )


@pytest.mark.parametrize(
    ("loss", "seeds", "n", "sizes"),
    [
        (0.0, 1, 600, (0.03, 0.0, 0.0)),
        (0.0005, 3, 900, (0.03, 0.0006, 0.02)),
        (0.0, 5, 900, (0.02, 0.002, 0.01)),
        (0.005, 5, 900, (0.02, 0.002, 0.01)),
    ],
)
def test_power_is_what_simulation_finds(
    loss: float, seeds: int, n: int, sizes: tuple[float, float, float]
) -> None:
    margin, trials = 0.002, 1500
    parts = VarianceParts(sizes[0] ** 2, sizes[1] ** 2, sizes[2] ** 2)
    if seeds == 1:
        parts = VarianceParts(sizes[0] ** 2 + sizes[2] ** 2, math.nan, 0.0)
    expected = power_to_settle(loss, margin, parts.variance(n, seeds), 0.05)
    random, settled = np.random.default_rng(seeds + n), 0
    for _ in range(trials):
        difference = rows_of(random, n, seeds, loss, sizes)
        found = metric_loss(difference.delta, difference, margin)
        settled += found.at_most < margin if loss < margin else found.at_least > margin
    # The degrees of freedom are an approximation, so a few percent are allowed beside chance.
    assert abs(settled / trials - expected) < 0.04 + 3 * math.sqrt(0.25 / trials)


@pytest.mark.parametrize(("n", "seeds"), [(400, 1), (400, 2), (5000, 3), (300, 8)])
def test_the_parts_give_the_standard_error_again(n: int, seeds: int) -> None:
    random = np.random.default_rng(n + seeds)
    for _ in range(20):
        difference = rows_of(random, n, seeds, 0.0, (0.03, 0.001, 0.03))
        variance = variance_parts(difference, True).variance(n, seeds)
        assert variance.total**0.5 == pytest.approx(difference.standard_error)
        assert variance.degrees_of_freedom == pytest.approx(difference.degrees_of_freedom)


def test_the_parts_of_known_variances_come_back() -> None:
    parts = variance_parts(known(0.0, 4.0, 9e-4, 2.0, 700, 4))
    assert (parts.rows, parts.seeds, parts.interaction) == (
        pytest.approx(4.0),
        pytest.approx(9e-4),
        pytest.approx(2.0),
    )


def test_the_rows_that_settle_are_those_of_the_normal_formula() -> None:
    """n = (variance of a row) ((z_0.95 + z_0.8) / (margin - loss))^2, as in every textbook."""
    sharp = known(0.0, 1e-12, 0.0, 0.0, 1000, 1)
    auc = known(-0.0005, 0.01, 0.0, 0.0, 1000, 1)
    found = power_of(comparison(auc, sharp))
    wanted = 0.01 * ((norm.ppf(0.95) + norm.ppf(0.8)) / 0.0015) ** 2
    assert found.more_rows == math.ceil(wanted) - 1000
    assert found.more_seeds is None and found.by_seeds == ()
    assert found.now < POWER


def test_the_numbers_reach_the_power_and_one_fewer_does_not() -> None:
    auc = known(-0.0004, 0.0011, 3e-7, 0.001, 4000, 3)
    log_loss = known(0.0002, 0.0011, 2e-7, 0.0005, 4000, 3)
    one = comparison(auc, log_loss)
    found = power_of(one)
    assert found.more_rows and found.more_seeds

    parts = variance_parts(auc), variance_parts(log_loss, True)

    def power(rows: int, seeds: int) -> float:
        return min(
            power_to_settle(loss.loss, loss.margin, of.variance(rows, seeds), loss.level)
            for loss, of in zip(one.metrics, parts, strict=True)
        )

    for rows, seeds in ((4000 + found.more_rows, 3), (4000, 3 + found.more_seeds)):
        assert power(rows, seeds) >= POWER
    assert power(4000 + found.more_rows - 1, 3) < POWER
    assert power(4000, 3 + found.more_seeds - 1) < POWER
    assert found.now == power(4000, 3)
    curve = [value for _, value in found.by_rows]
    assert curve == sorted(curve) and curve[-1] >= POWER
    assert [value for _, value in found.by_seeds] == sorted(value for _, value in found.by_seeds)


def test_seed_noise_is_not_settled_by_rows_nor_row_noise_by_seeds() -> None:
    sharp = known(0.0, 1e-12, 1e-12, 0.0, 4000, 3)
    of_seeds = power_of(comparison(known(-0.0015, 1e-6, 4e-6, 0.0, 4000, 3), sharp))
    assert of_seeds.more_rows is None and 1 <= (of_seeds.more_seeds or 0) <= MAX_SEEDS
    of_rows = power_of(comparison(known(-0.0015, 0.02, 1e-9, 0.0, 4000, 3), sharp))
    assert of_rows.more_rows and of_rows.more_seeds is None


def test_at_the_margin_nothing_settles_it() -> None:
    sharp = known(0.0, 1e-12, 1e-12, 0.0, 4000, 3)
    found = power_of(comparison(known(-0.002, 0.01, 1e-8, 0.0, 4000, 3), sharp))
    assert found.more_rows is None and found.more_seeds is None
    assert found.now == pytest.approx(0.05, abs=1e-3)


def test_where_a_metric_is_beyond_its_margin_that_one_decides() -> None:
    wide = known(0.0, 1.0, 1e-6, 0.0, 4000, 3)
    found = power_of(comparison(known(-0.004, 0.01, 1e-8, 0.0, 4000, 3), wide))
    alone = power_of(
        comparison(known(-0.004, 0.01, 1e-8, 0.0, 4000, 3), dataclasses.replace(wide, delta=0.0))
    )
    assert found.more_rows == alone.more_rows and found.more_rows


def test_where_neither_is_enough_both_together_are() -> None:
    sharp = known(0.0, 1e-12, 1e-12, 0.0, 4000, 3)
    auc = known(-0.0005, 0.004, 3e-6, 0.0, 4000, 3)
    found = power_of(comparison(auc, sharp))
    assert found.more_rows is None and found.more_seeds is None and found.both
    rows, seeds = found.both
    parts, loss = variance_parts(auc), comparison(auc, sharp).auc

    def power(rows: int, seeds: int) -> float:
        return power_to_settle(loss.loss, loss.margin, parts.variance(rows, seeds), loss.level)

    assert power(4000 + rows, 3 + seeds) >= POWER > power(4000 + rows, 2 + seeds)
