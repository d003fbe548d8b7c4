"""When a difference counts: one level, and the words for what a comparison supports."""

import math
from typing import Literal

SIGNIFICANCE_LEVEL = 0.05
"""A p-value below it counts as a difference; where several are compared, the adjusted one."""
RANKING_RULE = f"Where p is {SIGNIFICANCE_LEVEL:g} or more, nothing is ranked."
"""The rule as pages state it beside verdicts."""

Outcome = Literal["better", "worse", "not distinguishable", "not comparable"]
NOT_DISTINGUISHABLE: Outcome = "not distinguishable"
"""The difference could be chance; it says nothing about which is better."""
NOT_COMPARABLE: Outcome = "not comparable"
"""The rows define no interval (one class, a single click); it says nothing about how close."""


def is_significant(p: float) -> bool:
    """Whether a p-value is below the level; False for NaN.

    >>> is_significant(0.049), is_significant(0.05), is_significant(float("nan"))
    (True, False, False)
    """
    return p < SIGNIFICANCE_LEVEL


def comparison_outcome(delta: float, p: float) -> Outcome:
    """What a difference supports, for a metric of which more is better.

    Args:
        delta: the metric of one minus that of the other; NaN where undefined.
        p: two-sided p-value of no difference, adjusted where several are compared; NaN where
            nothing could be tested.

    >>> comparison_outcome(0.02, 0.01), comparison_outcome(-0.02, 0.3)
    ('better', 'not distinguishable')
    """
    if not math.isfinite(delta) or not math.isfinite(p):
        return NOT_COMPARABLE
    if not is_significant(p):
        return NOT_DISTINGUISHABLE
    return "better" if delta > 0 else "worse"
