"""Blend finished runs: a weighted mean of the logits of their stored predictions.

The weights are fitted on target validation rows alone; see `core.inference.blend_weights`.
"""

import time
from collections.abc import Sequence

import numpy as np

from core.data.datasets import Dataset
from core.errors import BadInput
from core.evaluation.metrics import Metrics
from core.evaluation.recalibration import NONE, RecalibrationMap
from core.evaluation.thresholds import best_f1_threshold
from core.inference.blend_members import check_blendable
from core.inference.blend_weights import blend_scores, fit_weights, logits_of
from core.inference.run_calibration import used_map
from core.jobs.predictions import read_predictions
from core.jobs.reporter import Reporter
from core.jobs.requests import BlendRequest
from core.jobs.run_result import BlendedRun, BlendResult, RunResult
from core.jobs.store import Run, RunStore
from core.training.results import (
    SCORED_PARTS,
    THRESHOLD_RULE,
    ArraysByPart,
    Outcome,
    evaluate_parts,
    prediction_arrays,
)
from core.workspace import Workspace

VALIDATION = "target_validation"


def blend(
    workspace: Workspace, request: BlendRequest, dataset: Dataset, reporter: Reporter
) -> Outcome:
    """Fit the weights on validation rows and score every part with them.

    Raises:
        BadInput: the runs cannot be blended; see `core.inference.blend_members.check_blendable`.
        Damaged: the predictions of a run are damaged.
    """
    started = time.monotonic()
    store = RunStore(workspace)
    runs = [store.get(run_id) for run_id in request.runs]
    check_blendable(dataset, runs)
    reporter.phase("fitting the weights")
    labels, scores = load_part_scores(workspace, runs)
    maps = _member_maps(workspace, runs, request)
    scores = {
        part: np.stack(
            [
                one if used is None else used.apply(one)
                for one, used in zip(values, maps, strict=True)
            ]
        )
        for part, values in scores.items()
    }
    if VALIDATION not in labels:
        raise BadInput(
            f"Run {runs[0].id} scored no validation rows, on which the weights of a blend are"
            " fitted; choose runs whose dataset has some."
        )
    weights = fit_weights(
        np.stack([*map(logits_of, scores[VALIDATION])], axis=1), labels[VALIDATION]
    )
    reporter.phase("evaluating")
    blended, threshold, metrics = _evaluate(labels, scores, weights)
    _, _, mean = _evaluate(labels, scores, np.full(len(runs), 1 / len(runs)))
    reporter.progress(1, 1, 1, 1)
    members = []
    trained, seconds = len(runs), 0.0
    titles = request.arms or request.runs
    for run, title, weight, used in zip(runs, titles, weights, maps, strict=True):
        assert run.result is not None
        members.append(BlendedRun(run.id, title, float(weight), run.result.metrics, used))
        # A blend needs all of its runs, so that it costs what they cost.
        trained += run.result.trained_parameters
        seconds += run.result.seconds.get("total", 0.0)
    result = RunResult(
        threshold=threshold,
        threshold_rule=THRESHOLD_RULE,
        metrics=metrics,
        trained_parameters=trained,
        blend=BlendResult(tuple(members), len(labels[VALIDATION]), mean),
        seconds={"evaluate": round(time.monotonic() - started, 3), "members": round(seconds, 3)},
    )
    return Outcome(result, prediction_arrays(labels, blended, None))


def _member_maps(
    workspace: Workspace, runs: Sequence[Run], request: BlendRequest
) -> list[RecalibrationMap | None]:
    """Return the map by which the scores of each run are calibrated; None for none."""
    methods = request.calibration or (NONE,) * len(runs)
    return [
        None if method == NONE else used_map(workspace, run, method)
        for run, method in zip(runs, methods, strict=True)
    ]


def load_part_scores(
    workspace: Workspace, runs: Sequence[Run]
) -> tuple[ArraysByPart, ArraysByPart]:
    """Return labels, and scores of shape ``(n_runs, n_rows)``, of the parts that all runs scored.

    Raises:
        BadInput: the labels of two runs differ, so that their rows do.
    """
    arrays = [read_predictions(workspace, run.id) for run in runs]
    labels: ArraysByPart = {}
    scores: ArraysByPart = {}
    for part in SCORED_PARTS:
        if not all(f"{part}_score" in one for one in arrays):
            continue
        labels[part] = np.asarray(arrays[0][f"{part}_label"])
        for run, one in zip(runs, arrays, strict=True):
            if not np.array_equal(labels[part], one[f"{part}_label"]):
                raise BadInput(
                    f"Runs {runs[0].id} and {run.id} cannot be blended, as the labels of their"
                    f" {part.replace('_', ' ')} rows differ; a blend needs the same validation and"
                    " test rows."
                )
        scores[part] = np.stack([one[f"{part}_score"] for one in arrays])
    return labels, scores


def _evaluate(
    labels: ArraysByPart, scores: ArraysByPart, weights: np.ndarray
) -> tuple[ArraysByPart, float, dict[str, Metrics]]:
    """Return scores by part, the threshold chosen on validation rows, and metrics at it."""
    blended = {part: blend_scores(values, weights) for part, values in scores.items()}
    threshold = best_f1_threshold(labels[VALIDATION], blended[VALIDATION])
    return blended, threshold, evaluate_parts(labels, blended, threshold)
