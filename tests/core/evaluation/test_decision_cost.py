"""Costs of thresholds compared with trying every threshold."""

import numpy as np
import pytest

from core.errors import BadInput
from core.evaluation.curves import confusion_matrix
from core.evaluation.decision_cost import DecisionCosts, cheapest_threshold, impression_costs


def rows(seed: int = 0, number: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    scores = generator.random(number).round(2)
    return (generator.random(number) < scores).astype(float), scores


@pytest.mark.parametrize(
    ("fp", "fn"), [(1, 1), (1, 5), (5, 1), (0, 1), (1, 0), (1, 1000), (1000, 1)]
)
def test_no_threshold_is_cheaper(fp: float, fn: float) -> None:
    labels, scores = rows()
    costs = DecisionCosts(fp, fn)
    chosen = costs.total(
        confusion_matrix(labels, scores, cheapest_threshold(labels, scores, costs))
    )
    tried = [costs.total(confusion_matrix(labels, scores, t)) for t in [*np.unique(scores), 2.0]]
    assert chosen == pytest.approx(min(tried))


def test_calibrated_scores_are_cut_where_theory_says() -> None:
    """Of calibrated scores a row is worth acting on above fp / (fp + fn) (Elkan 2001)."""
    labels, scores = rows(1, 200_000)
    assert cheapest_threshold(labels, scores, DecisionCosts(1, 4)) == pytest.approx(0.2, abs=0.02)


def test_the_cheapest_threshold_earns_most() -> None:
    labels, scores = rows(2)
    value, price = 3.0, 0.7

    def profit(threshold: float) -> float:
        bought = scores >= threshold
        return value * labels[bought].sum() - price * bought.sum()

    chosen = cheapest_threshold(labels, scores, impression_costs(value, price))
    assert profit(chosen) == pytest.approx(max(profit(t) for t in [*np.unique(scores), 2.0]))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: DecisionCosts(-1, 1), "cost of a false positive is -1"),
        (lambda: DecisionCosts(1, float("nan")), "cost of a false negative is nan"),
        (lambda: DecisionCosts(0, 0), "Both costs are 0"),
        (lambda: impression_costs(1, 1), "A click is worth 1 and an impression costs 1"),
    ],
)
def test_costs_that_cannot_be_are_refused(call: object, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        call()  # type: ignore[operator]


def test_the_costs_of_rows_add_up_to_the_cost_of_their_counts() -> None:
    generator = np.random.default_rng(2)
    scores = generator.random(400)
    labels = (generator.random(400) < scores).astype(float)
    costs = DecisionCosts(1.5, 4)
    for threshold in (0.0, 0.31, 1.1):
        rows = costs.per_row(labels, scores, threshold)
        assert rows.sum() == pytest.approx(costs.total(confusion_matrix(labels, scores, threshold)))
