"""The command `blend`: of runs that are named, or of arms of a sweep, seed by seed."""

import argparse
from collections.abc import Sequence

from core.cli.options import add_calibration_options
from core.cli.output import CommandResult, auc_text, run_state, wait_for_run
from core.cli.targets import AddCommand, find_only_sweep
from core.errors import BadInput
from core.evaluation.format_metrics import format_metric, format_metrics
from core.jobs.run import Run, run_to_json
from core.jobs.store import RunStore
from core.runs.blends import blend_arms, submit_blend
from core.workspace import Workspace


def add_blend_command(add: AddCommand) -> None:
    """Add `blend` to the parser."""
    summary = (
        "Blend finished runs: their logits, weighted on validation rows. Or arms of a sweep, for"
        " every seed."
    )
    command = add("blend", summary, blend)
    command.add_argument("run_ids", nargs="*", metavar="RUN", help="r-…, two or more")
    command.add_argument("--name", default="", help="of the blend (default: made of its runs)")
    command.add_argument(
        "--sweep", help="name or id: blend arms of this sweep, as a further arm of it"
    )
    command.add_argument(
        "--arm",
        action="append",
        default=[],
        dest="arms",
        metavar="TITLE",
        help="with --sweep, once for each arm (default: the leading network and gradient boosting)",
    )
    add_calibration_options(command, several=True)
    command.add_argument(
        "--no-wait", action="store_true", help="return at once (default: wait until it is done)"
    )


def blend(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Queue a blend, or one for every seed of a sweep, and follow it to its end."""
    if bool(options.run_ids) == bool(options.sweep):
        raise BadInput("Name either two runs or more, or a sweep with --sweep.")
    if options.arms and not options.sweep:
        raise BadInput("--arm names an arm of a sweep; name the sweep with --sweep.")
    if options.name and options.sweep:
        raise BadInput("--name names the blend of some runs; a sweep's blends have names already.")
    if options.sweep:
        sweep = find_only_sweep(workspace, options.sweep)
        runs = blend_arms(workspace, sweep, options.arms, options.calibration)
    else:
        methods = options.calibration
        runs = [submit_blend(workspace, options.run_ids, options.name, calibration=methods)]
    if options.no_wait:
        text = "\n".join(f"{run.id}  {run.status}  {run.name}" for run in runs)
        return CommandResult({"runs": [run_state(run) for run in runs]}, text)
    return _follow(workspace, runs)


def _follow(workspace: Workspace, runs: Sequence[Run]) -> CommandResult:
    lines, data = [], []
    for run in runs:
        wait_for_run(workspace, run)
        done = RunStore(workspace).get(run.id)
        lines += describe_blend(done)
        data.append(run_to_json(done))
    return CommandResult({"runs": data}, "\n".join(lines))


def describe_blend(run: Run) -> list[str]:
    """Return the weights and metrics of a finished blend, as lines."""
    assert run.result is not None and run.result.blend is not None
    found = run.result.blend
    lines = [f"{run.id}  {run.name}"]
    for one in found.runs:
        auc = auc_text(one.metrics.get("target_test"))
        how = f" ({one.calibration.sentence})" if one.calibration else ""
        lines.append(f"  weight {format_metric(one.weight)}  {one.run}  {one.title}{how}: {auc}")
    for part, metrics in run.result.metrics.items():
        lines.append(f"{part.replace('_', ' ')}: {format_metrics(metrics)}")
    if mean := found.mean.get("target_test"):
        lines.append(f"With equal weights, target test: {format_metrics(mean)}")
    return lines
