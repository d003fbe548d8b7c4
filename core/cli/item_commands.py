"""Commands for whatever has a name: rename and delete runs, sweeps, samples and so on."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from core.cli.output import CommandResult
from core.cli.targets import AddCommand, add_run_options, find_run_labels
from core.data.datasets import list_datasets
from core.data.samples import list_samples
from core.errors import BadInput, RunError
from core.jobs.store import RunStore
from core.models.backbone_store import list_backbones
from core.names import find_unique
from core.read_only import require_writable
from core.runs import removal, renaming
from core.runs.sweep import list_sweeps
from core.workspace import Workspace

DELETE_CONSEQUENCES = {
    "run": "with its model, predictions and curves",
    "sweep": "with all its runs",
    "sample": "its datasets stay, but a backbone that is new to them cannot read them any more",
    "dataset": "its runs keep their results",
    "backbone": "runs that fine-tuned it keep their results, but cannot be repeated",
}
"""What deleting an item of each kind means, as the question on a terminal says it."""


def add_item_commands(add: AddCommand) -> None:
    """Add these commands to the parser."""
    summary = "Give a run, sweep, sample, dataset or backbone another name."
    command = add("rename", summary, rename)
    group = command.add_mutually_exclusive_group(required=True)
    group.add_argument("--run", dest="run_id")
    group.add_argument("--sweep", help="name or id")
    _add_item_options(group)
    command.add_argument("--name", required=True, help="the new name")

    summary = "Delete runs, a sweep, a sample, a dataset or a backbone, and say what was deleted."
    command = add("delete", summary, delete)
    _add_item_options(add_run_options(command, sweep=True))
    command.add_argument(
        "--yes", action="store_true", help="do not ask for confirmation on a terminal"
    )


def rename(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Give an item another name."""
    kind, item = _find_item(workspace, options)
    if kind == "run":
        renamed: Any = renaming.rename_run(workspace, item.id, options.name)
    else:
        renamed = _RENAME[kind](workspace, item, options.name)
    data = {"kind": kind, "id": item.id, "name": renamed.name, "before": item.name}
    text = f"The {kind} {item.name!r} ({item.id}) is now {renamed.name!r}."
    return CommandResult(data, text)


def delete(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Delete the named items; on a terminal, ask first."""
    require_writable()
    if options.run_ids:
        kind: str = "run"
        items: list[Any] = find_run_labels(RunStore(workspace), options)
    else:
        kind, item = _find_item(workspace, options)
        items = [item]
    names = [f"{kind} {item.name!r} ({item.id})" for item in items]
    if not options.yes:
        _confirm(names, DELETE_CONSEQUENCES[kind])
    deleted = [{"kind": kind, "id": item.id, "name": item.name} for item in items]
    lines = [f"Deleted the {name}." for name in names]
    if kind == "run":
        removal.delete_runs(workspace, [item.id for item in items])
    elif kind == "sweep":
        runs = removal.delete_sweep(workspace, items[0])
        deleted += [{"kind": "run", "id": run.id, "name": run.name} for run in runs]
        lines = [f"Deleted the {names[0]} and its {len(runs)} runs."]
    else:
        _DELETE[kind](workspace, items[0])
    return CommandResult({"deleted": deleted}, "\n".join(lines))


_DELETE: dict[str, Callable[[Workspace, Any], object]] = {
    "sample": removal.delete_unused_sample,
    "dataset": removal.delete_unused_dataset,
    "backbone": removal.delete_backbone,
}
_RENAME: dict[str, Callable[[Workspace, Any, str], Any]] = {
    "sweep": renaming.rename_sweep,
    "sample": renaming.rename_sample,
    "dataset": renaming.rename_dataset,
    "backbone": renaming.rename_backbone,
}
_LIST: dict[str, Callable[[Workspace], Sequence[Any]]] = {
    "sweep": list_sweeps,
    "sample": list_samples,
    "dataset": list_datasets,
    "backbone": list_backbones,
}


def _add_item_options(group: Any) -> None:
    for kind in ("sample", "dataset", "backbone"):
        group.add_argument(f"--{kind}", help="name or id")


def _find_item(workspace: Workspace, options: argparse.Namespace) -> tuple[str, Any]:
    """Return (kind, the item that was named); BadInput if there is none."""
    for kind, list_items in _LIST.items():
        if name := getattr(options, kind):
            return kind, find_unique(list_items(workspace), name, kind)
    if getattr(options, "run_id", None):
        return "run", RunStore(workspace).get(options.run_id)
    raise BadInput("Nothing was named; give the name or id of what you mean.")


def _confirm(names: Sequence[str], consequence: str) -> None:
    """Ask on a terminal; a script is not asked. RunError if the answer is not yes."""
    if not (sys.stdin and sys.stdin.isatty()):
        return
    question = f"Delete the {', the '.join(names)}? ({consequence}) [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RunError("Nothing was deleted.")
