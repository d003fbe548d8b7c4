"""From a trained network to what is stored of a run: predictions, metrics and a summary."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from core.data.datasets import (
    Dataset,
    load_labels,
    rows_of_part,
    select_test_rows,
    select_training_rows,
)
from core.evaluation.metrics import Metrics, compute_metrics
from core.freezing.plan import Plan
from core.freezing.strategies import STRATEGIES
from core.jobs.requests import BlendRequest, FinetuneRequest
from core.jobs.run_result import MetricsByPart, RunResult, StageResult
from core.jobs.store import Run
from core.models.network import Network
from core.training.loop import FitResult
from core.training.losses import predict
from core.training.training_rows import TrainingRows, request_rows

SCORED_PARTS = ("target_validation", "target_test", "source_test", "earlier_windows")
"""The last one only where a run trains on a window of the target rows (core.data.windows)."""
THRESHOLD_RULE = "highest F1 on validation rows"


ArraysByPart = dict[str, np.ndarray]
"""Row numbers, labels or scores by the name of the part, see `scored_rows`."""


@dataclass(frozen=True)
class Outcome:
    """What a run hands back.

    Args:
        result: content of result.json.
        predictions: arrays of predictions.npz.
    """

    result: RunResult
    predictions: dict[str, np.ndarray]


class Stopwatch:
    """Measures the seconds between laps."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        """Return the seconds since the last lap, rounded to milliseconds."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        return round(passed, 3)


def scored_rows(dataset: Dataset, validation: np.ndarray | None = None) -> ArraysByPart:
    """Return the row numbers of every part that is scored and not empty.

    Args:
        dataset: to score.
        validation: target rows that a run validated on, if it cut them itself. With few target rows
            it trains on most of the dataset's own validation rows.
    """
    rows = {
        "target_validation": select_training_rows(dataset, "target", None)[1]
        if validation is None
        else validation,
        "target_test": select_test_rows(dataset, "target"),
        "source_test": select_test_rows(dataset, "source"),
        "earlier_windows": rows_of_part(dataset, "earlier_windows"),
    }
    return {part: index for part, index in rows.items() if len(index)}


def run_validation_rows(dataset: Dataset, run: Run) -> np.ndarray | None:
    """Return the target rows of `dataset` that a run validated on.

    None if the run did not cut them itself: it pretrained, or on another dataset.
    """
    request = run.request
    if not isinstance(request, FinetuneRequest | BlendRequest) or run.dataset != dataset.id:
        return None
    return request_rows(dataset, request)[1]


def score_parts(
    network: Network, scored: ArraysByPart, rows: TrainingRows, device: torch.device
) -> ArraysByPart:
    """Return the click probabilities of every scored part, float32.

    Args:
        network: on `device`.
        scored: row numbers by part.
        rows: inputs of at least these rows.
        device: to compute on.
    """
    return {part: predict(network, rows.take(numbers, device)) for part, numbers in scored.items()}


def evaluate_parts(
    labels: ArraysByPart, scores: ArraysByPart, threshold: float
) -> dict[str, Metrics]:
    """Return the metrics of every scored part at one threshold.

    Args:
        labels: 0 or 1 of every row, by part.
        scores: click probabilities of the same rows, by part.
        threshold: score from which a click is predicted.
    """
    return {
        part: compute_metrics(labels[part], values, threshold) for part, values in scores.items()
    }


def labels_by_part(dataset: Dataset, rows: ArraysByPart) -> ArraysByPart:
    """Return the labels of every scored part, float32."""
    labels = load_labels(dataset)
    return {part: np.asarray(labels[index], dtype=np.float32) for part, index in rows.items()}


def prediction_arrays(
    labels: ArraysByPart, scores: ArraysByPart, baseline: ArraysByPart | None
) -> dict[str, np.ndarray]:
    """Return the arrays of predictions.npz: PART_label, PART_score, and PART_before if known.

    Args:
        labels: by part.
        scores: by part.
        baseline: the backbone's scores by part; None if it has none.
    """
    arrays = {}
    for part in labels:
        arrays[f"{part}_label"] = labels[part]
        arrays[f"{part}_score"] = scores[part]
        if baseline is not None:
            arrays[f"{part}_before"] = baseline[part]
    return arrays


def build_result(
    plan: Plan,
    train_rows: int,
    fitted: FitResult,
    seconds: dict[str, float],
    metrics: MetricsByPart,
    baseline_metrics: MetricsByPart | None,
    threshold: float | None,
) -> RunResult:
    """Return the result of a training; the kind of run and the worker add what only they know.

    Args:
        plan: that was executed.
        train_rows: number of training rows.
        fitted: how training ended.
        seconds: by phase.
        metrics: of every scored part.
        baseline_metrics: of the backbone before training; None if its head was not trained on
            click labels.
        threshold: score from which a click is predicted; None if nothing scores clicks.
    """
    plan = plan.with_join_epoch(fitted.join_epoch) if fitted.join_epoch is not None else plan
    return RunResult(
        threshold=threshold,
        threshold_rule=THRESHOLD_RULE,
        metrics=metrics,
        before=baseline_metrics,
        stages=tuple(
            StageResult(
                name=stage.name,
                title=stage.title,
                parameters=stage.parameters,
                flops=stage.flops,
                frozen=stage.frozen,
                trained=stage.trained_parameters,
                from_epoch=stage.from_epoch,
                origin=stage.origin,
            )
            for stage in plan.stages
        ),
        trained_parameters=plan.trained_parameters,
        train_rows=train_rows,
        best_epoch=fitted.best_epoch,
        epochs_run=fitted.epochs_run,
        stopped_early=fitted.stopped_early,
        halted=fitted.halted,
        best_step=fitted.best_step if fitted.steps_run else None,
        steps_run=fitted.steps_run or None,
        seconds=seconds | {"earlier": round(fitted.earlier_seconds, 3)},
        rule=STRATEGIES[plan.strategy].rule if plan.strategy in STRATEGIES else 1,
    )
