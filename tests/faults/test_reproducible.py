"""Same seed, same device, same numbers: bit for bit on the CPU, however many runs there are at a
time."""

import os
import subprocess
import sys

import numpy as np
import pytest

from core.data.datasets import Dataset
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.jobs.store import RunStore
from core.runs.launch import threads_per_run
from core.workspace import PROJECT, Workspace
from tests.core.training.helpers import pretrained

RECORDED = {
    "code",
    "system",
    "cuda",
    "pyarrow",
    "scipy",
    "safetensors",
    "scikit-learn",
    "lightgbm",
    "python",
    "torch",
    "numpy",
    "cpu",
    "threads",
}


def work_through(workspace: Workspace, arms: int) -> None:
    """A worker's whole life, with the machine's own number of threads."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [
        sys.executable,
        "-m",
        "core.runs.worker",
        "--workspace",
        str(workspace.root),
        "--lane",
        "cpu",
    ]
    settings = {"THAW_ARMS": str(arms), "THAW_WORKER_LINGER": "0.1"}
    subprocess.run(command, cwd=PROJECT, env=environment | settings, check=True)


def test_a_run_gives_the_same_bits_alone_and_in_parallel(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, dataset = tiny
    card, store = pretrained(workspace, "dnn"), RunStore(workspace)
    train = TrainSettings(epochs=2, batch_size=256, early_stopping=0, seed=4, device="cpu")
    request = FinetuneRequest(dataset.id, card.id, "depth", 1, train=train, group="g-1")
    ids = []
    for arms in (1, 2):
        runs = store.submit_all([(request, "one"), (request, "two")], "cpu")
        work_through(workspace, arms)
        ids += [run.id for run in runs]
    ends = [store.get(one) for one in ids]
    assert [run.status for run in ends] == ["done"] * 4, [run.message for run in ends]
    weights = {(workspace.runs / one / "model" / "model.safetensors").read_bytes() for one in ids}
    assert len(weights) == 1
    for one in ids[1:]:
        with (
            np.load(workspace.runs / ids[0] / "predictions.npz") as a,
            np.load(workspace.runs / one / "predictions.npz") as b,
        ):
            assert all(np.array_equal(a[name], b[name]) for name in a.files)
    results = [run.result for run in ends if run.result]
    assert all(result.metrics == results[0].metrics for result in results)
    assert all(result.environment == results[0].environment for result in results)
    assert set(results[0].environment) == RECORDED
    assert (
        results[0].dataset_hash == dataset.content_hash
        and results[0].backbone_sha256 == card.weights_sha256
    )


def test_threads_do_not_depend_on_the_number_of_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    for arms in ("1", "2", "16"):
        monkeypatch.setenv("THAW_ARMS", arms)
        assert threads_per_run() == 4
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert threads_per_run() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_per_run() == 3
