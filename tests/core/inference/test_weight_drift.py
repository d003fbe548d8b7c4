"""Weight drift compared with NumPy on the stored weights; frozen weights have not moved."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from core.data.datasets import Dataset
from core.errors import BadInput
from core.evaluation.geometry import linear_cka
from core.inference.weight_drift import embedding_arrays, measure_weight_drift
from core.inference.weight_drift_files import read_embedding_vectors, read_weight_drift
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RunStore
from core.models.backbone import load_backbone
from core.models.card import load_card
from core.training.training_rows import load_rows
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, ListReporter, pretrained, run_request

Tiny = tuple[Workspace, Dataset]


def test_weights_and_activations_of_a_half_frozen_run(tiny: Tiny) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dcnv2")
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 2, train=QUICK))
    found = measure_weight_drift(workspace, run)
    assert read_weight_drift(workspace, run.id) == found
    stages = found.stages
    assert [stage.name for stage in stages] == [stage.name for stage in card.stages]
    for stage in stages[:2]:
        assert stage.frozen and stage.distance == 0 and stage.relative == 0 and stage.cka == 1
    for stage in stages[2:]:
        assert not stage.frozen and stage.distance > 0
        assert stage.cka is not None and stage.cka < 1

    folder = workspace.runs / run.id / "model"
    before, after = (
        load_file(card.folder / "model.safetensors"),
        load_file(folder / "model.safetensors"),
    )
    parameters = {name for name, _ in load_backbone(card).named_parameters()}
    for place, stage in enumerate(stages):
        names = [name for name in sorted(parameters) if name.startswith(f"stages.{place}.")]
        own, others = (
            np.concatenate([one[name].ravel() for name in names]).astype(float)
            for one in (before, after)
        )
        assert stage.norm == pytest.approx(np.linalg.norm(own))
        assert stage.relative == pytest.approx(np.linalg.norm(others - own) / np.linalg.norm(own))

    table = load_rows(workspace, dataset, card.folder / "preprocessing", ("target_test",))
    rows = table.take(table.row_numbers, torch.device("cpu"))
    assert found.rows == len(table.row_numbers)
    with torch.no_grad():
        last = [
            load_backbone(one).run_stages(rows.state, 0, len(card.stages))[-1].numpy()
            for one in (card, load_card(folder))
        ]
    assert stages[-1].cka == pytest.approx(linear_cka(*last), rel=1e-5)


def test_vectors_of_a_field_are_the_tables(tiny: Tiny) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 0, train=QUICK))
    measure_weight_drift(workspace, run)
    before, after, values = read_embedding_vectors(workspace, run.id, "C9")
    network = load_backbone(card)
    ids = torch.zeros(len(values), 39, dtype=torch.int64)
    ids[:, 13 + 8] = torch.arange(len(values))
    vectors = network.stage_list()[0].vectors(ids)[:, 13 + 8].detach().numpy()  # type: ignore[operator]
    np.testing.assert_array_equal(before, vectors)
    assert values[:2].tolist() == ["missing", "unseen"] and not np.array_equal(before, after)
    assert embedding_arrays(network, network, card).keys() >= {"I1_before", "C26_after"}


def test_what_did_not_train_is_refused(tiny: Tiny) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, "zero-shot", train=QUICK))
    with pytest.raises(BadInput, match="no weights have changed"):
        measure_weight_drift(workspace, run)
    with pytest.raises(BadInput, match="no weights have changed"):
        measure_weight_drift(workspace, RunStore(workspace).list(kind="pretrain")[0])


def test_gradients_of_what_trains_are_recorded(tiny: Tiny) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    reporter = ListReporter()
    run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK), reporter)
    norms = [row for row in reporter.rows if row[1].startswith("gradient/")]
    assert {name for _, name, _ in norms} == {"gradient/block1", "gradient/block2", "gradient/head"}
    assert all(value > 0 for _, _, value in norms)
