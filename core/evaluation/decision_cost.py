"""What the decisions at a threshold cost, and the threshold that costs least."""

from dataclasses import dataclass

import numpy as np

from core.errors import BadInput
from core.evaluation.curves import ConfusionMatrix, threshold_table


@dataclass(frozen=True)
class DecisionCosts:
    """The costs of wrong decisions for one row, in one currency.

    Args:
        false_positive: of acting on a row without a click.
        false_negative: of not acting on a row with a click.

    Raises:
        BadInput: a cost is negative or not finite, or both are 0.
    """

    false_positive: float
    false_negative: float

    def __post_init__(self) -> None:
        for name, value in (
            ("false positive", self.false_positive),
            ("false negative", self.false_negative),
        ):
            if not (np.isfinite(value) and value >= 0):
                raise BadInput(f"The cost of a {name} is {value!r}; it must be 0 or more.")
        if not self.false_positive and not self.false_negative:
            raise BadInput(
                "Both costs are 0, so every threshold costs the same; give one of them a cost."
            )

    def total(self, counts: ConfusionMatrix) -> float:
        """Total cost of the decisions that `counts` counts."""
        return self.false_positive * counts.fp + self.false_negative * counts.fn

    def per_row(self, y_true: np.ndarray, y_score: np.ndarray, threshold: float) -> np.ndarray:
        """Return the cost of every row, shape ``(n_rows,)``.

        Rows with a score of at least `threshold` are acted on.
        """
        acted = y_score >= threshold
        return self.false_positive * (acted & (y_true == 0)) + self.false_negative * (
            ~acted & (y_true == 1)
        )


def impression_costs(click_value: float, price: float) -> DecisionCosts:
    """The costs of buying an impression for each predicted click.

    The profit, ``click_value * tp - price * (tp + fp)``, equals ``(click_value - price) * clicks``
    minus these costs, so the threshold that costs least earns most.

    Args:
        click_value: what a click is worth.
        price: what an impression costs.

    Raises:
        BadInput: a click is worth no more than an impression, so no row is worth buying.

    >>> impression_costs(click_value=2.0, price=0.5)
    DecisionCosts(false_positive=0.5, false_negative=1.5)
    """
    if not click_value > price >= 0:
        raise BadInput(
            f"A click is worth {click_value!r} and an impression costs {price!r}; a click must be"
            " worth more than the impression, and the price 0 or more."
        )
    return DecisionCosts(price, click_value - price)


def cheapest_threshold(y_true: np.ndarray, y_score: np.ndarray, costs: DecisionCosts) -> float:
    """The threshold with the lowest total cost; the highest of them on ties.

    Just above the highest score where acting on no row costs least.

    Args:
        y_true: labels 0 or 1 of validation rows, shape ``(n_rows,)``.
        y_score: scores, shape ``(n_rows,)``.
        costs: of wrong decisions.
    """
    table = threshold_table(y_true, y_score)
    if not len(table.thresholds):
        return 0.5
    cost_of_no_action = costs.false_negative * table.positives
    total = costs.false_positive * table.fp + costs.false_negative * (table.positives - table.tp)
    cheapest = int(np.argmin(total))
    if cost_of_no_action <= total[cheapest]:
        return float(np.nextafter(table.thresholds[0], np.inf))
    return float(table.thresholds[cheapest])
