"""The metrics, in one dict: what each computes, how it reads, and where it is shown.

Results, tables, figures, the glossary, reports, backbone cards and the command line all read
`METRICS`. Adding a metric is one entry (docs/extending.md). Results that were stored before the
entry existed show the metric as missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from core.evaluation.calibration_floor import predicted_over_actual_bounds
from core.evaluation.metric_functions import (
    ScoredRows,
    average_precision,
    calibration_error,
    lift_at,
    log_loss,
    normalised_entropy,
)

Requirement = Literal["nothing", "rows", "clicks", "both classes"]
"""What rows must have for a metric to be defined; on others it is NaN, and its function is not
called.
"""
MetricPlace = Literal["arms", "figures", "runs", "card"]
"""Where a metric is shown beside the table of all metrics of a run.

arms: tables of arms (sweep page, report, files, command line). figures: figures of arms. runs:
    tables of runs.
card: stored in the card of a backbone, when it is trained.
"""
EVERYWHERE: tuple[MetricPlace, ...] = ("arms", "figures", "runs", "card")
HEADLINE_METRIC = "auc"
"""The metric that verdicts, the frontier of quality against cost, and adaptation against
forgetting are about.
"""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, stored beside the metric as KEY_low and KEY_high.

    Attributes:
        bounds: lower and upper end; NaN where the rows define no interval.
        method: whose method it is, as tables name it.
    """

    bounds: Callable[[ScoredRows], tuple[float, float]]
    method: str


@dataclass(frozen=True)
class Metric:
    """A metric; its key in METRICS is its name in stored results and in JSON.

    Attributes:
        name: what a sentence calls it, such as "log loss".
        function: computes it from labels, scores and a threshold.
        glossary: one sentence for the glossary; "" leaves it out.
        title: its row in the table of all metrics; `name` with a capital when "".
        long_name: spelt out, for tooltips; "" where `name` is no abbreviation.
        higher_is_better: None where neither is, as for a ratio that should be 1.
        unit: such as "nats"; "" for a pure number.
        digits: decimals shown.
        requires: what rows must have for the metric to be defined.
        interval: its 95 % interval; None where it has none.
        summary_rank: its place in the one-line summary of the command line, from 1; 0 leaves it
            out.
        shown_in: where it is shown beside the table of all metrics.
    """

    name: str
    function: Callable[[ScoredRows], float]
    glossary: str = ""
    title: str = ""
    long_name: str = ""
    higher_is_better: bool | None = True
    unit: str = ""
    digits: int = 4
    requires: Requirement = "rows"
    interval: Interval | None = None
    summary_rank: int = 0
    shown_in: tuple[MetricPlace, ...] = ()

    @property
    def heading(self) -> str:
        """The name with a capital, as the heading of a column: "Log loss"."""
        return self.name[:1].upper() + self.name[1:]

    @property
    def row_title(self) -> str:
        """Its row in the table of all metrics."""
        return self.title or self.heading

    @property
    def axis_title(self) -> str:
        """The heading with the unit, for an axis: "Log loss (nats)"."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    @property
    def delta_name(self) -> str:
        """A difference of two of them: "ΔAUC", "Δ log loss"."""
        return f"Δ{self.name}" if self._is_abbreviation else f"Δ {self.name}"

    @property
    def with_article(self) -> str:
        """The name with its article: "an AUC", "a log loss"."""
        # The names of these letters begin with a vowel: an F1, an NDCG.
        vowels = "AEFHILMNORSX" if self._is_abbreviation else "aeiou"
        return f"{'an' if self.name[0] in vowels else 'a'} {self.name}"

    @property
    def _is_abbreviation(self) -> bool:
        return not any(letter.islower() for letter in self.name)


def _confusion(ratio: str) -> Callable[[ScoredRows], float]:
    return lambda rows: float(getattr(rows.confusion, ratio))


METRICS: dict[str, Metric] = {
    "auc": Metric(
        name="AUC",
        title="AUC-ROC",
        function=lambda rows: rows.auc_and_variance[0],
        glossary=(
            "Probability that a random clicked row is scored above a random row without click; "
            "0.5 is guessing, 1 is perfect."
        ),
        interval=Interval(lambda rows: rows.auc_bounds, "DeLong"),
        requires="both classes",
        shown_in=EVERYWHERE,
    ),
    "log_loss": Metric(
        name="log loss",
        function=lambda rows: log_loss(rows.y_true, rows.y_score),
        glossary=(
            "Mean negative log likelihood of the labels; confident mistakes cost most. Lower is "
            "better. Unlike AUC, it measures calibration."
        ),
        higher_is_better=False,
        unit="nats",
        summary_rank=1,
        shown_in=EVERYWHERE,
    ),
    "normalised_entropy": Metric(
        name="normalised entropy",
        function=lambda rows: normalised_entropy(rows.y_true, rows.y_score),
        glossary=(
            "Log loss divided by the log loss of always predicting the click rate: below 1, the "
            "model has learned something."
        ),
        higher_is_better=False,
        requires="both classes",
    ),
    "accuracy": Metric(
        name="accuracy",
        function=_confusion("accuracy"),
        glossary=(
            "Share of rows on the correct side of the threshold. On Criteo rows, predicting no "
            "click already reaches three quarters."
        ),
        summary_rank=5,
    ),
    "always_no_accuracy": Metric(
        name="accuracy of predicting no click",
        function=lambda rows: 1 - rows.click_rate,
        higher_is_better=None,
    ),
    "precision": Metric(
        name="precision",
        function=_confusion("precision"),
        glossary="Of the rows predicted as clicks, the share that are clicks.",
        requires="nothing",
        summary_rank=3,
    ),
    "recall": Metric(
        name="recall",
        function=_confusion("recall"),
        glossary="Of all clicks, the share that is predicted as clicks.",
        requires="nothing",
        summary_rank=4,
    ),
    "f1": Metric(
        name="F1",
        function=_confusion("f1"),
        glossary="Harmonic mean of precision and recall.",
        requires="nothing",
        summary_rank=2,
    ),
    "pr_auc": Metric(
        name="PR-AUC",
        function=lambda rows: average_precision(rows.y_true, rows.y_score),
        glossary="Area under the precision-recall curve; guessing gives the click rate.",
        requires="both classes",
    ),
    "ece": Metric(
        name="ECE",
        title="ECE (15 equal-mass bins)",
        long_name="expected calibration error",
        function=lambda rows: calibration_error(rows.y_true, rows.y_score),
        glossary=(
            "Expected calibration error: mean distance between predicted probability and click "
            "rate, over 15 equal-mass bins."
        ),
        higher_is_better=False,
        shown_in=("arms",),
    ),
    "ece_floor": Metric(
        name="ECE floor",
        title="ECE of a perfectly calibrated model",
        function=lambda rows: rows.ece_floor[0],
        glossary=(
            "The ECE that a perfectly calibrated model would have on the same rows, on average, by "
            "chance alone: no smaller ECE can be expected."
        ),
        higher_is_better=None,
        shown_in=("arms",),
    ),
    "ece_floor_high": Metric(
        name="ECE floor, 95 % quantile",
        title="ECE of a perfectly calibrated model, 95 % quantile",
        function=lambda rows: rows.ece_floor[1],
        higher_is_better=None,
    ),
    "predicted_over_actual": Metric(
        name="predicted over actual",
        title="Predicted / actual clicks",
        function=lambda rows: float(rows.y_score.sum() / rows.y_true.sum()),
        glossary=(
            "Predicted clicks divided by actual clicks: 1 is calibrated, above 1 predicts too many."
        ),
        higher_is_better=None,
        requires="clicks",
        interval=Interval(
            lambda rows: predicted_over_actual_bounds(rows.y_true, rows.y_score), "delta method"
        ),
    ),
    "lift_at_10": Metric(
        name="lift at 10 %",
        function=lambda rows: lift_at(rows.y_true, rows.y_score, 0.1),
        glossary=(
            "Click rate of the tenth of rows with the highest scores, divided by that of all rows."
        ),
        requires="clicks",
    ),
}
"""Every metric by its key, in the order of the table of all metrics."""


def metrics_shown_in(place: MetricPlace) -> dict[str, Metric]:
    """The metrics that are shown there, by key."""
    return {key: metric for key, metric in METRICS.items() if place in metric.shown_in}


def summary_metrics() -> dict[str, Metric]:
    """The metrics of the one-line summary, in its order."""
    ranked = [key for key, metric in METRICS.items() if metric.summary_rank]
    return {key: METRICS[key] for key in sorted(ranked, key=lambda key: METRICS[key].summary_rank)}


def stored_names(key: str) -> tuple[str, ...]:
    """Return the names under which results store a metric.

    They are its key and, if it has an interval, the names of the interval's ends.

    >>> stored_names("auc"), stored_names("log_loss")
    (('auc', 'auc_low', 'auc_high'), ('log_loss',))
    """
    return (key, f"{key}_low", f"{key}_high") if METRICS[key].interval else (key,)
