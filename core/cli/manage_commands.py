"""Commands for what is there already: cancel, resume, watch, delete, rename, tag and note."""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from core.cli.output import POLL_SECONDS, CommandResult, ProgressBar, StallNotices, follow_run
from core.cli.sweep_command import follow_sweep
from core.cli.targets import (
    AddCommand,
    add_run_options,
    comma_separated,
    find_only_sweep,
    find_runs,
)
from core.data.datasets import list_datasets
from core.data.samples import list_samples
from core.errors import BadInput, RunError
from core.jobs.store import NOTE_LENGTH, RESUMABLE_STATUSES, TAG_LENGTH, Run, RunStore
from core.models.backbone_store import list_backbones
from core.names import find_unique
from core.program import PROGRAM
from core.read_only import require_writable
from core.runs import removal, renaming
from core.runs.launch import CLUSTER_QUEUE, refresh_statuses
from core.runs.submit import resume_run
from core.runs.sweep import cancel_sweep, list_sweeps, resume_sweep
from core.workspace import Workspace

DELETE_CONSEQUENCES = {
    "run": "with its model, predictions and curves",
    "sweep": "with all its runs",
    "sample": "its datasets stay, but no backbone they have not met yet can read them any more",
    "dataset": "its runs keep their results",
    "backbone": "runs that fine-tuned it keep their results, but cannot be repeated",
}


def add_manage_commands(add: AddCommand) -> None:
    """Adds these commands to the parser."""
    for name, run, help_text in (
        ("cancel", cancel, "Stop runs that are queued or running; what they have reached is kept."),
        (
            "resume",
            resume,
            "Go on with runs that failed, broke off or were cancelled, from their last checkpoint.",
        ),
    ):
        command = add(name, help_text, run)
        add_run_options(command, sweep=True)
        command.add_argument(
            "--no-wait", action="store_true", help="return at once (default: wait until they end)"
        )
    command = add(
        "demo", "Make the demo's simulated dataset and queue its sweep, or go on with it.", demo
    )
    command.add_argument(
        "--wait", action="store_true", help="wait for its end, and say what came out"
    )
    command = add(
        "watch",
        "Follow runs that are queued or running to their end, and say what came of them.",
        watch,
    )
    add_run_options(command, sweep=True)

    command = add(
        "delete",
        "Delete runs, a sweep, a sample, a dataset or a backbone, and say what was deleted.",
        delete,
    )
    _add_item_options(add_run_options(command, sweep=True))
    command.add_argument(
        "--yes", action="store_true", help="do not ask, as a terminal is asked without it"
    )
    command = add("rename", "Give a run, sweep, sample, dataset or backbone another name.", rename)
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", dest="run_id")
    which.add_argument("--sweep", help="name or id")
    _add_item_options(which)
    command.add_argument("--name", required=True, help="the new name")

    command = add("tag", "Add tags to runs, or take them off.", tag)
    add_run_options(command)
    command.add_argument("--add", type=comma_separated, default=(), metavar="TAGS", help="a,b")
    command.add_argument("--remove", type=comma_separated, default=(), metavar="TAGS", help="a,b")
    command.add_argument(
        "--set",
        type=comma_separated,
        dest="replace",
        metavar="TAGS",
        help="these alone: a,b, or '' for none",
    )
    command = add("note", "Give runs a note, in place of the one they have.", note)
    add_run_options(command)
    command.add_argument("--text", required=True, help="'' takes the note away")


def cancel(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Asks runs to stop, and waits until they have."""
    store = RunStore(workspace)
    refresh_statuses(workspace, store)
    if options.sweep:
        sweep = find_only_sweep(workspace, options.sweep)
        runs = [run for run in store.list_group(sweep.id) if run.active]
        if not runs:
            raise BadInput(
                f"No run of the sweep {sweep.name!r} is queued or running, so there is nothing to"
                " cancel."
            )
        cancel_sweep(workspace, sweep)
    else:
        runs = find_runs(store, options)
        for run in runs:
            if not run.active:
                raise BadInput(
                    f"Run {run.id} is {run.status}; only queued and running runs can be cancelled."
                )
        for run in runs:
            store.request_cancel(run.id)
    if not options.no_wait:
        _wait_for_all(workspace, runs, "Cancelling")
    now = [store.get(run.id) for run in runs]
    return CommandResult(
        {"runs": [_run_state(run) for run in now]}, "\n".join(_cancel_text(run) for run in now)
    )


def resume(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Queues runs again, and follows them to their end."""
    store = RunStore(workspace)
    refresh_statuses(workspace, store)
    if options.sweep:
        sweep = find_only_sweep(workspace, options.sweep)
        runs = [run for run in store.list_group(sweep.id) if run.status in RESUMABLE_STATUSES]
        if not runs:
            raise BadInput(
                f"No run of the sweep {sweep.name!r} is {_join_with_or(RESUMABLE_STATUSES)}, so there is nothing"
                " to resume."
            )
        if runs[0].queue == CLUSTER_QUEUE:
            raise BadInput(
                f"The command line carries out the sweep {sweep.name!r} itself: `{PROGRAM} sweep"
                f" --name {shlex.quote(sweep.name)} --arms-at-once N` goes on with it."
            )
        resume_sweep(workspace, sweep)
        if not options.no_wait:
            return follow_sweep(workspace, sweep)
    else:
        runs = find_runs(store, options)
        for run in runs:
            if run.status not in RESUMABLE_STATUSES:
                raise BadInput(
                    f"Run {run.id} is {run.status}; only {_join_with_or(RESUMABLE_STATUSES)} runs can be resumed."
                )
        for run in runs:
            resume_run(workspace, run.id)
        if not options.no_wait:
            return _follow_runs(workspace, runs)
    now = [store.get(run.id) for run in runs]
    return CommandResult(
        {"runs": [_run_state(run) for run in now]},
        "\n".join(f"{run.id} {run.status}" for run in now),
    )


def watch(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Follows runs to their end."""
    if options.sweep:
        return follow_sweep(workspace, find_only_sweep(workspace, options.sweep))
    return _follow_runs(workspace, find_runs(RunStore(workspace), options))


def demo(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Makes the demo's dataset and queues its sweep."""
    from core.runs.demo import run_demo, wait_for_demo

    with ProgressBar("Preparing the demo") as report:
        sweep = run_demo(workspace, report)
    said = wait_for_demo(workspace, sweep) if options.wait else []
    runs = RunStore(workspace).list_group(sweep.id)
    data = {
        "sweep": sweep.id,
        "name": sweep.name,
        "runs": [_run_state(run) for run in runs],
        "verdicts": said,
    }
    queued = sum(run.active for run in runs)
    return CommandResult(
        data,
        "\n".join(
            [f"{sweep.id}  {sweep.name}: {len(runs)} runs, {queued} queued or running", *said]
        ),
    )


def delete(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Deletes what was named; on a terminal it asks first."""
    require_writable()
    if options.run_ids:
        kind: str = "run"
        items: list[Any] = list(find_runs(RunStore(workspace), options))
    else:
        kind, item = _find_item(workspace, options)
        items = [item]
    _confirm(
        [f"{kind} {item.name!r} ({item.id})" for item in items],
        DELETE_CONSEQUENCES[kind],
        options.yes,
    )
    data: dict[str, Any] = {
        "deleted": [{"kind": kind, "id": item.id, "name": item.name} for item in items]
    }
    lines = [f"Deleted the {kind} {item.name!r} ({item.id})." for item in items]
    if kind == "run":
        removal.delete_runs(workspace, [item.id for item in items])
    elif kind == "sweep":
        runs = removal.delete_sweep(workspace, items[0])
        data["deleted"] += [{"kind": "run", "id": run.id, "name": run.name} for run in runs]
        lines = [f"{lines[0][:-1]} and its {len(runs)} runs."]
    else:
        _DELETE[kind](workspace, items[0])
    return CommandResult(data, "\n".join(lines))


def rename(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Gives something another name."""
    kind, item = _find_item(workspace, options)
    renamed = renaming.rename_run(workspace, item.id, options.name) if kind == "run" else None
    renamed = renamed or _RENAME[kind](workspace, item, options.name)
    data = {"kind": kind, "id": item.id, "name": renamed.name, "before": item.name}
    return CommandResult(data, f"The {kind} {item.name!r} ({item.id}) is now {renamed.name!r}.")


def tag(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Changes the tags of runs."""
    if options.replace is None and not (options.add or options.remove):
        raise BadInput("No tag was given; name tags with --add, --remove or --set.")
    if options.replace is not None and (options.add or options.remove):
        raise BadInput(
            "--set says which tags there are to be, so --add and --remove have no place beside it."
        )
    for word in (*options.add, *(options.replace or ())):
        if len(word) > TAG_LENGTH or not word.isprintable():
            raise BadInput(
                f"The tag {word[:80]!r} cannot be used: take up to {TAG_LENGTH} letters on one"
                " line."
            )
    store = RunStore(workspace)
    runs = find_runs(store, options)
    if options.replace is None:
        store.change_tags([run.id for run in runs], options.add, options.remove)
    else:
        for run in runs:
            store.annotate(run.id, tags=options.replace)
    now = [store.get(run.id) for run in runs]
    data = {"runs": [{"run": run.id, "name": run.name, "tags": list(run.tags)} for run in now]}
    return CommandResult(
        data, "\n".join(f"{run.id}  {', '.join(run.tags) or 'no tags'}" for run in now)
    )


def note(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Sets the note of runs."""
    if len(options.text) > NOTE_LENGTH:
        raise BadInput(
            f"The note has {len(options.text):,} letters; at most {NOTE_LENGTH:,} are kept."
        )
    store = RunStore(workspace)
    runs = find_runs(store, options)
    for run in runs:
        store.annotate(run.id, note=options.text)
    data = {"runs": [{"run": run.id, "name": run.name, "note": options.text} for run in runs]}
    done = "has this note now" if options.text else "has no note now"
    return CommandResult(data, "\n".join(f"{run.id}  {run.name}: {done}" for run in runs))


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


def _add_item_options(which: Any) -> None:
    for kind in ("sample", "dataset", "backbone"):
        which.add_argument(f"--{kind}", help="name or id")


def _find_item(workspace: Workspace, options: argparse.Namespace) -> tuple[str, Any]:
    """(kind, the one item that was named)."""
    for kind, items in _LIST.items():
        if named := getattr(options, kind):
            return kind, find_unique(items(workspace), named, kind)
    if getattr(options, "run_id", None):
        return "run", RunStore(workspace).get(options.run_id)
    raise BadInput("Nothing was named; give the name or id of what you mean.")


def _confirm(what: Sequence[str], consequence: str, yes: bool) -> None:
    """Asks on a terminal whether this is to go; a script has named it, and is not asked. RunError
    for a no."""
    if yes or not (sys.stdin and sys.stdin.isatty()):
        return
    print(
        f"Delete the {', the '.join(what)}? ({consequence}) [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RunError("Nothing was deleted.")


def _wait_for_all(workspace: Workspace, runs: Sequence[Run], title: str) -> None:
    """Waits until none of them is queued or running any more, and shows how many have ended."""
    store, notices = RunStore(workspace), StallNotices(workspace)
    with ProgressBar(title) as report:
        while active := [run for run in (store.get(one.id) for one in runs) if run.active]:
            report(1 - len(active) / len(runs))
            time.sleep(POLL_SECONDS)
            refresh_statuses(workspace, store)
            notices.print_new(active)


def _follow_runs(workspace: Workspace, runs: Sequence[Run]) -> CommandResult:
    """Waits for runs and says how they ended; RunError where one did not end well."""
    for run in runs:
        if run.kind == "interpolate":
            of = run.interpolate_request.run
            raise BadInput(
                f"Run {run.id} mixes a model with its backbone; `{PROGRAM} interpolate --run {of}`"
                " does."
            )
    if len(runs) == 1:
        return follow_run(workspace, runs[0])
    _wait_for_all(workspace, runs, f"{len(runs)} runs")
    now = [RunStore(workspace).get(run.id) for run in runs]
    lines = [
        f"{run.id}  {run.status:<11}  {run.name}{f': {run.message}' if run.message else ''}"
        for run in now
    ]
    if any(run.status != "done" for run in now):
        raise RunError("\n".join(lines))
    return CommandResult({"runs": [_run_state(run) for run in now]}, "\n".join(lines))


def _run_state(run: Run) -> dict[str, str]:
    return {"run": run.id, "name": run.name, "status": run.status}


def _cancel_text(run: Run) -> str:
    return f"{run.id} is stopping" if run.status == "running" else f"{run.id} {run.status}"


def _join_with_or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
