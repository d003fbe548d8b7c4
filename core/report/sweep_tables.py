"""The tables of a sweep as files hold them: a row for every arm, a row for every run."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from core.evaluation.format_metrics import metric_or_none, number_or_none
from core.evaluation.verdicts import Verdict
from core.jobs.store import Run
from core.runs.sweep import arm_of_run
from core.runs.sweep_result import ArmResult, sweep_table

EXPORTED_METRICS = ("auc", "auc_low", "auc_high", "log_loss", "ece")


def arms_table(
    results: Sequence[ArmResult], verdicts: Sequence[Verdict], reference: str
) -> pd.DataFrame:
    """The arms that have a finished run, all numbers, with differences to the reference, for a
    file."""
    against = {(one.setting, one.a): one for one in verdicts if one.b == reference}
    rows = []
    for row in sweep_table(results):
        verdict = against.get((row["setting"], row["arm"]))
        difference: dict[str, Any] = {
            "reference": reference,
            "verdict": verdict.outcome if verdict else None,
        }
        for metric in ("auc", "log_loss"):
            found = getattr(verdict, metric) if verdict else None
            for end in ("delta", "low", "high"):
                difference[f"{metric}_difference_{end}"] = (
                    number_or_none(getattr(found, end)) if found else None
                )
            difference[f"{metric}_adjusted_p"] = (
                number_or_none(getattr(verdict, f"{metric}_p")) if verdict else None
            )
        rows.append(row | difference)
    return pd.DataFrame(rows)


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Every run of the sweep with its setting and its metrics, for a file."""
    rows = []
    for run in runs:
        result = run.result or {}
        row: dict[str, Any] = {
            "run": run.id,
            "arm": arm_of_run(run).title,
            "seed": run.request["train"]["seed"],
            "learning_rate": run.request["train"]["learning_rate"],
            "target_rows": run.request["target_rows"],
            "status": run.status,
            "train_rows": result.get("train_rows"),
            "best_epoch": result.get("best_epoch"),
            "epochs_run": result.get("epochs_run"),
            "halted_epoch": run.halted or None,
            "trained_parameters": result.get("trained_parameters"),
            "seconds": result.get("seconds", {}).get("total"),
            "peak_memory": result.get("peak_memory"),
        }
        for part, values in (result.get("metrics") or {}).items():
            row |= {f"{part}_{name}": metric_or_none(values, name) for name in EXPORTED_METRICS}
            row[f"{part}_rows"] = values.get("rows")
        rows.append(row)
    return pd.DataFrame(rows)
