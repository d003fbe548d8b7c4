"""Commands about backbones: pretrain, list, count costs, compare vocabularies, import, export."""

import argparse
import dataclasses
import os

from core.cli.data_text import card_data
from core.cli.dry_run import dry_run_pretrain
from core.cli.options import (
    add_architecture_options,
    add_dry_run_option,
    add_training_options,
    architecture_settings,
    comma_separated,
    local_path,
    print_settings,
    train_settings,
)
from core.cli.output import CommandResult, auc_text, follow_run, with_damaged
from core.cli.targets import AddCommand
from core.data.dataset_rows import measure_coverage
from core.data.datasets import find_dataset
from core.data.paths import clean_path
from core.data.preprocessing import load_preprocessing
from core.data.target_statistics import N_PAIRS, count_dense
from core.freezing.known_values import UNSEEN_LIMIT, unseen_share
from core.jobs.requests import MASK_SHARE, STATISTICS, PretrainRequest
from core.models.backbone_store import find_backbone, read_backbones
from core.models.card import BackboneCard
from core.models.exchange import export_backbone as write_backbone
from core.models.model_stats import save_stats
from core.models.objectives import INITIALISATIONS, OBJECTIVES
from core.models.recommended_settings import choose_settings, pretraining_rows
from core.models.registry import ARCHITECTURES, is_installed
from core.runs.submit import backbone_names_in_training, submit_pretrain
from core.training.default_settings import count_training_rows
from core.training.pretraining_defaults import recommended_statistics
from core.workspace import Workspace

_STATISTICS_HELP = (
    "target statistics and counts among the inputs: none, those of every categorical field, or"
    f" those and the statistics of {N_PAIRS} chosen pairs of fields (default by the number of rows)"
)


def add_backbone_commands(add: AddCommand) -> None:
    """Add these commands to the parser."""
    command = add("pretrain", "Train a new backbone on a dataset's source rows.", pretrain)
    command.add_argument("--dataset", required=True)
    command.add_argument("--architecture", choices=ARCHITECTURES, required=True)
    command.add_argument("--name", required=True)
    command.add_argument(
        "--start",
        choices=INITIALISATIONS,
        default="random",
        help="how the stages' weights are initialised",
    )
    command.add_argument(
        "--start-file", default="", help="the file of vectors or weights that the start reads"
    )
    command.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default="supervised",
        help="default supervised: clicks",
    )
    command.add_argument(
        "--mask-share", type=float, default=MASK_SHARE, help="of fields (default 0.2)"
    )
    command.add_argument("--statistics", choices=STATISTICS, help=_STATISTICS_HELP)
    add_dry_run_option(command)
    add_architecture_options(command)
    add_training_options(command)

    summary = "Count the stages, parameters and operations of architectures on a dataset."
    command = add("costs", summary, costs)
    command.add_argument("--dataset", required=True)
    command.add_argument(
        "--architectures",
        type=_architectures,
        default=(),
        help="default: all that can be built here",
    )
    command.add_argument("--statistics", choices=STATISTICS, help=_STATISTICS_HELP)
    add_architecture_options(command)

    add("backbones", "List the backbones of the workspace.", backbones)
    summary = "Measure how many of a dataset's target values a backbone has never seen."
    command = add("vocabulary", summary, vocabulary)
    command.add_argument("--backbone", required=True)
    command.add_argument("--dataset", required=True)

    summary = "Import a backbone: an archive of export-backbone, or a folder or archive of export."
    command = add("import-backbone", summary, import_backbone)
    command.add_argument("path", type=local_path)
    command.add_argument("--name", default="", help="default: the name on its card")
    summary = "Write a backbone into one zip archive, to be imported elsewhere."
    command = add("export-backbone", summary, export_backbone)
    command.add_argument("--backbone", required=True)
    command.add_argument("--out", type=local_path, required=True, help="the zip file to write")


def pretrain(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Queue a pretraining run and follow it to its end."""
    rows = count_training_rows(find_dataset(workspace, options.dataset), "source")
    train = train_settings(options, rows, options.objective)
    request = PretrainRequest(
        options.dataset,
        options.architecture,
        options.name,
        train,
        choose_settings(options.architecture, architecture_settings(options), rows),
        options.objective,
        options.start,
        _resolve_start_file(options.start_file),
        options.mask_share,
        options.statistics or recommended_statistics(options.architecture, options.objective, rows),
    )
    if options.dry_run:
        return dry_run_pretrain(workspace, request)
    run = submit_pretrain(workspace, request)
    if OBJECTIVES[options.objective].trains:
        print_settings(options, train, rows, options.objective)
    return follow_run(workspace, run)


def costs(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Count what architectures cost on a dataset; each gets those of the given settings it has."""
    from core.models.measure_stats import measure_stats

    dataset = find_dataset(workspace, options.dataset)
    fitted = load_preprocessing(dataset.folder / "preprocessing")
    given = architecture_settings(options)
    installed = [name for name in ARCHITECTURES if is_installed(name)]
    rows, lines = [], []
    for name in options.architectures or installed:
        architecture = ARCHITECTURES[name]
        own = {key: value for key, value in given.items() if key in architecture.defaults}
        settings = choose_settings(name, own, pretraining_rows(dataset))
        statistics = options.statistics or recommended_statistics(
            name, "supervised", pretraining_rows(dataset)
        )
        stats = measure_stats(name, settings, fitted.field_sizes, count_dense(statistics))
        save_stats(workspace, dataset, stats, settings, statistics)
        rows.append(dataclasses.asdict(stats))
        lines.append(
            f"{architecture.title}: {len(stats.stages)} stages, {stats.parameters:,} parameters, "
            f"{stats.flops:,} operations per row"
        )
    return CommandResult({"costs": rows}, "\n".join(lines))


def backbones(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """List the backbones, bundled ones included."""
    found, damaged = read_backbones(workspace)
    lines = []
    for card in found:
        stages = ", ".join(stage.name for stage in card.stages)
        mark = ", simulated data" if card.trained_on["simulated"] else ""
        lines.append(
            f"{card.name}: {card.architecture}, {len(card.stages)} stages ({stages}), "
            f"{card.parameters:,} parameters, {_quality_text(card)}{mark}"
        )
    text = "\n".join(lines) or "No backbones yet; `pretrain` makes one."
    result = CommandResult({"backbones": [card_data(card) for card in found]}, text)
    return with_damaged(result, damaged)


def vocabulary(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Measure how much of a dataset's target rows a backbone's vocabulary covers, worst first."""
    card = find_backbone(workspace, options.backbone)
    dataset = find_dataset(workspace, options.dataset)
    fields = measure_coverage(workspace, dataset, load_preprocessing(card.folder / "preprocessing"))
    fields.sort(key=lambda field: (field.unseen_share, field.missing_share), reverse=True)
    share = unseen_share(fields)
    advice = ""
    if share > UNSEEN_LIMIT:
        advice = (
            f", more than {UNSEEN_LIMIT:.0%}: to it they are all one value. Pretrain one on its "
            "own rows instead"
        )
    lines = [
        f"{card.name!r} has never seen {share:.1%} of the categorical target values of "
        f"{dataset.name!r}{advice}."
    ]
    lines += [
        f"{field.field:<4} unseen {field.unseen_share:.1%}, missing {field.missing_share:.1%}"
        for field in fields
    ]
    data = {
        "backbone": card.id,
        "dataset": dataset.id,
        "unseen_share": share,
        "limit": UNSEEN_LIMIT,
        "fields": [dataclasses.asdict(field) for field in fields],
    }
    return CommandResult(data, "\n".join(lines))


def import_backbone(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Import a backbone from a file or folder."""
    from core.models.backbone_import import import_backbone as read_backbone

    card = read_backbone(
        workspace, options.path, options.name, lambda: backbone_names_in_training(workspace)
    )
    text = (
        f"Imported {card.name!r} ({card.id}): {card.architecture}, {len(card.stages)} stages, "
        f"{card.parameters:,} parameters. Its metrics are as its maker stated them."
    )
    return CommandResult({"backbone": card_data(card)}, text)


def export_backbone(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Write a backbone into a zip archive."""
    card = find_backbone(workspace, options.backbone)
    write_backbone(card, options.out)
    size = options.out.stat().st_size
    data = {"backbone": card.id, "out": str(options.out), "bytes": size}
    return CommandResult(data, f"Wrote {card.name!r} to {options.out} ({size:,} bytes).")


def _architectures(text: str) -> tuple[str, ...]:
    names = comma_separated(text)
    if unknown := [name for name in names if name not in ARCHITECTURES]:
        raise argparse.ArgumentTypeError(
            f"{unknown[0]!r} is no architecture; choose from {', '.join(ARCHITECTURES)}"
        )
    return names


def _resolve_start_file(text: str) -> str:
    """Return the absolute path, as the worker has another working directory; "" for none."""
    return os.path.abspath(clean_path(text)) if text else ""  # noqa: PTH100 - the file may not exist


def _quality_text(card: BackboneCard) -> str:
    """Return the backbone's AUC on the test rows of the domain it was trained on."""
    if not card.scores_clicks:
        return "no click head"
    if not card.metrics:
        return "no test rows"
    return f"{card.test_domain} test {auc_text(card.metrics)}"
