"""A backbone's own scores: computed once for every run of a sweep, to the same bits as anew."""

import dataclasses

import numpy as np
import pytest
import torch

from core.data.datasets import Dataset
from core.jobs.requests import FinetuneRequest
from core.models.backbone import load_backbone
from core.training import baseline_scores
from core.training.losses import predict
from core.training.results import SCORED_PARTS, ArraysByPart, run_validation_rows, scored_rows
from core.training.training_rows import load_rows
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, pretrained, run_request


def test_arms_of_a_sweep_score_the_backbone_once_to_the_same_bits(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    computed: list[list[str]] = []
    anew = baseline_scores.score_parts

    def counted(*arguments: object) -> ArraysByPart:
        scores: ArraysByPart = anew(*arguments)  # type: ignore[arg-type]
        computed.append(list(scores))
        return scores

    monkeypatch.setattr(baseline_scores, "score_parts", counted)
    arms = [("depth", 0, 0), ("depth", len(card.stages), 1), ("zero-shot", 0, 0)]
    runs = [
        run_request(
            workspace,
            FinetuneRequest(
                dataset.id, card.id, strategy, depth, train=dataclasses.replace(QUICK, seed=seed)
            ),
        )
        for strategy, depth, seed in arms
    ]
    assert computed == [["target_validation", "target_test", "source_test"]]

    table = load_rows(
        workspace, dataset, card.folder / "preprocessing", ("target_train", *SCORED_PARTS)
    )
    for run in runs:
        stored = np.load(workspace.runs / run.id / "predictions.npz")
        for part, rows in scored_rows(dataset, run_validation_rows(dataset, run)).items():
            expected = predict(load_backbone(card), table.take(rows, torch.device("cpu")))
            np.testing.assert_array_equal(stored[f"{part}_before"], expected)

    # Other validation rows, and another backbone, are scored anew.
    run_request(
        workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, target_rows=100, train=QUICK)
    )
    other = pretrained(workspace, "deepfm")
    run_request(workspace, FinetuneRequest(dataset.id, other.id, "depth", 1, train=QUICK))
    assert len(computed) == 3
