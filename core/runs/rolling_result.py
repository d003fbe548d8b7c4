"""Results of a rolling evaluation: metrics of every arm over the windows of the target rows.

What they support is in core.runs.rolling_verdicts.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from core.evaluation.format_metrics import is_missing, metric_value
from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.paired_comparison import (
    MeanEstimate,
    compare_placement_values,
    mean_auc,
    mean_over_rows,
)
from core.evaluation.roc_auc import placement_values
from core.freezing.strategies import has_learning_rate, has_seed, is_control, is_trained
from core.jobs.predictions import read_prediction_array
from core.jobs.store import Run
from core.runs.sweep_result import ArmResult
from core.workspace import Workspace, nan_to_none

ROLLING_METRICS = ("auc", "log_loss")
"""The metrics that arms are compared by over windows."""
FORGETTING_PARTS = {
    "source_test": "source test rows",
    "earlier_windows": "validation rows of earlier windows",
}
"""Parts on which forgetting is measured: as the change from the backbone, on the same rows."""


@dataclass(frozen=True)
class WindowPoint:
    """A metric of an arm after training on one window.

    Args:
        window: number of the window that it trained on, from 1.
        value: mean over seeds.
        low, high: 95 % interval for other rows and other seeds; NaN where it is undefined. With one
            seed it is for other rows alone.
        seeds: how many runs it rests on.
        p: of a change in AUC, two-sided p-value of no change; else NaN.
    """

    window: int
    value: float
    low: float
    high: float
    seeds: int
    p: float = float("nan")


@dataclass(frozen=True)
class RollingLine:
    """A metric of an arm over the windows, as figures draw it."""

    title: str
    points: tuple[WindowPoint, ...]


@dataclass(frozen=True)
class RollingArm:
    """An arm over the windows.

    Args:
        title: of the arm, with its learning rate where the sweep has several settings.
        strategy: its strategy.
        results: of its windows with a finished run, in their order.
    """

    title: str
    strategy: str
    results: tuple[ArmResult, ...]

    def __hash__(self) -> int:
        return hash((self.title, self.results))

    @property
    def windows(self) -> tuple[int, ...]:
        """Numbers of the windows that it has a finished run of."""
        return tuple(one.window for one in self.results)

    @property
    def seconds(self) -> float:
        """Mean duration of a run in seconds."""
        return float(np.mean([one.seconds for one in self.results]))


def is_rolling(results: Sequence[ArmResult]) -> bool:
    """Whether the results are of windows."""
    return any(one.window for one in results)


def rolling_arms(results: Sequence[ArmResult]) -> list[RollingArm]:
    """Return the arms of a rolling evaluation with their windows, in the order of the results."""
    by_title: dict[str, list[ArmResult]] = {}
    for one in results:
        by_title.setdefault(_line_title(one), []).append(one)
    return [
        RollingArm(title, found[0].strategy, tuple(sorted(found, key=lambda one: one.window)))
        for title, found in by_title.items()
    ]


def _line_title(result: ArmResult) -> str:
    """Return what names the arm's line: its title, and the rate where that is a setting."""
    rest = result.setting.partition(", ")[2]
    return (
        f"{result.title} ({rest})" if rest and has_learning_rate(result.strategy) else result.title
    )


def last_common_window(arms: Sequence[RollingArm]) -> int:
    """Return the last window that every trained arm has a finished run of; 0 if there is none."""
    trained = [set(arm.windows) for arm in arms if is_trained(arm.strategy)] or [
        set(arm.windows) for arm in arms
    ]
    return max(set.intersection(*trained), default=0) if trained else 0


def window_points(
    workspace: Workspace, arm: RollingArm, metric: str, part: str = "target_test"
) -> list[WindowPoint]:
    """Return a metric of an arm on a part, one point for each window that has it.

    Args:
        workspace: holds the predictions.
        arm: the arm.
        metric: one of ROLLING_METRICS.
        part: "target_test", the rows of the next window; or one of FORGETTING_PARTS, for which the
            values are changes from the backbone on the same rows. A control has none of the
            backbone's weights to change, and so no such points.
    """
    if part in FORGETTING_PARTS and is_control(arm.strategy):
        return []
    points = []
    for result in arm.results:
        runs = [run for run in result.runs if run.result and part in run.result.metrics]
        if part in FORGETTING_PARTS:
            runs = [run for run in runs if run.result and part in (run.result.before or {})]
        if not runs:
            continue
        estimate = _estimate(workspace, tuple(runs), metric, part)
        if not is_missing(estimate.value):
            points.append(dataclasses.replace(estimate, window=result.window))
    return points


def rolling_lines(
    workspace: Workspace, arms: Sequence[RollingArm], metric: str, part: str = "target_test"
) -> tuple[RollingLine, ...]:
    """Return the line of every arm that has points; see `window_points`."""
    lines = (
        RollingLine(arm.title, tuple(window_points(workspace, arm, metric, part))) for arm in arms
    )
    return tuple(line for line in lines if line.points)


def _estimate(workspace: Workspace, runs: tuple[Run, ...], metric: str, part: str) -> WindowPoint:
    keys = tuple(f"{run.id} {run.finished}" for run in runs)
    return _cached_estimate(_Runs(workspace, runs, keys), metric, part)


@dataclass(frozen=True)
class _Runs:
    """Runs as the key of a cache: the same runs have the same predictions."""

    workspace: Workspace
    runs: tuple[Run, ...]
    keys: tuple[str, ...]

    def __hash__(self) -> int:
        return hash(self.keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Runs) and (self.workspace, self.keys) == (
            other.workspace,
            other.keys,
        )


@lru_cache(maxsize=2**13)
def _cached_estimate(found: _Runs, metric: str, part: str) -> WindowPoint:
    """Cached, because a sweep's page asks for all windows whenever a run ends."""
    workspace, runs = found.workspace, found.runs
    y_true = read_prediction_array(workspace, runs[0], f"{part}_label")
    after = [read_prediction_array(workspace, run, f"{part}_score") for run in runs]
    is_change = part in FORGETTING_PARTS
    # The backbone is the same for all seeds.
    before = read_prediction_array(workspace, runs[0], f"{part}_before") if is_change else None
    if metric == "log_loss":
        losses = np.stack([log_loss_per_row(y_true, one) for one in after])
        if before is not None:
            losses = losses - log_loss_per_row(y_true, before)
        return _to_point(mean_over_rows(losses), len(runs))
    placements = [placement_values(y_true, one) for one in after]
    if before is None:
        return _to_point(mean_auc(placements), len(runs))
    base = [placement_values(y_true, before)] * len(runs)
    change = compare_placement_values(placements, base, len(y_true))
    return WindowPoint(0, change.delta, change.low, change.high, len(runs), change.p)


def _to_point(estimate: MeanEstimate, seeds: int) -> WindowPoint:
    return WindowPoint(0, estimate.value, estimate.low, estimate.high, seeds)


def window_differences(
    arm: RollingArm, other: RollingArm, metric: str, part: str = "target_test"
) -> dict[int, float]:
    """Return a metric of an arm minus that of another, by window.

    Of each window that both have, the mean over the seeds that both have: paired on the same test
    rows, head, row order and dropout. The single run of an arm that no seed changes is paired with
    every seed of the other. Windows on which the metric is undefined are left out.
    """
    theirs = {one.window: one for one in other.results}
    found = {}
    for one in arm.results:
        if one.window not in theirs:
            continue
        deltas = [
            metric_value(_metrics(run, part), metric) - metric_value(_metrics(rival, part), metric)
            for run, rival in _pair_runs(one, theirs[one.window])
        ]
        if deltas and not any(map(is_missing, deltas)):
            found[one.window] = float(np.mean(deltas))
    return found


def _metrics(run: Run, part: str) -> Any:
    return run.result.metrics.get(part) if run.result else None


def _pair_runs(one: ArmResult, other: ArmResult) -> list[tuple[Run, Run]]:
    if not has_seed(one.strategy):
        return [(one.runs[0], run) for run in other.runs]
    if not has_seed(other.strategy):
        return [(run, other.runs[0]) for run in one.runs]
    by_seed = {run.seed: run for run in other.runs}
    return [(run, by_seed[run.seed]) for run in one.runs if run.seed in by_seed]


def count_windows(results: Sequence[ArmResult]) -> int:
    """Return how many windows the runs' rows were cut into, 0 if none."""
    windows = [run.window.windows for one in results for run in one.runs if run.window]
    return max(windows, default=0)


def rolling_table(workspace: Workspace, results: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """Return one row per arm: means over windows, every window, and forgetting after the last one.

    A missing number is None. "auc_window_3" is of the model trained on window 3, on the test rows
    of window 4; the changes are from the backbone, after the last window that the arm has.
    """
    rows = []
    for arm in rolling_arms(results):
        row: dict[str, Any] = {"arm": arm.title, "windows": len(arm.windows)}
        for metric in ROLLING_METRICS:
            points = window_points(workspace, arm, metric)
            values = [one.value for one in points]
            row[metric] = float(np.mean(values)) if values else None
            row[f"{metric}_deviation"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
            by_window = {one.window: one.value for one in points}
            for number in range(1, count_windows(results)):
                row[f"{metric}_window_{number}"] = by_window.get(number)
        for part in FORGETTING_PARTS:
            changes = window_points(workspace, arm, "auc", part)
            row[f"auc_change_{part}"] = changes[-1].value if changes else None
        row["seconds"] = arm.seconds
        rows.append(nan_to_none(row))
    return rows
