"""Arms put to a decision: the threshold that costs least in each, and their metrics slice by
slice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.data.datasets import find_dataset, read_column, select_test_rows, shared_extra_columns
from core.data.schema import CATEGORICAL, NUMERIC
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
from core.report.arms import comparable_seeds, load_scores
from core.runs.sweep_result import ArmResult
from core.workspace import Workspace

BY_DOMAIN, BY_EVERY_COLUMN = "source against target", "every column"
"""What test rows can be sliced by besides a column."""
THRESHOLD_GRID = np.linspace(0, 1, 201)
"""Thresholds of the cost curves."""


@dataclass(frozen=True)
class ArmCost:
    """What one arm's decisions cost on target test rows, at thresholds chosen on validation rows.

    thresholds: by seed. row_costs: cost of every test row, (seeds, rows). cost_at_f1: mean cost at the
    thresholds that the runs came with. acted_share: share of rows acted on. curve: mean cost by GRID, of
    the first seed.
    """

    seeds: tuple[int, ...]
    thresholds: tuple[float, ...]
    row_costs: np.ndarray
    cost_at_f1: float
    acted_share: float
    curve: np.ndarray


def arm_cost(workspace: Workspace, arm: ArmResult, costs: DecisionCosts) -> ArmCost:
    """The cost of an arm, its threshold chosen for every seed by itself."""
    seeds = tuple(run.seed for run in arm.runs)
    read = {
        name: load_scores(workspace, arm, name, seeds)
        for name in (
            "target_validation_label",
            "target_validation_score",
            "target_test_label",
            "target_test_score",
        )
    }
    labels, scores = read["target_test_label"][0], read["target_test_score"]
    validation = zip(read["target_validation_label"], read["target_validation_score"], strict=True)
    thresholds = tuple(cheapest_threshold(*one, costs) for one in validation)
    rows = np.stack(
        [costs.per_row(labels, own, at) for own, at in zip(scores, thresholds, strict=True)]
    )
    f1 = [
        run.result.threshold for run in arm.runs if run.result and run.result.threshold is not None
    ]
    at_f1 = float(
        np.mean([costs.per_row(labels, own, at).mean() for own, at in zip(scores, f1, strict=True)])
    )
    acted = float(np.mean([(own >= at).mean() for own, at in zip(scores, thresholds, strict=True)]))
    table = threshold_table(labels, scores[0])
    curve = np.array([costs.total(table.confusion_at(one)) for one in THRESHOLD_GRID]) / len(labels)
    return ArmCost(seeds, thresholds, rows, at_f1, acted, curve)


def cost_difference(one: ArmCost, other: ArmCost) -> MeanEstimate | str:
    """Mean difference in cost a row over common seeds, a single run beside every seed; or why there
    is none."""
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
    """Columns that test rows can be sliced by: the segment columns that the files brought along,
    then the 39 fields."""
    try:
        kept = shared_extra_columns(workspace, find_dataset(workspace, dataset_id))
    except BadInput:
        kept = ()
    return [*kept, *CATEGORICAL, *NUMERIC]


def column_slices(workspace: Workspace, dataset_id: str, column: str) -> list[Slice]:
    """The most frequent values of a column among the target test rows; BadInput where the rows are
    gone."""
    dataset = find_dataset(workspace, dataset_id)
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
    load_slices: Callable[[str, str], list[Slice]] | None = None,
) -> tuple[dict[str, list[SliceMetrics]], list[SliceDifference]]:
    """(metrics by arm, none for EVERY_COLUMN; where arms differ from the reference). column: or
    DOMAIN, EVERY_COLUMN.

    Arms of one dataset. slices_by: gives column_slices of a dataset and column, for who keeps them.
    BadInput where the arms have no seed in common.
    """
    load_slices = load_slices or (
        lambda dataset_id, name: column_slices(workspace, dataset_id, name)
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
    dataset = arms[0].runs[0].dataset
    if column == BY_DOMAIN:
        slices = [
            Slice("target", np.arange(len(first[0]))),
            Slice("source", len(first[0]) + np.arange(len(first[1]))),
        ]
    elif column == BY_EVERY_COLUMN:
        slices = [
            Slice(f"{name} = {one.name}", one.rows)
            for name in slice_columns(workspace, dataset)
            for one in load_slices(dataset, name)
        ]
    else:
        slices = load_slices(dataset, column)
    metrics = (
        {}
        if column == BY_EVERY_COLUMN
        else {one: slice_metrics(labels, own, slices) for one, own in scores.items()}
    )
    return metrics, slice_differences(labels, scores, reference, slices) if len(scores) > 1 else []


def run_slices(
    arrays: Mapping[str, np.ndarray], slices: Sequence[Slice]
) -> tuple[dict[str, list[SliceMetrics]], list[SliceDifference]]:
    """(metrics of one run's model, and of its backbone before where that scored; where the two
    differ).

    arrays: the run's predictions by name, see core.jobs.predictions.
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
