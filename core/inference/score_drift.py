"""How far the rows of a scored file have moved from those a run learnt from, and its scores from
those on test rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.data.datasets import find_dataset, load_encoded, select_training_rows
from core.data.preprocessing import MISSING, UNSEEN, Preprocessing
from core.data.profile import (
    drift_counts,
    drift_level,
    explain_too_few_rows,
    min_rows_for_drift,
    population_stability_index,
    psi_noise_limit,
)
from core.data.schema import FIELDS
from core.errors import BadInput, Damaged
from core.jobs.predictions import read_predictions
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.store import Run
from core.workspace import Workspace

SCORE_EDGES = np.linspace(0, 1, 51)
"""Equal bins of [0, 1] for drawing both distributions; the index is taken over ten bins of equally
many test rows."""


@dataclass(frozen=True)
class TrainingReference:
    """What a run learnt from: counts (39, bins) of its training rows, see
    core.data.profile.drift_counts.

    test_scores: the run's scores on its test rows (target, or source for a pretraining). dataset:
    its name.
    """

    dataset: str
    counts: np.ndarray
    test_scores: np.ndarray


def load_training_reference(
    workspace: Workspace, run: Run, preprocessing: Preprocessing
) -> TrainingReference | None:
    """None when the run's dataset, or what it scored, is gone or damaged."""
    request = run.request
    assert isinstance(request, PretrainRequest | FinetuneRequest)
    domain, last = (
        ("source", 0) if isinstance(request, PretrainRequest) else ("target", request.target_rows)
    )
    try:
        dataset = find_dataset(workspace, run.dataset)
        ids = load_encoded(workspace, dataset, preprocessing).ids
    except BadInput:
        return None
    rows = np.sort(select_training_rows(dataset, domain, request.train.validation_share, last)[0])
    try:
        scores = read_predictions(workspace, run.id, [f"{domain}_test_score"])[
            f"{domain}_test_score"
        ]
    except Damaged:
        return None
    return TrainingReference(dataset.name, drift_counts(ids[rows]), scores)


def measure_drift_from_training(
    reference: TrainingReference, counts: np.ndarray, scores: np.ndarray, threshold: float
) -> dict[str, Any]:
    """JSON-ready: fields, most moved first, and scores. counts: of the scored rows, as Learnt's;
    scores: theirs.

    psi: population stability index, see core.data.profile.population_stability_index; level: see level_of
    there, None where there are too few rows to judge, which `why` says in a sentence; rows_needed:
    how many would be enough, None if no number.
    """
    training, rows = int(reference.counts[0].sum()), len(scores)
    why = explain_too_few_rows(training, rows)
    fields = []
    for place, field in enumerate(FIELDS):
        before, after = reference.counts[place], counts[place]
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
        "fields": sorted(fields, key=lambda one: -one["psi"]),
        "scores": _score_drift(reference.test_scores, scores, threshold, judged=not why),
    }


def score_distribution(scores: np.ndarray, threshold: float) -> dict[str, Any]:
    """JSON-ready: how many rows, their mean score and share of predicted clicks, and counts between
    SCORE_EDGES."""
    return {
        "rows": len(scores),
        "mean": float(scores.mean(dtype=np.float64)),
        "predicted_click_share": float((scores >= threshold).mean()),
        "counts": np.histogram(scores, SCORE_EDGES)[0].tolist(),
    }


def _score_drift(
    test: np.ndarray, scored: np.ndarray, threshold: float, judged: bool
) -> dict[str, Any]:
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
