"""The metrics of a run, by part."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from core.evaluation.metric_registry import METRICS
from core.evaluation.metrics import Metrics
from thaw.display import table_html

_NONE = Metrics({})


@dataclass(frozen=True)
class RunMetrics:
    """Metrics of each part's rows; NaN where one is undefined, or the part has no rows.

    The metrics of a part are attributes: ``auc`` (with ``auc_low`` and ``auc_high``), ``log_loss``
    and whatever else `core.evaluation.metric_registry.METRICS` names.
    """

    target_test: Metrics = _NONE
    source_test: Metrics = _NONE
    target_validation: Metrics = _NONE

    def to_pandas(self) -> pd.DataFrame:
        """A column per part, a row per metric."""
        parts = {name: part.as_dict() for name, part in vars(self).items() if len(part)}
        return pd.DataFrame(parts, dtype="float64")

    def _repr_html_(self) -> str:
        titles = {key: metric.row_title for key, metric in METRICS.items()}
        rows = self.to_pandas().to_dict("index").items()
        return table_html(
            [{"metric": titles.get(name, name.replace("_", " ")), **row} for name, row in rows]
        )


def run_metrics(parts: Mapping[str, Mapping[str, Any]]) -> RunMetrics:
    """Metrics as a result has them, by part."""
    known = RunMetrics.__dataclass_fields__
    return RunMetrics(
        **{part: Metrics.from_stored(one) for part, one in parts.items() if part in known}
    )
