"""The command `search`: find the best settings within a number of runs or minutes."""

import argparse
import sys

from core.cli.dry_run import dry_run_search
from core.cli.options import (
    add_dry_run_option,
    add_head_options,
    add_inputs_option,
    add_strategy_options,
    add_training_options,
    floats,
    given_settings,
    head_settings,
)
from core.cli.output import CommandResult
from core.cli.sweep_command import add_named_arms, follow_sweep, named_arms, print_sweep_settings
from core.cli.targets import AddCommand
from core.data.datasets import find_dataset
from core.errors import BadInput
from core.models.backbone_store import find_backbone
from core.runs.search import resume_search, search_spec_of, submit_search
from core.runs.search_defaults import DEFAULT_SEARCH_RUNS, make_search_spec
from core.runs.search_result import search_sentence
from core.runs.search_spec import PRUNERS, WEIGHT_DECAYS, SearchSpec
from core.runs.sweep import SweepSpec, extend_sweep, list_sweeps
from core.training.default_settings import preset_settings, replace_settings, target_rows_and_share
from core.workspace import Workspace


def add_search_command(add: AddCommand) -> None:
    """Add `search` to the parser."""
    summary = (
        "Search strategy, learning rate, head and weight decay within a budget, and judge the"
        " winner once."
    )
    command = add("search", summary, search)
    group = command.add_argument_group("a new search, or an existing one")
    group.add_argument(
        "--name", required=True, help="of the search; an existing search of that name is resumed"
    )
    group.add_argument("--dataset")
    group.add_argument("--backbone")
    group.add_argument(
        "--more-seeds",
        type=int,
        default=0,
        help="with an existing search: judge its winner with this many seeds more",
    )
    add_dry_run_option(command)
    budget = command.add_argument_group("budget")
    budget.add_argument(
        "--runs",
        type=int,
        help=f"how many runs the search may take (default {DEFAULT_SEARCH_RUNS}, or no bound where "
        "--minutes is given); judging the winner takes 2 runs for each of --seeds more",
    )
    budget.add_argument(
        "--minutes",
        type=float,
        default=0.0,
        help="how long the runs of the search may take in all; one that has begun ends",
    )
    space = command.add_argument_group("what is searched")
    add_named_arms(
        space,
        "freeze depths such as 0,1,2, or all (default all, and some strategies)",
        "a strategy",
    )
    space.add_argument(
        "--learning-rates",
        "--rates",
        type=floats,
        dest="rates",
        default=(),
        metavar="LOW,HIGH",
        help="lowest and highest rate (default: a tenth of the preset's or --lr, to ten times it)",
    )
    space.add_argument(
        "--weight-decays",
        type=floats,
        help=f"default {','.join(f'{one:g}' for one in WEIGHT_DECAYS)} and the preset's or "
        "--weight-decay",
    )
    how = command.add_argument_group("how")
    how.add_argument(
        "--search-seed", type=int, default=0, help="of the sampler's random numbers (default 0)"
    )
    how.add_argument(
        "--trial-seeds",
        type=int,
        default=1,
        help="seeds, and so runs, for each setting that is tried (default 1)",
    )
    how.add_argument(
        "--pruner",
        choices=PRUNERS,
        default="median",
        help="end a run early where its validation loss is above the median of the others after "
        "as many epochs (default), or never",
    )
    how.add_argument("--seeds", type=int, default=3, help="the winner is judged with (default 3)")
    how.add_argument(
        "--target-rows", type=int, default=0, help="use only the last N target rows (0: all)"
    )
    add_strategy_options(command)
    add_inputs_option(command)
    add_head_options(command)
    add_training_options(command, seed=False)
    where = command.add_argument_group("where")
    where.add_argument(
        "--here", action="store_true", help="train in this command and not in the worker"
    )


def search(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Queue a search, follow it to its end, and print what it found and its verdicts.

    If there is a search of that name already, it is resumed.
    """
    existing = [one for one in list_sweeps(workspace) if options.name in (one.id, one.name)]
    if existing:
        found = existing[0]
        search_spec_of(found)
        if options.dry_run:
            raise BadInput(
                f"There is a search {options.name!r} already; a dry run says what a new one would "
                "be."
            )
        resume_search(workspace, found)
        if options.more_seeds:
            found = extend_sweep(workspace, found, options.more_seeds)
    else:
        spec = search_spec(workspace, options)
        if options.dry_run:
            return dry_run_search(workspace, spec)
        found = submit_search(workspace, spec, options.name, run_here=options.here)
        print_sweep_settings(
            find_dataset(workspace, found.spec.dataset), found.spec, options.preset
        )
        print(search_sentence(found.spec), file=sys.stderr)
    if options.here:
        from core.runs.worker import run_sweep_here

        run_sweep_here(workspace, found, 1, "")
    return follow_sweep(workspace, found)


def search_spec(workspace: Workspace, options: argparse.Namespace) -> SweepSpec:
    """Return the search that the options describe.

    Raises:
        BadInput: dataset or backbone is missing or unknown, or a value is out of its range.
    """
    if not options.dataset or not options.backbone:
        raise BadInput(
            f"There is no search {options.name!r} to go on with; a new one needs --dataset and "
            "--backbone."
        )
    card = find_backbone(workspace, options.backbone)
    dataset = find_dataset(workspace, options.dataset)
    rows, share = target_rows_and_share(dataset, options.target_rows)
    train = replace_settings(
        preset_settings(options.preset, rows, validation_share=share), given_settings(options)
    )
    keep_head, head = head_settings(options, card, options.preset)
    runs = options.runs
    if runs is None:
        runs = 0 if options.minutes else DEFAULT_SEARCH_RUNS
    return make_search_spec(
        dataset,
        card,
        SearchSpec(
            runs=runs,
            minutes=options.minutes,
            seed=options.search_seed,
            trial_seeds=options.trial_seeds,
            pruner=options.pruner,
        ),
        train,
        head,
        keep_head,
        named_arms(options, card),
        options.rates,
        options.weight_decays,
        options.head,
        options.seeds,
        options.target_rows,
        options.inputs,
    )
