"""Whole runs on a GPU: what they store, score and export, alone and several at a time."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from core.data.datasets import Dataset
from core.inference.evaluate_run import evaluate_on
from core.inference.export import export_model
from core.jobs.requests import FinetuneRequest, InterpolateRequest
from core.jobs.store import Run, RunStore
from core.runs import sweep as sweeps
from core.runs.dispatch import execute
from core.runs.sweep import Arm, SweepSpec, submit_sweep
from core.runs.verify import verify
from core.runs.worker import run_worker
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, pretrained, run_request
from tests.optional import on_gpu

GPU = dataclasses.replace(QUICK, device="cuda", ema=True, batch_size=64)


def finetuned(workspace: Workspace, dataset: Dataset, strategy: str = "full") -> Run:
    """A run that kept its head, on a backbone that was pretrained on the GPU."""
    card = pretrained(workspace, "dcnv2", GPU)
    return run_request(
        workspace, FinetuneRequest(dataset.id, card.id, strategy, train=GPU, keep_head=True)
    )


@on_gpu
@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_a_run_on_a_gpu_is_evaluated_verified_and_exported(
    tiny: tuple[Workspace, Dataset], strategy: str, tmp_path: Path
) -> None:
    workspace, dataset = tiny
    run = finetuned(workspace, dataset, strategy)
    assert run.result is not None and run.result.device != "cpu"
    assert run.result.peak_memory
    # The same path: not a digit differs.
    assert evaluate_on(workspace, run, dataset) == run.result.metrics
    verification = verify(workspace, run)
    assert verification.same and verification.weights_same, verification.sentence
    # The ONNX model is compared with torch as it is exported.
    export_model(workspace, run, tmp_path / "model")
    assert (tmp_path / "model" / "model.onnx").exists()


@on_gpu
def test_a_run_on_the_cpu_of_a_machine_with_a_gpu_is_evaluated_on_the_cpu(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, dataset = tiny
    request = FinetuneRequest(dataset.id, pretrained(workspace, "dnn").id, "full", train=QUICK)
    run = run_request(workspace, request)
    assert run.result is not None and run.result.device == "cpu"
    assert evaluate_on(workspace, run, dataset) == run.result.metrics


@on_gpu
def test_weights_are_interpolated_on_a_gpu(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    run = finetuned(workspace, dataset)
    mixed = run_request(workspace, InterpolateRequest(dataset.id, run.id, train=GPU))
    with (
        np.load(workspace.runs / mixed.id / "predictions.npz") as curve,
        np.load(workspace.runs / run.id / "predictions.npz") as stored,
    ):
        for alpha, name in ((0.0, "before"), (1.0, "score")):
            np.testing.assert_allclose(
                curve[f"target_test_{alpha}"], stored[f"target_test_{name}"], atol=1e-6
            )


@on_gpu
def test_arms_that_share_a_gpu_give_what_they_give_alone(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rates to choose from, which a CPU would train together for the head alone."""
    workspace, dataset = tiny
    monkeypatch.setattr(sweeps, "ensure_worker", lambda workspace, queue: None)
    card = pretrained(workspace, "dnn", GPU)
    # Gradual unfreezing opens a stage an epoch.
    train = dataclasses.replace(GPU, epochs=5)
    arms = (Arm("linear-probe"), Arm("full"), Arm("gradual"))
    spec = SweepSpec(dataset.id, card.id, arms, (0,), learning_rates=(1e-3, 3e-3), train=train)
    found = []
    for number in ("1", "3"):
        monkeypatch.setenv("THAW_ARMS", number)
        sweep = submit_sweep(workspace, spec, f"{number} at a time")
        run_worker(workspace, "cuda", execute, idle_timeout=0.1)
        runs = RunStore(workspace).list_group(sweep.id)
        assert {run.status for run in runs} == {"done"}, [run.message for run in runs]
        scores = {}
        for run in runs:
            with np.load(workspace.runs / run.id / "predictions.npz") as arrays:
                key = (run.strategy, run.request.train.learning_rate)
                scores[key] = arrays["target_test_score"]
        found.append(scores)
    assert found[0].keys() == found[1].keys() and len(found[0]) == 6
    for key, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][key])
