"""The command line: ``thaw COMMAND …``, also started as ``python -m core COMMAND …``.

Commands call the same functions of the core as the pages of the app. Exit status: 0; 2 for bad
usage or bad input (one sentence on standard error); 1 when a run failed, or when `verify` found
other numbers."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import core.cli.start_reader  # noqa: F401 - before the slow imports, see there  # isort: split
from core.cli.app_command import add_app_command
from core.cli.backbone_commands import add_backbone_commands
from core.cli.blend_command import add_blend_command
from core.cli.calibrate_command import add_calibrate_command
from core.cli.compare_command import add_compare_command
from core.cli.controls_command import add_controls_command
from core.cli.data_commands import add_data_commands
from core.cli.decision_commands import add_decision_commands
from core.cli.explain_commands import add_explain_commands
from core.cli.finetune_commands import add_demo_command, add_finetune_command
from core.cli.help import format_command_list
from core.cli.item_commands import add_item_commands
from core.cli.output import CommandResult, print_error
from core.cli.result_commands import add_result_commands
from core.cli.run_commands import add_run_commands
from core.cli.score_commands import add_score_commands
from core.cli.search_command import add_search_command
from core.cli.sweep_command import add_sweep_command
from core.cli.targets import AddCommand
from core.files.permissions import private_files
from core.program import PROGRAM, VERSION
from core.workspace import open_workspace

COMMAND_GROUPS: dict[str, tuple[Callable[[AddCommand], None], ...]] = {
    "the app": (add_app_command,),
    "data": (add_data_commands,),
    "backbones": (add_backbone_commands,),
    "fine-tuning": (
        add_finetune_command,
        add_sweep_command,
        add_search_command,
        add_demo_command,
    ),
    "runs": (add_run_commands,),
    "results": (
        add_result_commands,
        add_blend_command,
        add_compare_command,
        add_controls_command,
        add_decision_commands,
        add_explain_commands,
    ),
    "using a model": (add_calibrate_command, add_score_commands),
    "samples, datasets, backbones, runs and sweeps alike": (add_item_commands,),
}
"""What adds the commands of each group, in the order in which the help lists them."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    The function of each command is its default value of ``run``.
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [--workspace FOLDER] COMMAND ...",
        description="Thaw: how much should stay frozen?",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workspace", type=Path, metavar="FOLDER", help="default: $THAW_HOME, else ./workspace"
    )
    parser.add_argument("--version", action="version", version=f"Thaw {VERSION}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="one JSON object on standard output")
    # argparse cannot list commands in groups, so its own list is suppressed; the epilog has ours.
    subparsers = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog=PROGRAM, help=argparse.SUPPRESS
    )
    summaries: dict[str, str] = {}

    def add(name: str, summary: str, run: Callable[..., CommandResult]) -> argparse.ArgumentParser:
        summaries[name] = summary
        command = subparsers.add_parser(name, description=summary, parents=[shared])
        command.set_defaults(run=run)
        return command

    by_group: dict[str, dict[str, str]] = {}
    for title, functions in COMMAND_GROUPS.items():
        summaries = by_group[title] = {}
        for add_commands in functions:
            add_commands(add)
    parser.epilog = format_command_list(by_group)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        arguments: words after the program's name; None takes those of the process.
    """
    options = build_parser().parse_args(arguments)
    with private_files():
        return _run_command(options)


def _run_command(options: argparse.Namespace) -> int:
    try:
        result = options.run(open_workspace(options.workspace), options)
    except Exception as error:
        return print_error(error, options.workspace)
    except KeyboardInterrupt:
        message = "thaw: stopped; a run that was queued goes on in its worker."
        print(message, file=sys.stderr)
        return 1
    try:
        output = json.dumps(result.data, ensure_ascii=False) if options.json else result.text
        print(output, flush=True)
    except BrokenPipeError:
        # The reader has closed the pipe, as `head` does. Without this, Python would try to flush
        # standard output once more at exit and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return result.exit_status
