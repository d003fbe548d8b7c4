"""When a difference counts: one level, and the words for what a comparison supports."""

import math
from collections.abc import Mapping
from typing import Literal

SIGNIFICANCE_LEVEL = 0.05
"""A p-value below it counts as a difference; where several are compared, the adjusted one."""
RANKING_RULE = (
    f"Where p is {SIGNIFICANCE_LEVEL:g} or more, nothing is ranked, and nothing is called equal:"
    " the interval says how large a difference remains possible."
)
"""The rule as pages state it beside verdicts."""

Outcome = Literal["better", "worse", "not distinguishable", "not comparable"]
NOT_DISTINGUISHABLE: Outcome = "not distinguishable"
"""The difference could be chance: neither is known to be better, nor are they known to be equal."""
SLICES_NOT_EQUAL = "That does not mean equal: a slice has fewer rows, so its interval is wide."
"""Behind the statement that no slice differs."""
NOT_COMPARABLE: Outcome = "not comparable"
"""The rows define no interval (one class, a single click); it says nothing about how close."""


def is_significant(p: float) -> bool:
    """Whether a p-value is below the level; False for NaN.

    >>> is_significant(0.049), is_significant(0.05), is_significant(float("nan"))
    (True, False, False)
    """
    return p < SIGNIFICANCE_LEVEL


def comparison_outcome(delta: float, p: float, higher_is_better: bool = True) -> Outcome:
    """What a difference in a metric supports.

    Args:
        delta: the metric of one minus that of the other; NaN where undefined.
        p: two-sided p-value of no difference, adjusted where several are compared; NaN where
            nothing could be tested.
        higher_is_better: whether more of the metric is better.

    >>> comparison_outcome(0.02, 0.01), comparison_outcome(-0.02, 0.3)
    ('better', 'not distinguishable')
    >>> comparison_outcome(0.02, 0.01, higher_is_better=False)
    'worse'
    """
    if not math.isfinite(delta) or not math.isfinite(p):
        return NOT_COMPARABLE
    if not is_significant(p):
        return NOT_DISTINGUISHABLE
    return "better" if (delta > 0) == higher_is_better else "worse"


def combine_outcomes(outcomes: Mapping[str, Outcome]) -> str:
    """What the differences in several metrics support, in one phrase that names the metrics.

    Args:
        outcomes: by the name of the metric, in the order in which they are named.

    >>> combine_outcomes({"AUC": "better", "log loss": "worse"})
    'better in AUC, worse in log loss'
    >>> combine_outcomes({"AUC": "worse", "log loss": "worse"})
    'worse in AUC and log loss'
    >>> combine_outcomes({"AUC": "not distinguishable", "log loss": "worse"})
    'worse in log loss'
    >>> combine_outcomes({"AUC": "not comparable", "log loss": "not distinguishable"})
    'not distinguishable in log loss'
    """
    differing = [
        f"{outcome} in {' and '.join(names)}"
        for outcome in ("better", "worse")
        if (names := [name for name, found in outcomes.items() if found == outcome])
    ]
    if differing:
        return ", ".join(differing)
    tested = [name for name, found in outcomes.items() if found == NOT_DISTINGUISHABLE]
    if not tested:
        return NOT_COMPARABLE
    everywhere = len(tested) == len(outcomes)
    return NOT_DISTINGUISHABLE if everywhere else f"{NOT_DISTINGUISHABLE} in {' or '.join(tested)}"
