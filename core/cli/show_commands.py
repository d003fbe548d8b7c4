"""Commands that show what is there: samples, runs, sweeps, columns, drift, a backbone's vocabulary,
scored files."""

import argparse
import dataclasses
from typing import Any

from core.cli.options import local_path
from core.cli.output import (
    CommandResult,
    ProgressBar,
    auc_text,
    target_test_metrics,
    with_damaged,
)
from core.cli.targets import AddCommand, comma_separated, find_only_sweep
from core.data.datasets import find_dataset, measure_coverage
from core.data.preprocessing import load_preprocessing
from core.data.profile import measure_drift as dataset_drift
from core.data.profile import profile_columns
from core.data.samples import find_sample, read_sample_rows, read_samples
from core.errors import BadInput
from core.freezing.known_values import UNSEEN_LIMIT, unseen_share
from core.jobs.run import STATUSES, run_to_json
from core.jobs.run_cache import damaged_runs
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone
from core.runs.artifacts import delete_artifact, list_scorings, read_scorings
from core.runs.launch import find_stalls, refresh_statuses, stall_message
from core.runs.sweep import list_sweeps, read_sweeps
from core.workspace import Workspace

KINDS = ("finetune", "pretrain")


def add_show_commands(add: AddCommand) -> None:
    """Adds these commands to the parser."""
    add("samples", "List the samples of the workspace.", samples)
    add("sweeps", "List the sweeps of the workspace.", sweeps)
    command = add(
        "runs",
        "List the runs of the workspace, all or those that fit, or write them as a table.",
        runs,
    )
    command.add_argument("--find", default="", help="words that name, note, tags or id hold")
    command.add_argument("--sweep", help="name or id")
    command.add_argument(
        "--status", type=comma_separated, default=(), help=f"of {', '.join(STATUSES)}"
    )
    command.add_argument("--kind", type=comma_separated, default=(), help=f"of {', '.join(KINDS)}")
    command.add_argument(
        "--tags", type=comma_separated, default=(), help="those that have one of these: a,b"
    )
    command.add_argument(
        "--by-arm",
        action="store_true",
        help="with --out: a row for every arm, means over its seeds",
    )
    command.add_argument("--out", type=local_path, help="a file that ends in .csv or .parquet")

    command = add(
        "profile",
        "Describe the columns of a sample: missing and distinct values, quantiles.",
        profile,
    )
    command.add_argument("--sample", required=True)
    command.add_argument(
        "--first-rows", type=int, default=0, help="show as many rows as well (default 0)"
    )
    command = add(
        "drift", "Measure how far each field of a dataset moved between source and target.", drift
    )
    command.add_argument("--dataset", required=True)
    command = add(
        "vocabulary",
        "Measure how many of a dataset's target values a backbone has never seen.",
        vocabulary,
    )
    command.add_argument("--backbone", required=True)
    command.add_argument("--dataset", required=True)

    command = add(
        "scored", "List the files that page Score has scored with a run and keeps.", scored
    )
    command.add_argument("--run", required=True, dest="run_id")
    command = add(
        "delete-scored", "Delete the predictions that page Score keeps of a file.", delete_scored
    )
    command.add_argument("--run", required=True, dest="run_id")
    command.add_argument(
        "--file", required=True, help="id or name of the scored file, as `scored` lists it"
    )


def samples(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Lists the samples, newest first."""
    found, broken = read_samples(workspace)
    data = [
        {name: value for name, value in dataclasses.asdict(one).items() if name != "folder"}
        for one in found
    ]
    lines = []
    for one in found:
        rate = f", click rate {one.click_rate:.4f}" if one.click_rate is not None else ", no labels"
        bad = f", {one.bad_rows:,} bad rows skipped" if one.bad_rows else ""
        simulated = ", simulated" if one.simulated else ""
        lines.append(
            f"Sample {one.name!r} ({one.id}{simulated}): {one.rows:,} rows of"
            f" {one.source!r}{rate}{bad}"
        )
    result = CommandResult(
        {"samples": data}, "\n".join(lines) or "No samples yet; `ingest` makes one."
    )
    return with_damaged(result, broken)


def sweeps(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Lists the sweeps, newest first, with how their runs ended."""
    store = RunStore(workspace)
    refresh_statuses(workspace, store)
    data, lines = [], []
    found, broken = read_sweeps(workspace)
    for sweep in found:
        statuses = [run.status for run in store.list_group(sweep.id)]
        ended = {status: statuses.count(status) for status in dict.fromkeys(statuses)}
        one = {"sweep": sweep.id, "name": sweep.name, "created": sweep.created, "runs": ended}
        data.append({**one, "spec": dataclasses.asdict(sweep.spec)})
        counts = ", ".join(f"{number} {status}" for status, number in ended.items()) or "no runs"
        lines.append(f"{sweep.id}  {sweep.name}: {len(sweep.spec.arms)} arms, {counts}")
    return with_damaged(
        CommandResult({"sweeps": data}, "\n".join(lines) or "No sweeps yet; `sweep` starts one."),
        broken,
    )


def runs(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Lists the runs, newest first, or writes them into a file."""
    # What a table takes stays out of other commands: pandas alone needs half a second.
    from core.report.run_tables import arm_frame, matching_runs, run_frame
    from core.report.table_files import write_table

    for given, known, what in ((options.status, STATUSES, "status"), (options.kind, KINDS, "kind")):
        if unknown := [word for word in given if word not in known]:
            raise BadInput(f"There is no {what} {unknown[0]!r}; choose from {', '.join(known)}.")
    store = RunStore(workspace)
    refresh_statuses(workspace, store)
    names = {sweep.id: sweep.name for sweep in list_sweeps(workspace)}
    every = store.list()
    if options.sweep:
        wanted = find_only_sweep(workspace, options.sweep)
        every = [run for run in every if run.group == wanted.id]
    found = matching_runs(
        every, names, options.find, (), options.status, options.kind, options.tags
    )
    stalls = find_stalls(workspace, found)
    lines = []
    for run in found:
        lines.append(
            f"{run.id}  {run.status:<11}  {run.name}  {auc_text(target_test_metrics(run))}"
        )
        if run.id in stalls:
            lines.append(f"    {stall_message(stalls[run.id], run)}")
    text = "\n".join(lines) or (
        "No run fits." if every else "No runs yet; `pretrain` or `finetune` starts one."
    )
    told = {
        run.id: {"since": stalls[run.id].since, "sentence": stall_message(stalls[run.id], run)}
        for run in found
        if run.id in stalls
    }
    data: dict[str, Any] = {
        "runs": [run_to_json(run) | {"stalled": told.get(run.id)} for run in found]
    }
    if options.out is None:
        return with_damaged(CommandResult(data, text), damaged_runs(workspace))
    if not found:
        raise BadInput("No run fits, so there is no table to write.")
    table = run_frame(workspace, found, store.validation_summaries(found), names)
    if options.by_arm:
        table = arm_frame(workspace, found, table)[1]
    write_table(table, options.out)
    return CommandResult(
        {**data, "out": str(options.out)}, f"Wrote {len(table)} rows to {options.out}."
    )


def profile(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Describes the columns of a sample."""
    sample = find_sample(workspace, options.sample)
    if options.first_rows < 0:
        raise BadInput(f"The number of first rows is {options.first_rows}; it must be 0 or more.")
    with ProgressBar("Looking at the columns") as report:
        columns = profile_columns(sample, report)
    data: dict[str, Any] = {"sample": sample.id, "name": sample.name, "rows": sample.rows}
    data["columns"] = [dataclasses.asdict(column) for column in columns]
    lines = []
    for column in columns:
        facts = [f"missing {column.missing_share:.1%}", f"{column.cardinality:,} distinct values"]
        if column.quantiles:
            facts.append(
                f"median {column.quantiles[3]:,g}, from {column.quantiles[0]:,g} to"
                f" {column.quantiles[-1]:,g}"
            )
        elif column.top_values:
            value, rows = column.top_values[0]
            facts.append(f"most frequent {value!r} ({rows / sample.rows:.1%})")
        lines.append(f"{column.name:<4} {', '.join(facts)}")
    if options.first_rows:
        data["first_rows"] = read_sample_rows(sample, limit=options.first_rows).to_pylist()
        head = [*data["first_rows"][0]] if data["first_rows"] else []
        lines += ["", "\t".join(head)]
        lines += [
            "\t".join("" if row[name] is None else _format_cell(row[name]) for name in head)
            for row in data["first_rows"]
        ]
    return CommandResult(data, "\n".join(lines))


def drift(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Measures how far the fields of a dataset moved, most moved first."""
    dataset = find_dataset(workspace, options.dataset)
    found = sorted(dataset_drift(workspace, dataset), key=lambda one: one.psi, reverse=True)
    fields = [{**dataclasses.asdict(one), "level": one.level} for one in found]
    lines = [
        f"{one.field:<4} {one.psi:.3f} ({one.level}), unseen {one.unseen_source:.1%} and"
        f" {one.unseen_target:.1%}, missing {one.missing_source:.1%} and {one.missing_target:.1%}"
        for one in found
    ]
    head = (
        f"Population stability index of each field of {dataset.name!r}; shares are of source and"
        " target rows:"
    )
    return CommandResult(
        {"dataset": dataset.id, "name": dataset.name, "fields": fields}, "\n".join([head, *lines])
    )


def vocabulary(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Measures how much of a dataset's target rows a backbone's vocabulary covers, least covered
    first."""
    card, dataset = (
        find_backbone(workspace, options.backbone),
        find_dataset(workspace, options.dataset),
    )
    found = measure_coverage(workspace, dataset, load_preprocessing(card.folder / "preprocessing"))
    found.sort(key=lambda one: (one.unseen_share, one.missing_share), reverse=True)
    share = unseen_share(found)
    data = {
        "backbone": card.id,
        "dataset": dataset.id,
        "unseen_share": share,
        "limit": UNSEEN_LIMIT,
    }
    data["fields"] = [dataclasses.asdict(one) for one in found]
    known = (
        f"{card.name!r} has never seen {share:.1%} of the categorical target values of"
        f" {dataset.name!r}"
    )
    advice = ""
    if share > UNSEEN_LIMIT:
        advice = (
            f", more than {UNSEEN_LIMIT:.0%}: to it they are all one value. Pretrain one on its own"
            " rows instead"
        )
    lines = [
        f"{one.field:<4} unseen {one.unseen_share:.1%}, missing {one.missing_share:.1%}"
        for one in found
    ]
    return CommandResult(data, "\n".join([f"{known}{advice}.", *lines]))


def scored(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Lists the scored files that are kept of a run, newest first."""
    run = RunStore(workspace).get(options.run_id)
    found, broken = read_scorings(workspace, run.id)
    data = [
        {"id": one.id, "file": one.file, "created": one.created, "rows": one.output["rows"]}
        for one in found
    ]
    lines = [f"{one['id']}  {one['file']}: {one['rows']:,} rows, {one['created']}" for one in data]
    text = "\n".join(lines) or f"No scored file is kept of run {run.id}."
    return with_damaged(CommandResult({"run": run.id, "scored": data}, text), broken)


def delete_scored(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Deletes the predictions that are kept of a scored file; the file itself is not here."""
    run = RunStore(workspace).get(options.run_id)
    every = list_scorings(workspace, run.id)
    found = [one for one in every if one.id == options.file] or [
        one for one in every if one.file == options.file
    ]
    if not found:
        known = ", ".join(f"{one.id} ({one.file})" for one in every) or "none"
        raise BadInput(
            f"Run {run.id} keeps no scored file {options.file[:80]!r}; it keeps {known}."
        )
    if len(found) > 1:
        ids = ", ".join(one.id for one in found)
        raise BadInput(
            f"Run {run.id} keeps {len(found)} scored files named {options.file!r}: {ids}. Name one"
            " by its id."
        )
    delete_artifact(found[0])
    data = {"deleted": [{"kind": "scored file", "id": found[0].id, "name": found[0].file}]}
    return CommandResult(data, f"Deleted the predictions of {found[0].file!r} ({found[0].id}).")


def _format_cell(value: Any) -> str:
    """A value as the file would have it."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
