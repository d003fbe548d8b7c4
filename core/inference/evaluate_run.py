"""Evaluate a finished run on another dataset."""

import numpy as np

from core.data.datasets import Dataset, require_labels
from core.data.preprocessing import load_preprocessing
from core.errors import BadInput
from core.evaluation.metrics import Metrics
from core.evaluation.recalibration import RecalibrationMap
from core.inference.blend_members import blended_runs
from core.inference.blend_weights import blend_scores
from core.inference.run_calibration import used_map
from core.inference.run_model import load_scoring_card
from core.jobs.store import Run
from core.models.backbone import load_backbone
from core.training.devices import same_device, tf32_products
from core.training.results import (
    ArraysByPart,
    evaluate_parts,
    labels_by_part,
    run_validation_rows,
    score_parts,
    scored_rows,
)
from core.training.run_dataset import find_run_dataset
from core.training.training_rows import encode_row_numbers
from core.workspace import Workspace


def evaluate_on(
    workspace: Workspace, run: Run, dataset: Dataset, calibration: str | None = None
) -> dict[str, Metrics]:
    """Return the metrics of a run's model on a dataset, by part, at the run's own threshold.

    Args:
        workspace: of both.
        run: a run that is done and scores clicks.
        dataset: its validation and test rows are scored; they must have labels. Of the dataset of a
            run on a window, they are those of that window.
        calibration: method by which the scores are calibrated, one of
            `core.inference.run_calibration.METHOD_CHOICES`; None for the one that the run uses.

    Raises:
        BadInput: the run is not done, its model does not score clicks, a run of a blend was
            deleted, or the dataset has no labels.
    """
    require_labels(dataset)
    if run.window and run.dataset == dataset.id:
        # Its own rows: what it was not trained on is the next window.
        dataset = find_run_dataset(workspace, run)
    if run.status != "done" or run.result is None:
        raise BadInput(
            f"Run {run.id} is {run.status}, so it has no model; wait until it is done or pick"
            " another run."
        )
    scored = scored_rows(dataset, run_validation_rows(dataset, run))
    if run.kind != "blend":
        scores = _score(workspace, run, dataset, scored)
    else:
        assert run.result.blend is not None
        members = [
            _calibrate(_score(workspace, one, dataset, scored), member.calibration)
            for one, member in zip(blended_runs(workspace, run), run.result.blend.runs, strict=True)
        ]
        weights = np.array([one.weight for one in run.result.blend.runs])
        scores = {
            part: blend_scores(np.stack([one[part] for one in members]), weights) for part in scored
        }
    assert run.result.threshold is not None
    used = used_map(workspace, run, calibration)
    return evaluate_parts(
        labels_by_part(dataset, scored),
        _calibrate(scores, used),
        used.apply_to(run.result.threshold),
    )


def _calibrate(scores: ArraysByPart, calibration: RecalibrationMap | None) -> ArraysByPart:
    if calibration is None:
        return scores
    return {part: calibration.apply(values) for part, values in scores.items()}


def _score(workspace: Workspace, run: Run, dataset: Dataset, scored: ArraysByPart) -> ArraysByPart:
    """Return the scores of the run's network on these rows of a dataset."""
    card = load_scoring_card(workspace, run)
    assert run.result is not None
    if run.result.threshold is None:
        raise BadInput(
            f"The model of run {run.id} was not trained on click labels, so there is nothing "
            "to measure."
        )
    # As the run scored: on another type of device, and in another precision, last digits differ.
    device = same_device(run.result.device)
    preprocessing = load_preprocessing(card.folder / "preprocessing")
    numbers = np.concatenate(list(scored.values()))
    rows = encode_row_numbers(workspace, dataset, preprocessing, numbers)
    with tf32_products(run.request.train.tf32):
        return score_parts(load_backbone(card).to(device), scored, rows, device)
