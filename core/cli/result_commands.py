"""Commands about the results of runs: evaluate, interpolate, moved, verify, report, tracking."""

import argparse
import dataclasses
import shlex

from core.cli.options import add_calibration_options, comma_separated, local_path
from core.cli.output import CommandResult, ProgressBar, wait_for_run
from core.cli.recommendation_output import add_margin_options, margins_of
from core.cli.targets import AddCommand
from core.data.datasets import find_dataset
from core.evaluation.calibration import calibration_of_metrics
from core.evaluation.format_metrics import format_metric, format_metrics
from core.evaluation.recalibration import RecalibrationMap
from core.files.outputs import check_output
from core.files.typed_json import to_json
from core.inference.run_calibration import describe_calibration, has_scores, used_map
from core.inference.weight_drift_files import read_weight_drift
from core.jobs.run_result import result_to_json
from core.jobs.store import RunStore
from core.runs.submit import submit_interpolation
from core.runs.sweep import find_sweep
from core.tracking.mlflow_files import write_mlflow
from core.tracking.tensorboard_files import write_tensorboard
from core.tracking.tracked import WriteFn
from core.tracking.tracked import export_tracking as write_tracking
from core.workspace import Workspace

TRACKERS: dict[str, tuple[WriteFn, str]] = {
    "mlflow": (write_mlflow, "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {out}"),
    "tensorboard": (write_tensorboard, "tensorboard --logdir {out}"),
}
"""By tracking tool: the function that writes its files, and the tool's command that opens them."""


def add_result_commands(add: AddCommand) -> None:
    """Add these commands to the parser."""
    summary = "Measure a run's model on its own dataset, or on another."
    command = add("evaluate", summary, evaluate)
    command.add_argument("--run", required=True, dest="run_id")
    command.add_argument("--dataset")
    add_calibration_options(command)

    command = add("interpolate", "Mix a fine-tuned run with its backbone (WiSE-FT).", interpolate)
    command.add_argument("--run", required=True, dest="run_id")

    summary = (
        "Measure how far a fine-tuned run moved from its backbone: weights, CKA, embedding vectors."
    )
    command = add("moved", summary, moved)
    command.add_argument("--run", required=True, dest="run_id")

    summary = "Train a run again: exit status 0 if every metric is the same, 1 if one is not."
    command = add("verify", summary, verify)
    command.add_argument("--run", required=True, dest="run_id")

    summary = "Write a sweep, or some runs, as one HTML file that opens without a network."
    command = add("report", summary, report)
    group = command.add_mutually_exclusive_group(required=True)
    group.add_argument("--sweep", help="name or id of a sweep")
    group.add_argument(
        "--runs",
        type=comma_separated,
        dest="run_ids",
        help="fine-tuning runs on one dataset: r-…,r-…",
    )
    command.add_argument("--out", type=local_path, required=True)
    add_margin_options(command)

    summary = "Write runs as files of MLflow or TensorBoard; neither has to be installed."
    command = add("export-tracking", summary, export_tracking)
    group = command.add_mutually_exclusive_group(required=True)
    group.add_argument("--run", dest="run_id")
    group.add_argument("--sweep", help="name or id of a sweep")
    command.add_argument("--format", choices=TRACKERS, required=True)
    command.add_argument("--out", type=local_path, required=True, help="a new or empty folder")


def evaluate(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Measure a run's model on the parts of a dataset."""
    from core.inference.evaluate_run import evaluate_on

    run = RunStore(workspace).get(options.run_id)
    dataset = find_dataset(workspace, options.dataset or run.dataset)
    used = used_map(workspace, run, options.calibration) if has_scores(run) else RecalibrationMap()
    by_part = evaluate_on(workspace, run, dataset, options.calibration)
    lines = [describe_calibration(used)]
    for part, metrics in by_part.items():
        lines.append(f"{part.replace('_', ' ')}: {format_metrics(metrics)}")
        if sentence := calibration_of_metrics(metrics).sentence:
            lines.append(f"  {sentence}")
    data = {
        "run": run.id,
        "dataset": dataset.id,
        "metrics": by_part,
        "calibration": to_json(used),
    }
    return CommandResult(data, "\n".join(lines))


def interpolate(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Interpolate between a run's weights and its backbone's.

    A second call reads the stored result.
    """
    run = submit_interpolation(workspace, RunStore(workspace).get(options.run_id))
    result = wait_for_run(workspace, run)
    path = result.interpolation
    assert path is not None
    lines = []
    for index, alpha in enumerate(path.alphas):
        texts = [
            f"{part.replace('_', ' ')} AUC {format_metric(values['auc'][index])}, log loss"
            f" {format_metric(values['log_loss'][index])}"
            for part, values in path.parts.items()
        ]
        lines.append(f"alpha {alpha:.1f}: {'; '.join(texts)}")
    lines.append(f"Chosen on validation rows: alpha {path.chosen}")
    data = {"run": options.run_id, **result_to_json(result)}
    return CommandResult(data, "\n".join(lines))


def moved(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Measure how far fine-tuning moved the weights; a second call reads the stored result."""
    from core.inference.weight_drift import measure_weight_drift

    drift = read_weight_drift(workspace, options.run_id)
    if drift is None:
        run = RunStore(workspace).get(options.run_id)
        with ProgressBar("Measuring") as progress:
            drift = measure_weight_drift(workspace, run, progress)
    lines = []
    for stage in drift.stages:
        state = "frozen" if stage.frozen else "trained"
        relative = stage.relative
        distance = "-" if relative is None else f"{100 * relative:.2f} %"
        cka = format_metric(stage.cka)
        lines.append(f"{stage.title}: {state}, weights moved by {distance}, CKA {cka}")
    return CommandResult(to_json(drift), "\n".join(lines))


def verify(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Train a run again and compare the metrics; the exit status says whether they are the same."""
    from core.runs.verify import verify as verify_run

    run = RunStore(workspace).get(options.run_id)
    with ProgressBar("Running it again") as progress:
        found = verify_run(workspace, run, progress)
    data = {**dataclasses.asdict(found), "sentence": found.sentence}
    text = f"{found.run}: {found.sentence}"
    return CommandResult(data, text, exit_status=0 if found.same else 1)


def report(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Write the report of a sweep or of some runs as one HTML file."""
    from core.report.html_report import write_report
    from core.report.report_data import runs_report_data, sweep_report_data

    # Before the data is collected, which may take a while.
    check_output(options.out)
    margins = margins_of(options)
    if options.sweep:
        contents = sweep_report_data(workspace, find_sweep(workspace, options.sweep))
    else:
        store = RunStore(workspace)
        runs = [store.get(run_id) for run_id in dict.fromkeys(options.run_ids)]
        contents = runs_report_data(workspace, runs)
    data = write_report(workspace, contents, options.out, margins)
    lines = [f"Wrote {data['out']} ({data['bytes'] / 1e6:.1f} MB)."]
    lines += [f"Recommendation: {one['recommendation']}" for one in data["recommendations"]]
    lines += data["verdicts"]
    if data["simulated"]:
        lines.append("The data is simulated, and the report says so.")
    return CommandResult(data, "\n".join(lines))


def export_tracking(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Write runs as files of a tracking tool."""
    store = RunStore(workspace)
    if options.sweep:
        sweep = find_sweep(workspace, options.sweep)
        runs, experiment = store.list_group(sweep.id), sweep.name
    else:
        runs, experiment = [store.get(options.run_id)], "Thaw"
    write, open_command = TRACKERS[options.format]
    data = write_tracking(workspace, runs, experiment, options.out, write)
    text = (
        f"Wrote {len(data['runs'])} runs to {data['out']} ({data['files']} files). To look at "
        f"them: {open_command.format(out=shlex.quote(data['out']))}"
    )
    return CommandResult(data, text)
