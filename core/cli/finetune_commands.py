"""The commands `finetune` and `demo`; a sweep has a module of its own."""

import argparse

from core.cli.dry_run import dry_run_finetune
from core.cli.options import (
    add_dry_run_option,
    add_head_options,
    add_inputs_option,
    add_strategy_options,
    add_training_options,
    comma_separated,
    head_settings,
    print_settings,
    strategy_options,
    train_settings,
)
from core.cli.output import CommandResult, ProgressBar, follow_run, run_state
from core.cli.targets import AddCommand
from core.data.datasets import find_dataset
from core.data.windows import first_window
from core.errors import BadInput
from core.freezing.strategies import STRATEGIES, control_strategies, has_learning_rate
from core.jobs.requests import WINDOW_STARTS, FinetuneRequest, Window
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone
from core.runs.submit import submit_finetune
from core.training.default_settings import target_rows_and_share
from core.workspace import Workspace


def add_finetune_command(add: AddCommand) -> None:
    """Add `finetune` to the parser."""
    command = add("finetune", "Adapt a backbone to a dataset's target rows.", finetune)
    command.add_argument("--dataset", required=True)
    command.add_argument("--backbone", required=True)
    choice = command.add_mutually_exclusive_group(required=True)
    choice.add_argument(
        "--freeze-depth",
        type=int,
        help="number of stages frozen from the input; 0 is full fine-tuning",
    )
    choice.add_argument("--strategy", choices=[name for name in STRATEGIES if name != "depth"])
    command.add_argument(
        "--target-rows",
        type=int,
        default=0,
        help="train on this many target rows, the last ones (default 0: all)",
    )
    command.add_argument(
        "--controls",
        type=_controls,
        default=(),
        help=f"runs to compare it with, of {', '.join(control_strategies())}",
    )
    _add_window_options(command)
    add_dry_run_option(command)
    add_strategy_options(command)
    add_head_options(command)
    add_inputs_option(command)
    add_training_options(command)


def _add_window_options(command: argparse.ArgumentParser) -> None:
    """Add the options of a run on one window of the target rows."""
    group = command.add_argument_group(
        "one window of a rolling evaluation", "A sweep with --windows runs all of them."
    )
    group.add_argument("--windows", type=int, default=0, help="number of windows (default 0: none)")
    group.add_argument(
        "--window", type=int, default=1, help="the window to train on; the next one tests"
    )
    group.add_argument(
        "--window-column", default="", help="cut windows by this extra column, such as day"
    )
    group.add_argument(
        "--from-run",
        default="",
        metavar="RUN",
        help="go on from the model of this run on the window before (default: the backbone)",
    )


def add_demo_command(add: AddCommand) -> None:
    """Add `demo` to the parser."""
    summary = "Make the demo's simulated dataset and queue its sweep, or resume it."
    command = add("demo", summary, demo)
    command.add_argument(
        "--dataset-only", action="store_true", help="make the dataset; queue nothing"
    )
    command.add_argument(
        "--wait", action="store_true", help="wait until the sweep has ended, and print its verdicts"
    )


def finetune(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Queue a fine-tuning run and its controls, and follow them to their end."""
    strategy = options.strategy or "depth"
    dataset = find_dataset(workspace, options.dataset)
    window = _window(options)
    if window:
        dataset = first_window(workspace, dataset, window.windows, window.column)
    rows, share = target_rows_and_share(dataset, options.target_rows)
    train = train_settings(options, rows, validation_share=share)
    card = find_backbone(workspace, options.backbone)
    keep_head, head = head_settings(options, card, options.preset)
    request = FinetuneRequest(
        dataset=options.dataset,
        backbone=options.backbone,
        strategy=strategy,
        freeze_depth=options.freeze_depth or 0,
        head=head,
        train=train,
        options=strategy_options(options),
        target_rows=options.target_rows,
        keep_head=keep_head,
        inputs=options.inputs,
        window=window,
    )
    if options.dry_run:
        return dry_run_finetune(workspace, request, options.controls)
    runs = submit_finetune(workspace, request, options.controls)
    if has_learning_rate(strategy):
        print_settings(options, train, rows)
    first, *controls = [follow_run(workspace, run) for run in runs]
    if not controls:
        return first
    data = {**first.data, "controls": [control.data["run"] for control in controls]}
    return CommandResult(data, "\n".join(result.text for result in (first, *controls)))


def demo(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Make the demo's dataset and queue its sweep, or what of the sweep was interrupted."""
    from core.runs.demo import WHAT_IT_SHOWS, ensure_demo_dataset, run_demo, wait_for_demo

    if options.dataset_only:
        with ProgressBar("Preparing the demo") as progress:
            dataset = ensure_demo_dataset(workspace, progress)
        text = f"Dataset {dataset.name!r} is ready: {dataset.rows:,} simulated rows."
        return CommandResult({"dataset": dataset.id, "name": dataset.name}, text)
    with ProgressBar("Preparing the demo") as progress:
        sweep = run_demo(workspace, progress)
    verdicts = wait_for_demo(workspace, sweep) if options.wait else []
    runs = RunStore(workspace).list_group(sweep.id)
    n_active = sum(run.active for run in runs)
    head = f"{sweep.id}  {sweep.name}: {len(runs)} runs, {n_active} queued or running"
    data = {
        "sweep": sweep.id,
        "name": sweep.name,
        "runs": [run_state(run) for run in runs],
        "verdicts": verdicts,
    }
    return CommandResult(data, "\n".join([head, WHAT_IT_SHOWS, *verdicts]))


def _window(options: argparse.Namespace) -> Window | None:
    """Return the window that the options name; BadInput if they name one without `--windows`."""
    if not options.windows:
        if options.from_run or options.window_column or options.window != 1:
            raise BadInput(
                "A window is named, but not how many there are; add --windows, such as --windows 5."
            )
        return None
    start = WINDOW_STARTS[bool(options.from_run)]
    return Window(options.window, options.windows, options.window_column, start, options.from_run)


def _controls(text: str) -> tuple[str, ...]:
    names = comma_separated(text)
    if unknown := [name for name in names if name not in control_strategies()]:
        raise argparse.ArgumentTypeError(
            f"{unknown[0]!r} is no control; choose from {', '.join(control_strategies())}"
        )
    return names
