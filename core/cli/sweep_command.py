"""The command `sweep`: queues strategies side by side, follows them, and says what the numbers
allow."""

import argparse
import sys
import time
from typing import Any

from core.cli.dry_run import dry_run_sweep
from core.cli.options import given_settings, head_settings, strategy_options
from core.cli.output import POLL_SECONDS, CommandResult, ProgressBar, StallNotices
from core.data.datasets import Dataset, find_dataset
from core.errors import BadInput, RunError
from core.evaluation.format_metrics import format_arm_metrics
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone
from core.runs.launch import refresh_statuses
from core.runs.sweep import (
    Arm,
    Sweep,
    SweepSpec,
    depth_arms,
    extend_sweep,
    list_sweeps,
    resume_sweep,
    submit_sweep,
)
from core.runs.sweep_result import (
    default_reference,
    forgetting_sentences,
    judge_arms,
    summarise_arms,
    sweep_table,
)
from core.training.default_settings import (
    AUTO,
    count_training_rows,
    settings_by_size,
    settings_sentence,
)
from core.workspace import Workspace


def sweep(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Queues a sweep, or goes on with one, follows it to its end, and says what came of it."""
    known = [one for one in list_sweeps(workspace) if options.name in (one.id, one.name)]
    if known:
        if options.dry_run:
            raise BadInput(
                f"There is a sweep {options.name!r} already; a dry run says what a new one"
                " would be."
            )
        asked = known[0]
        resume_sweep(workspace, asked)
        if options.more_seeds:
            asked = extend_sweep(workspace, asked, options.more_seeds)
    elif options.dry_run:
        return dry_run_sweep(workspace, sweep_spec(workspace, options))
    else:
        asked = submit_sweep(
            workspace, sweep_spec(workspace, options), options.name, run_here=_trains_here(options)
        )
        print_sweep_settings(
            find_dataset(workspace, asked.spec.dataset), asked.spec, options.preset
        )
    if _trains_here(options):
        from core.runs.worker import run_sweep_here

        run_sweep_here(workspace, asked, options.arms_at_once, options.cluster)
    return follow_sweep(workspace, asked)


def follow_sweep(workspace: Workspace, sweep: Sweep) -> CommandResult:
    """Waits until every run of a sweep has ended, and says what came of it; RunError where not all
    ended well."""
    store, notices = RunStore(workspace), StallNotices(workspace)
    with ProgressBar(sweep.name) as report:
        runs = store.list_group(sweep.id)
        while any(run.active for run in runs):
            report(sum(not run.active for run in runs) / len(runs))
            time.sleep(POLL_SECONDS)
            refresh_statuses(workspace, store)
            notices.print_new(run for run in runs if run.status == "running")
            runs = store.list_group(sweep.id)
    results = summarise_arms(sweep, runs)
    sentences: list[str] = []
    if results:
        sentences = judge_arms(workspace, results, default_reference(results))[
            1
        ] + forgetting_sentences(results)
    ended = {
        status: sum(run.status == status for run in runs)
        for status in dict.fromkeys(run.status for run in runs)
    }
    rows = sweep_table(results)
    data = {
        "sweep": sweep.id,
        "name": sweep.name,
        "runs": ended,
        "arms": rows,
        "verdicts": sentences,
    }
    lines = [
        f"{sweep.id}  {sweep.name}: "
        + ", ".join(f"{number} {status}" for status, number in ended.items())
    ]
    lines += [_arm_text(row) for row in rows] + sentences
    if ended.get("done", 0) < len(runs):
        raise RunError("\n".join(lines))
    return CommandResult(data, "\n".join(lines))


def _trains_here(options: argparse.Namespace) -> bool:
    return bool(options.cluster or options.arms_at_once)


def sweep_spec(workspace: Workspace, options: argparse.Namespace) -> SweepSpec:
    if not options.dataset or not options.backbone:
        raise BadInput(
            f"There is no sweep {options.name!r} to go on with; a new one needs --dataset and"
            " --backbone."
        )
    card = find_backbone(workspace, options.backbone)
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
    dataset = find_dataset(workspace, options.dataset)
    by_size = settings_by_size(
        dataset, options.target_sizes, options.preset, given_settings(options)
    )
    return SweepSpec(
        dataset=dataset.id,
        backbone=card.id,
        arms=arms,
        seeds=tuple(range(options.seeds)),
        learning_rates=options.rates,
        target_sizes=options.target_sizes,
        head=head_settings(options),
        train=by_size[-1],
        halving=options.halving,
        train_by_size=tuple(by_size) if len(set(by_size)) > 1 else (),
    )


def print_sweep_settings(dataset: Dataset, spec: SweepSpec, preset: str) -> None:
    """Says on standard error which settings each target size trains with."""
    for size, train in zip(spec.target_sizes, spec.size_settings, strict=True):
        sentence = settings_sentence(
            preset, train, count_training_rows(dataset, "target", last=size)
        )
        print(sentence, file=sys.stderr)
        if not spec.train_by_size and preset != AUTO:
            break


def _arm_text(row: dict[str, Any]) -> str:
    setting = f"{row['setting']}, " if row["setting"] else ""
    halted = f", ended by halving after epoch {row['halted_epoch']}" if row["halted_epoch"] else ""
    return (
        f"{setting}{row['arm']}: target test {format_arm_metrics(row, deviation=True)} over"
        f" {row['seeds']} seeds{halted}"
    )
