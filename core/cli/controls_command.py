"""The command `controls`: a finished run against its controls, and queueing those that it lacks."""

import argparse

from core.cli.output import CommandResult, wait_for_run
from core.cli.recommendation_output import (
    add_margin_options,
    margins_of,
    recommendation_lines,
    recommendations_data,
)
from core.cli.targets import AddCommand
from core.jobs.store import RunStore
from core.program import PROGRAM
from core.runs.run_controls import find_controls, recommend_run, submit_controls
from core.workspace import Workspace


def add_controls_command(add: AddCommand) -> None:
    """Add `controls` to the parser."""
    command = add(
        "controls", "Compare a fine-tuning run with its controls: was it worth it?", controls
    )
    command.add_argument("--run", required=True, dest="run_id")
    command.add_argument(
        "--add", action="store_true", help="first run the controls that are missing"
    )
    add_margin_options(command)


def controls(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Print what a run's controls say of it; with --add, run those that are missing before."""
    margins = margins_of(options)
    run = RunStore(workspace).get(options.run_id)
    found = find_controls(workspace, run)
    if options.add and found.missing:
        for one in submit_controls(workspace, run, found.missing):
            wait_for_run(workspace, one)
        found = find_controls(workspace, run)
    recommended = recommend_run(workspace, found, margins)
    lines = recommendation_lines([recommended])
    if found.missing:
        names = ", ".join(found.missing)
        lines.append(f"Not done: {names}. To run them: {PROGRAM} controls --run {run.id} --add")
    data = {
        "run": run.id,
        "arms": [arm.title for arm in found.arms],
        "missing": list(found.missing),
        "active": [one.id for one in found.active],
        "recommendations": recommendations_data([recommended]),
    }
    return CommandResult(data, "\n".join(lines))
