"""What a command is about: the runs, or the sweep, that its options name."""

import argparse
from collections.abc import Callable
from typing import Any

from core.errors import BadInput
from core.jobs.store import Run, RunStore
from core.names import find_unique
from core.program import PROGRAM
from core.runs.sweep import Sweep, list_sweeps
from core.workspace import Workspace

AddCommand = Callable[..., argparse.ArgumentParser]
"""Adds a command to the parser: (its name, its help, the function that carries it out)."""


def add_run_options(command: argparse.ArgumentParser, sweep: bool = False) -> Any:
    """Adds the options that name one run or several, and those of a whole sweep; the group of
    them."""
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--run",
        "--runs",
        type=comma_separated,
        dest="run_ids",
        metavar="RUN",
        help="r-…, or several: r-…,r-…",
    )
    if sweep:
        which.add_argument("--sweep", help="name or id: all its runs")
    return which


def comma_separated(text: str) -> tuple[str, ...]:
    return tuple(word for part in text.split(",") if (word := part.strip()))


def find_runs(store: RunStore, options: argparse.Namespace) -> list[Run]:
    """The runs that were named, each once; BadInput for one that there is not."""
    if not options.run_ids:
        raise BadInput(f"No run was named; `{PROGRAM} runs` lists them.")
    return [store.get(run_id) for run_id in dict.fromkeys(options.run_ids)]


def find_only_sweep(workspace: Workspace, name_or_id: str) -> Sweep:
    """The sweep of that id, else the only one of that name; BadInput lists the ids of several."""
    return find_unique(list_sweeps(workspace), name_or_id, "sweep")
