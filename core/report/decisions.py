"""What decisions of arms cost, each at its best threshold, and the metrics of arms by slice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.data.dataset_rows import read_column, shared_extra_columns
from core.data.datasets import find_dataset, select_test_rows
from core.data.schema import CATEGORICAL, NUMERIC
from core.data.windows import select_window
from core.errors import BadInput
from core.evaluation.curves import threshold_table
from core.evaluation.decision_cost import DecisionCosts, cheapest_threshold
from core.evaluation.paired_comparison import MeanEstimate, mean_over_rows
from core.evaluation.slices import (
    Slice,
    SliceDifference,
    SliceMetrics,
    slice_differences,
    slice_metrics,
    slices_by_value,
)
from core.jobs.requests import Window
from core.report.arms import comparable_seeds, load_scores
from core.runs.sweep_result import ArmResult
from core.workspace import Workspace

BY_DOMAIN, BY_EVERY_COLUMN = "source against target", "every column"
"""What test rows can be sliced by, apart from a column."""
THRESHOLD_GRID = np.linspace(0, 1, 201)
"""Thresholds of the cost curves."""


@dataclass(frozen=True)
class ArmCost:
    """What one arm's decisions cost on target test rows, at thresholds chosen on validation rows.

    Attributes:
        seeds: of the arm's runs.
        thresholds: one per seed.
        row_costs: cost of every test row, shape ``(n_seeds, n_rows)``.
        cost_at_f1: mean cost per row at the runs' own thresholds, which maximise F1.
        acted_share: share of rows whose score reaches the threshold.
        curve: mean cost per row at each of THRESHOLD_GRID, of the first seed.
    """

    seeds: tuple[int, ...]
    thresholds: tuple[float, ...]
    row_costs: np.ndarray
    cost_at_f1: float
    acted_share: float
    curve: np.ndarray


def arm_cost(workspace: Workspace, arm: ArmResult, costs: DecisionCosts) -> ArmCost:
    """Return what an arm's decisions cost; the threshold is chosen for every seed separately."""
    seeds = tuple(run.seed for run in arm.runs)
    arrays = {
        name: load_scores(workspace, arm, name, seeds)
        for name in (
            "target_validation_label",
            "target_validation_score",
            "target_test_label",
            "target_test_score",
        )
    }
    y_true, y_scores = arrays["target_test_label"][0], arrays["target_test_score"]
    validation = zip(
        arrays["target_validation_label"], arrays["target_validation_score"], strict=True
    )
    thresholds = tuple(
        cheapest_threshold(*labels_and_scores, costs) for labels_and_scores in validation
    )
    results = [run.result for run in arm.runs if run.result]
    f1_thresholds = [one.threshold for one in results if one.threshold is not None]

    def costs_at(chosen: Sequence[float]) -> np.ndarray:
        pairs = zip(y_scores, chosen, strict=True)
        return np.stack([costs.per_row(y_true, y_score, at) for y_score, at in pairs])

    acted = y_scores >= np.array(thresholds)[:, None]
    table = threshold_table(y_true, y_scores[0])
    totals = [costs.total(table.confusion_at(threshold)) for threshold in THRESHOLD_GRID]
    return ArmCost(
        seeds,
        thresholds,
        row_costs=costs_at(thresholds),
        cost_at_f1=float(costs_at(f1_thresholds).mean(axis=1).mean()),
        acted_share=float(acted.mean(axis=1).mean()),
        curve=np.array(totals) / len(y_true),
    )


def cost_difference(one: ArmCost, other: ArmCost) -> MeanEstimate | str:
    """Return the mean difference in cost per row over common seeds, or why there is none.

    An arm with a single run is compared with every seed of the other.
    """
    if one.row_costs.shape[1] != other.row_costs.shape[1]:
        return "other rows"
    common = [seed for seed in one.seeds if seed in other.seeds]
    if len(one.seeds) == 1 or len(other.seeds) == 1:
        return mean_over_rows(one.row_costs - other.row_costs)
    if not common:
        return "no common seed"
    a, b = (cost.row_costs[[cost.seeds.index(seed) for seed in common]] for cost in (one, other))
    return mean_over_rows(a - b)


def slice_columns(workspace: Workspace, dataset_id: str) -> list[str]:
    """Return the columns by whose values test rows can be grouped into slices.

    Extra columns of the files come first, then the 39 fields.
    """
    try:
        extra = shared_extra_columns(workspace, find_dataset(workspace, dataset_id))
    except BadInput:
        extra = ()
    return [*extra, *CATEGORICAL, *NUMERIC]


def column_slices(
    workspace: Workspace, dataset_id: str, column: str, window: Window | None = None
) -> list[Slice]:
    """Return the slices of a column's most frequent values among the target test rows.

    Args:
        workspace: of the dataset.
        dataset_id: of the dataset.
        column: a name of `slice_columns`.
        window: of the runs, where they were tested on the rows of one.

    Raises:
        BadInput: the dataset or its rows have been deleted.
    """
    dataset = find_dataset(workspace, dataset_id)
    if window:
        dataset = select_window(workspace, dataset, window.number, window.windows, window.column)
    values = read_column(workspace, dataset, column)
    chosen = values.take(select_test_rows(dataset, "target")).to_pylist()
    return slices_by_value(
        [f"{value:g}" if isinstance(value, float) else value for value in chosen]
    )


def arm_slices(
    workspace: Workspace,
    arms: Sequence[ArmResult],
    column: str,
    reference: str,
    load_slices: Callable[[str, str, Window | None], list[Slice]] | None = None,
) -> tuple[dict[str, list[SliceMetrics]], list[SliceDifference]]:
    """Return (metrics by arm title, differences from the reference) by slice.

    Args:
        workspace: holds the runs.
        arms: of one dataset.
        column: a name of `slice_columns`, BY_DOMAIN or BY_EVERY_COLUMN. For the latter, metrics are
            left out, as there are hundreds of slices.
        reference: title of the arm that the others are compared with.
        load_slices: replaces `column_slices`, for callers that cache it; takes (dataset id,
            column).

    Raises:
        BadInput: the arms have no seed in common.
    """
    load_slices = load_slices or (
        lambda dataset_id, name, window: column_slices(workspace, dataset_id, name, window)
    )
    seeds = comparable_seeds(arms)
    parts = ("target_test", "source_test") if column == BY_DOMAIN else ("target_test",)
    first = [load_scores(workspace, arms[0], f"{part}_label", seeds[:1])[0] for part in parts]
    labels = np.concatenate(first)
    scores = {
        one.title: np.concatenate(
            [load_scores(workspace, one, f"{part}_score", seeds) for part in parts], axis=1
        )
        for one in arms
    }
    dataset, window = arms[0].runs[0].dataset, arms[0].runs[0].window
    if column == BY_DOMAIN:
        slices = [
            Slice("target", np.arange(len(first[0]))),
            Slice("source", len(first[0]) + np.arange(len(first[1]))),
        ]
    elif column == BY_EVERY_COLUMN:
        slices = [
            Slice(f"{name} = {one.name}", one.rows)
            for name in slice_columns(workspace, dataset)
            for one in load_slices(dataset, name, window)
        ]
    else:
        slices = load_slices(dataset, column, window)
    metrics = (
        {}
        if column == BY_EVERY_COLUMN
        else {one: slice_metrics(labels, own, slices) for one, own in scores.items()}
    )
    return metrics, slice_differences(labels, scores, reference, slices) if len(scores) > 1 else []


def run_slices(
    arrays: Mapping[str, np.ndarray], slices: Sequence[Slice]
) -> tuple[dict[str, list[SliceMetrics]], list[SliceDifference]]:
    """Return (metrics by "before" and "after", their differences) of one run by slice.

    Args:
        arrays: the run's predictions by name, see `core.jobs.predictions`; without
            "target_test_before" the backbone had no scores, and there is only "this run".
        slices: from `column_slices`.
    """
    names = (
        {"before": "before", "after": "score"}
        if "target_test_before" in arrays
        else {"this run": "score"}
    )
    labels = arrays["target_test_label"].astype(float)
    scores = {
        title: arrays[f"target_test_{name}"].astype(float)[None] for title, name in names.items()
    }
    metrics = {title: slice_metrics(labels, one, slices) for title, one in scores.items()}
    return metrics, slice_differences(labels, scores, "before", slices) if len(scores) > 1 else []
