"""The table of a sweep: one row per arm and setting."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from core.evaluation.format_metrics import (
    MISSING_TEXT,
    format_bounds,
    format_metric,
    number_or_none,
)
from core.evaluation.metric_registry import HEADLINE_METRIC, METRICS, metrics_shown_in
from core.evaluation.verdicts import JUDGED_METRICS, Verdict
from core.freezing.strategies import untrained_titles
from core.jobs.store import Run
from core.runs.rate_choice import has_rate
from core.runs.sweep import Sweep, arm_title
from core.runs.sweep_result import ArmResult, arm_key, describe_setting

LAST_EPOCH_MARK = "⚠"
"""Behind the runs of an arm whose best epoch was its last."""
ArmKey = tuple[str, str]
"""Key of an arm at a setting: (setting, title)."""


def group_runs(sweep: Sweep, runs: Sequence[Run]) -> dict[ArmKey, list[Run]]:
    """Return the sweep's runs by arm and setting, in the order of the arms, finished or not.

    What a search has tried is no arm.
    """
    runs = [run for run in runs if not run.is_trial]
    # Blends are arms that the sweep has not asked for.
    order = [*dict.fromkeys([*(arm.title for arm in sweep.spec.arms), *map(arm_title, runs)])]
    groups: dict[tuple[bool, int, float, int], list[Run]] = {}
    for run in runs:
        size, rate, title = arm_key(sweep, run)
        groups.setdefault((size == 0, size, -rate, order.index(title)), []).append(run)
    return {
        (describe_setting(sweep, key[1], -key[2]), order[key[3]]): groups[key]
        for key in sorted(groups)
    }


def sweep_table(
    places: dict[ArmKey, list[Run]],
    results: Sequence[ArmResult],
    verdicts: Sequence[Verdict],
    reference: str,
) -> pd.DataFrame:
    """Return one row per arm, including arms without a finished run: the table keeps its height."""
    by_place = {(result.setting, result.title): result for result in results}
    verdict_by_key = {(entry.setting, entry.a): entry for entry in verdicts if entry.b == reference}
    several = len({setting for setting, _ in places}) > 1
    chooses = any(_tries_rates(runs) for runs in places.values())
    rows = []
    for (setting, title), runs in places.items():
        result, verdict = by_place.get((setting, title)), verdict_by_key.get((setting, title))
        row: dict[str, Any] = {"Arm": title}
        if several:
            # Zero-shot trains nothing, so its single run is valid in every setting.
            row["Setting"] = (
                "every one"
                if title in untrained_titles()
                else setting.replace("learning rate", "rate")
            )
        last = f" {LAST_EPOCH_MARK}" if result and result.best_epoch_is_last else ""
        row["Runs"] = _describe_progress(runs) + last
        if chooses:
            row["Rate"] = _describe_rate(result, runs)
        row |= _auc_columns(result, "Target", "target_test")
        row["Verdict"] = (
            "baseline" if title == reference else verdict.outcome if verdict else MISSING_TEXT
        )
        for judged in JUDGED_METRICS:
            delta = METRICS[judged].delta_name
            of_delta = "" if judged == HEADLINE_METRIC else f" of {delta}"
            difference = verdict.comparison(judged)[0] if verdict else None
            row[delta] = (
                format_metric(difference.delta, signed=True) if difference else MISSING_TEXT
            )
            row[f"95 % interval{of_delta}"] = (
                format_bounds(difference.low, difference.high, signed=True)
                if difference
                else MISSING_TEXT
            )
        for key, metric in metrics_shown_in("arms").items():
            if key != HEADLINE_METRIC:
                spread = result.spread(key, "target_test") if result else None
                row[metric.heading] = number_or_none(spread.mean) if spread else None
        row |= _auc_columns(result, "Source", "source_test")
        row["Trained"] = result.trained_parameters if result else None
        row["Seconds"] = result.seconds if result else None
        linked = result.runs if result and _tries_rates(runs) else runs
        row["Compare"] = f"compare?runs={','.join(run.id for run in linked)}"
        rows.append(row)
    return pd.DataFrame(rows)


def _tries_rates(runs: Sequence[Run]) -> bool:
    return len({run.request.train.learning_rate for run in runs}) > 1


def _describe_rate(result: ArmResult | None, runs: Sequence[Run]) -> str:
    """Return the chosen rate, or why there is none."""
    if not has_rate(runs[0]):
        return "none"
    return f"{result.learning_rate:g}" if result else "not chosen yet"


def _describe_progress(runs: Sequence[Run]) -> str:
    done = sum(run.status == "done" for run in runs)
    text = f"{done} of {len(runs)}"
    for status in ("running", "failed", "cancelled", "interrupted"):
        if number := sum(run.status == status for run in runs):
            text += f", {number} {status}" if number > 1 or status != "running" else ", running"
    if (halted := max(run.halted for run in runs)) and not _tries_rates(runs):
        text += f", ended after epoch {halted}"
    return text


def _auc_columns(result: ArmResult | None, name: str, part: str) -> dict[str, float | None]:
    spread = result.auc.get(part) if result else None
    mean, deviation = (
        (number_or_none(spread.mean), number_or_none(spread.deviation)) if spread else (None, None)
    )
    return {f"{name} AUC": mean, f"{name} ±": deviation}
