"""WiSE-FT: its ends are the backbone and the fine-tuned run, its middle the mean of their
weights."""

import numpy as np
import pytest
import torch

from core.data import datasets
from core.data.datasets import Dataset
from core.errors import BadInput
from core.inference.interpolate import ALPHAS, best_alpha, interpolate_weights
from core.jobs.requests import FinetuneRequest, InterpolateRequest
from core.jobs.store import RunStore
from core.models.backbone import load_backbone
from core.models.card import load_card
from core.runs.submit import submit_interpolation
from core.training.losses import predict
from core.training.training_rows import load_rows
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, load_predictions, pretrained, run_request

CPU = torch.device("cpu")


def test_the_path_from_the_backbone_to_the_run(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "deepfm")
    tuned = run_request(
        workspace, FinetuneRequest(dataset.id, card.id, train=QUICK, keep_head=True)
    )
    mixed = run_request(workspace, InterpolateRequest(dataset.id, tuned.id, train=QUICK))
    assert mixed.result is not None and mixed.result.interpolation is not None
    assert mixed.result.interpolation.mixes_head
    found, before = load_predictions(workspace, mixed), load_predictions(workspace, tuned)
    for part in ("target_test", "source_test"):
        np.testing.assert_allclose(found[f"{part}_0.0"], before[f"{part}_before"], atol=1e-6)
        np.testing.assert_allclose(found[f"{part}_1.0"], before[f"{part}_score"], atol=1e-6)

    middle, end = load_backbone(card), load_backbone(load_card(workspace.runs / tuned.id / "model"))
    with torch.no_grad():
        for one, other in zip(middle.parameters(), end.parameters(), strict=True):
            one.copy_((one + other) / 2)
        for own, others in zip(middle.buffers(), end.buffers(), strict=True):
            own.copy_((own + others) / 2 if own.is_floating_point() else others)
    table = load_rows(workspace, dataset, card.folder / "preprocessing", ("target_test",))
    by_hand = predict(middle, table.take(datasets.select_test_rows(dataset, "target"), CPU))
    np.testing.assert_allclose(found["target_test_0.5"], by_hand, atol=1e-6)

    losses = mixed.result.interpolation.parts["target_validation"]["log_loss"]
    assert (
        mixed.result.interpolation.chosen == ALPHAS[int(np.argmin(np.array(losses, dtype=float)))]
    )
    assert len(losses) == len(ALPHAS) == 11
    assert [run.id for run in RunStore(workspace).list(kind="interpolate")] == [mixed.id]
    assert mixed.id not in [run.id for run in RunStore(workspace).list()]


def test_a_new_head_is_not_mixed(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    tuned = run_request(workspace, FinetuneRequest(dataset.id, card.id, train=QUICK))
    with pytest.raises(BadInput, match="has a new head, which has nothing in common"):
        submit_interpolation(workspace, tuned)
    # One that an older version has queued.
    with pytest.raises(BadInput, match="that kept its backbone's head"):
        run_request(workspace, InterpolateRequest(dataset.id, tuned.id, train=QUICK))


def test_weights_are_mixed_and_counts_kept() -> None:
    start = {"stages.0.w": torch.zeros(2), "head.w": torch.zeros(2), "stages.0.n": torch.tensor(3)}
    tuned = {"stages.0.w": torch.ones(2), "head.w": torch.ones(2), "stages.0.n": torch.tensor(9)}
    mixed = interpolate_weights(start, tuned, 0.25)
    assert mixed["stages.0.w"].tolist() == mixed["head.w"].tolist() == [0.25, 0.25]
    assert mixed["stages.0.n"] == 9


def test_runs_that_did_not_train_cannot_be_interpolated(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    zero_shot = run_request(
        workspace, FinetuneRequest(dataset.id, card.id, "zero-shot", train=QUICK)
    )
    with pytest.raises(BadInput, match="is not a finished fine-tuning run"):
        run_request(workspace, InterpolateRequest(dataset.id, zero_shot.id, train=QUICK))


def test_alpha_is_chosen_among_those_whose_loss_is_known() -> None:
    losses = [None, 0.7, float("nan"), 0.4, 0.4, *[0.9] * 6]
    assert best_alpha(losses) == ALPHAS[3]
    assert best_alpha([None] * 11) == best_alpha([]) == 1.0
