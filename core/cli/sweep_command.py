"""The command `sweep`: queue strategies × seeds on one dataset, follow them, print the verdicts."""

import argparse
import dataclasses
import sys
import time
from typing import Any

from core.cli.dry_run import dry_run_sweep
from core.cli.options import (
    add_dry_run_option,
    add_head_options,
    add_inputs_option,
    add_strategy_options,
    add_training_options,
    comma_separated,
    floats,
    given_settings,
    head_settings,
    integers,
    strategy_options,
)
from core.cli.output import POLL_SECONDS, CommandResult, ProgressBar, StallNotices
from core.cli.recommendation_output import (
    add_margin_options,
    margins_of,
    recommendation_lines,
    recommendations_data,
)
from core.cli.search_notices import SearchNotices
from core.cli.targets import AddCommand
from core.data.datasets import Dataset, find_dataset
from core.data.windows import first_window
from core.errors import BadInput, RunError
from core.evaluation.format_metrics import format_arm_metrics
from core.evaluation.non_inferiority import Margins
from core.freezing.strategies import STRATEGIES
from core.jobs.requests import WINDOW_STARTS
from core.jobs.store import Run, RunStore
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard
from core.runs.arm_recommendation import recommend_arms
from core.runs.arm_verdicts import choices_of_arms, forgetting_sentences, judge_arms
from core.runs.control_rows import with_control_rows
from core.runs.default_blend import can_blend, queue_default_blends
from core.runs.halving import FACTORS
from core.runs.launch import refresh_statuses
from core.runs.rolling_result import rolling_table
from core.runs.search import is_under_way, search_progress
from core.runs.search_result import describe_progress, search_sentences, search_to_json
from core.runs.sweep import (
    Arm,
    Sweep,
    SweepSpec,
    default_arms,
    depth_arms,
    extend_sweep,
    find_sweep,
    list_sweeps,
    rates_sentence,
    resume_sweep,
    submit_sweep,
)
from core.runs.sweep_result import (
    default_reference,
    format_chosen_rate,
    rates_table,
    summarise_arms,
    sweep_table,
    waiting_for_rate,
)
from core.training.default_settings import (
    AUTO,
    count_training_rows,
    rates_to_try,
    settings_by_size,
    settings_sentence,
)
from core.workspace import Workspace


def add_sweep_command(add: AddCommand) -> None:
    """Add `sweep` to the parser."""
    summary = "Run strategies side by side over seeds, and say what the results support."
    command = add("sweep", summary, sweep)
    group = command.add_argument_group("a new sweep, or an existing one")
    group.add_argument(
        "--name", required=True, help="of the sweep; an existing sweep of that name is resumed"
    )
    group.add_argument("--dataset")
    group.add_argument("--backbone")
    group.add_argument(
        "--more-seeds", type=int, default=0, help="with an existing sweep: add this many seeds"
    )
    add_dry_run_option(command)
    arms = command.add_argument_group(
        "arms", "Without any of the first three: every freeze depth, and every control."
    )
    add_named_arms(arms, "freeze depths such as 0,1,2, or all", "an arm")
    arms.add_argument(
        "--control-rows",
        type=control_rows,
        action="append",
        default=[],
        metavar="CONTROL=ROWS",
        help="an arm of a control for each choice of rows: gradient-boosting=source,target,both; "
        "may be given once for each control",
    )
    arms.add_argument("--seeds", type=int, default=3, help="for every arm (default 3)")
    arms.add_argument(
        "--learning-rates",
        "--rates",
        type=floats,
        dest="rates",
        default=(),
        help="for every arm: 1e-3,3e-4 (default: four around the preset's or --lr)",
    )
    arms.add_argument(
        "--choose-rate",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="try every arm with each of these rates and choose its rate on validation rows "
        "(default); with --no-choose-rate each rate is a setting of its own, and without "
        "--learning-rates every arm trains at the preset's",
    )
    arms.add_argument(
        "--blend",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="once all runs have ended, blend the network that leads on validation rows with "
        "gradient boosting, as a further arm, where the sweep has both (default)",
    )
    arms.add_argument(
        "--target-sizes", type=integers, default=(0,), help="target rows: 1000,5000,0 (0: all)"
    )
    arms.add_argument(
        "--halving",
        type=int,
        default=0,
        choices=FACTORS,
        help="successive halving: at every rung only the best 1 of this many arms trains on "
        "(default: all do)",
    )
    add_window_options(command)
    add_strategy_options(command)
    add_inputs_option(command)
    add_head_options(command)
    add_training_options(command, seed=False)
    add_margin_options(command)
    where = command.add_argument_group("where")
    where.add_argument(
        "--arms-at-once",
        type=int,
        default=0,
        help="run this many runs in parallel, in this command",
    )
    where.add_argument(
        "--cluster",
        default="",
        help="address of a Dask scheduler (tcp://…) or Ray cluster (ray://…)",
    )


def add_named_arms(group: argparse._ArgumentGroup, depths_help: str, surgical: str) -> None:
    """Add the options that `named_arms` reads.

    Args:
        group: of the command.
        depths_help: of --depths.
        surgical: what stages given to --surgical make, with its article.
    """
    group.add_argument("--depths", help=depths_help)
    group.add_argument(
        "--strategies", type=comma_separated, default=(), help=f"of {', '.join(STRATEGIES)}"
    )
    group.add_argument(
        "--surgical",
        type=comma_separated,
        action="append",
        default=[],
        metavar="STAGES",
        help=f"{surgical} that trains these stages: embedding,cross1; may be given more than once",
    )


def add_window_options(command: argparse.ArgumentParser) -> None:
    """Add the options of rolling evaluation."""
    group = command.add_argument_group(
        "rolling evaluation",
        "Target rows are cut into windows in the order of time. Every arm trains on each window but"
        " the last and is tested on the next one; the dataset's own split of target rows is not"
        " used.",
    )
    group.add_argument(
        "--windows",
        type=int,
        default=0,
        help="number of windows, such as 5, of which 4 train (default 0: none)",
    )
    group.add_argument(
        "--from",
        dest="window_start",
        choices=WINDOW_STARTS,
        default=WINDOW_STARTS[0],
        help="what each window starts from: the backbone (default), or the last window's model",
    )
    group.add_argument(
        "--window-column",
        default="",
        help="cut windows by the values of this extra column, such as day (default: by row order)",
    )


def sweep(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Queue a sweep, follow it to its end, and print its verdicts.

    If there is a sweep of that name already, it is resumed.
    """
    margins = margins_of(options)
    existing = [one for one in list_sweeps(workspace) if options.name in (one.id, one.name)]
    if existing:
        if options.dry_run:
            raise BadInput(
                f"There is a sweep {options.name!r} already; a dry run says what a new one would "
                "be."
            )
        found = existing[0]
        resume_sweep(workspace, found)
        if options.more_seeds:
            found = extend_sweep(workspace, found, options.more_seeds)
    else:
        spec = sweep_spec(workspace, options)
        if options.dry_run:
            return dry_run_sweep(workspace, spec)
        found = submit_sweep(workspace, spec, options.name, run_here=_trains_here(options))
        dataset = find_dataset(workspace, found.spec.dataset)
        trained = first_window(workspace, dataset, found.spec.windows, found.spec.window_column)
        print_sweep_settings(trained, found.spec, options.preset)
        if found.spec.choose_rate:
            print(rates_sentence(found.spec), file=sys.stderr)
    if _trains_here(options):
        from core.runs.worker import run_sweep_here

        run_sweep_here(workspace, found, options.arms_at_once, options.cluster)
    return follow_sweep(workspace, found, margins)


def follow_sweep(
    workspace: Workspace, sweep: Sweep, margins: Margins | None = None
) -> CommandResult:
    """Wait until every run of a sweep or search has ended, and return its arms and verdicts.

    Args:
        workspace: of the sweep.
        sweep: to follow.
        margins: of the recommendation; default: `Margins()`.

    Raises:
        RunError: a run did not end well; the message holds the results of the others. Of a search
            it is one of those that judge its winner, or the search has not come to its end.
    """
    runs = _wait_for_runs(workspace, sweep)
    if all(run.kind != "blend" for run in runs) and queue_default_blends(workspace, sweep):
        runs = _wait_for_runs(workspace, sweep)
    sweep = find_sweep(workspace, sweep.id)
    results = summarise_arms(sweep, runs)
    sentences: list[str] = []
    recommended = recommend_arms(workspace, results, margins) if results else []
    if results:
        sentences = judge_arms(workspace, results, default_reference(results))[1]
        sentences = sentences + forgetting_sentences(workspace, results)
    statuses = [run.status for run in runs]
    counts = {status: statuses.count(status) for status in dict.fromkeys(statuses)}
    rows = sweep_table(results)
    counts_text = ", ".join(f"{count} {status}" for status, count in counts.items())
    lines = [f"{sweep.id}  {sweep.name}: {counts_text}"]
    found = search_progress(workspace, sweep, runs) if sweep.spec.search is not None else None
    if found is not None:
        lines += [f"{describe_progress(found)}.", *search_sentences(sweep, runs, found)]
    lines += [*recommendation_lines(recommended, sweep), *map(_arm_text, rows)]
    lines += [f"{title}: rate not chosen yet" for title in waiting_for_rate(sweep, runs, results)]
    lines += sentences
    ended_well = counts.get("done", 0) == len(runs)
    if found is not None:
        ended_well = found.phase == "done" and found.best is not None
    if not ended_well:
        raise RunError("\n".join(lines))
    data: dict[str, Any] = {
        "sweep": sweep.id,
        "name": sweep.name,
        "runs": counts,
        "recommendations": recommendations_data(recommended),
        "arms": rows,
        "rates": rates_table(results),
        "choices": [dataclasses.asdict(one) for one in choices_of_arms(workspace, results)],
        "verdicts": sentences,
    }
    if found is not None:
        data["search"] = search_to_json(sweep, runs, found)
    if sweep.spec.windows:
        data["windows"] = rolling_table(workspace, results)
    return CommandResult(data, "\n".join(lines))


def _wait_for_runs(workspace: Workspace, sweep: Sweep) -> list[Run]:
    """Wait until every run of a sweep has ended; return them."""
    store, notices = RunStore(workspace), StallNotices(workspace)
    search_notices = SearchNotices(workspace)
    with ProgressBar(sweep.name) as progress:
        runs = store.list_group(sweep.id)
        while is_under_way(workspace, sweep, runs):
            if sweep.spec.search is None:
                progress(sum(not run.active for run in runs) / len(runs))
            else:
                progress(search_notices.print_new(sweep, runs))
            time.sleep(POLL_SECONDS)
            refresh_statuses(workspace, store)
            notices.print_new(run for run in runs if run.status == "running")
            runs = store.list_group(sweep.id)
    return runs


def sweep_spec(workspace: Workspace, options: argparse.Namespace) -> SweepSpec:
    """Return the sweep that the options describe.

    Raises:
        BadInput: dataset or backbone is missing or unknown, or --depths is no list of numbers.
    """
    if not options.dataset or not options.backbone:
        raise BadInput(
            f"There is no sweep {options.name!r} to go on with; a new one needs --dataset and "
            "--backbone."
        )
    card = find_backbone(workspace, options.backbone)
    arms = named_arms(options, card)
    dataset = find_dataset(workspace, options.dataset)
    arms = with_control_rows(arms or default_arms(card, dataset), named_rows(options))
    trained = first_window(workspace, dataset, options.windows, options.window_column)
    by_size = settings_by_size(
        trained, options.target_sizes, options.preset, given_settings(options)
    )
    keep_head, head = head_settings(options, card, options.preset)
    rates, choose_rate = rates_to_try(options.rates, by_size[-1].learning_rate, options.choose_rate)
    return SweepSpec(
        dataset=dataset.id,
        backbone=card.id,
        arms=arms,
        seeds=tuple(range(options.seeds)),
        learning_rates=rates,
        target_sizes=options.target_sizes,
        head=head,
        train=by_size[-1],
        halving=options.halving,
        train_by_size=tuple(by_size) if len(set(by_size)) > 1 else (),
        keep_head=keep_head,
        inputs=options.inputs,
        choose_rate=choose_rate,
        blend=options.blend and not options.windows and can_blend(arms),
        windows=options.windows,
        window_start=options.window_start,
        window_column=options.window_column,
    )


def control_rows(text: str) -> tuple[str, tuple[str, ...]]:
    """Return control and rows of ``"gradient-boosting=source,both"``; argparse's ``type``."""
    control, equals, rows = text.partition("=")
    if not equals:
        message = f"{text!r} is not a control and its rows, such as gradient-boosting=source,both"
        raise argparse.ArgumentTypeError(message)
    return control.strip(), comma_separated(rows)


def named_rows(options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """Return the rows that --control-rows names, by control.

    Raises:
        BadInput: a control is named twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for control, rows in options.control_rows:
        if control in found:
            raise BadInput(
                f"--control-rows names {control!r} twice; give all of its rows at once:"
                f" {control}={','.join([*found[control], *rows])}."
            )
        found[control] = rows
    return found


def named_arms(options: argparse.Namespace, card: BackboneCard) -> tuple[Arm, ...]:
    """Return the arms that --depths, --strategies and --surgical name.

    Raises:
        BadInput: --depths is no list of numbers.
    """
    arms: tuple[Arm, ...] = ()
    if options.depths == "all":
        arms = depth_arms(card)
    elif options.depths:
        try:
            arms = tuple(Arm("depth", int(depth)) for depth in options.depths.split(","))
        except ValueError:
            raise BadInput(
                f"The freeze depths are {options.depths!r}; write 0,1,2 or all."
            ) from None
    arms += tuple(
        Arm(strategy, 0, strategy_options(options, strategy)) for strategy in options.strategies
    )
    arms += tuple(Arm("surgical", 0, {"stages": stages}) for stages in options.surgical)
    return arms


def print_sweep_settings(dataset: Dataset, spec: SweepSpec, preset: str) -> None:
    """Print to standard error which settings each target size trains with."""
    for size, train in zip(spec.target_sizes, spec.size_settings, strict=True):
        rows = count_training_rows(dataset, "target", train.validation_share, size)
        print(settings_sentence(preset, train, rows), file=sys.stderr)
        # Under a named preset every size trains alike, so one line says it all.
        if not spec.train_by_size and preset != AUTO:
            break


def _trains_here(options: argparse.Namespace) -> bool:
    """Whether this process, and not the worker, runs the sweep."""
    return bool(options.cluster or options.arms_at_once)


def _arm_text(row: dict[str, Any]) -> str:
    setting = f"{row['setting']}, " if row["setting"] else ""
    halted = f", ended by halving after epoch {row['halted_epoch']}" if row["halted_epoch"] else ""
    last = ", best epoch is the last" if row["best_epoch_is_last"] else ""
    seeds = f"{row['seeds']} seed{'s' if row['seeds'] != 1 else ''}"
    return (
        f"{setting}{row['arm']}{format_chosen_rate(row)}: target test"
        f" {format_arm_metrics(row, deviation=True)} over {seeds}{last}{halted}"
    )
