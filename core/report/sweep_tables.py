"""The tables of a sweep for files: one row per arm, and one row per run."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from core.evaluation.format_metrics import metric_or_none, number_or_none
from core.evaluation.metric_registry import metrics_shown_in, stored_names
from core.evaluation.verdicts import COMPARED_METRICS, Verdict
from core.jobs.store import Run
from core.runs.sweep import arm_title
from core.runs.sweep_result import ArmResult, sweep_table


def arms_table(
    results: Sequence[ArmResult], verdicts: Sequence[Verdict], reference: str
) -> pd.DataFrame:
    """Return a table with one row per arm that has a finished run.

    A row has the arm's metrics and its differences from the reference.

    Args:
        results: the arms.
        verdicts: the comparisons; those with another arm than `reference` are ignored.
        reference: title of the arm that the differences are taken from.
    """
    against = {(one.setting, one.a): one for one in verdicts if one.b == reference}
    rows = []
    for row in sweep_table(results):
        verdict = against.get((row["setting"], row["arm"]))
        difference: dict[str, Any] = {
            "reference": reference,
            "verdict": verdict.outcome if verdict else None,
        }
        for metric in COMPARED_METRICS:
            found, p = verdict.comparison(metric) if verdict else (None, None)
            for end in ("delta", "low", "high"):
                difference[f"{metric}_difference_{end}"] = (
                    number_or_none(getattr(found, end)) if found else None
                )
            difference[f"{metric}_adjusted_p"] = None if p is None else number_or_none(p)
        rows.append(row | difference)
    return pd.DataFrame(rows)


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Every run of the sweep with its setting and its metrics, for a file."""
    names = [name for metric in metrics_shown_in("arms") for name in stored_names(metric)]
    rows = []
    for run in runs:
        result = run.result
        row: dict[str, Any] = {
            "run": run.id,
            "arm": arm_title(run),
            "seed": run.seed,
            "learning_rate": run.request.train.learning_rate,
            "target_rows": run.target_rows,
            "status": run.status,
            "train_rows": result.train_rows if result else None,
            "best_epoch": result.best_epoch if result else None,
            "epochs_run": result.epochs_run if result else None,
            "halted_epoch": run.halted or None,
            "trained_parameters": result.trained_parameters if result else None,
            "seconds": result.seconds.get("total") if result else None,
            "peak_memory": result.peak_memory if result else None,
        }
        for part, values in (result.metrics if result else {}).items():
            row |= {f"{part}_{name}": metric_or_none(values, name) for name in names}
            row[f"{part}_rows"] = values.get("rows")
        rows.append(row)
    return pd.DataFrame(rows)
