"""The standard error of a choice: against direct computation, and by simulation from both sides."""

import numpy as np
import pytest
from scipy import stats

from core.evaluation.choice_error import paired_loss, summarise_choice


def test_it_is_the_standard_error_of_a_paired_t_test() -> None:
    random = np.random.default_rng(0)
    lead, other = random.gamma(1.0, 0.5, 400), random.gamma(1.0, 0.5, 400)
    found = paired_loss(other, lead)
    assert found.difference == pytest.approx(np.mean(other) - np.mean(lead))
    t = stats.ttest_rel(other, lead).statistic
    assert found.difference / found.standard_error == pytest.approx(t)
    assert np.isnan(paired_loss(other[:1], lead[:1]).standard_error)


def test_it_covers_the_true_difference_neither_too_rarely_nor_too_often() -> None:
    """A difference within one standard error of the truth has probability 0.683."""
    random, true, inside = np.random.default_rng(1), 0.01, []
    for _ in range(2000):
        shared = random.gamma(1.0, 0.5, 300)
        found = paired_loss(shared + random.normal(true, 0.1, 300), shared)
        inside.append(abs(found.difference - true) <= found.standard_error)
    assert 0.65 < np.mean(inside) < 0.715


def test_arms_within_one_standard_error_are_named_and_others_are_not() -> None:
    random = np.random.default_rng(2)
    lead = random.gamma(1.0, 0.5, 1000)
    noise = random.normal(0, 0.1, 1000)
    noise -= noise.mean()
    error = noise.std(ddof=1) / 1000**0.5
    others = {
        "near": paired_loss(lead + noise + 0.9 * error, lead),
        "far": paired_loss(lead + noise + 1.1 * error, lead),
    }
    choice = summarise_choice("", "lead", 1000, others)
    assert (choice.lead, choice.runner_up, choice.within) == ("lead", "near", ("near",))
    assert choice.difference == pytest.approx(0.9 * error)
    assert choice.standard_error == pytest.approx(error)
    assert "1,000 validation rows lead leads near" in choice.sentence
    assert "1 arm is within one standard error" in choice.sentence


def test_arms_with_equal_losses_share_the_lead() -> None:
    lead = np.random.default_rng(3).gamma(1.0, 0.5, 50)
    others = {"same": paired_loss(lead, lead), "worse": paired_loss(lead + 0.1, lead)}
    choice = summarise_choice("", "first", 50, others)
    assert (choice.lead, choice.tied, choice.runner_up) == ("first", ("same",), "worse")
    assert choice.within == ()
    assert "first and same (equal losses) lead worse by a log loss of 0.1000" in choice.sentence
    alone = summarise_choice("", "first", 50, {"same": others["same"]})
    assert alone.sentence == (
        "On 50 validation rows the losses of first and same are equal, so none of them leads."
    )
    # A tie on average is none where rows differ.
    swapped = summarise_choice("", "first", 2, {"other": paired_loss(lead[:2], lead[1::-1])})
    assert swapped.tied == ()
