"""All metrics of one set of rows: computed from labels and scores, or read from a stored result."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from core.evaluation.format_metrics import is_missing
from core.evaluation.metric_functions import ScoredRows
from core.evaluation.metric_registry import METRICS, Requirement, stored_names

COUNTS = ("rows", "click_rate", "threshold")
"""What is stored beside the metrics: what they stand on."""


class Metrics(Mapping[str, float]):
    """Metrics of one set of rows by name: those that are stored as items, any as an attribute.

    A missing metric is NaN. It is missing where the rows do not define it (no rows, a single
    class), and in results that were stored before it existed. Besides the metrics of
    core.evaluation.metric_registry there are `rows`, `click_rate` and `threshold`, and KEY_low and
    KEY_high for a metric KEY with an interval.

    >>> metrics = compute_metrics(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.6, 0.7]), 0.5)
    >>> metrics.auc, metrics["recall"]
    (0.75, 1.0)
    >>> Metrics.from_stored({"auc": 0.75}).log_loss
    nan
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = dict(values)

    @classmethod
    def from_stored(cls, values: Mapping[str, Any] | None) -> "Metrics":
        """Metrics as results store them; any may be None or not there.

        Raises:
            ValueError: `values` is not a JSON object, which a damaged result may hold.
        """
        if not isinstance(values, Mapping | None):
            raise ValueError(f"{str(values)[:40]!r} is not an object of metrics by name")
        return cls(
            {
                name: math.nan if is_missing(value) else value
                for name, value in (values or {}).items()
            }
        )

    def as_dict(self) -> dict[str, float | None]:
        """JSON-ready: None in place of NaN."""
        return {name: None if is_missing(value) else value for name, value in self._values.items()}

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __getattr__(self, name: str) -> float:
        # Copying and pickling ask for attributes before there are any values.
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._values and name not in all_names():
            raise AttributeError(
                f"There is no metric {name!r}; there are {', '.join(all_names())}."
            )
        return self._values.get(name, math.nan)

    def __dir__(self) -> list[str]:
        # So that a notebook completes the names.
        return [*super().__dir__(), *all_names()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        # By what is stored: NaN, which equals nothing, is None there.
        return isinstance(other, Metrics) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(tuple(self.as_dict().items()))

    def __repr__(self) -> str:
        return f"Metrics({self.as_dict()})"


def all_names() -> tuple[str, ...]:
    """Return every name that results store for a set of rows.

    The names in COUNTS come first, then the metrics, each with its interval.
    """
    return (*COUNTS, *(name for key in METRICS for name in stored_names(key)))


def compute_metrics(y_true: np.ndarray, y_score: np.ndarray, threshold: float) -> Metrics:
    """Every metric of METRICS.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: click probabilities, shape ``(n_rows,)``.
        threshold: a row counts as a predicted click when its score is at least this.

    Returns:
        The metrics; NaN where the rows do not define one.

    Raises:
        BadInput: shapes differ, a label is not 0 or 1, or a score is not finite; the message names
            the row.
    """
    rows = ScoredRows(y_true, y_score, threshold)
    values: dict[str, float] = {
        "rows": rows.n_rows,
        "click_rate": rows.click_rate,
        "threshold": rows.threshold,
    }
    for key, metric in METRICS.items():
        defined = _meets(rows, metric.requires)
        values[key] = metric.function(rows) if defined else math.nan
        if metric.interval:
            low, high = metric.interval.bounds(rows) if defined else (math.nan, math.nan)
            values |= {f"{key}_low": low, f"{key}_high": high}
    return Metrics(values)


def _meets(rows: ScoredRows, requirement: Requirement) -> bool:
    """Whether the rows have what a metric needs to be defined."""
    if requirement == "nothing":
        return True
    if requirement == "rows":
        return rows.n_rows > 0
    # NaN, the click rate of no rows, is above nothing.
    return rows.click_rate > 0 and (requirement == "clicks" or rows.click_rate < 1)
