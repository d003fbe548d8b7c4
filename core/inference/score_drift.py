"""How far the rows and scores of a file are from those of a run's training and test rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.data.drift import (
    drift_counts,
    drift_level,
    explain_too_few_rows,
    min_rows_for_drift,
    population_stability_index,
    psi_noise_limit,
)
from core.data.preprocessing import MISSING, UNSEEN, Preprocessing
from core.data.schema import FIELDS
from core.errors import BadInput, Damaged
from core.evaluation.recalibration import RecalibrationMap
from core.jobs.predictions import read_predictions
from core.jobs.requests import BlendRequest, FinetuneRequest, PretrainRequest
from core.jobs.store import Run
from core.training.run_dataset import find_run_dataset
from core.training.training_rows import encode_row_numbers, request_rows, training_domain
from core.workspace import Workspace

SCORE_EDGES = np.linspace(0, 1, 51)
"""Equal bins of [0, 1], for drawing both distributions. The index is taken over ten bins of equally
many test rows."""


@dataclass(frozen=True)
class TrainingReference:
    """What a scored file is compared with.

    Args:
        dataset: name of the run's dataset.
        counts: of its training rows, int64 ``(39, bins)``, see `core.data.drift.drift_counts`.
        test_scores: the run's scores on its test rows; target rows, or source rows for a
            pretraining run.
    """

    dataset: str
    counts: np.ndarray
    test_scores: np.ndarray


def load_training_reference(
    workspace: Workspace,
    run: Run,
    preprocessing: Preprocessing,
    calibration: RecalibrationMap | None = None,
) -> TrainingReference | None:
    """Return the reference of a run; None if its dataset or its predictions are gone or damaged.

    Args:
        workspace: of the run.
        run: whose training and test rows are the reference.
        preprocessing: of the run's model.
        calibration: applied to the scores of the test rows, as it is to those of the file.
    """
    request = run.request
    assert isinstance(request, PretrainRequest | FinetuneRequest | BlendRequest)
    try:
        dataset = find_run_dataset(workspace, run)
        train, _ = request_rows(dataset, request)
        ids = encode_row_numbers(workspace, dataset, preprocessing, train).state[0].numpy()
    except BadInput:
        return None
    name = f"{training_domain(request)}_test_score"
    try:
        scores = read_predictions(workspace, run.id, [name])[name]
    except Damaged:
        return None
    scores = scores if calibration is None else calibration.apply(scores)
    return TrainingReference(dataset.name, drift_counts(ids), scores)


def measure_drift_from_training(
    reference: TrainingReference, counts: np.ndarray, scores: np.ndarray, threshold: float
) -> dict[str, Any]:
    """Compare scored rows with training rows, field by field, and their scores with test scores.

    Args:
        reference: of the run.
        counts: of the scored rows, as `TrainingReference.counts`.
        scores: of the scored rows.
        threshold: score from which a click is predicted.

    Returns:
        JSON-ready: `fields`, largest drift first, and `scores`, each with `psi` (population
        stability index, see `core.data.drift`), `noise` (what it may be by chance) and `level`,
        which is None if there are too few rows to judge. Then `why` says so in a sentence, and
        `rows_needed` how many would be enough (None if no number would).
    """
    training, rows = int(reference.counts[0].sum()), len(scores)
    why = explain_too_few_rows(training, rows)
    fields = []
    for index, field in enumerate(FIELDS):
        before, after = reference.counts[index], counts[index]
        psi, noise = population_stability_index(before, after), psi_noise_limit(before, after)
        fields.append(
            {
                "field": field,
                "psi": psi,
                "noise": noise,
                "level": None if why else drift_level(psi, noise),
                "unseen_training": float(before[UNSEEN] / before.sum()),
                "unseen_scored": float(after[UNSEEN] / after.sum()),
                "missing_training": float(before[MISSING] / before.sum()),
                "missing_scored": float(after[MISSING] / after.sum()),
            }
        )
    return {
        "dataset": reference.dataset,
        "training_rows": training,
        "judged": not why,
        "why": why,
        "rows_needed": min_rows_for_drift(training),
        "fields": sorted(fields, key=lambda values: -values["psi"]),
        "scores": _score_drift(reference.test_scores, scores, threshold, judged=not why),
    }


def score_distribution(scores: np.ndarray, threshold: float) -> dict[str, Any]:
    """Return mean, predicted clicks and histogram of scores, JSON-ready."""
    return {
        "rows": len(scores),
        "mean": float(scores.mean(dtype=np.float64)),
        "predicted_click_share": float((scores >= threshold).mean()),
        "counts": np.histogram(scores, SCORE_EDGES)[0].tolist(),
    }


def _score_drift(
    test: np.ndarray, scored: np.ndarray, threshold: float, judged: bool
) -> dict[str, Any]:
    # Deciles of the test scores; fewer bins if many scores are equal.
    inner = np.unique(np.quantile(test, np.linspace(0.1, 0.9, 9)))
    before, after = (
        np.bincount(np.searchsorted(inner, values, side="right"), minlength=len(inner) + 1)
        for values in (test, scored)
    )
    psi, noise = population_stability_index(before, after), psi_noise_limit(before, after)
    return {
        "psi": psi,
        "noise": noise,
        "level": drift_level(psi, noise) if judged else None,
        "edges": SCORE_EDGES.tolist(),
        "test": score_distribution(test, threshold),
        "scored": score_distribution(scored, threshold),
    }
