"""With THAW_READ_ONLY=1 whatever adds, changes, removes or starts is refused, and the workspace
stays as it was."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.data.datasets import Dataset, delete_dataset
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.samples import delete_sample, find_sample
from core.data.split import SplitSpec
from core.errors import BadInput
from core.inference.weight_drift import measure_weight_drift
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.store import RunStore
from core.models.backbone_import import import_backbone
from core.models.backbone_store import find_backbone
from core.models.card import load_card
from core.read_only import READ_ONLY
from core.runs.demo import run_demo
from core.runs.removal import delete_backbone
from core.runs.submit import submit_finetune, submit_interpolation, submit_pretrain
from core.runs.sweep import Arm, SweepSpec, submit_sweep
from core.workspace import BUNDLED_BACKBONES, Workspace
from tests.core.data.helpers import fingerprint, rows, text


def test_nothing_is_added_changed_removed_or_started(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workspace, dataset = tiny
    store = RunStore(workspace)
    request = FinetuneRequest(dataset.id, "simulated-dnn", keep_head=True)
    run = store.submit(request, "waits", "cpu")
    (tmp_path / "rows.tsv").write_bytes(text(rows(50)))
    sample = find_sample(workspace, dataset.sample_id)
    card = find_backbone(workspace, "Simulated DNN")
    assert load_card(BUNDLED_BACKBONES / "simulated-dnn").id == card.id
    before, runs = fingerprint(workspace), store.list()

    monkeypatch.setenv(READ_ONLY, "1")
    actions: list[Callable[[], object]] = [
        lambda: ingest(workspace, tmp_path / "rows.tsv", "more"),
        lambda: prepare(workspace, sample, SplitSpec(), "more"),
        lambda: delete_sample(sample),
        lambda: delete_dataset(dataset),
        lambda: import_backbone(workspace, BUNDLED_BACKBONES / "simulated-dnn", "another"),
        lambda: delete_backbone(workspace, card),
        lambda: submit_pretrain(workspace, PretrainRequest(dataset.id, "dnn", "new")),
        lambda: submit_finetune(workspace, request),
        lambda: submit_interpolation(workspace, run),
        lambda: submit_sweep(
            workspace, SweepSpec(dataset.id, card.id, (Arm("depth", 0),)), "sweep"
        ),
        lambda: run_demo(workspace),
        lambda: measure_weight_drift(workspace, run),
        lambda: store.request_cancel(run.id),
        lambda: store.resume(run.id),
        lambda: store.annotate(run.id, "other", [], ""),
        lambda: store.delete(run.id),
    ]
    for action in actions:
        with pytest.raises(BadInput, match="THAW_READ_ONLY=1"):
            action()
    assert fingerprint(workspace) == before and store.list() == runs

    monkeypatch.setenv(READ_ONLY, "0")
    store.request_cancel(run.id)
    assert store.get(run.id).status == "cancelled"
