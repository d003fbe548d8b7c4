"""Commands that lay finished runs side by side: what the results support, the threshold that costs
least, slices."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from core.command_options import local_path
from core.command_output import Result
from core.command_targets import Add, add_runs, find_only_sweep, named_runs
from core.data.datasets import list_datasets
from core.errors import BadInput
from core.evaluation.costs import Costs, of_impressions
from core.evaluation.curves import confusion
from core.evaluation.format_metrics import format_auc, format_metric, format_with_bounds
from core.evaluation.seeds import Mean, mean_of_rows
from core.evaluation.slices import NEEDED, SliceDifference, SliceMetrics
from core.evaluation.verdicts import Verdict
from core.models.library import list_backbones
from core.report.arms import arms_of, judged_arms, results_of, settings_of_arms
from core.report.decisions import (
    DOMAIN,
    EVERY_COLUMN,
    arm_cost,
    arm_slices,
    column_slices,
    cost_difference,
    run_slices,
    slice_columns,
)
from core.runs.predictions import predictions
from core.runs.store import Run, RunStore
from core.runs.sweep_result import (
    ArmResult,
    arm_results,
    forgotten,
    judged,
    reference_of,
    sweep_table,
)
from core.workspace import Workspace

COLUMNS = {"domain": DOMAIN, "all": EVERY_COLUMN}
"""What --column names besides columns of the rows."""


def add_compare(add: Add) -> None:
    """Adds these commands to the parser."""
    command = add(
        "compare",
        "Compare finished runs, or a sweep: every arm's metrics and what they support.",
        compare,
    )
    add_runs(command, sweep=True)
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
    add_runs(command, sweep=True)
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
    add_runs(command, sweep=True)
    command.add_argument(
        "--column",
        required=True,
        help=(
            "a field (I1 … C26), or a column that the file was read with; or domain: source against"
            " target, or all"
        ),
    )
    command.add_argument("--against", help="title of the arm that the others are compared with")


def compare(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Says what the results of arms support; a sweep's arms setting by setting."""
    if options.sweep:
        sweep = find_only_sweep(workspace, options.sweep)
        runs = RunStore(workspace).group(sweep.id)
        results = arm_results(sweep, runs)
        if not results:
            raise BadInput(
                f"No run of the sweep {sweep.name!r} is done, so there is nothing to compare."
            )
        reference = _reference(results, options)
        verdicts, sentences = judged(workspace, results, reference)
        sentences = sentences + forgotten(results)
    else:
        runs, results = _chosen(workspace, options)
        reference = _reference(results, options)
        verdicts, sentences = judged_arms(workspace, results, reference)
    rows = sweep_table(results)
    data: dict[str, Any] = {"reference": reference, "arms": rows}
    data |= {"verdicts": [_verdict(one) for one in verdicts], "sentences": sentences}
    lines = [_arm_line(row) for row in rows] + sentences
    lines += _write(results, verdicts, reference, runs, options)
    return Result(data, "\n".join(lines))


def threshold(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Chooses the threshold that costs least for every arm, or counts what a given one decides."""
    _, results = _chosen(workspace, options)
    if options.at is not None:
        return _counted(workspace, results, options.at)
    costs, reference = _costs(options), _reference(results, options)
    found = {one.title: arm_cost(workspace, one, costs) for one in results}
    rows, lines = [], []
    for title, one in found.items():
        mean = mean_of_rows(one.rows)
        difference = None if title == reference else cost_difference(one, found[reference])
        row = {
            "arm": title,
            "seeds": list(one.seeds),
            "thresholds": list(one.thresholds),
            "cost": mean.value,
        }
        row |= {"low": mean.low, "high": mean.high, "at_f1": one.at_f1, "acted": one.acted}
        rows.append(
            {
                **row,
                "difference": (
                    dataclasses.asdict(difference) if isinstance(difference, Mean) else None
                ),
            }
        )
        at = ", ".join(format_metric(value) for value in dict.fromkeys(one.thresholds))
        lines.append(
            f"{title}: threshold {at}, cost {format_metric(mean.value)} a test row"
            f" ({format_metric(one.at_f1)} at the highest F1), {100 * one.acted:.1f} % of rows"
            f" acted on{_against(difference, reference)}"
        )
    data = {"costs": dataclasses.asdict(costs), "reference": reference, "arms": rows}
    return Result(
        data, "\n".join([*lines, "Chosen on validation rows, reported on target test rows."])
    )


def slices(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Metrics by the values of a column; of a single run also before fine-tuning, where its
    backbone scored."""
    runs, results = _chosen(workspace, options)
    column = _column(workspace, runs[0].dataset, options.column)
    if len(results) == 1 and column not in (DOMAIN, EVERY_COLUMN):
        reference = "before"
        names = ("target_test_label", "target_test_score", "target_test_before")
        arrays = {}
        for name in names[: 3 if runs[0].result and runs[0].result.get("before") else 2]:
            arrays[name] = predictions(workspace, runs[0], name)
        metrics, differences = run_slices(arrays, column_slices(workspace, runs[0].dataset, column))
    else:
        reference = _reference(results, options)
        if column == DOMAIN and any("source_test" not in one.auc for one in results):
            raise BadInput(
                "A run has no source test rows, so there is no source to hold against the target."
            )
        if column == EVERY_COLUMN and len(results) < 2:
            raise BadInput(
                "Slices of every column are compared between arms; name runs of two arms at least."
            )
        metrics, differences = arm_slices(workspace, results, column, reference)
    data = {"column": options.column, "reference": reference}
    rows = [{"arm": title, **_slice(one)} for title, found in metrics.items() for one in found]
    moved = [_slice_difference(one) for one in differences]
    lines = [
        f"{row['slice']}, {row['arm']}: {row['rows']:,} row{'' if row['rows'] == 1 else 's'},"
        f" {format_auc(row)}, log loss {format_metric(row['log_loss'])}"
        for row in rows
    ]
    # Nothing is compared where there is a single one: before and after of a run are two.
    compared = column == EVERY_COLUMN or len(metrics) > 1
    lines += _differences_said(differences, reference) if compared else []
    return Result({**data, "slices": rows, "differences": moved}, "\n".join(lines))


def _column(workspace: Workspace, dataset: str, named: str) -> str:
    """The column of that name, or what COLUMNS calls so; BadInput where the rows have no such
    column."""
    known = slice_columns(workspace, dataset)
    if named not in COLUMNS and named not in known:
        raise BadInput(
            f"The rows have no column {named[:80]!r} to slice by; they have {', '.join(known)}."
            " domain holds source against target, and all takes every column."
        )
    return COLUMNS.get(named, named)


def _differences_said(differences: list[SliceDifference], reference: str) -> list[str]:
    """Where arms differ from the reference, or why nowhere."""
    if not differences:
        return [f"No slice can be compared with {reference}: {NEEDED}."]
    real = [one for one in differences if one.word in ("better", "worse")]
    if not real:
        return [
            f"In no slice does AUC differ distinguishably from {reference} (Holm over"
            f" {len(differences)})."
        ]
    return [
        f"{one.name}: {one.arm} is {one.word} than {reference}"
        f" ({format_metric(one.difference.delta, signed=True)} AUC, adjusted p"
        f" {one.adjusted_p:.3g})"
        for one in real
    ]


def _chosen(workspace: Workspace, options: argparse.Namespace) -> tuple[list[Run], list[ArmResult]]:
    """(the runs that are done and score clicks, their arms under full titles); BadInput where none
    can be compared."""
    store = RunStore(workspace)
    sweep = find_only_sweep(workspace, options.sweep) if options.sweep else None
    named = store.group(sweep.id) if sweep else named_runs(store, options)
    runs = [
        run
        for run in named
        if run.status == "done" and run.result and "target_test" in run.result["metrics"]
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
    arms = arms_of(runs, backbones, {one.id: one.name for one in list_datasets(workspace)})
    settings = settings_of_arms(arms)
    results = results_of(arms, len(settings) > 1 or bool(settings[0]))
    return runs, [dataclasses.replace(one, setting="") for one in results]


def _reference(results: list[ArmResult], options: argparse.Namespace) -> str:
    titles = [*dict.fromkeys(one.title for one in results)]
    if options.against and options.against not in titles:
        raise BadInput(
            f"There is no arm {options.against!r} to compare with; the arms here are {titles}."
        )
    return options.against or reference_of(results)


def _costs(options: argparse.Namespace) -> Costs:
    by_errors = (options.false_positive, options.false_negative)
    by_clicks = (options.click_value, options.price)
    if any(one is not None for one in by_clicks):
        if any(one is None for one in by_clicks) or any(one is not None for one in by_errors):
            raise BadInput("--click-value and --price go together, and stand for both other costs.")
        return of_impressions(options.click_value, options.price)
    false_positive, false_negative = by_errors
    return Costs(
        1.0 if false_positive is None else false_positive,
        4.0 if false_negative is None else false_negative,
    )


def _counted(workspace: Workspace, results: list[ArmResult], at: float) -> Result:
    rows, lines = [], []
    for one in results:
        for run in one.runs:
            label, score = (
                predictions(workspace, run, f"target_test_{name}") for name in ("label", "score")
            )
            counts = confusion(label, score, at)
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
    return Result({"threshold": at, "runs": rows}, "\n".join(lines))


def _write(
    results: list[ArmResult],
    verdicts: list[Verdict],
    reference: str,
    runs: list[Run],
    options: argparse.Namespace,
) -> list[str]:
    """Writes the tables that were asked for; a line for each."""
    from core.report.sweep_tables import arms_file, runs_file
    from core.report.table_files import write_table

    lines = []
    if options.out:
        write_table(arms_file(results, verdicts, reference), options.out)
        lines.append(f"Wrote {len(results)} arms to {options.out}.")
    if options.out_runs:
        write_table(runs_file(runs), options.out_runs)
        lines.append(f"Wrote {len(runs)} runs to {options.out_runs}.")
    return lines


def _verdict(one: Verdict) -> dict[str, Any]:
    data: dict[str, Any] = {
        "arm": one.a,
        "against": one.b,
        "setting": one.setting,
        "verdict": one.word,
    }
    for metric, p in (("auc", one.auc_p), ("log_loss", one.log_loss_p)):
        difference = getattr(one, metric)
        data[metric] = {
            "delta": difference.delta,
            "low": difference.low,
            "high": difference.high,
            "adjusted_p": p,
        }
    return data


def _slice(one: SliceMetrics) -> dict[str, Any]:
    return {
        "slice": one.name,
        "rows": one.rows,
        "click_rate": one.click_rate,
        **{f"auc{end}": getattr(one.auc, name) for end, name in _ENDS},
        **{f"log_loss{end}": getattr(one.log_loss, name) for end, name in _ENDS},
        "predicted_over_actual": one.predicted_over_actual,
    }


_ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))


def _slice_difference(one: SliceDifference) -> dict[str, Any]:
    data = {
        "slice": one.name,
        "arm": one.arm,
        "rows": one.rows,
        "verdict": one.word,
        "delta": one.difference.delta,
    }
    return {
        **data,
        "low": one.difference.low,
        "high": one.difference.high,
        "adjusted_p": one.adjusted_p,
    }


def _arm_line(row: dict[str, Any]) -> str:
    setting = f"{row['setting']}, " if row["setting"] else ""
    return (
        f"{setting}{row['arm']}: target test AUC {format_metric(row['auc'])}, log loss "
        f"{format_metric(row['log_loss'])}, ECE {format_metric(row['ece'])} over {row['seeds']} "
        f"seed{'s' if row['seeds'] > 1 else ''}"
    )


def _against(difference: Mean | str | None, reference: str) -> str:
    if difference is None:
        return ""
    if isinstance(difference, str):
        return f"; not compared with {reference}: {difference}"
    numbers = format_with_bounds(difference.value, difference.low, difference.high, signed=True)
    return f"; {numbers} against {reference}"
