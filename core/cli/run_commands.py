"""Commands about runs and sweeps: list, watch, cancel, resume, tag, note."""

import argparse
import dataclasses
import shlex
import time
from collections.abc import Sequence
from typing import Any

from core.cli.options import comma_separated, local_path
from core.cli.output import (
    POLL_SECONDS,
    CommandResult,
    ProgressBar,
    StallNotices,
    auc_text,
    follow_run,
    run_state,
    with_damaged,
)
from core.cli.sweep_command import follow_sweep
from core.cli.targets import AddCommand, add_run_options, find_only_sweep, find_runs
from core.errors import BadInput, RunError
from core.jobs.run import STATUSES, Run, run_to_json
from core.jobs.run_cache import damaged_runs
from core.jobs.store import NOTE_LENGTH, RESUMABLE_STATUSES, TAG_LENGTH, RunStore
from core.program import PROGRAM
from core.runs.launch import CLUSTER_QUEUE, find_stalls, refresh_statuses, stall_message
from core.runs.search import is_under_way, search_progress
from core.runs.submit import resume_run
from core.runs.sweep import cancel_sweep, list_sweeps, read_sweeps, resume_sweep
from core.workspace import Workspace

KINDS = ("finetune", "pretrain", "blend")
"""Kinds of runs that `runs --kind` takes."""


def add_run_commands(add: AddCommand) -> None:
    """Add these commands to the parser."""
    summary = "List the runs of the workspace, all or those that match, or write them as a table."
    command = add("runs", summary, runs)
    command.add_argument("--find", default="", help="words that name, note, tags or id contain")
    command.add_argument("--sweep", help="name or id")
    command.add_argument(
        "--status", type=comma_separated, default=(), help=f"of {', '.join(STATUSES)}"
    )
    command.add_argument("--kind", type=comma_separated, default=(), help=f"of {', '.join(KINDS)}")
    command.add_argument(
        "--tags", type=comma_separated, default=(), help="runs that have one of these: a,b"
    )
    command.add_argument(
        "--by-arm",
        action="store_true",
        help="with --out: one row per arm, means over its seeds",
    )
    command.add_argument("--out", type=local_path, help="a file that ends in .csv or .parquet")

    add("sweeps", "List the sweeps of the workspace.", sweeps)

    summary = "Follow runs that are queued or running to their end, and print their results."
    command = add("watch", summary, watch)
    add_run_options(command, sweep=True)

    summary = "Stop runs that are queued or running; what they have reached is kept."
    command = add("cancel", summary, cancel)
    _add_no_wait_option(command)
    summary = (
        "Resume runs that failed, were interrupted or were cancelled, from their last checkpoint."
    )
    command = add("resume", summary, resume)
    _add_no_wait_option(command)

    command = add("tag", "Add tags to runs, or remove them.", tag)
    add_run_options(command)
    command.add_argument("--add", type=comma_separated, default=(), metavar="TAGS", help="a,b")
    command.add_argument("--remove", type=comma_separated, default=(), metavar="TAGS", help="a,b")
    command.add_argument(
        "--set",
        type=comma_separated,
        dest="replace",
        metavar="TAGS",
        help="replace all tags by these: a,b, or '' for none",
    )
    command = add("note", "Set the note of runs; it replaces the one they have.", note)
    add_run_options(command)
    command.add_argument("--text", required=True, help="'' removes the note")


def runs(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """List the runs, newest first, or write them into a file."""
    # Imported here, as other commands need no tables and importing pandas takes half a second.
    from core.report.run_tables import arm_frame, matching_runs, run_frame
    from core.report.table_files import write_table

    _require_known(options.status, STATUSES, "status")
    _require_known(options.kind, KINDS, "kind")
    store = RunStore(workspace)
    refresh_statuses(workspace, store)
    sweep_names = {sweep.id: sweep.name for sweep in list_sweeps(workspace)}
    candidates = store.list()
    if options.sweep:
        sweep = find_only_sweep(workspace, options.sweep)
        candidates = [run for run in candidates if run.group == sweep.id]
    found = matching_runs(
        candidates,
        sweep_names,
        options.find,
        statuses=options.status,
        kinds=options.kind,
        tags=options.tags,
    )
    stalls = find_stalls(workspace, found)
    rows: list[dict[str, Any]] = []
    lines = []
    for run in found:
        metrics = run.result.metrics.get("target_test") if run.result else None
        lines.append(f"{run.id}  {run.status:<11}  {run.name}  {auc_text(metrics)}")
        stalled = None
        if stall := stalls.get(run.id):
            stalled = {"since": stall.since, "sentence": stall_message(stall, run)}
            lines.append(f"    {stalled['sentence']}")
        rows.append({**run_to_json(run), "stalled": stalled})
    if options.out is None:
        nothing = (
            "No run matches." if candidates else "No runs yet; `pretrain` or `finetune` starts one."
        )
        result = CommandResult({"runs": rows}, "\n".join(lines) or nothing)
        return with_damaged(result, damaged_runs(workspace))
    if not found:
        raise BadInput("No run matches, so there is no table to write.")
    table = run_frame(workspace, found, store.validation_summaries(found), sweep_names)
    if options.by_arm:
        table = arm_frame(workspace, found, table)[1]
    write_table(table, options.out)
    data = {"runs": rows, "out": str(options.out)}
    return CommandResult(data, f"Wrote {len(table)} rows to {options.out}.")


def sweeps(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """List the sweeps, newest first, with the statuses of their runs."""
    store = RunStore(workspace)
    refresh_statuses(workspace, store)
    rows, lines = [], []
    found, damaged = read_sweeps(workspace)
    for sweep in found:
        statuses = [run.status for run in store.list_group(sweep.id)]
        counts = {status: statuses.count(status) for status in dict.fromkeys(statuses)}
        rows.append(
            {
                "sweep": sweep.id,
                "name": sweep.name,
                "created": sweep.created,
                "runs": counts,
                "spec": dataclasses.asdict(sweep.spec),
            }
        )
        text = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no runs"
        lines.append(f"{sweep.id}  {sweep.name}: {len(sweep.spec.arms)} arms, {text}")
    text = "\n".join(lines) or "No sweeps yet; `sweep` starts one."
    return with_damaged(CommandResult({"sweeps": rows}, text), damaged)


def watch(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Follow runs, or a sweep, to their end."""
    if options.sweep:
        return follow_sweep(workspace, find_only_sweep(workspace, options.sweep))
    return _follow_runs(workspace, find_runs(RunStore(workspace), options))


def cancel(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Ask runs to stop and, without --no-wait, wait until they have."""
    store = RunStore(workspace)
    refresh_statuses(workspace, store)
    if options.sweep:
        sweep = find_only_sweep(workspace, options.sweep)
        runs = [run for run in store.list_group(sweep.id) if run.active]
        if not runs and not is_under_way(workspace, sweep, store.list_group(sweep.id)):
            raise BadInput(
                f"No run of the sweep {sweep.name!r} is queued or running, so there is nothing to "
                "cancel."
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
        _wait_for_runs(workspace, runs, "Cancelling")
    now = [store.get(run.id) for run in runs]
    data = {"runs": [run_state(run) for run in now]}
    return CommandResult(data, "\n".join(map(_cancel_text, now)))


def resume(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Queue runs again and, without --no-wait, follow them to their end."""
    store = RunStore(workspace)
    refresh_statuses(workspace, store)
    resumable = _join_with_or(RESUMABLE_STATUSES)
    if options.sweep:
        sweep = find_only_sweep(workspace, options.sweep)
        every = store.list_group(sweep.id)
        runs = [run for run in every if run.status in RESUMABLE_STATUSES]
        if sweep.spec.search is not None:
            # It may have stopped between two runs. A failed run alone is no reason to resume it.
            runs = every * (search_progress(workspace, sweep, every).phase != "done")
        if not runs:
            raise BadInput(
                f"No run of the sweep {sweep.name!r} is {resumable}, so there is nothing to resume."
            )
        if runs[0].queue == CLUSTER_QUEUE:
            raise BadInput(
                f"The command line runs the sweep {sweep.name!r} itself: `{PROGRAM} "
                f"{'search' if sweep.spec.search else 'sweep'} --name {shlex.quote(sweep.name)} "
                f"{'--here' if sweep.spec.search else '--arms-at-once N'}` resumes it."
            )
        resume_sweep(workspace, sweep)
        if not options.no_wait:
            return follow_sweep(workspace, sweep)
    else:
        runs = find_runs(store, options)
        for run in runs:
            if run.status not in RESUMABLE_STATUSES:
                raise BadInput(
                    f"Run {run.id} is {run.status}; only {resumable} runs can be resumed."
                )
        for run in runs:
            resume_run(workspace, run.id)
        if not options.no_wait:
            return _follow_runs(workspace, runs)
    now = [store.get(run.id) for run in runs]
    data = {"runs": [run_state(run) for run in now]}
    return CommandResult(data, "\n".join(f"{run.id} {run.status}" for run in now))


def tag(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Change the tags of runs."""
    if options.replace is None and not (options.add or options.remove):
        raise BadInput("No tag was given; name tags with --add, --remove or --set.")
    if options.replace is not None and (options.add or options.remove):
        raise BadInput("--set replaces all tags, so --add and --remove cannot be used with it.")
    for word in (*options.add, *(options.replace or ())):
        if len(word) > TAG_LENGTH or not word.isprintable():
            raise BadInput(
                f"The tag {word[:80]!r} cannot be used: take up to {TAG_LENGTH} letters on one "
                "line."
            )
    store = RunStore(workspace)
    runs = find_runs(store, options)
    if options.replace is None:
        store.change_tags([run.id for run in runs], options.add, options.remove)
    else:
        for run in runs:
            store.annotate(run.id, tags=options.replace)
    now = [store.get(run.id) for run in runs]
    rows = [{"run": run.id, "name": run.name, "tags": list(run.tags)} for run in now]
    lines = [f"{run.id}  {', '.join(run.tags) or 'no tags'}" for run in now]
    return CommandResult({"runs": rows}, "\n".join(lines))


def note(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Set the note of runs."""
    if len(options.text) > NOTE_LENGTH:
        raise BadInput(
            f"The note has {len(options.text):,} letters; at most {NOTE_LENGTH:,} are kept."
        )
    store = RunStore(workspace)
    runs = find_runs(store, options)
    for run in runs:
        store.annotate(run.id, note=options.text)
    rows = [{"run": run.id, "name": run.name, "note": options.text} for run in runs]
    state = "has this note now" if options.text else "has no note now"
    lines = [f"{run.id}  {run.name}: {state}" for run in runs]
    return CommandResult({"runs": rows}, "\n".join(lines))


def _add_no_wait_option(command: argparse.ArgumentParser) -> None:
    add_run_options(command, sweep=True)
    command.add_argument(
        "--no-wait", action="store_true", help="return at once (default: wait until they end)"
    )


def _require_known(given: Sequence[str], known: Sequence[str], what: str) -> None:
    if unknown := [word for word in given if word not in known]:
        raise BadInput(f"There is no {what} {unknown[0]!r}; choose from {', '.join(known)}.")


def _wait_for_runs(workspace: Workspace, runs: Sequence[Run], title: str) -> None:
    """Wait until none of the runs is queued or running, showing the share that has ended."""
    store, notices = RunStore(workspace), StallNotices(workspace)
    with ProgressBar(title) as progress:
        while active := [run for run in (store.get(one.id) for one in runs) if run.active]:
            progress(1 - len(active) / len(runs))
            time.sleep(POLL_SECONDS)
            refresh_statuses(workspace, store)
            notices.print_new(active)


def _follow_runs(workspace: Workspace, runs: Sequence[Run]) -> CommandResult:
    """Wait for runs and return how they ended; RunError if one did not end well."""
    for run in runs:
        if run.kind == "interpolate":
            raise BadInput(
                f"Run {run.id} mixes a model with its backbone; `{PROGRAM} interpolate --run "
                f"{run.interpolate_request.run}` follows it."
            )
    if len(runs) == 1:
        return follow_run(workspace, runs[0])
    _wait_for_runs(workspace, runs, f"{len(runs)} runs")
    now = [RunStore(workspace).get(run.id) for run in runs]
    lines = []
    for run in now:
        message = f": {run.message}" if run.message else ""
        lines.append(f"{run.id}  {run.status:<11}  {run.name}{message}")
    if any(run.status != "done" for run in now):
        raise RunError("\n".join(lines))
    return CommandResult({"runs": [run_state(run) for run in now]}, "\n".join(lines))


def _cancel_text(run: Run) -> str:
    if run.status == "running":
        return f"{run.id} is stopping"
    return f"{run.id} {run.status}"


def _join_with_or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
