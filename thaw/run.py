"""Runs: one training each, with its status, metrics, predictions, figures and model."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from core.data.datasets import find_dataset, select_test_rows, select_training_rows
from core.data.paths import clean_path
from core.data.read_options import ColumnSource, ReadOptions
from core.errors import BadInput, RunError
from core.evaluation.calibration_effect import effect_row
from core.evaluation.format_metrics import format_auc, metric_value
from core.evaluation.metric_registry import HEADLINE_METRIC, METRICS
from core.evaluation.non_inferiority import Margins
from core.evaluation.recalibration import TITLES
from core.evaluation.recommendation_words import recommendation_text
from core.files.durable import staging
from core.files.permissions import private_files
from core.files.typed_json import to_builtin
from core.freezing.strategies import iteration_word
from core.inference.run_calibration import (
    calibration_notes,
    effects_on_test_rows,
    load_calibration,
    use_calibration,
    used_map,
)
from core.jobs.predictions import read_predictions
from core.jobs.requests import FinetuneRequest, InterpolateRequest, PretrainRequest
from core.jobs.run import Run as StoredRun
from core.jobs.run_result import RunResult
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone
from core.report.html_report import write_report
from core.report.report_data import runs_report_data
from core.report.run_tables import run_frame
from core.runs import removal, renaming
from core.runs.command_lines import command_line
from core.runs.launch import CLUSTER_QUEUE, refresh_statuses
from core.runs.run_controls import find_controls, recommend_run, submit_controls
from core.runs.submit import resume_run, submit_interpolation
from core.runs.sweep import list_sweeps
from core.training.run_dataset import find_run_dataset
from core.workspace import Workspace
from thaw import figures
from thaw.arguments import checked
from thaw.backbone import Backbone
from thaw.data import Dataset, simulated_marks
from thaw.display import Listing, Progress, card_html, for_notebook, note_html, table_html
from thaw.follow import load_torch, progress_words, train_here, wait_for_run
from thaw.metrics import RunMetrics, run_metrics
from thaw.tables import read_scores, write_rows

MARGINS = Margins()
"""Of a recommendation, where none are given."""
Part = Literal["target_test", "source_test", "target_validation"]
"""Rows that a run scores at its end."""


class Run:
    """One training.

    Its properties are read from the workspace each time, so they follow a run that is under way.
    """

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self._workspace = workspace
        self.id = run_id

    @property
    def info(self) -> StoredRun:
        """All that is stored of it: request, progress, tags, note, result."""
        store = RunStore(self._workspace)
        run = store.get(self.id)
        if run.status == "running":
            # Its worker may have died since.
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
        """Why it failed, was cancelled or interrupted; else empty."""
        return self.info.message

    @property
    def settings(self) -> dict[str, Any]:
        """The training settings, by name."""
        return dataclasses.asdict(self.info.request.train)

    @property
    def command(self) -> str:
        """The command line that asks for the same run."""
        return command_line(self._workspace, self.info.request)

    @property
    def controls(self) -> Listing["Run"]:
        """The runs launched together with it, such as the controls of a fine-tuning run."""
        run = self.info
        group = RunStore(self._workspace).list_group(run.group) if run.group else []
        return list_runs(self._workspace, [one for one in group if one.id != self.id])

    @checked
    def recommend(
        self, margin_auc: float = MARGINS.auc, margin_log_loss: float = MARGINS.log_loss_percent
    ) -> str:
        """What its finished controls say of it, in words: was fine-tuning worth it?

        Controls are of the same dataset, backbone, target rows and seeds, however launched.

        Args:
            margin_auc: an arm that loses less AUC is good enough.
            margin_log_loss: the same of log loss, in percent of that of the arm compared with.

        Raises:
            BadInput: the run is not a finished fine-tuning run, or a margin is out of its range.
        """
        margins = Margins(margin_auc, margin_log_loss)
        found = find_controls(self._workspace, self.info)
        return recommendation_text([recommend_run(self._workspace, found, margins)])

    @checked
    def add_controls(self) -> Listing["Run"]:
        """Queue the controls that are not done yet, with its settings and the seeds of its arm."""
        missing = find_controls(self._workspace, self.info).missing
        with private_files():
            return list_runs(self._workspace, submit_controls(self._workspace, self.info, missing))

    @property
    def dataset(self) -> Dataset:
        """The dataset that it trains on."""
        return Dataset(self._workspace, find_dataset(self._workspace, self.info.dataset))

    @property
    def backbone(self) -> Backbone:
        """The backbone that a pretraining run made, or that a fine-tuning run began with.

        Raises:
            BadInput: the run is a blend, whose runs may have several; see `blended`.
        """
        request = self.info.request
        if isinstance(request, FinetuneRequest):
            named = request.backbone
        elif isinstance(request, PretrainRequest):
            named = self.result.backbone
        elif isinstance(request, InterpolateRequest):
            return Run(self._workspace, request.run).backbone
        else:
            raise BadInput(f"Run {self.id} is a blend, which has no backbone of its own.")
        return Backbone(self._workspace, find_backbone(self._workspace, named))

    # Waiting and managing.

    @checked
    def wait(self, timeout: float | None = None) -> "Run":
        """Wait until the run has ended, showing its progress.

        An interrupt (Ctrl-C, the stop button) ends the waiting; the run goes on in its worker.

        Args:
            timeout: seconds after which to give up; default: never.

        Returns:
            The run itself, so that calls can be chained.

        Raises:
            BadInput: no worker takes it, since another process was to train it and is gone.
            RunError: it failed, was cancelled or interrupted; the message says why.
            TimeoutError: it has not ended by then.
        """
        wait_for_run(self._workspace, self.id, timeout)
        return self._require_done()

    def train_here(self) -> "Run":
        """Train a queued run in this process, as ``wait="here"`` does. Loads torch.

        Returns:
            The run itself.

        Raises:
            BadInput: it waits for the worker, or another process trains runs of its own in this
                workspace.
            RunError: it failed.
        """
        train_here(self._workspace, self.id)
        return self._require_done()

    def cancel(self) -> "Run":
        """Ask a queued or running run to stop; what it has reached is kept for `resume`."""
        run = self.info
        if not run.active:
            raise BadInput(
                f"Run {run.id} is {run.status}; only queued and running runs can be cancelled."
            )
        RunStore(self._workspace).request_cancel(self.id)
        return self

    def resume(self) -> "Run":
        """Go on with a run that failed, was cancelled or interrupted, from its last checkpoint.

        It is queued again; one that this process trained (``wait="here"``) is trained here again.
        """
        if self.info.queue == CLUSTER_QUEUE:
            RunStore(self._workspace).resume(self.id)
            return self.train_here()
        with private_files():
            resume_run(self._workspace, self.id)
        return self

    @checked
    def rename(self, name: str) -> "Run":
        """Give the run another name."""
        renaming.rename_run(self._workspace, self.id, name)
        return self

    @checked
    def annotate(self, tags: Sequence[str] | None = None, note: str | None = None) -> "Run":
        """Set its tags and its note, each as far as it is given."""
        RunStore(self._workspace).annotate(self.id, tags=to_builtin(tags), note=note)
        return self

    def delete(self) -> None:
        """Delete the run with its model, predictions and curves; not while it is running."""
        removal.delete_runs(self._workspace, [self.id])

    # Its result.

    @property
    def result(self) -> RunResult:
        """All that came of it: metrics, stages, epochs, seconds, device, versions.

        Raises:
            RunError: it is not done.
        """
        run = self.info
        if run.status != "done" or run.result is None:
            why = run.message or "wait() returns once it has one."
            raise RunError(f"Run {run.id} is {run.status}, so it has no result. {why}")
        return run.result

    @property
    def metrics(self) -> RunMetrics:
        """Metrics after training, by part: ``run.metrics.target_test.auc``."""
        return run_metrics(self.result.metrics)

    @property
    def before(self) -> RunMetrics:
        """Metrics of the backbone as it was on the same rows; none where it had no click head."""
        return run_metrics(self.result.before or {})

    @property
    def threshold(self) -> float:
        """The score from which a click is predicted: that of the highest F1 on validation rows."""
        threshold = self.result.threshold
        return math.nan if threshold is None else threshold

    @property
    def weights(self) -> pd.DataFrame:
        """Of a blend, a row per run: its id, its arm, its weight and its own test metrics.

        Raises:
            BadInput: the run is no blend.
            RunError: it is not done.
        """
        if self.info.kind != "blend":
            raise BadInput(f"Run {self.id} is no blend, so it has no weights of runs.")
        found = self.result.blend
        assert found is not None
        rows = []
        for one in found.runs:
            test = one.metrics.get("target_test")
            rows.append(
                {"run": one.run, "arm": one.title, "weight": one.weight}
                | {name: metric_value(test, name) for name in ("auc", "log_loss")}
            )
        return pd.DataFrame(rows)

    @property
    def stages(self) -> pd.DataFrame:
        """A row per stage: frozen or trained, parameters."""
        return pd.DataFrame(map(dataclasses.asdict, self.result.stages))

    @checked
    def predictions(self, part: Part = "target_test") -> pd.DataFrame:
        """Label and score of each row, and the backbone's own score `before` where it had one.

        The index is the row's number in the dataset, from 0, if the dataset is still there.

        Raises:
            RunError: the run is not done.
        """
        self.result  # noqa: B018 - RunError where there is none
        arrays = read_predictions(self._workspace, self.id)
        found = {
            name: arrays[f"{part}_{name}"]
            for name in ("label", "score", "before")
            if f"{part}_{name}" in arrays
        }
        if not found:
            parts = sorted(name.removesuffix("_label") for name in arrays if "_label" in name)
            raise BadInput(f"Run {self.id} scored no part {part!r}; it scored {parts}.")
        return pd.DataFrame(found, index=self._row_numbers(part, len(found["label"])))

    def points(self) -> pd.DataFrame:
        """What the training has reported, a row per optimiser step: losses, validation AUC, …"""
        found = RunStore(self._workspace).points(self.id)
        columns = {name: pd.Series(values, index=steps) for name, (steps, values) in found.items()}
        return pd.DataFrame(columns).rename_axis("step")

    @checked
    def learning_curves(self, metric: Literal["loss", "auc", "accuracy"] = "loss") -> go.Figure:
        """Losses, validation AUC or accuracy by optimiser step, also while the run trains."""
        result = self.info.result
        figure = figures.learning_curves(self._workspace, self.id, metric, result)
        return for_notebook(figure, f"{self.name}: learning curves")

    @checked
    def roc(self, part: Part = "target_test") -> go.Figure:
        """The ROC curve after training and before, each with its operating point."""
        figure = figures.roc(self.predictions(part), self.threshold)
        return for_notebook(figure, self._title("ROC", part))

    @checked
    def precision_recall(self, part: Part = "target_test") -> go.Figure:
        """Precision by recall after training and before, each with its operating point."""
        figure = figures.precision_recall(self.predictions(part), self.threshold)
        return for_notebook(figure, self._title("precision and recall", part))

    @checked
    def calibration(self, part: Part = "target_test") -> go.Figure:
        """Click rate by mean score in 15 bins of equally many rows, after training and before."""
        figure = figures.calibration(self.predictions(part))
        return for_notebook(figure, self._title("calibration", part))

    @checked
    def reliability(self, part: Part = "target_test", method: str | None = None) -> go.Figure:
        """Click rate by mean score with 95 % intervals, as trained and calibrated.

        Args:
            part: the rows.
            method: "auto", "none", "temperature", "platt" or "isotonic"; default: what the run
                uses.
        """
        used = used_map(self._workspace, self.info, method)
        figure = figures.reliability(self.predictions(part), used)
        return for_notebook(figure, self._title("reliability", part))

    @checked
    def gains(self, part: Part = "target_test") -> go.Figure:
        """Share of clicks caught by the share of rows taken, best scored first."""
        return for_notebook(figures.gains(self.predictions(part)), self._title("gains", part))

    @checked
    def confusion(self, threshold: float | None = None, part: Part = "target_test") -> go.Figure:
        """The confusion matrix at a threshold (default: the run's own)."""
        at = self.threshold if threshold is None else to_builtin(threshold)
        figure = figures.confusion(self.predictions(part), at)
        return for_notebook(figure, self._title(f"confusion matrix at {at:.3f}", part))

    @checked
    def report(self, out: str | Path) -> Path:
        """Write the result as one HTML file that opens without a network. Returns its path."""
        path = clean_path(str(out))
        with private_files():
            write_report(self._workspace, runs_report_data(self._workspace, [self.info]), path)
        return path

    # Its calibration.

    @property
    def calibration_method(self) -> str:
        """How its probabilities are calibrated in scoring, export and blends; "none" if not."""
        return used_map(self._workspace, self.info).method

    @checked
    def calibrate(self, method: str = "auto", *, use: bool = True) -> pd.DataFrame:
        """Recalibrate the run's probabilities; scoring, export and blends then have them.

        Args:
            method: "auto" (chosen by cross-validation on validation rows), "none", "temperature",
                "platt" or "isotonic".
            use: False only shows what every method does and changes nothing; `method` is not read.

        Returns:
            A row per method and part of the test rows: log loss, ECE and predicted over actual
            clicks before and after, with ``log_loss_change`` and its 95 % interval, paired over
            rows, and what ECE a perfectly calibrated model would have (``ece_floor``,
            ``ece_floor_high``). ``attrs["sentence"]`` says what the validation rows choose.

        Raises:
            BadInput: the run scores no clicks, stored no scores of validation rows, or these rows
                determine no such map.

        >>> tuned.calibrate()  # doctest: +SKIP
        """
        run = self.info
        if use:
            with private_files():
                found = use_calibration(self._workspace, run, method)
            methods = [found.used]
        else:
            found = load_calibration(self._workspace, run)
            methods = [fit.map.method for fit in found.recalibration.fits]
        rows = [
            {"method": name, "part": part, **effect_row(effect)}
            for name in methods
            for part, effect in effects_on_test_rows(
                self._workspace, run, found.find(name).map
            ).items()
        ]
        frame = pd.DataFrame(rows)
        frame.attrs = {
            "used": found.used,
            "chosen": found.recalibration.chosen,
            "sentence": found.choice_sentence,
        }
        return frame

    # Its model put to use. These load torch.

    @checked
    def score(
        self,
        rows: str | Path | pd.DataFrame,
        *,
        on_bad_rows: Literal["reject", "skip"] = "reject",
        member: str = "",
        columns: Mapping[str, ColumnSource] | None = None,
        calibration: str | None = None,
    ) -> pd.DataFrame:
        """Score rows with the run's model; labels are optional.

        Args:
            rows: a file of Criteo rows, or a table with their columns.
            on_bad_rows: "reject" the file at its first bad row, or "skip" bad rows.
            member, columns: as `Workspace.ingest` takes them.
            calibration: method by which the scores are calibrated, as `calibrate` takes it ("none"
                for the scores as trained); default: what the run uses.

        Returns:
            `score` (click probability) and `predicted_click`. Of a table they have its index; of a
            file, `row` is the row's number in the file, followed by its id if it has one.
            ``attrs`` holds the metrics of labelled rows, the drift against the training rows, the
            calibration, and the reader's notes and bad rows.

        Raises:
            BadInput: the run has no model that scores clicks, or the rows cannot be read.
        """
        load_torch()
        from core.inference.score_file import score_file

        with private_files(), staging(self._workspace.cache) as folder:
            if isinstance(rows, pd.DataFrame):
                source = write_rows(rows, folder)
            else:
                source = clean_path(str(rows))
            target = folder / "predictions.csv"
            with Progress(f"Scoring {source.name}") as report:
                result = score_file(
                    self._workspace,
                    self.info,
                    source,
                    target,
                    on_bad_rows,
                    report,
                    options=ReadOptions(member, columns, ()),
                    calibration=calibration,
                )
            scores = read_scores(target)
        if isinstance(rows, pd.DataFrame):
            scores.index = rows.index[scores.pop("row") - 1]
        kept = ("metrics", "drift", "notes", "bad_rows", "bad_examples", "calibration")
        scores.attrs = {name: result[name] for name in kept}
        return scores

    @checked
    def evaluate(
        self, data: "Dataset | str | None" = None, *, calibration: str | None = None
    ) -> RunMetrics:
        """Metrics of the run's model on a dataset (default: its own), at the run's threshold.

        Its probabilities are calibrated as in `score`.
        """
        load_torch()
        from core.inference.evaluate_run import evaluate_on

        run = self.info
        named = data.id if isinstance(data, Dataset) else data or run.dataset
        dataset = find_dataset(self._workspace, named)
        return run_metrics(evaluate_on(self._workspace, run, dataset, calibration))

    @checked
    def importance(
        self, against: "Run | str" = "", *, permutations: int = 2, seed: int = 0
    ) -> pd.DataFrame:
        """Permutation importance of every field on the target test rows, most important first.

        Args:
            against: a run, or "backbone", whose importance is subtracted; "" for none.
            permutations: of every field.
            seed: of the permutations.
        """
        load_torch()
        from core.inference.importance import compute_importance

        other = against.id if isinstance(against, Run) else against
        with private_files(), Progress(f"Permuting the fields of {self.id}") as report:
            found = compute_importance(
                self._workspace, self.info, other, permutations, seed, report
            )
        rows = [
            {"field": one.field}
            | {f"log_loss_{name}": value for name, value in vars(one.log_loss).items()}
            | {f"auc_{name}": value for name, value in (vars(one.auc) if one.auc else {}).items()}
            for one in found.ranked()
        ]
        return pd.DataFrame(rows)

    @checked
    def explain(
        self,
        row: int | None = None,
        values: Mapping[str, Any] | None = None,
        reference: str = "typical",
    ) -> pd.DataFrame:
        """Explain the score of a target test row, or of a what-if row, field by field.

        Args:
            row: its number in the dataset; None starts from the reference row.
            values: that replace the row's, by field.
            reference: "typical" (median and most frequent values) or "missing".

        Returns:
            One row per field; ``attrs`` has the scores and the completeness gap.
        """
        load_torch()
        from core.inference.attribution import explain_row
        from core.inference.explanation_files import checked_values

        with private_files():
            found = explain_row(
                self._workspace, self.info, row, checked_values(values or {}), reference
            )
        frame = pd.DataFrame([vars(one) for one in found.ranked()])
        frame.attrs = {
            "score": found.score,
            "score_before": found.score_before,
            "reference_score": found.reference_score,
            "completeness_gap": found.completeness_gap,
        }
        return frame

    @checked
    def response(self, field: str) -> pd.DataFrame:
        """Mean score of test rows with a field set to one value after another, before and after."""
        load_torch()
        from core.inference.response import compute_response

        with private_files():
            found = compute_response(self._workspace, self.info, field)
        frame = pd.DataFrame(
            {"value": found.values, "mean": found.mean, "low": found.low, "high": found.high}
        )
        if found.before:
            frame["before"] = found.before
        return frame

    def interpolate(self) -> pd.DataFrame:
        """Mix a fine-tuned run with its backbone (WiSE-FT): AUC and log loss of every mixture.

        `alpha` is the run's share in the weights; ``attrs["chosen"]`` that of the best one on
        validation rows.
        """
        with private_files():
            mixing = submit_interpolation(self._workspace, self.info)
        found = Run(self._workspace, mixing.id).wait().result.interpolation
        assert found is not None
        frame = pd.DataFrame({"alpha": found.alphas})
        for part, metrics in found.parts.items():
            for metric, values in metrics.items():
                frame[f"{part}_{metric}"] = values
        frame.attrs = {"chosen": found.chosen}
        return frame

    def verify(self) -> str:
        """Train the run again and say in a sentence whether every metric is the same."""
        load_torch()
        from core.runs.verify import verify

        with private_files(), Progress(f"Training {self.id} again") as report:
            return verify(self._workspace, self.info, report).sentence

    @checked
    def export(self, out: str | Path, *, calibration: str | None = None) -> Path:
        """Write weights, ONNX, card and a script that scores alone to a folder or a .zip file.

        Its probabilities are calibrated as in `score`.
        """
        load_torch()
        from core.inference.export import export_model

        path = clean_path(str(out))
        with private_files():
            export_model(self._workspace, self.info, path, calibration)
        return path

    # Inside.

    def _require_done(self) -> "Run":
        run = self.info
        if run.status != "done":
            raise RunError(f"Run {run.id} {run.status}: {run.message}")
        return self

    def _row_numbers(self, part: Part, rows: int) -> pd.Index:
        request, domain = self.info.request, part.partition("_")[0]
        try:
            dataset = find_run_dataset(self._workspace, self.info)
            if part == "target_validation":
                share = request.train.validation_share
                last = self.info.target_rows
                numbers = select_training_rows(dataset, domain, share, last)[1]
            else:
                numbers = select_test_rows(dataset, domain)
        except BadInput:
            # Deleted or damaged since.
            return pd.RangeIndex(rows, name="row")
        return pd.Index(numbers, name="row")

    def _title(self, what: str, part: Part) -> str:
        marks = simulated_marks(self._workspace, self.info.dataset)
        return f"{self.name}: {', '.join([what, f'{part} rows'.replace('_', ' '), *marks])}"

    def __repr__(self) -> str:
        run = self.info
        target = run.result.metrics.get("target_test") if run.result else None
        quality = f", target test {format_auc(target)}" if target else ""
        return f"<thaw.Run {run.id} {run.name!r}: {run.status}{quality}>"

    def _repr_html_(self) -> str:
        run = self.info
        marks = [run.status, *simulated_marks(self._workspace, run.dataset)]
        if run.status != "done" or not run.result:
            note = note_html(run.message or progress_words(run), f"Run {run.id}")
            return card_html(run.name, marks, note)
        result, rows = run.result, list[dict[str, Any]]()
        shown = [
            key for key, one in METRICS.items() if "arms" in one.shown_in and key != HEADLINE_METRIC
        ]
        states = {"before": result.before or {}, "after": result.metrics}
        for part in ("target_test", "source_test"):
            for state, metrics in states.items():
                if values := metrics.get(part):
                    row = {"rows": part.replace("_", " "), "": state, "AUC": format_auc(values)}
                    rows.append(row | {METRICS[key].heading: values.get(key) for key in shown})
        if result.blend:
            weights = ", ".join(f"{one.weight:.3f} × {one.title}" for one in result.blend.runs)
            return card_html(
                run.name, marks, table_html(rows), note_html(f"{weights}. Run {run.id}.")
            )
        facts = (
            f"{result.trained_parameters:,} parameters trained, best"
            f" {iteration_word(run.strategy)} {result.best_epoch} of {result.epochs_run},"
            f" {result.total_seconds:.1f} s on {result.device}. Run {run.id}."
        )
        notes = [
            result.training_warning if iteration_word(run.strategy) == "epoch" else "",
            *calibration_notes(run),
        ]
        if self.calibration_method != "none":
            notes.append(f"Calibrated: {TITLES[self.calibration_method]}.")
        facts = " ".join(filter(None, [facts, *notes]))
        return card_html(run.name, marks, table_html(rows), note_html(facts))


def list_runs(workspace: Workspace, runs: Sequence[StoredRun]) -> Listing[Run]:
    """Runs of the store as a list that a notebook shows as a table."""

    def frame() -> pd.DataFrame:
        if not runs:
            return pd.DataFrame()
        sweeps = {sweep.id: sweep.name for sweep in list_sweeps(workspace)}
        validation = RunStore(workspace).validation_summaries(runs)
        return run_frame(workspace, runs, validation, sweeps)

    return Listing([Run(workspace, run.id) for run in runs], "runs", frame)
