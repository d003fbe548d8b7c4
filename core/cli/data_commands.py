"""Commands about samples and datasets: simulate, ingest, prepare, list, profile, drift."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from core.cli.data_text import dataset_data, dataset_text, format_text, sample_data, sample_text
from core.cli.options import add_read_options, local_path, read_options
from core.cli.output import CommandResult, ProgressBar, with_damaged
from core.cli.split_options import add_split_options, split_spec
from core.cli.targets import AddCommand
from core.data.datasets import Dataset, find_dataset, read_datasets
from core.data.drift import measure_drift
from core.data.paths import clean_path
from core.data.prepare import check_dataset_name, prepare_files
from core.data.prepare import prepare as prepare_sample
from core.data.profile import profile_columns
from core.data.reading.ingest import ingest as ingest_file
from core.data.samples import (
    delete_sample,
    find_sample,
    list_samples,
    read_sample_rows,
    read_samples,
)
from core.data.simulate import SIMULATED_DOMAINS, SIMULATED_RECIPES
from core.data.simulate import simulate as simulate_file
from core.data.split import FILE_ROLES, SplitSpec
from core.errors import BadInput, NameTaken
from core.workspace import Workspace, hash_file

_ROLE_HELP = {
    "source": "with the source rows",
    "target": "with the target rows",
    "target_validation": "the target's validation rows, if they are a file of their own",
    "target_test": "the target's test rows, if they are a file of their own",
    "source_validation": "the source's validation rows, if they are a file of their own",
    "source_test": "the source's test rows, if they are a file of their own",
}


def add_data_commands(add: AddCommand) -> None:
    """Add these commands to the parser."""
    command = add("ingest", "Read a Criteo file and prepare a dataset from it.", ingest)
    command.add_argument(
        "path",
        help="file of Criteo rows: text, Parquet or Feather; plain, compressed or in an archive",
    )
    command.add_argument(
        "--name", required=True, help="name of the sample and of the dataset prepared from it"
    )
    add_read_options(command)
    command.add_argument(
        "--no-prepare",
        action="store_true",
        help="only store the file's rows, labels of one class too; `prepare` makes a dataset of "
        "one such sample, or of several",
    )
    add_split_options(command)
    command.add_argument(
        "--simulated", action="store_true", help="label the sample as simulated wherever it appears"
    )

    summary = "Prepare a dataset from a sample, or from several, each with its role."
    command = add("prepare", summary, prepare)
    command.add_argument("--name", required=True, help="name of the dataset")
    command.add_argument("--sample", default="", help="the sample to split, by name or id")
    files = command.add_argument_group("or several samples, each with its role")
    for role, text in _ROLE_HELP.items():
        flag = f"--{role.replace('_', '-')}"
        files.add_argument(flag, default="", metavar="SAMPLE", help=f"the sample {text}")
    add_split_options(command)

    add("samples", "List the samples of the workspace.", samples)
    add("datasets", "List the datasets of the workspace.", datasets)

    summary = "Describe the columns of a sample: missing and distinct values, quantiles."
    command = add("profile", summary, profile)
    command.add_argument("--sample", required=True)
    command.add_argument(
        "--first-rows", type=int, default=0, help="show this many rows as well (default 0)"
    )
    summary = "Measure how far each field of a dataset moved between source and target."
    command = add("drift", summary, drift)
    command.add_argument("--dataset", required=True)

    command = add("simulate", "Write a simulated Criteo file.", simulate)
    command.add_argument("--rows", type=int, required=True)
    command.add_argument("--out", type=local_path, required=True)
    command.add_argument("--domain", choices=SIMULATED_DOMAINS, default="source")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--recipe",
        choices=SIMULATED_RECIPES,
        default="ordinary",
        help="how the target differs from the source: a little, as a week later, or much, so that"
        " adapting a backbone pays (default ordinary)",
    )


def simulate(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Write a simulated file."""
    with ProgressBar("Simulating") as progress:
        simulate_file(
            options.out, options.rows, options.domain, options.seed, progress, options.recipe
        )
    out = str(options.out)
    data = {
        "out": out,
        "rows": options.rows,
        "domain": options.domain,
        "recipe": options.recipe,
        "simulated": True,
    }
    text = (
        f"Wrote {options.rows:,} simulated rows ({options.domain}, recipe {options.recipe}) to"
        f" {out}."
    )
    return CommandResult(data, text)


def ingest(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Read a file as a sample and, without --no-prepare, prepare a dataset of the same name."""
    spec = split_spec(options)
    path = clean_path(options.path)
    ids_before = {sample.id for sample in list_samples(workspace)}
    if not options.no_prepare:
        _check_new_dataset(workspace, options.name, path)
    with ProgressBar("Reading") as progress:
        sample = ingest_file(
            workspace,
            path,
            options.name,
            options.on_bad_rows,
            progress,
            simulated=options.simulated,
            allow_single_class=options.no_prepare,
            options=read_options(options),
            on_format=lambda found: print(format_text(found), file=sys.stderr),
        )
    data = sample_data(sample)
    text = sample_text(sample)
    if options.no_prepare:
        return CommandResult(data, f"{text}\nNo dataset was prepared; `prepare` makes one.")
    if not sample.labelled:
        text += (
            "\nNo labels: every row is a source row, for pretraining by RFD or MFP; a run can "
            "score the file too."
        )
    try:
        with ProgressBar("Preparing") as progress:
            dataset = prepare_sample(
                workspace, sample, spec, options.name, options.min_count, progress
            )
    except NameTaken:
        # The command as a whole is refused, so a sample that it has just made is removed again.
        if sample.id not in ids_before:
            delete_sample(sample)
        raise
    except BadInput as error:
        hint = (
            f"The sample {sample.name!r} is kept: `prepare --sample` makes a dataset of it without "
            "reading it again."
        )
        raise BadInput(f"{error} {hint}") from error
    data |= {"dataset": dataset_data(dataset)}
    return CommandResult(data, f"{text}\n{dataset_text(dataset)}")


def prepare(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Prepare a dataset from one sample, or from several, each with its role."""
    names = {role: getattr(options, role) for role in FILE_ROLES if getattr(options, role)}
    if bool(options.sample) == bool(names):
        raise BadInput(
            "Name either one sample to split (--sample NAME), or the samples of each domain "
            "(--source NAME --target NAME, and --target-test NAME where the test rows are a file "
            "of their own)."
        )
    if options.sample:
        sample = find_sample(workspace, options.sample)
        with ProgressBar("Preparing") as progress:
            dataset = prepare_sample(
                workspace, sample, split_spec(options), options.name, options.min_count, progress
            )
        return _prepare_result(dataset)
    default = SplitSpec()
    given = (options.split, options.source_share, options.column)
    if given != (default.method, default.source_share, default.column):
        raise BadInput(
            "With several files the files say which rows are source and which target, so --split, "
            "--source-share and --column do not apply; leave them out (--shuffle shuffles the rows "
            "inside each file)."
        )
    files = {role: find_sample(workspace, name) for role, name in names.items()}
    with ProgressBar("Preparing") as progress:
        dataset = prepare_files(
            workspace, files, split_spec(options), options.name, options.min_count, progress
        )
    return _prepare_result(dataset)


def samples(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """List the samples, newest first."""
    found, damaged = read_samples(workspace)
    rows, lines = [], []
    for sample in found:
        row = dataclasses.asdict(sample)
        del row["folder"]
        rows.append(row)
        rate = ", no labels"
        if sample.click_rate is not None:
            rate = f", click rate {sample.click_rate:.4f}"
        bad = f", {sample.bad_rows:,} bad rows skipped" if sample.bad_rows else ""
        mark = ", simulated" if sample.simulated else ""
        lines.append(
            f"Sample {sample.name!r} ({sample.id}{mark}): {sample.rows:,} rows of "
            f"{sample.source!r}{rate}{bad}"
        )
    text = "\n".join(lines) or "No samples yet; `ingest` makes one."
    return with_damaged(CommandResult({"samples": rows}, text), damaged)


def datasets(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """List the datasets, newest first."""
    found, damaged = read_datasets(workspace)
    text = "\n".join(map(dataset_text, found)) or "No datasets yet; `ingest` makes one."
    data = {"datasets": [dataset_data(dataset) for dataset in found]}
    return with_damaged(CommandResult(data, text), damaged)


def profile(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Describe the columns of a sample."""
    sample = find_sample(workspace, options.sample)
    if options.first_rows < 0:
        number = options.first_rows
        raise BadInput(f"The number of first rows is {number}; it must be 0 or more.")
    with ProgressBar("Profiling the columns") as progress:
        columns = profile_columns(sample, progress)
    data: dict[str, Any] = {"sample": sample.id, "name": sample.name, "rows": sample.rows}
    data["columns"] = [dataclasses.asdict(column) for column in columns]
    lines = []
    for column in columns:
        facts = [
            f"missing {column.missing_share:.1%}",
            f"{column.cardinality:,} distinct values",
        ]
        if column.quantiles:
            low, median, high = (column.quantiles[index] for index in (0, 3, -1))
            facts.append(f"median {median:,g}, from {low:,g} to {high:,g}")
        elif column.top_values:
            value, rows = column.top_values[0]
            facts.append(f"most frequent {value!r} ({rows / sample.rows:.1%})")
        lines.append(f"{column.name:<4} {', '.join(facts)}")
    if options.first_rows:
        data["first_rows"] = read_sample_rows(sample, limit=options.first_rows).to_pylist()
        names = [*data["first_rows"][0]] if data["first_rows"] else []
        lines += ["", "\t".join(names)]
        for row in data["first_rows"]:
            lines.append("\t".join(_format_cell(row[name]) for name in names))
    return CommandResult(data, "\n".join(lines))


def drift(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Measure how far the fields of a dataset moved, most moved first."""
    dataset = find_dataset(workspace, options.dataset)
    found = sorted(measure_drift(workspace, dataset), key=lambda field: field.psi, reverse=True)
    rows = [{**dataclasses.asdict(field), "level": field.level} for field in found]
    lines = [
        f"Population stability index of each field of {dataset.name!r}; shares are of source and "
        "target rows:"
    ]
    for field in found:
        lines.append(
            f"{field.field:<4} {field.psi:.3f} ({field.level}), unseen {field.unseen_source:.1%} "
            f"and {field.unseen_target:.1%}, missing {field.missing_source:.1%} and "
            f"{field.missing_target:.1%}"
        )
    data = {"dataset": dataset.id, "name": dataset.name, "fields": rows}
    return CommandResult(data, "\n".join(lines))


def _check_new_dataset(workspace: Workspace, name: str, path: Path) -> None:
    """Raise NameTaken, before a long file is read, if its dataset's name belongs to other rows."""
    dataset = check_dataset_name(workspace, name.strip())
    if dataset is None:
        return
    hashes = {
        sample.content_hash
        for sample in read_samples(workspace)[0]
        if sample.id in dataset.sample_ids
    }
    several = len(dataset.sample_ids) > 1
    if several or (hashes and path.is_file() and hash_file(path) not in hashes):
        raise NameTaken(
            f"There is already a dataset named {dataset.name!r}, with other rows; choose another "
            "name, rename or delete that one first, or only store the file's rows (--no-prepare)."
        )


def _prepare_result(dataset: Dataset) -> CommandResult:
    return CommandResult({"dataset": dataset_data(dataset)}, dataset_text(dataset))


def _format_cell(value: Any) -> str:
    """Return a value as a file would have it; a missing one is empty."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
