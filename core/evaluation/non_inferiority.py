"""Non-inferiority: whether an arm loses less than a margin against another one.

"Not distinguishable" does not mean equal: with few rows nothing is distinguishable. Non-inferiority
turns the question around. It starts from the assumption that the arm loses the margin or more, and
gives that up only where a one-sided 95 % bound of the loss lies below the margin (ICH E9; Wellek
2010, chapter 2). Losses are taken from the paired differences of
`core.evaluation.paired_comparison`, so they hold for other test rows and, with several seeds, for
other seeds.

An arm has to be non-inferior in AUC and in log loss. Both claims are needed for one conclusion, so
that each may be tested at the full level (an intersection-union test, Berger 1982).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.errors import BadInput
from core.evaluation.paired_comparison import PairedDifference
from core.evaluation.significance import SIGNIFICANCE_LEVEL
from core.evaluation.variance_parts import one_sided_half_width, one_sided_p, variance_of

LossOutcome = Literal["non-inferior", "inferior", "open", "undefined"]
"""Shown to lose less than the margin, shown to lose more, neither, or nothing can be tested."""


@dataclass(frozen=True)
class Margins:
    """How much worse an arm may be and still be taken for as good.

    Args:
        auc: of the AUC, absolute.
        log_loss_percent: of the log loss, in percent of the log loss of the arm compared with.

    Raises:
        BadInput: one is not above 0, or the first not below 0.5, or the second not below 100.

    >>> Margins().words
    '0.001 AUC and 0.1 % of log loss'
    """

    auc: float = 0.001
    log_loss_percent: float = 0.1

    def __post_init__(self) -> None:
        for name, value, limit in (
            ("AUC", self.auc, 0.5),
            ("log loss (in percent)", self.log_loss_percent, 100),
        ):
            if not (isinstance(value, int | float) and 0 < value < limit):
                raise BadInput(
                    f"The margin of {name} is {value!r}; it must be above 0 and below {limit:g}."
                )

    @property
    def words(self) -> str:
        """Both margins, as sentences name them."""
        return f"{self.auc:g} AUC and {self.log_loss_percent:g} % of log loss"

    @property
    def alternative_words(self) -> str:
        """Both margins, where passing either is meant."""
        return f"{self.auc:g} AUC or {self.log_loss_percent:g} % of log loss"


@dataclass(frozen=True)
class MetricLoss:
    """How much an arm loses in a metric against another arm; above 0 it is worse.

    Args:
        loss: the estimate; NaN where it is undefined, as are both bounds then.
        at_most, at_least: one-sided upper and lower bound, each at `level`.
        margin: in the metric's unit (AUC, or nats of log loss).
        level: of each bound, such as 0.05 for 95 %.
        standard_error: of the loss.
        p: of the hypothesis that the arm loses the margin or more; NaN where undefined.
        p_inferior: of the hypothesis that it loses the margin or less.
    """

    loss: float
    at_most: float
    at_least: float
    margin: float
    level: float
    standard_error: float
    p: float
    p_inferior: float

    @property
    def non_inferior(self) -> bool:
        """Whether it is shown to lose less than the margin; False where undefined."""
        return self.at_most < self.margin

    @property
    def defined(self) -> bool:
        """Whether there are bounds."""
        return not math.isnan(self.at_most)


def metric_loss(
    loss: float,
    difference: PairedDifference,
    margin: float,
    level: float = SIGNIFICANCE_LEVEL,
    of_rows: bool = False,
) -> MetricLoss:
    """Return the one-sided bounds of a loss.

    Args:
        loss: the difference with the sign of a loss: minus that in AUC, plus that in log loss.
        difference: gives the variance from rows and from seeds.
        margin: above 0, in the unit of `loss`.
        level: of each bound.
        of_rows: whether the metric is a mean over rows, as log loss is and the AUC is not.
    """
    error, nan = difference.standard_error, float("nan")
    if not math.isfinite(loss) or not math.isfinite(error) or (error == 0 and loss):
        return MetricLoss(loss, nan, nan, margin, level, error, nan, nan)
    if error == 0:
        # The same scores for every row: the loss is 0, whatever the rows.
        return MetricLoss(loss, 0.0, 0.0, margin, level, error, 0.0, 1.0)
    variance = variance_of(difference, of_rows)
    half = one_sided_half_width(variance, level)
    return MetricLoss(
        loss,
        loss + half,
        loss - half,
        margin,
        level,
        error,
        p=one_sided_p(margin - loss, variance),
        p_inferior=one_sided_p(loss - margin, variance),
    )


@dataclass(frozen=True)
class NonInferiority:
    """An arm compared with another one in both metrics.

    Args:
        arm, reference: titles.
        auc, log_loss: what `arm` loses.
        seeds, rows: how many the comparison rests on.
        comparisons: how many comparisons of `arm` the claim "inferior" is corrected for.
        auc_difference, log_loss_difference: the differences, `arm` minus `reference`.
    """

    arm: str
    reference: str
    auc: MetricLoss
    log_loss: MetricLoss
    auc_difference: PairedDifference
    log_loss_difference: PairedDifference
    comparisons: int = 1

    @property
    def seeds(self) -> int:
        """Seeds that both arms have."""
        return self.auc_difference.seeds

    @property
    def rows(self) -> int:
        """Test rows."""
        return self.auc_difference.rows

    @property
    def metrics(self) -> tuple[MetricLoss, MetricLoss]:
        """AUC and log loss."""
        return self.auc, self.log_loss

    @property
    def outcome(self) -> LossOutcome:
        """Non-inferior in both metrics, inferior in one of them, or neither."""
        if not all(one.defined for one in self.metrics):
            return "undefined"
        if all(one.non_inferior for one in self.metrics):
            return "non-inferior"
        # Losing more than the margin in either of the metrics is enough, hence the correction.
        tests = len(self.metrics) * self.comparisons
        if any(one.p_inferior * tests < one.level for one in self.metrics):
            return "inferior"
        return "open"


def non_inferiority(
    arm: str,
    reference: str,
    differences: Sequence[PairedDifference],
    reference_log_loss: float,
    margins: Margins,
    level: float = SIGNIFICANCE_LEVEL,
    comparisons: int = 1,
) -> NonInferiority:
    """Return what an arm loses against a reference, with bounds.

    Args:
        arm, reference: titles.
        differences: AUC and log loss of the arm minus those of the reference, on test rows; what
            follows is not read.
        reference_log_loss: mean log loss of the reference in nats, which the margin of log loss is
            a part of.
        margins: of both metrics.
        level: one-sided level of both bounds. Where one of k arms is to be chosen by its bounds,
            0.05 / k makes the bounds of all of them hold together.
        comparisons: how many references `arm` is compared with.
    """
    auc, log_loss = differences[:2]
    nats = margins.log_loss_percent / 100 * reference_log_loss
    return NonInferiority(
        arm,
        reference,
        metric_loss(-auc.delta, auc, margins.auc, level),
        metric_loss(log_loss.delta, log_loss, nats, level, of_rows=True),
        auc,
        log_loss,
        comparisons,
    )
