"""Commands that use a run's model: score a file, manage stored scores, export the model."""

import argparse
from typing import Any

from core.cli.options import (
    add_calibration_options,
    add_read_options,
    local_path,
    read_options,
)
from core.cli.output import CommandResult, ProgressBar, with_damaged
from core.cli.targets import AddCommand
from core.data.paths import clean_path
from core.errors import BadInput
from core.evaluation.format_metrics import format_metric, format_metrics
from core.evaluation.recalibration import NONE, TITLES
from core.jobs.store import RunStore
from core.runs.artifacts import delete_artifact, list_scorings, read_scorings
from core.workspace import Workspace

_MAX_DRIFTED_FIELDS = 8
"""Fields that the text of a score names."""


def add_score_commands(add: AddCommand) -> None:
    """Add these commands to the parser."""
    command = add("score", "Score a Criteo file, labels optional, with a run's model.", score)
    command.add_argument("--run", required=True, dest="run_id")
    command.add_argument("--input", required=True)
    command.add_argument("--output", type=local_path, required=True)
    add_read_options(command)
    add_calibration_options(command)

    summary = "List the files that page Score has scored with a run and keeps."
    command = add("scored", summary, scored)
    command.add_argument("--run", required=True, dest="run_id")
    summary = "Delete the predictions that page Score keeps of a file."
    command = add("delete-scored", summary, delete_scored)
    command.add_argument("--run", required=True, dest="run_id")
    command.add_argument(
        "--file", required=True, help="id or name of the scored file, as `scored` lists it"
    )

    summary = (
        "Copy a run's model out: weights, ONNX, preprocessing, card, and a script that scores "
        "without Thaw."
    )
    command = add("export", summary, export)
    command.add_argument("--run", required=True, dest="run_id")
    command.add_argument(
        "--out", type=local_path, required=True, help="a new folder, or a file that ends with .zip"
    )
    add_calibration_options(command)


def score(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Score a file; with labels in it, measure the metrics as well."""
    from core.inference.score_file import score_file
    from core.inference.score_sentences import sentences_before_metrics

    run = RunStore(workspace).get(options.run_id)
    with ProgressBar("Scoring") as progress:
        data = score_file(
            workspace,
            run,
            clean_path(options.input),
            options.output,
            options.on_bad_rows,
            progress,
            options=read_options(options),
            calibration=options.calibration,
        )
    scores = "1 score" if data["rows"] == 1 else f"{data['rows']:,} scores"
    how = data["calibration"]["method"]
    lines = [
        f"Wrote {scores} to {data['out']} (threshold {format_metric(data['threshold'])},"
        f" {'probabilities as trained' if how == NONE else f'calibrated by {TITLES[how]}'})."
    ]
    lines += sentences_before_metrics(data)
    if data["metrics"]:
        lines.append(format_metrics(data["metrics"]))
    if data["drift"]:
        lines.append(_drift_text(data["drift"]))
    return CommandResult(data, "\n".join(lines))


def scored(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """List the scored files that are kept of a run, newest first."""
    run = RunStore(workspace).get(options.run_id)
    found, damaged = read_scorings(workspace, run.id)
    rows, lines = [], []
    for scoring in found:
        n_rows = scoring.output["rows"]
        rows.append(
            {"id": scoring.id, "file": scoring.file, "created": scoring.created, "rows": n_rows}
        )
        lines.append(f"{scoring.id}  {scoring.file}: {n_rows:,} rows, {scoring.created}")
    text = "\n".join(lines) or f"No scored file is kept of run {run.id}."
    return with_damaged(CommandResult({"run": run.id, "scored": rows}, text), damaged)


def delete_scored(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Delete the stored scores of a file; the file itself is not in the workspace."""
    run = RunStore(workspace).get(options.run_id)
    scorings = list_scorings(workspace, run.id)
    found = [one for one in scorings if one.id == options.file]
    found = found or [one for one in scorings if one.file == options.file]
    if not found:
        known = ", ".join(f"{one.id} ({one.file})" for one in scorings) or "none"
        raise BadInput(
            f"Run {run.id} keeps no scored file {options.file[:80]!r}; it keeps {known}."
        )
    if len(found) > 1:
        ids = ", ".join(one.id for one in found)
        raise BadInput(
            f"Run {run.id} keeps {len(found)} scored files named {options.file!r}: {ids}. Name one "
            "by its id."
        )
    (scoring,) = found
    delete_artifact(scoring)
    data = {"deleted": [{"kind": "scored file", "id": scoring.id, "name": scoring.file}]}
    return CommandResult(data, f"Deleted the predictions of {scoring.file!r} ({scoring.id}).")


def export(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Copy a run's model out of the workspace, also as ONNX."""
    from core.inference.export import export_model

    run = RunStore(workspace).get(options.run_id)
    data = export_model(workspace, run, options.out, options.calibration)
    onnx = data["onnx"]
    text = f"Exported {data['run']} to {data['out']}: {', '.join(data['files'])}."
    if onnx.get("checked"):
        text += (
            f" On {onnx['rows']:,} {onnx['rows_from']} ONNX and torch differ by "
            f"{onnx['largest_difference']:.1g}."
        )
    text += f" {data['calibration']['sentence']}" if data["calibration"] else ""
    return CommandResult(data, f"{text} {onnx['why']}" if "why" in onnx else text)


def _drift_text(drift: dict[str, Any]) -> str:
    """Return which fields of the scored file have drifted from the training rows."""
    if drift["why"]:
        return drift["why"]
    drifted = [field for field in drift["fields"] if field["level"] != "little"]
    named = ", ".join(
        f"{field['field']} {format_metric(field['psi'], 2)} ({field['level']})"
        for field in drifted[:_MAX_DRIFTED_FIELDS]
    )
    scores = drift["scores"]
    return (
        f"Drift against the {drift['training_rows']:,} training rows of {drift['dataset']} "
        f"(population stability index): {len(drifted)} of {len(drift['fields'])} fields"
        f"{f': {named}' if named else ''}; scores {format_metric(scores['psi'], 2)} "
        f"({scores['level']}), mean {format_metric(scores['test']['mean'])} on test rows and "
        f"{format_metric(scores['scored']['mean'])} here"
    )
