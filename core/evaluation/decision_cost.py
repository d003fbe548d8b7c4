"""What a threshold is worth: costs of wrong decisions, or a click's value against an impression's
price."""

from dataclasses import dataclass

import numpy as np

from core.errors import BadInput
from core.evaluation.curves import ConfusionMatrix, threshold_table


@dataclass(frozen=True)
class DecisionCosts:
    """In one currency, for one row each. false_positive: acting where no click comes.
    false_negative: missing one."""

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
        """Total cost of the decisions counted."""
        return self.false_positive * counts.fp + self.false_negative * counts.fn

    def per_row(self, y_true: np.ndarray, y_score: np.ndarray, threshold: float) -> np.ndarray:
        """Cost of every row, (rows,), when scores of at least `threshold` are acted on."""
        acted = y_score >= threshold
        return self.false_positive * (acted & (y_true == 0)) + self.false_negative * (
            ~acted & (y_true == 1)
        )


def impression_costs(click_value: float, price: float) -> DecisionCosts:
    """The costs of buying an impression at `price` for each predicted click, where a click is worth
    `click_value`.

    The profit value * tp - price * (tp + fp) is (value - price) * clicks less these costs, so the
    threshold that costs least earns most. BadInput when a click is worth no more than the price:
    then no row is worth buying.
    """
    if not click_value > price >= 0:
        raise BadInput(
            f"A click is worth {click_value!r} and an impression costs {price!r}; a click must be"
            " worth more than the impression, and the price 0 or more."
        )
    return DecisionCosts(price, click_value - price)


def cheapest_threshold(y_true: np.ndarray, y_score: np.ndarray, costs: DecisionCosts) -> float:
    """The threshold with the lowest total cost on these (validation) rows; the highest one on ties.

    Above every score where acting on nothing costs least: then just above the highest score.
    """
    table = threshold_table(y_true, y_score)
    if not len(table.thresholds):
        return 0.5
    none = costs.false_negative * table.positives
    total = costs.false_positive * table.fp + costs.false_negative * (table.positives - table.tp)
    place = int(np.argmin(total))
    if none <= total[place]:
        return float(np.nextafter(table.thresholds[0], np.inf))
    return float(table.thresholds[place])
