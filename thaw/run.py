"""Runs: one training each, with its status, metrics, predictions, figures and model."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from core.data.datasets import find_dataset, select_test_rows, select_training_rows
from core.data.paths import clean_path
from core.data.read_options import ColumnSource, ReadOptions
from core.errors import BadInput, RunError
from core.evaluation.curves import (
    Curve,
    calibration_curve,
    cumulative_gains,
    precision_recall_curve,
    roc_curve,
    threshold_table,
)
from core.evaluation.format_metrics import format_auc, metric_value
from core.evaluation.metrics import Metrics
from core.files.durable import staging
from core.files.permissions import private_files
from core.jobs.predictions import read_predictions
from core.jobs.reporter import POINT_NAMES
from core.jobs.run import Run as StoredRun
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone
from core.report import run_figures
from core.report.html_report import write_report
from core.report.report_data import runs_report_data
from core.runs import removal, renaming
from core.runs.cluster import run_here
from core.runs.launch import CLUSTER_QUEUE, check_stall, refresh_statuses, stall_message
from core.runs.submit import command_line, resume_run, submit_interpolation
from core.training.settings import request_from_json
from core.workspace import Workspace
from thaw.backbone import Backbone
from thaw.data import Dataset
from thaw.display import Progress, card_html, for_notebook, note_html, table_html
from thaw.options import plain

Part = Literal["target_test", "source_test", "target_validation"]
POLL_SECONDS = 0.2
_SHOWN = ("auc", "log_loss", "normalised_entropy", "ece", "pr_auc", "precision", "recall", "f1")


@dataclass(frozen=True)
class RunMetrics:
    """Metrics by part; None for a part without rows. See `core.evaluation.metrics.Metrics` for
    each of them.
    """

    target_test: Metrics | None = None
    source_test: Metrics | None = None
    target_validation: Metrics | None = None

    def to_pandas(self) -> pd.DataFrame:
        """A column per part, a row per metric."""
        parts = {name: part.as_dict() for name, part in vars(self).items() if part is not None}
        return pd.DataFrame(parts)

    def _repr_html_(self) -> str:
        frame = self.to_pandas()
        rows = [
            {"metric": name.replace("_", " "), **values}
            for name, values in frame.to_dict("index").items()
        ]
        return table_html(rows)


class Run:
    """One training. Its properties are read from the workspace each time, so they follow a run
    that is under way.
    """

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self._workspace = workspace
        self.id = run_id

    @property
    def info(self) -> StoredRun:
        """All that the store holds of it: request, progress, tags, note, result."""
        store = RunStore(self._workspace)
        run = store.get(self.id)
        if run.status == "running":
            refresh_statuses(self._workspace, store)
            run = store.get(self.id)
        return run

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def status(self) -> str:
        """queued, running, done, failed, cancelled or interrupted."""
        return self.info.status

    @property
    def message(self) -> str:
        """Why a run failed, was cancelled or interrupted; else empty."""
        return self.info.message

    @property
    def settings(self) -> dict[str, Any]:
        """The training settings it was asked for, by name."""
        return dict(self.info.request["train"])

    @property
    def command(self) -> str:
        """The command line that asks for the same run."""
        return command_line(self._workspace, request_from_json(self.info.request))

    @property
    def controls(self) -> list["Run"]:
        """The other runs that were launched together with it, such as the controls of a
        fine-tuning run.
        """
        run = self.info
        others = RunStore(self._workspace).list_group(run.group) if run.group else []
        return [Run(self._workspace, one.id) for one in others if one.id != self.id]

    @property
    def dataset(self) -> Dataset:
        """The dataset it trains on."""
        return Dataset(self._workspace, find_dataset(self._workspace, self.info.dataset))

    @property
    def backbone(self) -> Backbone:
        """Of a pretraining run the backbone that it made, of a fine-tuning run the one that it
        began with.
        """
        run = self.info
        named = self._result(run)["backbone"] if run.kind == "pretrain" else run.request["backbone"]
        return Backbone(self._workspace, find_backbone(self._workspace, named))

    # Waiting and managing.

    def wait(self, timeout: float | None = None) -> "Run":
        """Wait until the run has ended, showing its progress. An interrupt (Ctrl-C, stop) leaves
        the run going.

        Args:
            timeout: seconds after which to give up waiting; default: never.

        Raises:
            RunError: it failed, was cancelled or interrupted; the message says why and what to do.
            TimeoutError: it has not ended by then.
        """
        with Progress(self.name) as report:
            self._follow(report, timeout)
        return self._require_done()

    def train_here(self) -> "Run":
        """Train the queued run in this process; what `wait="here"` does. Loads torch.

        Raises:
            BadInput: it is queued for the worker, or another process trains runs of its own in this
                workspace.
            RunError: it failed.
        """
        train_here(self._workspace, self.name, [self.id])
        return self._require_done()

    def cancel(self) -> "Run":
        """Ask a queued or running run to stop; what it has reached is kept, and `resume` goes on
        from there.
        """
        run = self.info
        if not run.active:
            raise BadInput(
                f"Run {run.id} is {run.status}; only queued and running runs can be cancelled."
            )
        RunStore(self._workspace).request_cancel(self.id)
        return self

    def resume(self) -> "Run":
        """Queue a run again that failed, was cancelled or interrupted; it goes on from its last
        checkpoint.

        One that was trained by this process (`wait="here"`) is trained here again.
        """
        with private_files():
            if self.info.lane == CLUSTER_QUEUE:
                RunStore(self._workspace).resume(self.id)
                return self.train_here()
            resume_run(self._workspace, self.id)
        return self

    def rename(self, name: str) -> "Run":
        """Give the run another name."""
        renaming.rename_run(self._workspace, self.id, name)
        return self

    def annotate(self, tags: Sequence[str] | None = None, note: str | None = None) -> "Run":
        """Set its tags and its note, each as far as it is given."""
        RunStore(self._workspace).annotate(self.id, tags=tags, note=note)
        return self

    def delete(self) -> None:
        """Delete the run with its model, predictions and curves; refused while it is running."""
        removal.delete_runs(self._workspace, [self.id])

    # What came of it.

    @property
    def metrics(self) -> RunMetrics:
        """Metrics after training, by part: ``run.metrics.target_test.auc``."""
        return _metrics_of(self._result()["metrics"])

    @property
    def before(self) -> RunMetrics:
        """Metrics of the backbone as it was, on the same rows; empty where its head never learnt
        clicks.
        """
        return _metrics_of(self._result().get("before") or {})

    @property
    def threshold(self) -> float:
        """The score from which a click is predicted: the highest F1 on validation rows. NaN
        where nothing scores.
        """
        return metric_value(self._result(), "threshold")

    @property
    def stages(self) -> pd.DataFrame:
        """A row per stage: frozen or trained, parameters."""
        frame = pd.DataFrame(self._result()["stages"])
        return frame[["name", "title", "frozen", "trained", "parameters"]]

    def predictions(self, part: Part = "target_test") -> pd.DataFrame:
        """Label, score and, beside a backbone that scored, its score `before`; one row per row of
        the part.

        The index is the row's number in the dataset, from 0; a plain range where the dataset is
        gone.
        """
        self._result()
        names = [f"{part}_{name}" for name in ("label", "score", "before")]
        arrays = read_predictions(self._workspace, self.id)
        found = {name.rpartition("_")[2]: arrays[name] for name in names if name in arrays}
        if not found:
            raise BadInput(
                f"Run {self.id} has no predictions of the part {part!r}; it has {_parts(arrays)}."
            )
        return pd.DataFrame(found, index=self._row_numbers(part, len(found["label"])))

    def points(self) -> pd.DataFrame:
        """What the training reported so far, one row per optimiser step: losses, validation AUC,
        learning rate.
        """
        found = RunStore(self._workspace).points(self.id, *POINT_NAMES)
        series = {name: pd.Series(values, index=steps) for name, (steps, values) in found.items()}
        return pd.DataFrame(series).rename_axis("step")

    def learning_curves(self, metric: Literal["loss", "auc", "accuracy"] = "loss") -> go.Figure:
        """Training and validation loss, or the validation AUC or accuracy, by optimiser step;
        also while it runs.
        """
        points = RunStore(self._workspace).points(self.id, *POINT_NAMES)
        if metric == "loss":
            steps, _ = points.get("validation_loss", (np.zeros(0), np.zeros(0)))
            best = (self.info.result or {}).get("best_epoch", len(steps))
            figure = run_figures.loss_figure(
                points, int(steps[best]) if best < len(steps) else None
            )
        else:
            draw = {"auc": run_figures.auc_figure, "accuracy": run_figures.accuracy_figure}[metric]
            figure = draw(points)
        return for_notebook(figure, f"{self.name}: learning curves")

    def roc(self, part: Part = "target_test") -> go.Figure:
        """The ROC curve after training and before, each with its operating point."""
        tables = self._tables(part)
        at = {after: table.confusion_at(self.threshold) for after, table in tables.items()}
        curves: Mapping[bool, Curve] = {after: roc_curve(table) for after, table in tables.items()}
        return for_notebook(run_figures.roc_figure(curves, at), f"{self.name}: ROC, {_words(part)}")

    def precision_recall(self, part: Part = "target_test") -> go.Figure:
        """Precision by recall after training and before, each with its operating point."""
        tables = self._tables(part)
        at = {after: table.confusion_at(self.threshold) for after, table in tables.items()}
        curves = {after: precision_recall_curve(table) for after, table in tables.items()}
        rate = float(self.predictions(part)["label"].mean())
        figure = run_figures.precision_recall_figure(curves, at, rate)
        return for_notebook(figure, f"{self.name}: precision and recall, {_words(part)}")

    def calibration(self, part: Part = "target_test") -> go.Figure:
        """Click rate by mean score in 15 bins of equally many rows, after training and before."""
        frame = self.predictions(part)
        label = frame["label"].to_numpy()
        bins = {
            after: calibration_curve(label, frame[name].to_numpy())
            for after, name in _states(frame).items()
        }
        return for_notebook(
            run_figures.calibration_figure(bins), f"{self.name}: calibration, {_words(part)}"
        )

    def gains(self, part: Part = "target_test") -> go.Figure:
        """Share of clicks caught by the share of rows taken, best scored first."""
        curves = {after: cumulative_gains(table) for after, table in self._tables(part).items()}
        return for_notebook(run_figures.gains_figure(curves), f"{self.name}: gains, {_words(part)}")

    def confusion(self, threshold: float | None = None, part: Part = "target_test") -> go.Figure:
        """The confusion matrix at a threshold (default: the run's own)."""
        at = self._tables(part)[True].confusion_at(
            self.threshold if threshold is None else plain(threshold)
        )
        return for_notebook(
            run_figures.confusion_figure(at), f"{self.name}: confusion matrix, {_words(part)}"
        )

    # The model put to use. These load torch.

    def score(
        self,
        rows: str | Path | pd.DataFrame,
        *,
        on_bad_rows: Literal["reject", "skip"] = "reject",
        member: str = "",
        columns: Mapping[str, ColumnSource] | None = None,
    ) -> pd.DataFrame:
        """Score rows with the run's model; labels are optional.

        Args:
            rows: a file of Criteo rows, or a table with their columns.
            on_bad_rows: "reject" the file at its first bad row, or "skip" bad rows.
            member, columns: as `Workspace.ingest` takes them.

        Returns: `score` (click probability) and `predicted_click`; of a table under its own index,
            of a file with each row's number in the file and its id, if it has one. ``.attrs`` has
            metrics (with labels), drift against the training rows, notes and bad rows.

        Raises:
            BadInput: the run has no model that scores clicks, or the rows cannot be read.
        """
        from core.inference.evaluate_run import score_file

        options = ReadOptions(member, columns, ())
        with private_files(), staging(self._workspace.cache) as folder:
            target = folder / "predictions.csv"
            if isinstance(rows, pd.DataFrame):
                source = folder / "DataFrame.parquet"
                rows.to_parquet(source, index=False)
            else:
                source = clean_path(str(rows))
            with Progress(f"Scoring {source.name}") as report:
                said = score_file(
                    self._workspace, self.info, source, target, on_bad_rows, report, options=options
                )
            types = {"row": "int64", "score": "float32", "predicted_click": "int8"}
            names = pd.read_csv(target, nrows=0).columns
            scores = pd.read_csv(target, dtype={name: types.get(name, "str") for name in names})
        if isinstance(rows, pd.DataFrame):
            scores.index = rows.index[scores.pop("row") - 1]
        scores.attrs = {
            name: said[name] for name in ("metrics", "drift", "notes", "bad_rows", "bad_examples")
        }
        return scores

    def evaluate(self, data: "Dataset | str | None" = None) -> RunMetrics:
        """Metrics of the run's model on its own dataset, or on another, at the run's own
        threshold.
        """
        from core.inference.evaluate_run import evaluate_on

        run = self.info
        named = data.id if isinstance(data, Dataset) else data or run.dataset
        return _metrics_of(evaluate_on(self._workspace, run, find_dataset(self._workspace, named)))

    def interpolate(self) -> pd.DataFrame:
        """Mix a fine-tuned run with its backbone (WiSE-FT): AUC and log loss by the run's share
        in the weights.
        """
        with private_files():
            mixing = Run(
                self._workspace, submit_interpolation(self._workspace, self.info).id
            ).wait()
        result = mixing._result()
        columns = {
            f"{part}_{metric}": values[metric]
            for part, values in result["parts"].items()
            for metric in ("auc", "log_loss")
            if metric in values
        }
        frame = pd.DataFrame({"alpha": result["alphas"], **columns})
        frame.attrs = {"chosen": result["chosen"]}
        return frame

    def verify(self) -> str:
        """Train the run again and say in a sentence whether every metric is the same."""
        from core.runs.verify import verify

        with private_files(), Progress(f"Training {self.id} again") as report:
            return verify(self._workspace, self.info, report).sentence

    def export(self, out: str | Path) -> Path:
        """Write weights, ONNX, preprocessing, card and a script that scores alone to a new
        folder, or a .zip file.
        """
        from core.inference.export import export_model

        with private_files():
            export_model(self._workspace, self.info, Path(out))
        return Path(out)

    def report(self, out: str | Path) -> Path:
        """Write the run's result as one HTML file that opens without a network; its path."""
        with private_files():
            write_report(self._workspace, runs_report_data(self._workspace, [self.info]), Path(out))
        return Path(out)

    # Inside.

    def _follow(self, report: Progress, timeout: float | None = None) -> None:
        store, began, told = RunStore(self._workspace), time.monotonic(), ""
        while (run := store.get(self.id)).active:
            report(run.step / run.steps if run.steps else 0.0, _progress_words(run))
            if timeout is not None and time.monotonic() - began > timeout:
                raise TimeoutError(
                    f"Run {run.id} is still {run.status} after {timeout:g} s; it goes on."
                )
            time.sleep(POLL_SECONDS)
            refresh_statuses(self._workspace, store)
            stall = check_stall(self._workspace, run).stall
            if stall and told != (told := stall_message(stall, run)):
                print(told, file=sys.stderr)

    def _require_done(self) -> "Run":
        run = self.info
        if run.status != "done":
            raise RunError(f"Run {run.id} {run.status}: {run.message}")
        return self

    def _result(self, run: StoredRun | None = None) -> dict[str, Any]:
        run = run or self.info
        if run.status != "done" or run.result is None:
            raise RunError(
                f"Run {run.id} is {run.status}, so it has no result. "
                f"{run.message or 'Call wait().'}"
            )
        return run.result

    def _tables(self, part: Part) -> dict[bool, Any]:
        frame = self.predictions(part)
        label = frame["label"].to_numpy()
        return {
            after: threshold_table(label, frame[name].to_numpy())
            for after, name in _states(frame).items()
        }

    def _row_numbers(self, part: Part, rows: int) -> pd.Index:
        run = self.info
        try:
            dataset = find_dataset(self._workspace, run.dataset)
        except BadInput:
            return pd.RangeIndex(rows, name="row")
        if part == "target_validation":
            share = run.request["train"]["validation_share"]
            numbers = select_training_rows(
                dataset, "target", share, run.request.get("target_rows", 0)
            )[1]
        else:
            numbers = select_test_rows(dataset, part.partition("_")[0])
        return (
            pd.Index(numbers, name="row")
            if len(numbers) == rows
            else pd.RangeIndex(rows, name="row")
        )

    def __repr__(self) -> str:
        run = self.info
        quality = (
            f", target test {format_auc(run.result['metrics'].get('target_test'))}"
            if run.result
            else ""
        )
        return f"<thaw.Run {run.id} {run.name!r}: {run.status}{quality}>"

    def _repr_html_(self) -> str:
        run = self.info
        marks = [run.status, *["simulated"] * self._simulated(run)]
        if run.status != "done" or not run.result:
            return card_html(
                run.name, marks, note_html(run.message or _progress_words(run), f"Run {run.id}")
            )
        result, rows = run.result, []
        for part in ("target_test", "source_test"):
            for state, by_part in (
                ("before", result.get("before") or {}),
                ("after", result["metrics"]),
            ):
                if metrics := by_part.get(part):
                    values = {name.replace("_", " "): metrics.get(name) for name in _SHOWN}
                    rows.append(
                        {
                            "rows": _words(part),
                            "": state,
                            "AUC (95 % interval)": format_auc(metrics),
                            **values,
                        }
                    )
        facts = (
            f"{result['trained_parameters']:,} parameters trained, best epoch "
            f"{result['best_epoch']} of {result['epochs_run']}, "
            f"{result['seconds']['total']:.1f} s on {result['device']}. Run {run.id}."
        )
        return card_html(run.name, marks, table_html(rows), note_html(facts))

    def _simulated(self, run: StoredRun) -> bool:
        try:
            return find_dataset(self._workspace, run.dataset).simulated
        except BadInput:
            return False


def train_here(workspace: Workspace, title: str, run_ids: Iterable[str]) -> None:
    """Train queued runs in this process, one after another, showing the progress of each."""
    import threading

    for run_id in run_ids:
        run = Run(workspace, run_id)
        with private_files(), Progress(run.name or title) as report:
            # This thread trains, so another one looks at the store.
            ended = threading.Event()
            watcher = threading.Thread(
                target=_watch, args=(workspace, run_id, report, ended), daemon=True
            )
            watcher.start()
            try:
                run_here(workspace, [run_id])
            finally:
                ended.set()
                watcher.join()


def _watch(workspace: Workspace, run_id: str, report: Progress, ended: Any) -> None:
    store = RunStore(workspace)
    while not ended.wait(POLL_SECONDS):
        run = store.get(run_id)
        report(run.step / run.steps if run.steps else 0.0, _progress_words(run))


def _metrics_of(parts: Mapping[str, Mapping[str, Any]]) -> RunMetrics:
    """Metrics as they are stored; a number that is missing is NaN."""

    def one(values: Mapping[str, Any]) -> Metrics:
        numbers: dict[str, Any] = {
            name: metric_value(values, name) for name in Metrics.__dataclass_fields__
        }
        return Metrics(**{**numbers, "rows": int(values.get("rows") or 0)})

    return RunMetrics(
        **{
            part: one(values)
            for part, values in parts.items()
            if part in RunMetrics.__dataclass_fields__
        }
    )


def _states(frame: pd.DataFrame) -> dict[bool, str]:
    """Columns of scores by whether they are from after the training."""
    return {True: "score", **({False: "before"} if "before" in frame else {})}


def _parts(arrays: Iterable[str]) -> str:
    return (
        ", ".join(
            sorted({name.removesuffix("_label") for name in arrays if name.endswith("_label")})
        )
        or "none"
    )


def _words(part: str) -> str:
    return f"{part.replace('_', ' ')} rows"


def _progress_words(run: StoredRun) -> str:
    epoch = f", epoch {run.epoch} of {run.epochs}" if run.epochs else ""
    return f"{run.phase or run.status}{epoch}"
