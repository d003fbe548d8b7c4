"""Non-inferiority: bounds against scipy, size at the margin from both sides, and joint bounds."""

import math

import numpy as np
import pytest
from scipy import stats

from core.errors import BadInput
from core.evaluation.non_inferiority import Margins, metric_loss, non_inferiority
from core.evaluation.paired_comparison import (
    PairedDifference,
    compare_auc,
    compare_log_loss,
    compare_row_means,
)
from tests.core.evaluation.crossed_samples import rows_of

MARGIN = 0.002


def test_bounds_are_those_of_a_one_sided_t_test() -> None:
    values = np.random.default_rng(3).normal(0.001, 0.02, 300)
    difference = compare_row_means([values], [np.zeros(300)])
    loss = metric_loss(difference.delta, difference, MARGIN, of_rows=True)
    above = stats.ttest_1samp(values, MARGIN, alternative="less")
    below = stats.ttest_1samp(values, MARGIN, alternative="greater")
    # The quantile is that of a normal and a Student's t, and found by search.
    assert loss.p == pytest.approx(above.pvalue, rel=1e-4)
    assert loss.p_inferior == pytest.approx(below.pvalue, rel=1e-4)
    assert loss.at_most == pytest.approx(above.confidence_interval(0.95).high, rel=1e-4)
    assert loss.at_least == pytest.approx(below.confidence_interval(0.95).low, rel=1e-4)
    assert loss.non_inferior == (above.pvalue < 0.05)


def test_the_decision_is_that_of_the_p_value() -> None:
    random = np.random.default_rng(5)
    for _ in range(200):
        difference = rows_of(random, 50, 3, 0.0, (0.01, 0.001, 0.01))
        loss = metric_loss(difference.delta, difference, MARGIN, 0.01)
        assert loss.non_inferior == (loss.p < 0.01)


@pytest.mark.parametrize(
    ("seeds", "sizes"),
    [
        (1, (0.03, 0.0, 0.02)),
        (3, (0.03, 0.0005, 0.02)),
        (3, (0.01, 0.003, 0.01)),
        (5, (0.03, 0.002, 0.03)),
    ],
)
def test_size_at_the_margin_from_both_sides(seeds: int, sizes: tuple[float, float, float]) -> None:
    """At a true loss equal to the margin each one-sided claim is made in at most 5 % of samples."""
    random, trials = np.random.default_rng(11 + seeds), 700
    losses = []
    for _ in range(trials):
        # The truth of a single seed is that seed's: without seed noise here.
        difference = rows_of(random, 400, seeds, MARGIN, sizes)
        losses.append(metric_loss(difference.delta, difference, MARGIN))
    below = np.mean([one.at_most < MARGIN for one in losses])
    above = np.mean([one.at_least > MARGIN for one in losses])
    slack = 4 * math.sqrt(0.05 * 0.95 / trials)
    for share in (below, above):
        assert share < 0.05 + slack
        # With seeds that dominate, few degrees of freedom make the claims rarer.
        assert share > (0.05 - slack if seeds == 1 else 0.012)


def test_size_of_auc_at_the_margin() -> None:
    """Binormal scores, whose true AUCs are known in closed form."""
    random, trials, n, separation, noise = np.random.default_rng(2), 600, 400, 1.2, 0.35
    labels = np.repeat([0.0, 1.0], n // 2)
    true = [stats.norm.cdf(separation / math.sqrt(2 * (1 + extra**2))) for extra in (0, noise)]
    margin = true[0] - true[1]
    made = {"below": 0, "above": 0}
    for _ in range(trials):
        b = labels * separation + random.normal(0, 1, n)
        a = b + random.normal(0, noise, n)
        difference = compare_auc(labels, a[None], b[None])
        loss = metric_loss(-difference.delta, difference, margin)
        made["below"] += loss.at_most < margin
        made["above"] += loss.at_least > margin
    slack = 4 * math.sqrt(0.05 * 0.95 / trials)
    assert all(abs(number / trials - 0.05) < slack for number in made.values()), made


def test_both_metrics_are_needed_and_one_is_enough_to_lose() -> None:
    random = np.random.default_rng(8)
    tight = (0.001, 0.0, 0.0)
    good = rows_of(random, 500, 1, 0.0, tight)
    bad_log_loss = rows_of(random, 500, 1, 0.05, tight)
    bad_auc = rows_of(random, 500, 1, -0.05, tight)

    def outcome(auc: PairedDifference, log_loss: PairedDifference) -> str:
        return non_inferiority("a", "b", (auc, log_loss), 0.45, Margins()).outcome

    assert outcome(good, good) == "non-inferior"
    assert outcome(good, bad_log_loss) == outcome(bad_auc, good) == "inferior"
    wide = rows_of(random, 500, 1, 0.0, (0.5, 0.0, 0.0))
    assert outcome(good, wide) == outcome(wide, good) == "open"
    # A gain in one metric makes up for nothing in the other.
    gain = rows_of(random, 500, 1, 0.05, tight)
    assert outcome(gain, bad_log_loss) == "inferior"


def test_intersection_union_has_the_size_of_one_test() -> None:
    """One metric at its margin and the other far inside: the claim is wrong in 5 % of samples."""
    random, trials, claimed = np.random.default_rng(4), 1500, 0
    margins = Margins(auc=MARGIN, log_loss_percent=0.5)
    for _ in range(trials):
        auc = rows_of(random, 300, 1, -MARGIN, (0.02, 0.0, 0.0))
        log_loss = rows_of(random, 300, 1, -0.01, (0.02, 0.0, 0.0))
        found = non_inferiority("a", "b", (auc, log_loss), 0.45, margins)
        claimed += found.outcome == "non-inferior"
    assert abs(claimed / trials - 0.05) < 4 * math.sqrt(0.05 * 0.95 / trials)


def test_bounds_of_all_candidates_hold_together() -> None:
    """k bounds at 0.05 / k: in at most 5 % of samples any of them is below the true loss."""
    random, trials, k, wrong = np.random.default_rng(6), 400, 5, 0
    for _ in range(trials):
        missed = False
        for arm in range(k):
            difference = rows_of(random, 200, 3, 0.001 * arm, (0.02, 0.001, 0.02))
            loss = metric_loss(difference.delta, difference, MARGIN, 0.05 / k)
            missed |= loss.at_most < 0.001 * arm
        wrong += missed
    assert wrong / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_the_margin_of_log_loss_is_a_share_of_the_reference() -> None:
    labels = np.array([0.0, 1.0, 1.0, 0.0])
    scores = np.array([[0.2, 0.7, 0.6, 0.4]])
    differences = compare_auc(labels, scores, scores), compare_log_loss(labels, scores, scores)
    found = non_inferiority("a", "b", differences, 0.4, Margins(0.002, 0.25))
    assert (found.auc.margin, found.log_loss.margin) == (0.002, pytest.approx(0.001))
    # The same scores lose nothing, whatever the rows.
    assert found.outcome == "non-inferior" and found.auc.at_most == 0.0


def test_what_has_no_interval_is_undefined() -> None:
    labels, a, b = np.ones(3), np.array([[0.5, 0.6, 0.7]]), np.array([[0.4, 0.6, 0.7]])
    differences = compare_auc(labels, a, b), compare_log_loss(labels, a, b)
    assert non_inferiority("a", "b", differences, 0.5, Margins()).outcome == "undefined"
    # Every row loses the same: there is an estimate and no variance.
    constant = compare_row_means([np.full(9, 0.3)], [np.full(9, 0.1)])
    assert not metric_loss(constant.delta, constant, MARGIN).defined


@pytest.mark.parametrize(
    ("auc", "percent"), [(0.0, 0.1), (-1.0, 0.1), (0.5, 0.1), (0.001, 0.0), (0.001, 100.0)]
)
def test_margins_must_make_sense(auc: float, percent: float) -> None:
    with pytest.raises(BadInput, match="margin"):
        Margins(auc, percent)
