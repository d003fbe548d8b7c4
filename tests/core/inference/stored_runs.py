"""Finished runs whose scores are made by hand, so that blends are tested without training."""

from collections.abc import Sequence

import numpy as np

from core.data.datasets import (
    Dataset,
    load_labels,
    select_test_rows,
    select_training_rows,
)
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.training.results import evaluate_parts, prediction_arrays
from core.workspace import Workspace

BACKBONE = "simulated-dnn"
CPU = TrainSettings(device="cpu")


def stored_run(
    workspace: Workspace,
    dataset: Dataset,
    number: int,
    request: FinetuneRequest | None = None,
    test_labels: Sequence[int] | None = None,
    noise: float = 2.0,
) -> Run:
    """A finished fine-tuning run whose logits are the labels plus noise of its own."""
    request = request or FinetuneRequest(dataset.id, BACKBONE, freeze_depth=number, train=CPU)
    share = request.train.validation_share
    rows = {
        "target_validation": select_training_rows(dataset, "target", share, request.target_rows)[1],
        "target_test": select_test_rows(dataset, "target"),
        "source_test": select_test_rows(dataset, "source"),
    }
    labels = {part: np.asarray(load_labels(dataset)[index]) for part, index in rows.items()}
    generator = np.random.default_rng(number)
    scores = {
        part: (
            1 / (1 + np.exp(1.0 - 1.5 * values + noise * generator.standard_normal(len(values))))
        ).astype(np.float32)
        for part, values in labels.items()
    }
    if test_labels is not None:
        labels["target_test"] = np.asarray(test_labels, labels["target_test"].dtype)
    store = RunStore(workspace)
    run = store.submit(request, f"run {number}", "cpu")
    store.claim_run(run.id, 1)
    folder = workspace.runs / run.id
    folder.mkdir(parents=True)
    np.savez(folder / "predictions.npz", **prediction_arrays(labels, scores, None))  # type: ignore[arg-type]
    result = RunResult(
        threshold=0.5,
        metrics=evaluate_parts(labels, scores, 0.5),
        seconds={"total": 1.0},
        trained_parameters=100,
        backbone=request.backbone,
        dataset_hash=dataset.content_hash,
    )
    store.finish(run.id, "done", result=result)
    return store.get(run.id)
