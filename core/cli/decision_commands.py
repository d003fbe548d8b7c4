"""Commands for decisions about finished runs: the threshold with the lowest cost, and slices."""

import argparse
import dataclasses
from typing import Any

from core.cli.compare_command import choose_reference, select_arms
from core.cli.output import CommandResult
from core.cli.targets import AddCommand, add_run_options
from core.errors import BadInput
from core.evaluation.curves import confusion_matrix
from core.evaluation.decision_cost import DecisionCosts, impression_costs
from core.evaluation.format_metrics import format_auc, format_metric, format_p, format_with_bounds
from core.evaluation.paired_comparison import MeanEstimate, mean_over_rows
from core.evaluation.significance import SLICES_NOT_EQUAL
from core.evaluation.slices import AUC_REQUIREMENT, SliceDifference, SliceMetrics
from core.jobs.predictions import read_prediction_array
from core.report.decisions import (
    BY_DOMAIN,
    BY_EVERY_COLUMN,
    arm_cost,
    arm_slices,
    column_slices,
    cost_difference,
    run_slices,
    slice_columns,
)
from core.runs.sweep_result import ArmResult
from core.workspace import Workspace

SPECIAL_COLUMNS = {"domain": BY_DOMAIN, "all": BY_EVERY_COLUMN}
"""Values of --column that are not the name of a column."""


def add_decision_commands(add: AddCommand) -> None:
    """Add these commands to the parser."""
    command = add(
        "threshold",
        "Choose the threshold with the lowest cost, or count what a threshold decides.",
        threshold,
    )
    add_run_options(command, sweep=True)
    command.add_argument("--against", help="title of the arm that the others are compared with")
    command.add_argument(
        "--false-positive", type=float, help="cost of acting where no click comes (default 1)"
    )
    command.add_argument("--false-negative", type=float, help="cost of missing a click (default 4)")
    command.add_argument(
        "--click-value", type=float, help="instead: what a click is worth, with --price"
    )
    command.add_argument("--price", type=float, help="what an impression costs")
    command.add_argument(
        "--at", type=float, help="instead: count what this threshold decides in every run"
    )

    command = add("slices", "Measure finished runs by the values of a column.", slices)
    add_run_options(command, sweep=True)
    command.add_argument(
        "--column",
        required=True,
        help=(
            "a field (I1 … C26), or a column that the file was read with; or domain: source against"
            " target, or all"
        ),
    )
    command.add_argument("--against", help="title of the arm that the others are compared with")


def threshold(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Choose the threshold with the lowest cost for every arm; with --at, count its decisions."""
    _, results = select_arms(workspace, options)
    if options.at is not None:
        return _count_at(workspace, results, options.at)
    costs, reference = _costs_from_options(options), choose_reference(results, options)
    by_title = {result.title: arm_cost(workspace, result, costs) for result in results}
    rows, lines = [], []
    for title, cost in by_title.items():
        mean = mean_over_rows(cost.row_costs)
        difference = None if title == reference else cost_difference(cost, by_title[reference])
        rows.append(
            {
                "arm": title,
                "seeds": list(cost.seeds),
                "thresholds": list(cost.thresholds),
                "cost": mean.value,
                "low": mean.low,
                "high": mean.high,
                "at_f1": cost.cost_at_f1,
                "acted": cost.acted_share,
                "difference": (
                    dataclasses.asdict(difference) if isinstance(difference, MeanEstimate) else None
                ),
            }
        )
        thresholds = ", ".join(format_metric(value) for value in dict.fromkeys(cost.thresholds))
        lines.append(
            f"{title}: threshold {thresholds}, cost {format_metric(mean.value)} per test row "
            f"({format_metric(cost.cost_at_f1)} at the highest F1), {100 * cost.acted_share:.1f} % "
            f"of rows acted on{_difference_text(difference, reference)}"
        )
    lines.append("Chosen on validation rows, reported on target test rows.")
    data = {"costs": dataclasses.asdict(costs), "reference": reference, "arms": rows}
    return CommandResult(data, "\n".join(lines))


def slices(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Measure arms by the values of a column; a single run is compared with its backbone."""
    runs, results = select_arms(workspace, options)
    dataset_id = runs[0].dataset
    column = _resolve_column(workspace, dataset_id, options.column)
    if len(results) == 1 and column not in (BY_DOMAIN, BY_EVERY_COLUMN):
        reference = "before"
        names = ["target_test_label", "target_test_score"]
        # A backbone without a click head has no scores before fine-tuning.
        if runs[0].result and runs[0].result.before:
            names.append("target_test_before")
        arrays = {name: read_prediction_array(workspace, runs[0], name) for name in names}
        metrics, differences = run_slices(
            arrays, column_slices(workspace, dataset_id, column, runs[0].window)
        )
    else:
        reference = choose_reference(results, options)
        if column == BY_DOMAIN and any("source_test" not in result.auc for result in results):
            raise BadInput(
                "A run has no source test rows, so there is no source to compare the target with."
            )
        if column == BY_EVERY_COLUMN and len(results) < 2:
            raise BadInput(
                "Slices of every column are compared between arms; name runs of two arms at least."
            )
        metrics, differences = arm_slices(workspace, results, column, reference)
    rows = [{"arm": title, **_slice_data(one)} for title, found in metrics.items() for one in found]
    lines = [
        f"{row['slice']}, {row['arm']}: {row['rows']:,} row{'' if row['rows'] == 1 else 's'}, "
        f"{format_auc(row)}, log loss {format_metric(row['log_loss'])}"
        for row in rows
    ]
    # A single arm without a "before" has nothing to be compared with.
    if column == BY_EVERY_COLUMN or len(metrics) > 1:
        lines += _difference_lines(differences, reference)
    data = {
        "column": options.column,
        "reference": reference,
        "slices": rows,
        "differences": [_slice_difference_data(one) for one in differences],
    }
    return CommandResult(data, "\n".join(lines))


def _resolve_column(workspace: Workspace, dataset_id: str, name: str) -> str:
    """Return the column, or the special one of that name; BadInput if the rows have no such one."""
    known = slice_columns(workspace, dataset_id)
    if name not in SPECIAL_COLUMNS and name not in known:
        raise BadInput(
            f"The rows have no column {name[:80]!r} to slice by; they have {', '.join(known)}. "
            "domain compares source with target, and all takes every column."
        )
    return SPECIAL_COLUMNS.get(name, name)


def _difference_lines(differences: list[SliceDifference], reference: str) -> list[str]:
    """Return in which slices arms differ from the reference, or why in none."""
    if not differences:
        return [f"No slice can be compared with {reference}: {AUC_REQUIREMENT}."]
    real = [one for one in differences if one.outcome in ("better", "worse")]
    if not real:
        return [
            f"In no slice does AUC differ distinguishably from {reference} (Holm over"
            f" {len(differences)}). {SLICES_NOT_EQUAL}"
        ]
    return [
        f"{one.name}: {one.arm} is {one.outcome} than {reference}"
        f" ({format_metric(one.difference.delta, signed=True)} AUC, adjusted p"
        f" {format_p(one.adjusted_p)})"
        for one in real
    ]


def _costs_from_options(options: argparse.Namespace) -> DecisionCosts:
    """Return the costs of both errors, by default 1 and 4; BadInput for options that conflict."""
    by_errors = (options.false_positive, options.false_negative)
    by_clicks = (options.click_value, options.price)
    if any(cost is not None for cost in by_clicks):
        if any(cost is None for cost in by_clicks) or any(cost is not None for cost in by_errors):
            raise BadInput("--click-value and --price go together, and replace both other costs.")
        return impression_costs(options.click_value, options.price)
    false_positive, false_negative = by_errors
    return DecisionCosts(
        1.0 if false_positive is None else false_positive,
        4.0 if false_negative is None else false_negative,
    )


def _count_at(workspace: Workspace, results: list[ArmResult], threshold: float) -> CommandResult:
    """Return the confusion matrix of every run at a threshold, on its target test rows."""
    rows, lines = [], []
    for result in results:
        for run in result.runs:
            y_true = read_prediction_array(workspace, run, "target_test_label")
            y_score = read_prediction_array(workspace, run, "target_test_score")
            counts = confusion_matrix(y_true, y_score, threshold)
            rows.append(
                {
                    "arm": result.title,
                    "run": run.id,
                    **dataclasses.asdict(counts),
                    "precision": counts.precision,
                    "recall": counts.recall,
                    "f1": counts.f1,
                    "accuracy": counts.accuracy,
                }
            )
            lines.append(
                f"{result.title} ({run.id}): {counts.tp:,} true and {counts.fp:,} false clicks, "
                f"{counts.fn:,} missed, {counts.tn:,} true negatives, precision "
                f"{format_metric(counts.precision)}, recall {format_metric(counts.recall)}, F1 "
                f"{format_metric(counts.f1)}"
            )
    return CommandResult({"threshold": threshold, "runs": rows}, "\n".join(lines))


def _slice_data(metrics: SliceMetrics) -> dict[str, Any]:
    return {
        "slice": metrics.name,
        "rows": metrics.rows,
        "click_rate": metrics.click_rate,
        "auc": metrics.auc.value,
        "auc_low": metrics.auc.low,
        "auc_high": metrics.auc.high,
        "log_loss": metrics.log_loss.value,
        "log_loss_low": metrics.log_loss.low,
        "log_loss_high": metrics.log_loss.high,
        "predicted_over_actual": metrics.predicted_over_actual,
    }


def _slice_difference_data(found: SliceDifference) -> dict[str, Any]:
    return {
        "slice": found.name,
        "arm": found.arm,
        "rows": found.rows,
        "verdict": found.outcome,
        "delta": found.difference.delta,
        "low": found.difference.low,
        "high": found.difference.high,
        "adjusted_p": found.adjusted_p,
    }


def _difference_text(difference: MeanEstimate | str | None, reference: str) -> str:
    """Return the difference in cost from the reference, or why there is none."""
    if difference is None:
        return ""
    if isinstance(difference, str):
        return f"; not compared with {reference}: {difference}"
    numbers = format_with_bounds(difference.value, difference.low, difference.high, signed=True)
    return f"; {numbers} against {reference}"
