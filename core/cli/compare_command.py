"""The command `compare`, and the arms that other commands choose from as it does."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from core.cli.options import local_path
from core.cli.output import CommandResult
from core.cli.recommendation_output import (
    add_margin_options,
    margins_of,
    recommendation_lines,
    recommendations_data,
)
from core.cli.targets import AddCommand, add_run_options, find_only_sweep, find_runs
from core.data.datasets import list_datasets
from core.errors import BadInput
from core.evaluation.format_metrics import format_arm_metrics, number_or_none
from core.evaluation.verdicts import COMPARED_METRICS, Verdict
from core.jobs.store import Run, RunStore
from core.models.backbone_store import list_backbones
from core.report.arms import (
    choices_of_selected_arms,
    distinct_settings,
    group_into_arms,
    judge_selected_arms,
    summarise_selected_arms,
)
from core.report.run_settings import tested_rows_key
from core.runs.arm_recommendation import recommend_arms, recommend_selected
from core.runs.arm_verdicts import choices_of_arms, forgetting_sentences, judge_arms
from core.runs.sweep import Sweep, list_rate_sweeps
from core.runs.sweep_result import (
    ArmResult,
    default_reference,
    format_chosen_rate,
    rates_table,
    summarise_arms,
    sweep_table,
)
from core.workspace import Workspace


def add_compare_command(add: AddCommand) -> None:
    """Add `compare` to the parser."""
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
    add_margin_options(command)


def compare(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Print what the results of arms support; for a sweep, separately for each setting."""
    margins, sweep = margins_of(options), None
    if options.sweep:
        sweep = find_only_sweep(workspace, options.sweep)
        runs = RunStore(workspace).list_group(sweep.id)
        results = summarise_arms(sweep, runs)
        if not results:
            raise BadInput(
                f"No run of the sweep {sweep.name!r} is done, so there is nothing to compare."
            )
        reference = choose_reference(results, options)
        verdicts, sentences = judge_arms(workspace, results, reference)
        sentences = sentences + forgetting_sentences(workspace, results)
        choices = choices_of_arms(workspace, results)
        recommended = recommend_arms(workspace, results, margins)
    else:
        runs, results = select_arms(workspace, options)
        reference = choose_reference(results, options)
        verdicts, sentences = judge_selected_arms(workspace, results, reference)
        choices = choices_of_selected_arms(workspace, results)
        recommended = recommend_selected(workspace, results, margins)
    rows = sweep_table(results)
    data: dict[str, Any] = {
        "recommendations": recommendations_data(recommended),
        "reference": reference,
        "arms": rows,
        "rates": rates_table(results),
        "choices": [dataclasses.asdict(choice) for choice in choices],
        "verdicts": [_verdict_data(verdict) for verdict in verdicts],
        "sentences": sentences,
    }
    lines = [*recommendation_lines(recommended, sweep), *map(_arm_text, rows), *sentences]
    lines += _write_tables(results, verdicts, reference, runs, options)
    return CommandResult(data, "\n".join(lines))


def select_arms(
    workspace: Workspace, options: argparse.Namespace
) -> tuple[list[Run], list[ArmResult]]:
    """Return ``(runs, arms)``: the named runs that are done and score clicks, grouped into arms.

    The titles of the arms name their setting.

    Raises:
        BadInput: there is no such run, or the runs are on several datasets.
    """
    store = RunStore(workspace)
    sweep = find_only_sweep(workspace, options.sweep) if options.sweep else None
    candidates = store.list_group(sweep.id) if sweep else find_runs(store, options)
    if sweep and sweep.spec.choose_rate:
        return _chosen_arms(sweep, candidates)
    runs = [
        run
        for run in candidates
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
    if len({tested_rows_key(run) for run in runs}) > 1:
        raise BadInput(
            "These runs were tested on the rows of different windows; name runs of one window, or"
            " the sweep, which compares arms over all windows: `compare --sweep`."
        )
    backbones = {card.id: card.name for card in list_backbones(workspace)}
    datasets = {dataset.id: dataset.name for dataset in list_datasets(workspace)}
    arms = group_into_arms(runs, backbones, datasets, list_rate_sweeps(workspace))
    settings = distinct_settings(arms)
    results = summarise_selected_arms(arms, full_titles=len(settings) > 1 or bool(settings[0]))
    # The titles name the setting, so that all arms can be compared with one another.
    return runs, [dataclasses.replace(result, setting="") for result in results]


def _chosen_arms(sweep: Sweep, runs: list[Run]) -> tuple[list[Run], list[ArmResult]]:
    """Return as `select_arms` a sweep's arms at their chosen rates."""
    results = [one for one in summarise_arms(sweep, runs) if "target_test" in one.auc]
    if not results:
        raise BadInput(
            f"No arm of the sweep {sweep.name!r} has a learning rate yet, so there is nothing to"
            " compare; wait until a seed is done at every rate."
        )
    named = [
        dataclasses.replace(
            one, title=f"{one.title}, {one.setting}" if one.setting else one.title, setting=""
        )
        for one in results
    ]
    return [run for one in named for run in one.runs], named


def choose_reference(results: list[ArmResult], options: argparse.Namespace) -> str:
    """Return the title in --against, else the default; BadInput if no arm has it."""
    titles = [*dict.fromkeys(result.title for result in results)]
    if options.against and options.against not in titles:
        raise BadInput(
            f"There is no arm {options.against!r} to compare with; the arms here are {titles}."
        )
    return options.against or default_reference(results)


def _write_tables(
    results: list[ArmResult],
    verdicts: list[Verdict],
    reference: str,
    runs: list[Run],
    options: argparse.Namespace,
) -> list[str]:
    """Write the tables of --out and --out-runs, and return a line for each."""
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


def _verdict_data(verdict: Verdict) -> dict[str, Any]:
    data: dict[str, Any] = {
        "arm": verdict.a,
        "against": verdict.b,
        "setting": verdict.setting,
        "verdict": verdict.outcome,
    }
    for metric in COMPARED_METRICS:
        difference, adjusted_p = verdict.comparison(metric)
        data[metric] = {
            "delta": difference.delta,
            "low": difference.low,
            "high": difference.high,
            "standard_error": difference.standard_error,
            # JSON has no infinity, which stands for "from rows alone, by the normal distribution".
            "degrees_of_freedom": number_or_none(difference.degrees_of_freedom),
            "adjusted_p": adjusted_p,
            "outcome": verdict.outcome_in(metric),
        }
    return data


def _arm_text(row: dict[str, Any]) -> str:
    setting = f"{row['setting']}, " if row["setting"] else ""
    return (
        f"{setting}{row['arm']}{format_chosen_rate(row)}: target test {format_arm_metrics(row)}"
        f" over {row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
    )
