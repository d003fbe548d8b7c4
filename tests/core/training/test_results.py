"""On which rows a run is measured."""

import dataclasses

import numpy as np

from core.data.datasets import Dataset, load_labels, select_training_rows
from core.inference.evaluate_run import evaluate_on
from core.jobs.requests import FinetuneRequest, InterpolateRequest
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, pretrained, run_request


def test_validation_metrics_are_of_rows_that_the_run_did_not_train_on(
    tiny: tuple[Workspace, Dataset],
) -> None:
    """With few target rows, most of the dataset's own validation part is trained on."""
    workspace, dataset = tiny
    settings = dataclasses.replace(QUICK, validation_share=0.3)
    request = FinetuneRequest(
        dataset.id,
        pretrained(workspace, "dnn").id,
        freeze_depth=0,
        train=settings,
        target_rows=100,
        keep_head=True,
    )
    run = run_request(workspace, request)
    rows = select_training_rows(dataset, "target", 0.3, 100)[1]
    with np.load(workspace.runs / run.id / "predictions.npz") as stored:
        np.testing.assert_array_equal(stored["target_validation_label"], load_labels(dataset)[rows])
        assert (
            len(stored["target_validation_before"]) == len(stored["target_validation_score"]) == 30
        )
    assert run.result is not None and run.result.metrics["target_validation"]["rows"] == 30
    assert evaluate_on(workspace, run, dataset) == run.result.metrics
    mixed = run_request(workspace, InterpolateRequest(dataset.id, run.id, train=QUICK))
    with np.load(workspace.runs / mixed.id / "predictions.npz") as stored:
        np.testing.assert_array_equal(stored["target_validation_label"], load_labels(dataset)[rows])
