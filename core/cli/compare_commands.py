"""Commands that lay finished runs side by side: what the results support, the threshold that costs
least, slices."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from core.cli.options import local_path
from core.cli.output import CommandResult
from core.cli.targets import AddCommand, add_run_options, find_only_sweep, find_runs
from core.data.datasets import list_datasets
from core.errors import BadInput
from core.evaluation.curves import confusion_matrix
from core.evaluation.decision_cost import DecisionCosts, impression_costs
from core.evaluation.format_metrics import (
    format_arm_metrics,
    format_auc,
    format_metric,
    format_with_bounds,
)
from core.evaluation.paired_comparison import MeanEstimate, mean_over_rows
from core.evaluation.slices import AUC_REQUIREMENT, SliceDifference, SliceMetrics
from core.evaluation.verdicts import COMPARED_METRICS, Verdict
from core.jobs.predictions import read_prediction_array
from core.jobs.store import Run, RunStore
from core.models.backbone_store import list_backbones
from core.report.arms import (
    distinct_settings,
    group_into_arms,
    judge_selected_arms,
    summarise_selected_arms,
)
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
from core.runs.sweep_result import (
    ArmResult,
    default_reference,
    forgetting_sentences,
    judge_arms,
    summarise_arms,
    sweep_table,
)
from core.workspace import Workspace

SPECIAL_COLUMNS = {"domain": BY_DOMAIN, "all": BY_EVERY_COLUMN}
"""What --column names besides columns of the rows."""


def add_compare_commands(add: AddCommand) -> None:
    """Adds these commands to the parser."""
    command = add(
        "compare",
        "Compare finished runs, or a sweep: every arm's metrics and what they support.",
        compare,
    )
    add_run_options(command, sweep=True)
    command.add_argument(
        "--against",
        help="title of the arm that the others are compared with (default: see the page)",
    )
    command.add_argument(
        "--out", type=local_path, help="the arms as a table: a file that ends in .csv or .parquet"
    )
    command.add_argument("--out-runs", type=Path, help="the runs as a table")

    command = add(
        "threshold", "Choose the threshold that costs least, or count what one decides.", threshold
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


def compare(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Says what the results of arms support; a sweep's arms setting by setting."""
    if options.sweep:
        sweep = find_only_sweep(workspace, options.sweep)
        runs = RunStore(workspace).list_group(sweep.id)
        results = summarise_arms(sweep, runs)
        if not results:
            raise BadInput(
                f"No run of the sweep {sweep.name!r} is done, so there is nothing to compare."
            )
        reference = _choose_reference(results, options)
        verdicts, sentences = judge_arms(workspace, results, reference)
        sentences = sentences + forgetting_sentences(results)
    else:
        runs, results = _select_arms(workspace, options)
        reference = _choose_reference(results, options)
        verdicts, sentences = judge_selected_arms(workspace, results, reference)
    rows = sweep_table(results)
    data: dict[str, Any] = {"reference": reference, "arms": rows}
    data |= {"verdicts": [_verdict_data(one) for one in verdicts], "sentences": sentences}
    lines = [_arm_text(row) for row in rows] + sentences
    lines += _write_tables(results, verdicts, reference, runs, options)
    return CommandResult(data, "\n".join(lines))


def threshold(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Chooses the threshold that costs least for every arm, or counts what a given one decides."""
    _, results = _select_arms(workspace, options)
    if options.at is not None:
        return _count_at(workspace, results, options.at)
    costs, reference = _costs_from_options(options), _choose_reference(results, options)
    found = {one.title: arm_cost(workspace, one, costs) for one in results}
    rows, lines = [], []
    for title, one in found.items():
        mean = mean_over_rows(one.row_costs)
        difference = None if title == reference else cost_difference(one, found[reference])
        row = {
            "arm": title,
            "seeds": list(one.seeds),
            "thresholds": list(one.thresholds),
            "cost": mean.value,
        }
        row |= {
            "low": mean.low,
            "high": mean.high,
            "at_f1": one.cost_at_f1,
            "acted": one.acted_share,
        }
        rows.append(
            {
                **row,
                "difference": (
                    dataclasses.asdict(difference) if isinstance(difference, MeanEstimate) else None
                ),
            }
        )
        at = ", ".join(format_metric(value) for value in dict.fromkeys(one.thresholds))
        lines.append(
            f"{title}: threshold {at}, cost {format_metric(mean.value)} a test row"
            f" ({format_metric(one.cost_at_f1)} at the highest F1), {100 * one.acted_share:.1f} % of rows"
            f" acted on{_difference_text(difference, reference)}"
        )
    data = {"costs": dataclasses.asdict(costs), "reference": reference, "arms": rows}
    return CommandResult(
        data, "\n".join([*lines, "Chosen on validation rows, reported on target test rows."])
    )


def slices(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Metrics by the values of a column; of a single run also before fine-tuning, where its
    backbone scored."""
    runs, results = _select_arms(workspace, options)
    column = _resolve_column(workspace, runs[0].dataset, options.column)
    if len(results) == 1 and column not in (BY_DOMAIN, BY_EVERY_COLUMN):
        reference = "before"
        names = ("target_test_label", "target_test_score", "target_test_before")
        arrays = {}
        for name in names[: 3 if runs[0].result and runs[0].result.before else 2]:
            arrays[name] = read_prediction_array(workspace, runs[0], name)
        metrics, differences = run_slices(arrays, column_slices(workspace, runs[0].dataset, column))
    else:
        reference = _choose_reference(results, options)
        if column == BY_DOMAIN and any("source_test" not in one.auc for one in results):
            raise BadInput(
                "A run has no source test rows, so there is no source to hold against the target."
            )
        if column == BY_EVERY_COLUMN and len(results) < 2:
            raise BadInput(
                "Slices of every column are compared between arms; name runs of two arms at least."
            )
        metrics, differences = arm_slices(workspace, results, column, reference)
    data = {"column": options.column, "reference": reference}
    rows = [{"arm": title, **_slice_data(one)} for title, found in metrics.items() for one in found]
    moved = [_slice_difference_data(one) for one in differences]
    lines = [
        f"{row['slice']}, {row['arm']}: {row['rows']:,} row{'' if row['rows'] == 1 else 's'},"
        f" {format_auc(row)}, log loss {format_metric(row['log_loss'])}"
        for row in rows
    ]
    # Nothing is compared where there is a single one: before and after of a run are two.
    compared = column == BY_EVERY_COLUMN or len(metrics) > 1
    lines += _difference_lines(differences, reference) if compared else []
    return CommandResult({**data, "slices": rows, "differences": moved}, "\n".join(lines))


def _resolve_column(workspace: Workspace, dataset: str, named: str) -> str:
    """The column of that name, or what COLUMNS calls so; BadInput where the rows have no such
    column."""
    known = slice_columns(workspace, dataset)
    if named not in SPECIAL_COLUMNS and named not in known:
        raise BadInput(
            f"The rows have no column {named[:80]!r} to slice by; they have {', '.join(known)}."
            " domain holds source against target, and all takes every column."
        )
    return SPECIAL_COLUMNS.get(named, named)


def _difference_lines(differences: list[SliceDifference], reference: str) -> list[str]:
    """Where arms differ from the reference, or why nowhere."""
    if not differences:
        return [f"No slice can be compared with {reference}: {AUC_REQUIREMENT}."]
    real = [one for one in differences if one.outcome in ("better", "worse")]
    if not real:
        return [
            f"In no slice does AUC differ distinguishably from {reference} (Holm over"
            f" {len(differences)})."
        ]
    return [
        f"{one.name}: {one.arm} is {one.outcome} than {reference}"
        f" ({format_metric(one.difference.delta, signed=True)} AUC, adjusted p"
        f" {one.adjusted_p:.3g})"
        for one in real
    ]


def _select_arms(
    workspace: Workspace, options: argparse.Namespace
) -> tuple[list[Run], list[ArmResult]]:
    """(the runs that are done and score clicks, their arms under full titles); BadInput where none
    can be compared."""
    store = RunStore(workspace)
    sweep = find_only_sweep(workspace, options.sweep) if options.sweep else None
    named = store.list_group(sweep.id) if sweep else find_runs(store, options)
    runs = [
        run
        for run in named
        if run.status == "done" and run.result and "target_test" in run.result.metrics
    ]
    if not runs:
        raise BadInput(
            "None of these runs is done and scores clicks, so there is nothing to compare."
        )
    if len({run.dataset for run in runs}) > 1:
        raise BadInput(
            "These runs were tested on the rows of different datasets; name runs on one dataset."
        )
    backbones = {card.id: card.name for card in list_backbones(workspace)}
    arms = group_into_arms(runs, backbones, {one.id: one.name for one in list_datasets(workspace)})
    settings = distinct_settings(arms)
    results = summarise_selected_arms(arms, len(settings) > 1 or bool(settings[0]))
    return runs, [dataclasses.replace(one, setting="") for one in results]


def _choose_reference(results: list[ArmResult], options: argparse.Namespace) -> str:
    titles = [*dict.fromkeys(one.title for one in results)]
    if options.against and options.against not in titles:
        raise BadInput(
            f"There is no arm {options.against!r} to compare with; the arms here are {titles}."
        )
    return options.against or default_reference(results)


def _costs_from_options(options: argparse.Namespace) -> DecisionCosts:
    by_errors = (options.false_positive, options.false_negative)
    by_clicks = (options.click_value, options.price)
    if any(one is not None for one in by_clicks):
        if any(one is None for one in by_clicks) or any(one is not None for one in by_errors):
            raise BadInput("--click-value and --price go together, and stand for both other costs.")
        return impression_costs(options.click_value, options.price)
    false_positive, false_negative = by_errors
    return DecisionCosts(
        1.0 if false_positive is None else false_positive,
        4.0 if false_negative is None else false_negative,
    )


def _count_at(workspace: Workspace, results: list[ArmResult], at: float) -> CommandResult:
    rows, lines = [], []
    for one in results:
        for run in one.runs:
            label, score = (
                read_prediction_array(workspace, run, f"target_test_{name}")
                for name in ("label", "score")
            )
            counts = confusion_matrix(label, score, at)
            row = {
                "arm": one.title,
                "run": run.id,
                **dataclasses.asdict(counts),
                "precision": counts.precision,
            }
            rows.append(
                {**row, "recall": counts.recall, "f1": counts.f1, "accuracy": counts.accuracy}
            )
            lines.append(
                f"{one.title} ({run.id}): {counts.tp:,} true and {counts.fp:,} false clicks,"
                f" {counts.fn:,} missed, {counts.tn:,} true negatives, precision"
                f" {format_metric(counts.precision)}, recall {format_metric(counts.recall)}, F1"
                f" {format_metric(counts.f1)}"
            )
    return CommandResult({"threshold": at, "runs": rows}, "\n".join(lines))


def _write_tables(
    results: list[ArmResult],
    verdicts: list[Verdict],
    reference: str,
    runs: list[Run],
    options: argparse.Namespace,
) -> list[str]:
    """Writes the tables that were asked for; a line for each."""
    from core.report.sweep_tables import arms_table, runs_table
    from core.report.table_files import write_table

    lines = []
    if options.out:
        write_table(arms_table(results, verdicts, reference), options.out)
        lines.append(f"Wrote {len(results)} arms to {options.out}.")
    if options.out_runs:
        write_table(runs_table(runs), options.out_runs)
        lines.append(f"Wrote {len(runs)} runs to {options.out_runs}.")
    return lines


def _verdict_data(one: Verdict) -> dict[str, Any]:
    data: dict[str, Any] = {
        "arm": one.a,
        "against": one.b,
        "setting": one.setting,
        "verdict": one.outcome,
    }
    for metric in COMPARED_METRICS:
        difference, p = one.comparison(metric)
        data[metric] = {
            "delta": difference.delta,
            "low": difference.low,
            "high": difference.high,
            "adjusted_p": p,
        }
    return data


def _slice_data(one: SliceMetrics) -> dict[str, Any]:
    return {
        "slice": one.name,
        "rows": one.rows,
        "click_rate": one.click_rate,
        **{f"auc{end}": getattr(one.auc, name) for end, name in _INTERVAL_FIELDS},
        **{f"log_loss{end}": getattr(one.log_loss, name) for end, name in _INTERVAL_FIELDS},
        "predicted_over_actual": one.predicted_over_actual,
    }


_INTERVAL_FIELDS = (("", "value"), ("_low", "low"), ("_high", "high"))


def _slice_difference_data(one: SliceDifference) -> dict[str, Any]:
    data = {
        "slice": one.name,
        "arm": one.arm,
        "rows": one.rows,
        "verdict": one.outcome,
        "delta": one.difference.delta,
    }
    return {
        **data,
        "low": one.difference.low,
        "high": one.difference.high,
        "adjusted_p": one.adjusted_p,
    }


def _arm_text(row: dict[str, Any]) -> str:
    setting = f"{row['setting']}, " if row["setting"] else ""
    return (
        f"{setting}{row['arm']}: target test {format_arm_metrics(row)} over {row['seeds']}"
        f" seed{'s' if row['seeds'] > 1 else ''}"
    )


def _difference_text(difference: MeanEstimate | str | None, reference: str) -> str:
    if difference is None:
        return ""
    if isinstance(difference, str):
        return f"; not compared with {reference}: {difference}"
    numbers = format_with_bounds(difference.value, difference.low, difference.high, signed=True)
    return f"; {numbers} against {reference}"
