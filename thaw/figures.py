"""Figures of a run's predictions, as the page of the run shows them.

`frame` is what `Run.predictions` returns: label, score, and `before` where the backbone scored.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from core.evaluation.curves import (
    ThresholdTable,
    calibration_curve,
    cumulative_gains,
    precision_recall_curve,
    roc_curve,
    threshold_table,
)
from core.evaluation.recalibration import NONE, TITLES, RecalibrationMap
from core.jobs.run_result import RunResult
from core.jobs.store import RunStore
from core.report import run_figures
from core.report.calibration_figures import reliability_figure
from core.workspace import Workspace


def roc(frame: pd.DataFrame, threshold: float) -> go.Figure:
    """The ROC curve after training and before, each with its operating point."""
    tables = _tables(frame)
    at = {after: table.confusion_at(threshold) for after, table in tables.items()}
    return run_figures.roc_figure({after: roc_curve(one) for after, one in tables.items()}, at)


def precision_recall(frame: pd.DataFrame, threshold: float) -> go.Figure:
    """Precision by recall after training and before, each with its operating point."""
    tables = _tables(frame)
    at = {after: table.confusion_at(threshold) for after, table in tables.items()}
    curves = {after: precision_recall_curve(table) for after, table in tables.items()}
    return run_figures.precision_recall_figure(curves, at, float(frame["label"].mean()))


def calibration(frame: pd.DataFrame) -> go.Figure:
    """Click rate by mean score in bins of equally many rows, after training and before."""
    label = frame["label"].to_numpy()
    return run_figures.calibration_figure(
        {after: calibration_curve(label, scores) for after, scores in _scores(frame).items()}
    )


def reliability(frame: pd.DataFrame, used: RecalibrationMap) -> go.Figure:
    """Click rate by mean score with intervals, as trained and by a calibration."""
    label, scores = frame["label"].to_numpy(), frame["score"].to_numpy()
    bins = {"as trained": calibration_curve(label, scores)}
    if used.method != NONE:
        bins[TITLES[used.method]] = calibration_curve(label, used.apply(scores))
    return reliability_figure(bins)


def gains(frame: pd.DataFrame) -> go.Figure:
    """Share of clicks caught by the share of rows taken, best scored first."""
    return run_figures.gains_figure(
        {after: cumulative_gains(table) for after, table in _tables(frame).items()}
    )


def confusion(frame: pd.DataFrame, threshold: float) -> go.Figure:
    """The confusion matrix at a threshold."""
    return run_figures.confusion_figure(_tables(frame)[True].confusion_at(threshold))


def learning_curves(
    workspace: Workspace, run_id: str, metric: str, result: RunResult | None
) -> go.Figure:
    """Losses, validation AUC or accuracy by optimiser step; the step that was kept is marked."""
    points = RunStore(workspace).points(run_id)
    if metric != "loss":
        draw = {"auc": run_figures.auc_figure, "accuracy": run_figures.accuracy_figure}[metric]
        return draw(points)
    steps, _ = points.get("validation_loss", (np.zeros(0), np.zeros(0)))
    return run_figures.loss_figure(points, result.kept_step(steps.tolist()) if result else None)


def _scores(frame: pd.DataFrame) -> dict[bool, np.ndarray]:
    """Scores by whether they are from after the training."""
    columns = {True: "score", False: "before"}
    return {after: frame[name].to_numpy() for after, name in columns.items() if name in frame}


def _tables(frame: pd.DataFrame) -> dict[bool, ThresholdTable]:
    label = frame["label"].to_numpy()
    return {after: threshold_table(label, scores) for after, scores in _scores(frame).items()}
