"""What each command of the command line does: calls the core as the app does, and words the
result."""

import argparse
import dataclasses
import os
import shlex
import sys

from core.cli.data_commands import check_new_dataset, split_spec
from core.cli.dry_run import dry_run_finetune, dry_run_pretrain
from core.cli.options import (
    architecture_settings,
    head_settings,
    print_settings,
    read_options,
    strategy_options,
    train_settings,
)
from core.cli.output import (
    CommandResult,
    ProgressBar,
    auc_text,
    card_data,
    dataset_data,
    dataset_text,
    drift_text,
    follow_run,
    format_text,
    metrics_text,
    sample_data,
    sample_text,
    wait_for_run,
    with_damaged,
)
from core.data.datasets import find_dataset, prepare, read_datasets
from core.data.paths import clean_path
from core.data.preprocessing import load_preprocessing
from core.data.reading.ingest import ingest as ingest_file
from core.data.samples import delete_sample, list_samples
from core.data.simulate import simulate as simulate_file
from core.errors import BadInput, NameTaken
from core.evaluation.format_metrics import format_metric
from core.files.outputs import check_output
from core.inference.weight_drift_files import read_weight_drift
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.run_result import result_to_json
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone, read_backbones
from core.models.card import BackboneCard
from core.models.exchange import export_backbone as write_backbone
from core.models.model_stats import save_stats
from core.models.objectives import OBJECTIVES
from core.models.registry import ARCHITECTURES, is_installed
from core.runs.submit import (
    backbone_names_in_training,
    submit_finetune,
    submit_interpolation,
    submit_pretrain,
)
from core.runs.sweep import find_sweep
from core.tracking.mlflow_files import write_mlflow
from core.tracking.tensorboard_files import write_tensorboard
from core.tracking.tracked import WriteFn
from core.tracking.tracked import export_tracking as write_tracking
from core.training.default_settings import count_training_rows
from core.workspace import Workspace

TRACKERS: dict[str, tuple[WriteFn, str]] = {
    "mlflow": (write_mlflow, "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {out}"),
    "tensorboard": (write_tensorboard, "tensorboard --logdir {out}"),
}
"""Tracking tools that runs can be written for, and the command of theirs that shows what was
written."""


def simulate(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Writes a simulated file."""
    with ProgressBar("Simulating") as report:
        simulate_file(options.out, options.rows, options.domain, options.seed, report)
    data = {
        "out": str(options.out),
        "rows": options.rows,
        "domain": options.domain,
        "simulated": True,
    }
    return CommandResult(
        data, f"Wrote {options.rows:,} simulated rows ({options.domain}) to {options.out}."
    )


def ingest(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Reads a file and prepares a dataset of the same name, unless told not to."""
    spec = split_spec(options)
    path = clean_path(options.path)
    before = {one.id for one in list_samples(workspace)}
    if not options.no_prepare:
        check_new_dataset(workspace, options.name, path)
    with ProgressBar("Reading") as report:
        sample = ingest_file(
            workspace,
            path,
            options.name,
            options.on_bad_rows,
            report,
            simulated=options.simulated,
            allow_single_class=options.no_prepare,
            options=read_options(options),
            on_format=lambda form: print(format_text(form), file=sys.stderr),
        )
    data = sample_data(sample)
    text = sample_text(sample)
    if not sample.labelled and not options.no_prepare:
        text += (
            "\nNo labels: every row is a source row, for pretraining by RFD or MFP; a run can score"
            " the file too."
        )
    if options.no_prepare:
        return CommandResult(data, f"{text}\nNo dataset was prepared; `prepare` makes one.")
    try:
        with ProgressBar("Preparing") as report:
            dataset = prepare(workspace, sample, spec, options.name, options.min_count, report)
    except NameTaken:
        if sample.id not in before:
            delete_sample(sample)
        raise
    except BadInput as error:
        hint = (
            f"The sample {sample.name!r} is kept: `prepare --sample` makes a dataset of it without"
            " reading it again."
        )
        raise BadInput(f"{error} {hint}") from error
    return CommandResult(
        data | {"dataset": dataset_data(dataset)}, text + "\n" + dataset_text(dataset)
    )


def datasets(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Lists the datasets."""
    found, broken = read_datasets(workspace)
    text = (
        "\n".join(dataset_text(dataset) for dataset in found)
        or "No datasets yet; `ingest` makes one."
    )
    return with_damaged(
        CommandResult({"datasets": [dataset_data(dataset) for dataset in found]}, text), broken
    )


def backbones(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Lists the backbones."""
    found, broken = read_backbones(workspace)
    rows = [card_data(card) for card in found]
    lines = [
        f"{card.name}: {card.architecture}, {len(card.stages)} stages"
        f" ({', '.join(s.name for s in card.stages)}), {card.parameters:,} parameters,"
        f" {_quality_text(card)}" + (", simulated data" if card.trained_on["simulated"] else "")
        for card in found
    ]
    result = CommandResult(
        {"backbones": rows}, "\n".join(lines) or "No backbones yet; `pretrain` makes one."
    )
    return with_damaged(result, broken)


def _quality_text(card: BackboneCard) -> str:
    """How good the backbone was on the test rows of the domain it was trained on."""
    if not card.scores_clicks:
        return "no click head"
    return (
        f"{card.trained_on['domain']} test {auc_text(card.metrics)}"
        if card.metrics
        else "no test rows"
    )


def costs(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Counts what architectures cost on a dataset; the settings given go to those that have
    them."""
    from core.models.measure_stats import measure_stats

    dataset = find_dataset(workspace, options.dataset)
    sizes = load_preprocessing(dataset.folder / "preprocessing").field_sizes
    given = architecture_settings(options)
    found = []
    for name in options.architectures or [name for name in ARCHITECTURES if is_installed(name)]:
        own = {key: value for key, value in given.items() if key in ARCHITECTURES[name].defaults}
        cost = measure_stats(name, own, sizes)
        save_stats(workspace, dataset, cost, own)
        found.append(cost)
    lines = [
        f"{ARCHITECTURES[cost.architecture].title}: {len(cost.stages)} stages, {cost.parameters:,}"
        f" parameters, {cost.flops:,} operations a row"
        for cost in found
    ]
    return CommandResult({"costs": [dataclasses.asdict(cost) for cost in found]}, "\n".join(lines))


def resolve_start_file(text: str) -> str:
    """The path of a start's file as a worker finds it, "" for none."""
    return os.path.abspath(clean_path(text)) if text else ""  # noqa: PTH100 - of any name, without looking


def pretrain(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Queues a pretraining run and follows it to its end."""
    rows = count_training_rows(find_dataset(workspace, options.dataset), "source")
    train = train_settings(options, rows, options.objective)
    request = PretrainRequest(
        options.dataset,
        options.architecture,
        options.name,
        train,
        architecture_settings(options),
        options.objective,
        options.start,
        # The worker has a working directory of its own.
        resolve_start_file(options.start_file),
        options.mask_share,
    )
    if options.dry_run:
        return dry_run_pretrain(workspace, request)
    run = submit_pretrain(workspace, request)
    if OBJECTIVES[options.objective].trains:
        print_settings(options, train, rows, options.objective)
    return follow_run(workspace, run)


def finetune(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Queues a fine-tuning run and its controls, and follows them to their end."""
    strategy = options.strategy or "depth"
    rows = count_training_rows(
        find_dataset(workspace, options.dataset), "target", last=options.target_rows
    )
    train = train_settings(options, rows)
    request = FinetuneRequest(
        dataset=options.dataset,
        backbone=options.backbone,
        strategy=strategy,
        freeze_depth=options.freeze_depth or 0,
        head=head_settings(options),
        train=train,
        options=strategy_options(options),
        target_rows=options.target_rows,
    )
    if options.dry_run:
        return dry_run_finetune(workspace, request, options.controls)
    runs = submit_finetune(workspace, request, options.controls)
    if strategy != "zero-shot":
        print_settings(options, train, rows)
    first, *others = [follow_run(workspace, run) for run in runs]
    if not others:
        return first
    data = {**first.data, "controls": [other.data["run"] for other in others]}
    return CommandResult(data, "\n".join(one.text for one in (first, *others)))


def evaluate(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Measures a run's model on its own dataset, or on another."""
    from core.inference.evaluate_run import evaluate_on

    run = RunStore(workspace).get(options.run_id)
    dataset = find_dataset(workspace, options.dataset or run.dataset)
    metrics = evaluate_on(workspace, run, dataset)
    lines = [
        f"{part.replace('_', ' ')}: {metrics_text(values)}" for part, values in metrics.items()
    ]
    return CommandResult(
        {"run": run.id, "dataset": dataset.id, "metrics": metrics}, "\n".join(lines)
    )


def interpolate(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Mixes a fine-tuned run with its backbone, or shows what that gave before."""
    mixing = submit_interpolation(workspace, RunStore(workspace).get(options.run_id))
    result = wait_for_run(workspace, mixing)
    found, lines = result.interpolation, []
    assert found is not None
    for place, alpha in enumerate(found.alphas):
        texts = [
            f"{part.replace('_', ' ')} AUC {format_metric(values['auc'][place])}"
            for part, values in found.parts.items()
        ]
        lines.append(f"alpha {alpha:.1f}: {', '.join(texts)}")
    lines.append(f"Chosen on validation rows: alpha {found.chosen}")
    return CommandResult({"run": options.run_id, **result_to_json(result)}, "\n".join(lines))


def moved(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Measures what a fine-tuning moved, or shows what was measured before."""
    from core.inference.weight_drift import measure_weight_drift

    found = read_weight_drift(workspace, options.run_id)
    if found is None:
        with ProgressBar("Measuring") as report:
            found = measure_weight_drift(workspace, RunStore(workspace).get(options.run_id), report)
    lines = [
        f"{stage['title']}: {'frozen' if stage['frozen'] else 'trained'}, weights moved by "
        + ("-" if stage["relative"] is None else f"{100 * stage['relative']:.2f} %")
        + f", CKA {format_metric(stage['cka'])}"
        for stage in found["stages"]
    ]
    return CommandResult(found, "\n".join(lines))


def score(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Scores a file."""
    from core.inference.score_file import score_file
    from core.inference.score_sentences import sentences_before_metrics

    run = RunStore(workspace).get(options.run_id)
    with ProgressBar("Scoring") as report:
        data = score_file(
            workspace,
            run,
            clean_path(options.input),
            options.output,
            options.on_bad_rows,
            report,
            options=read_options(options),
        )
    scores = "1 score" if data["rows"] == 1 else f"{data['rows']:,} scores"
    lines = [f"Wrote {scores} to {data['out']} (threshold {format_metric(data['threshold'])})."]
    lines += sentences_before_metrics(data)
    if data["metrics"]:
        lines.append(metrics_text(data["metrics"]))
    if data["drift"]:
        lines.append(drift_text(data["drift"]))
    return CommandResult(data, "\n".join(lines))


def verify(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Carries a run out again and says whether the metrics are the same: exit status 0, else 1."""
    from core.runs.verify import verify as verify_run

    with ProgressBar("Running it again") as report:
        found = verify_run(workspace, RunStore(workspace).get(options.run_id), report)
    data = dataclasses.asdict(found) | {"sentence": found.sentence}
    return CommandResult(data, f"{found.run}: {found.sentence}", 0 if found.same else 1)


def export(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Copies a run's model out of the workspace, as ONNX too."""
    from core.inference.export import export_model as export_run

    data = export_run(workspace, RunStore(workspace).get(options.run_id), options.out)
    onnx = data["onnx"]
    text = f"Exported {data['run']} to {data['out']}: {', '.join(data['files'])}."
    if onnx.get("checked"):
        text += (
            f" On {onnx['rows']:,} {onnx['rows_from']} ONNX and torch differ by"
            f" {onnx['largest_difference']:.1g}."
        )
    return CommandResult(data, f"{text} {onnx['why']}" if "why" in onnx else text)


def export_tracking(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Writes runs for MLflow or TensorBoard."""
    store = RunStore(workspace)
    if options.sweep:
        sweep = find_sweep(workspace, options.sweep)
        runs, experiment = store.list_group(sweep.id), sweep.name
    else:
        runs, experiment = [store.get(options.run_id)], "Thaw"
    write, shows = TRACKERS[options.format]
    data = write_tracking(workspace, runs, experiment, options.out, write)
    text = (
        f"Wrote {len(data['runs'])} runs to {data['out']} ({data['files']} files). To look at"
        " them: "
    )
    return CommandResult(data, text + shows.format(out=shlex.quote(data["out"])))


def report(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Writes the report of a sweep or of some runs as one HTML file."""
    from core.report.html_report import write_report
    from core.report.report_data import runs_report_data, sweep_report_data

    check_output(options.out)
    if options.sweep:
        subject = sweep_report_data(workspace, find_sweep(workspace, options.sweep))
    else:
        subject = runs_report_data(
            workspace, [RunStore(workspace).get(one) for one in dict.fromkeys(options.run_ids)]
        )
    data = write_report(workspace, subject, options.out)
    mark = "\nThe data is simulated, and the report says so." if data["simulated"] else ""
    return CommandResult(
        data,
        "\n".join([f"Wrote {data['out']} ({data['bytes'] / 1e6:.1f} MB).", *data["verdicts"]])
        + mark,
    )


def import_backbone(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Takes a backbone in from a file or folder."""
    from core.models.backbone_import import import_backbone as read_backbone

    card = read_backbone(
        workspace, options.path, options.name, lambda: backbone_names_in_training(workspace)
    )
    text = (
        f"Imported {card.name!r} ({card.id}): {card.architecture}, {len(card.stages)} stages,"
        f" {card.parameters:,} "
    )
    return CommandResult(
        {"backbone": card_data(card)},
        text + "parameters. Its metrics are as its maker stated them.",
    )


def export_backbone(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Writes a backbone into a zip archive."""
    card = find_backbone(workspace, options.backbone)
    write_backbone(card, options.out)
    data = {"backbone": card.id, "out": str(options.out), "bytes": options.out.stat().st_size}
    return CommandResult(data, f"Wrote {card.name!r} to {options.out} ({data['bytes']:,} bytes).")
