"""Options that name what a command is about, its runs or its sweep, and how they are looked up."""

import argparse
from collections.abc import Callable
from typing import Any

from core.cli.options import comma_separated
from core.errors import BadInput
from core.jobs.run import Run, RunLabel
from core.jobs.store import RunStore
from core.names import find_unique
from core.program import PROGRAM
from core.runs.sweep import Sweep, list_sweeps
from core.workspace import Workspace

AddCommand = Callable[..., argparse.ArgumentParser]
"""Adds a command to the parser: (its name, its summary, the function that runs it)."""


def add_run_options(command: argparse.ArgumentParser, sweep: bool = False) -> Any:
    """Add ``--run``, required, and return its group of mutually exclusive options.

    Args:
        command: the command's parser.
        sweep: whether a whole sweep can be named instead.
    """
    group = command.add_mutually_exclusive_group(required=True)
    group.add_argument(
        "--run",
        "--runs",
        type=comma_separated,
        dest="run_ids",
        metavar="RUN",
        help="r-…, or several: r-…,r-…",
    )
    if sweep:
        group.add_argument("--sweep", help="name or id: all its runs")
    return group


def find_runs(store: RunStore, options: argparse.Namespace) -> list[Run]:
    """Return the runs of ``--run``, each once.

    Raises:
        BadInput: none was named, or one does not exist.
    """
    return [store.get(run_id) for run_id in _named_run_ids(options)]


def find_run_labels(store: RunStore, options: argparse.Namespace) -> list[RunLabel]:
    """Return the labels of the runs of ``--run``, each once, also of damaged runs.

    Raises:
        BadInput: none was named, or one does not exist.
    """
    return [store.get_label(run_id) for run_id in _named_run_ids(options)]


def _named_run_ids(options: argparse.Namespace) -> list[str]:
    if not options.run_ids:
        raise BadInput(f"No run was named; `{PROGRAM} runs` lists them.")
    return list(dict.fromkeys(options.run_ids))


def find_only_sweep(workspace: Workspace, name_or_id: str) -> Sweep:
    """Return the sweep with that id, else the only one with that name.

    Raises:
        BadInput: there is none, or several have the name; the message lists their ids.
    """
    return find_unique(list_sweeps(workspace), name_or_id, "sweep")
