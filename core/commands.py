"""What each command of the command line does: calls the core as the app does, and words the result."""

import argparse
import dataclasses
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from core.data.datasets import Dataset, find_dataset, list_datasets, prepare
from core.data.ingest import ingest as ingest_file
from core.data.preprocessing import DEFAULT_MIN_COUNT, load_preprocessing
from core.data.simulate import simulate as simulate_file
from core.data.split import SplitSpec
from core.errors import BadInput, RunError
from core.freezing.strategies import STRATEGIES
from core.models.card import BackboneCard, HeadSettings
from core.models.costs import keep_cost
from core.models.exchange import export_backbone as write_backbone
from core.models.library import find_backbone, list_backbones
from core.models.registry import ARCHITECTURES, SETTING_FIELDS, is_installed
from core.runs.command import PROGRESS
from core.runs.launch import refresh
from core.runs.store import Run, RunStore
from core.runs.submit import submit_finetune, submit_interpolation, submit_pretrain
from core.runs.sweep import (
    Arm,
    SweepSpec,
    depth_arms,
    extend_sweep,
    find_sweep,
    list_sweeps,
    resume_sweep,
    submit_sweep,
)
from core.runs.sweep_result import arm_results, forgotten, judged, reference_of, sweep_table
from core.training.settings import PRESETS, FinetuneRequest, PretrainRequest, TrainSettings
from core.workspace import Workspace

FOLLOW_SECONDS = 0.2


@dataclass(frozen=True)
class Result:
    """What a command found: JSON-ready data, the same in words, and the exit status that says it to a script."""

    data: dict[str, Any]
    text: str
    status: int = 0


def simulate(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Writes a simulated file."""
    with _bar("Simulating") as report:
        simulate_file(options.out, options.rows, options.domain, options.seed, report)
    data = {"out": str(options.out), "rows": options.rows, "domain": options.domain, "simulated": True}
    return Result(data, f"Wrote {options.rows:,} simulated rows ({options.domain}) to {options.out}.")


def ingest(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Reads a file and prepares a dataset of the same name."""
    with _bar("Reading") as report:
        sample = ingest_file(
            workspace, options.path, options.name, options.on_bad_rows, report, simulated=options.simulated
        )
    data: dict[str, Any] = {"sample": sample.id, "name": sample.name, "dialect": sample.dialect, "rows": sample.rows}
    data |= {"bad_rows": sample.bad_rows, "labelled": sample.labelled, "click_rate": sample.click_rate}
    text = f"Sample {sample.name!r}: {sample.rows:,} rows, {sample.dialect} ({sample.reason})"
    if sample.bad_rows:
        text += f"\n{sample.bad_rows:,} bad rows skipped, such as: {sample.bad_examples[0]}"
    if not sample.labelled:
        text += "\nNo labels: every row is a source row, for pretraining by RFD or MFP; a run can score the file too."
    spec = SplitSpec(
        method=options.split,
        source_share=options.source_share,
        column=options.column,
        target_values=tuple(options.target_values),
        target_test_share=options.target_test_share,
        target_validation_share=options.target_validation_share,
        source_test_share=options.source_test_share,
        source_validation_share=options.source_validation_share,
        seed=options.split_seed,
    )
    with _bar("Preparing") as report:
        min_count = DEFAULT_MIN_COUNT if options.min_count is None else options.min_count
        dataset = prepare(workspace, sample, spec, options.name, min_count, report)
    return Result(data | {"dataset": _dataset_data(dataset)}, text + "\n" + _dataset_text(dataset))


def datasets(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Lists the datasets."""
    found = list_datasets(workspace)
    text = "\n".join(_dataset_text(dataset) for dataset in found) or "No datasets yet; `ingest` makes one."
    return Result({"datasets": [_dataset_data(dataset) for dataset in found]}, text)


def backbones(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Lists the backbones."""
    found = list_backbones(workspace)
    rows = [_card_data(card) for card in found]
    lines = [
        f"{card.name}: {card.architecture}, {len(card.stages)} stages ({', '.join(s.name for s in card.stages)}), "
        f"{card.parameters:,} parameters, source test AUC {_auc(card.metrics)}"
        + (", simulated data" if card.trained_on["simulated"] else "")
        for card in found
    ]
    return Result({"backbones": rows}, "\n".join(lines) or "No backbones yet; `pretrain` makes one.")


def costs(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Counts what architectures cost on a dataset; the settings given go to those that have them."""
    from core.models.counting import count_cost

    dataset = find_dataset(workspace, options.dataset)
    sizes = load_preprocessing(dataset.folder / "preprocessing").field_sizes
    given = _settings(options)
    found = []
    for name in options.architectures or [name for name in ARCHITECTURES if is_installed(name)]:
        own = {key: value for key, value in given.items() if key in ARCHITECTURES[name].defaults}
        cost = count_cost(name, own, sizes)
        keep_cost(workspace, dataset, cost, own)
        found.append(cost)
    lines = [
        f"{ARCHITECTURES[cost.architecture].title}: {len(cost.stages)} stages, {cost.parameters:,} parameters, "
        f"{cost.flops:,} operations a row"
        for cost in found
    ]
    return Result({"costs": [dataclasses.asdict(cost) for cost in found]}, "\n".join(lines))


def runs(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Lists the runs, newest first."""
    store = RunStore(workspace)
    refresh(workspace, store)
    found = store.list()
    lines = [f"{run.id}  {run.status:<11}  {run.name}  {_auc(_target_test(run))}" for run in found]
    data = {"runs": [dataclasses.asdict(run) for run in found]}
    return Result(data, "\n".join(lines) or "No runs yet; `pretrain` or `finetune` starts one.")


def pretrain(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Queues a pretraining run and follows it to its end."""
    request = PretrainRequest(
        options.dataset,
        options.architecture,
        options.name,
        _train(options),
        _settings(options),
        options.objective,
        options.start,
        # The worker has a working directory of its own.
        str(Path(options.start_file).resolve()) if options.start_file else "",
        options.mask_share,
    )
    return _follow(workspace, submit_pretrain(workspace, request))


def finetune(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Queues a fine-tuning run and follows it to its end."""
    strategy = options.strategy or "depth"
    request = FinetuneRequest(
        dataset=options.dataset,
        backbone=options.backbone,
        strategy=strategy,
        freeze_depth=options.freeze_depth or 0,
        head=_head(options),
        train=_train(options),
        options=_given_options(options),
        target_rows=options.target_rows,
    )
    return _follow(workspace, submit_finetune(workspace, request)[0])


def sweep(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Queues a sweep, or goes on with one, follows it to its end, and says what came of it."""
    store = RunStore(workspace)
    known = [one for one in list_sweeps(workspace) if options.name in (one.id, one.name)]
    if known:
        asked = known[0]
        resume_sweep(workspace, asked)
        if options.more_seeds:
            asked = extend_sweep(workspace, asked, options.more_seeds)
    else:
        asked = submit_sweep(workspace, _sweep_spec(workspace, options), options.name, own=_own(options))
    if _own(options):
        from core.runs.worker import work_here

        work_here(workspace, asked, options.arms_at_once, options.cluster)
    with _bar(asked.name) as report:
        runs = store.group(asked.id)
        while any(run.active for run in runs):
            report(sum(not run.active for run in runs) / len(runs))
            time.sleep(FOLLOW_SECONDS)
            refresh(workspace, store)
            runs = store.group(asked.id)
    results = arm_results(asked, runs)
    sentences: list[str] = []
    if results:
        sentences = judged(workspace, results, reference_of(results))[1] + forgotten(results)
    ended = {status: sum(run.status == status for run in runs) for status in dict.fromkeys(run.status for run in runs)}
    rows = sweep_table(results)
    data = {"sweep": asked.id, "name": asked.name, "runs": ended, "arms": rows, "verdicts": sentences}
    lines = [f"{asked.id}  {asked.name}: " + ", ".join(f"{number} {status}" for status, number in ended.items())]
    lines += [_arm_text(row) for row in rows] + sentences
    if ended.get("done", 0) < len(runs):
        raise RunError("\n".join(lines))
    return Result(data, "\n".join(lines))


def _own(options: argparse.Namespace) -> bool:
    return bool(options.cluster or options.arms_at_once)


def _sweep_spec(workspace: Workspace, options: argparse.Namespace) -> SweepSpec:
    if not options.dataset or not options.backbone:
        raise BadInput(f"There is no sweep {options.name!r} to go on with; a new one needs --dataset and --backbone.")
    card = find_backbone(workspace, options.backbone)
    arms: tuple[Arm, ...] = ()
    if options.depths == "all":
        arms = depth_arms(card)
    elif options.depths:
        try:
            arms = tuple(Arm("depth", int(depth)) for depth in options.depths.split(","))
        except ValueError:
            raise BadInput(f"The freeze depths are {options.depths!r}; write 0,1,2 or all.") from None
    arms += tuple(Arm(strategy, 0, _given_options(options, strategy)) for strategy in options.strategies)
    arms += tuple(Arm("surgical", 0, {"stages": stages}) for stages in options.surgical)
    return SweepSpec(
        dataset=find_dataset(workspace, options.dataset).id,
        backbone=card.id,
        arms=arms,
        seeds=tuple(range(options.seeds)),
        learning_rates=options.rates,
        target_sizes=options.target_sizes,
        head=_head(options),
        train=_train(options),
    )


def _arm_text(row: dict[str, Any]) -> str:
    setting = f"{row['setting']}, " if row["setting"] else ""
    spread = f" ± {row['auc_deviation']:.4f}" if row["auc_deviation"] is not None else ""
    return f"{setting}{row['arm']}: target test AUC {row['auc']:.4f}{spread} over {row['seeds']} seeds"


def evaluate(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Measures a run's model on its own dataset, or on another."""
    from core.training.apply import evaluate_on

    run = RunStore(workspace).get(options.run_id)
    dataset = find_dataset(workspace, options.dataset or run.dataset)
    metrics = evaluate_on(workspace, run, dataset)
    lines = [f"{part.replace('_', ' ')}: {_metrics_text(values)}" for part, values in metrics.items()]
    return Result({"run": run.id, "dataset": dataset.id, "metrics": metrics}, "\n".join(lines))


def interpolate(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Mixes a fine-tuned run with its backbone, or shows what that gave before."""
    mixing = submit_interpolation(workspace, RunStore(workspace).get(options.run_id))
    result = _wait(workspace, mixing)
    lines = []
    for place, alpha in enumerate(result["alphas"]):
        texts = [f"{part.replace('_', ' ')} AUC {values['auc'][place]:.4f}" for part, values in result["parts"].items()]
        lines.append(f"alpha {alpha:.1f}: {', '.join(texts)}")
    lines.append(f"Chosen on validation rows: alpha {result['chosen']}")
    return Result({"run": options.run_id, **result}, "\n".join(lines))


def score(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Scores a file."""
    from core.training.apply import score_file

    run = RunStore(workspace).get(options.run_id)
    with _bar("Scoring") as report:
        data = score_file(workspace, run, options.input, options.output, options.on_bad_rows, report)
    lines = [f"Wrote {data['rows']:,} scores to {data['out']} (threshold {data['threshold']:.4f})."]
    if data["metrics"]:
        lines.append(_metrics_text(data["metrics"]))
    if data["drift"]:
        lines.append(_drift_text(data["drift"]))
    return Result(data, "\n".join(lines))


def verify(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Carries a run out again and says whether the metrics are the same: exit status 0, else 1."""
    from core.training.verify import verify as verify_run

    with _bar("Running it again") as report:
        found = verify_run(workspace, RunStore(workspace).get(options.run_id), report)
    data = dataclasses.asdict(found) | {"sentence": found.sentence}
    return Result(data, f"{found.run}: {found.sentence}", 0 if found.same else 1)


def export(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Copies a run's model out of the workspace, as ONNX too."""
    from core.training.export import export as export_run

    data = export_run(workspace, RunStore(workspace).get(options.run_id), options.out)
    onnx = data["onnx"]
    text = f"Exported {data['run']} to {data['out']}: {', '.join(data['files'])}."
    if onnx.get("checked"):
        text += f" On {onnx['rows']:,} {onnx['rows_from']} ONNX and torch differ by {onnx['largest_difference']:.1g}."
    return Result(data, f"{text} {onnx['why']}" if "why" in onnx else text)


def report(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Writes the report of a sweep or of some runs as one HTML file."""
    from core.report.html_report import write_report
    from core.report.subject import runs_subject, sweep_subject

    if options.sweep:
        subject = sweep_subject(workspace, find_sweep(workspace, options.sweep))
    else:
        subject = runs_subject(workspace, [RunStore(workspace).get(one) for one in dict.fromkeys(options.run_ids)])
    data = write_report(workspace, subject, options.out)
    mark = "\nThe data is simulated, and the report says so." if data["simulated"] else ""
    return Result(data, "\n".join([f"Wrote {data['out']} ({data['bytes'] / 1e6:.1f} MB).", *data["verdicts"]]) + mark)


def import_backbone(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Takes a backbone in from a file or folder."""
    from core.models.importing import import_backbone as read_backbone

    card = read_backbone(workspace, options.path, options.name)
    text = f"Imported {card.name!r} ({card.id}): {card.architecture}, {len(card.stages)} stages, {card.parameters:,} "
    return Result({"backbone": _card_data(card)}, text + "parameters. Its metrics are as its maker stated them.")


def export_backbone(workspace: Workspace, options: argparse.Namespace) -> Result:
    """Writes a backbone into a zip archive."""
    card = find_backbone(workspace, options.backbone)
    write_backbone(card, options.out)
    data = {"backbone": card.id, "out": str(options.out), "bytes": options.out.stat().st_size}
    return Result(data, f"Wrote {card.name!r} to {options.out} ({data['bytes']:,} bytes).")


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in SETTING_FIELDS if getattr(options, name) is not None}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def _train(options: argparse.Namespace) -> TrainSettings:
    names = [field.name for field in dataclasses.fields(TrainSettings)]
    given = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
    return dataclasses.replace(PRESETS[options.preset], **given)


def _head(options: argparse.Namespace) -> HeadSettings:
    return HeadSettings(options.head_hidden, options.head_activation, options.head_output)


def _given_options(options: argparse.Namespace, strategy: str = "") -> dict[str, Any]:
    """Options of strategies that were given; only those that `strategy` has, where one is named."""
    names = [name for one, about in STRATEGIES.items() for name in about.options if strategy in ("", one)]
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _wait(workspace: Workspace, run: Run) -> dict[str, Any]:
    """The result of a run once it has ended, its progress shown; RunError when it does not end well."""
    store = RunStore(workspace)
    with _bar(run.name) as report:
        while (run := store.get(run.id)).active:
            report(run.step / run.steps if run.steps else 0.0)
            time.sleep(FOLLOW_SECONDS)
            refresh(workspace, store)
    if run.status != "done" or run.result is None:
        raise RunError(f"Run {run.id} {run.status}: {run.message}")
    return run.result


def _follow(workspace: Workspace, run: Run) -> Result:
    """Waits for a run, showing its progress; RunError when it does not end well. Ctrl-C leaves it running."""
    result = _wait(workspace, run)
    run = RunStore(workspace).get(run.id)
    lines = [f"{run.id}  {run.name}"]
    if result["trained_parameters"]:
        lines.append(
            f"{result['trained_parameters']:,} parameters trained, best epoch {result['best_epoch']} of "
            f"{result['epochs_run']}, {result['seconds']['total']:.1f} s on {result['device']}"
        )
    for part, values in result["metrics"].items():
        before = result["before"][part] if result["before"] else None
        was = f"  (before {_auc(before)})" if before else ""
        lines.append(f"{part.replace('_', ' ')}: {_metrics_text(values)}{was}")
    return Result({"run": dataclasses.asdict(run)}, "\n".join(lines))


class _bar:  # noqa: N801 - reads as a function where it is used
    """A progress bar on standard error; where that is no terminal, lines for the program that asked for them."""

    def __init__(self, title: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(title, total=1.0)
        self._lines = not self._progress.console.is_terminal and os.environ.get(PROGRESS) == "1"
        self._percent = -1

    def __enter__(self) -> "_bar":
        if self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, share: float) -> None:
        self._progress.update(self._task, completed=share)
        if self._lines and int(100 * share) > self._percent:
            self._percent = int(100 * share)
            print(f"progress {share:.3f}", file=sys.stderr, flush=True)


def _card_data(card: BackboneCard) -> dict[str, Any]:
    return {**dataclasses.asdict(card), "folder": str(card.folder), "parameters": card.parameters}


def _dataset_data(dataset: Dataset) -> dict[str, Any]:
    data = dataclasses.asdict(dataset)
    del data["folder"]
    return data


def _dataset_text(dataset: Dataset) -> str:
    rates = ["" if p.clicks is None else f" ({p.click_rate:.3f})" for p in dataset.parts]
    parts = ", ".join(
        f"{p.part.replace('_', ' ')} {p.rows:,}{rate}" for p, rate in zip(dataset.parts, rates, strict=True) if p.rows
    )
    mark = ", simulated" if dataset.simulated else ""
    about = "rows (click rate)" if dataset.labelled else "rows without labels"
    return f"Dataset {dataset.name!r} ({dataset.id}{mark}): {about} {parts}"


def _target_test(run: Run) -> dict[str, Any]:
    return run.result["metrics"].get("target_test", {}) if run.result else {}


def _auc(metrics: dict[str, Any]) -> str:
    if metrics.get("auc") is None:
        return "-"
    return f"AUC {metrics['auc']:.4f} [{metrics['auc_low']:.4f}, {metrics['auc_high']:.4f}]"


def _drift_text(drift: dict[str, Any]) -> str:
    moved = [one for one in drift["fields"] if one["level"] != "little"]
    named = ", ".join(f"{one['field']} {one['psi']:.2f} ({one['level']})" for one in moved[:8])
    scores = drift["scores"]
    return (
        f"Drift against the {drift['training_rows']:,} training rows of {drift['dataset']} (population stability "
        f"index): {len(moved)} of {len(drift['fields'])} fields{f': {named}' if named else ''}; scores "
        f"{scores['psi']:.2f} ({scores['level']}), mean {scores['test']['mean']:.4f} on test rows and "
        f"{scores['scored']['mean']:.4f} here"
    )


def _metrics_text(metrics: dict[str, Any]) -> str:
    return (
        f"{_auc(metrics)}, log loss {metrics['log_loss']:.4f}, F1 {metrics['f1']:.4f}, precision "
        f"{metrics['precision']:.4f}, recall {metrics['recall']:.4f}, accuracy {metrics['accuracy']:.4f} "
        f"(always no: {metrics['always_no_accuracy']:.4f}), {metrics['rows']:,} rows"
    )
