"""What an arm costs to train, and which of two arms is cheaper."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

TIME_TOLERANCE = 0.1
"""Share by which training times must differ to count: a run repeated differs by some percent."""


@dataclass(frozen=True)
class Cost:
    """What one run of an arm costs, mean over its seeds.

    Args:
        seconds: of a run; NaN where they are not recorded.
        trained_parameters: scalars that training could change.
        epochs: that were trained, those after the best one included.
    """

    seconds: float
    trained_parameters: int
    epochs: float


def is_cheaper(a: Cost, b: Cost) -> bool:
    """Whether an arm costs less than another one.

    It must not take longer, since the time counts every epoch: an arm that trains few parameters
    for many epochs is not cheap. And it must train fewer parameters, or fewer epochs, since a time
    alone may have been lower because the machine was less busy. Where the times are about the same,
    or one is not recorded, it trains fewer parameters in no more epochs.

    >>> shallow, deep = Cost(30.0, 900_000, 3), Cost(41.0, 20_000, 10)
    >>> is_cheaper(deep, shallow), is_cheaper(shallow, deep)
    (False, True)
    >>> is_cheaper(Cost(14.0, 20_000, 3), shallow)
    True
    """
    if not math.isnan(a.seconds) and not math.isnan(b.seconds):
        if a.seconds < (1 - TIME_TOLERANCE) * b.seconds:
            return a.trained_parameters < b.trained_parameters or a.epochs < b.epochs
        if b.seconds < (1 - TIME_TOLERANCE) * a.seconds:
            return False
    return a.trained_parameters < b.trained_parameters and a.epochs <= b.epochs


def cheapest(costs: Sequence[Cost]) -> int:
    """Return the index of the cheapest; of those that are about as quick, the smallest.

    >>> cheapest([Cost(30, 900, 3), Cost(20, 500, 3), Cost(21, 100, 3)])
    2
    """
    quickest = min((one.seconds for one in costs if not math.isnan(one.seconds)), default=math.nan)
    near = [
        place
        for place, one in enumerate(costs)
        if math.isnan(quickest) or one.seconds * (1 - TIME_TOLERANCE) <= quickest
    ]
    return min(
        near,
        key=lambda place: (
            costs[place].trained_parameters,
            costs[place].epochs,
            math.inf if math.isnan(costs[place].seconds) else costs[place].seconds,
            place,
        ),
    )
