"""The metrics of a run, by part."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from core.evaluation.format_metrics import metric_value
from core.evaluation.metrics import Metrics
from thaw.display import table_html


@dataclass(frozen=True)
class RunMetrics:
    """Metrics of each part's rows; None for a part without rows. Undefined metrics are NaN.

    The metrics of a part are a `core.evaluation.metrics.Metrics`: auc (auc_low, auc_high),
    log_loss, normalised_entropy, ece, pr_auc, accuracy, precision, recall, f1, and some more.
    """

    target_test: Metrics | None = None
    source_test: Metrics | None = None
    target_validation: Metrics | None = None

    def to_pandas(self) -> pd.DataFrame:
        """A column per part, a row per metric."""
        return pd.DataFrame(
            {name: part.as_dict() for name, part in vars(self).items() if part is not None}
        )

    def _repr_html_(self) -> str:
        rows = self.to_pandas().to_dict("index").items()
        return table_html([{"metric": name.replace("_", " "), **values} for name, values in rows])


def run_metrics(parts: Mapping[str, Mapping[str, Any]]) -> RunMetrics:
    """Metrics as they are stored, by part; a number that is missing becomes NaN."""
    known = RunMetrics.__dataclass_fields__
    return RunMetrics(**{part: _metrics(one) for part, one in parts.items() if part in known})


def _metrics(stored: Mapping[str, Any]) -> Metrics:
    values: dict[str, Any] = {
        name: metric_value(stored, name) for name in Metrics.__dataclass_fields__
    }
    return Metrics(**{**values, "rows": int(stored.get("rows") or 0)})
