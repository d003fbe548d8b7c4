"""Execute one run, from its request to its stored result. This is what a worker does."""

import dataclasses
import hashlib
import platform
import time
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from core.data.datasets import Dataset
from core.files.durable import make_folder
from core.inference.interpolate import interpolate
from core.inference.run_calibration import store_calibration
from core.jobs.reporter import Reporter
from core.jobs.requests import BlendRequest, InterpolateRequest, PretrainRequest
from core.jobs.run_result import RunResult, result_to_json
from core.jobs.store import Run
from core.training.devices import (
    choose_device,
    device_name,
    peak_memory,
    reset_peak_memory,
    tf32_products,
)
from core.training.finetune import finetune
from core.training.pretrain import pretrain
from core.training.results import Outcome
from core.training.run_dataset import find_request_dataset
from core.workspace import PROJECT, Workspace, write_atomic, write_json


def execute(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
    """Execute `run`; write its predictions, result and calibration, and return the result.

    Raises:
        BadInput: the request cannot be executed; the message is for the user.
        RunError: training failed; the message is for the user.
        CancelledError: the reporter asked to stop.
    """
    started = time.monotonic()
    reset_peak_memory()
    folder = workspace.runs / run.id
    make_folder(folder)
    request = run.request
    device = choose_device(request.train.device)
    dataset = find_request_dataset(workspace, request)
    with tf32_products(request.train.tf32):
        outcome = _outcome(workspace, run, dataset, device, reporter)
    seconds = outcome.result.seconds
    # A run that was interrupted, or waited for its rivals, counts what it trained before.
    total = round(time.monotonic() - started + seconds.get("earlier", 0.0), 3)
    result = dataclasses.replace(
        outcome.result,
        seconds={**seconds, "total": total},
        device=device_name(device),
        environment=runtime_environment(),
        dataset_hash=dataset.content_hash,
        peak_memory=peak_memory(device),
    )
    write_atomic(
        folder / "predictions.npz",
        lambda part: np.savez(part.open("wb"), **outcome.predictions),  # type: ignore[arg-type]
    )
    # Fitted on validation rows and used only where the user says so.
    store_calibration(workspace, run)
    write_json(folder / "result.json", result_to_json(result))
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return result


def _outcome(
    workspace: Workspace, run: Run, dataset: Dataset, device: torch.device, reporter: Reporter
) -> Outcome:
    """Do what the run's request asks for."""
    request = run.request
    if isinstance(request, PretrainRequest):
        return pretrain(workspace, run, request, dataset, device, reporter)
    if isinstance(request, InterpolateRequest):
        return interpolate(workspace, request, dataset, device, reporter)
    if isinstance(request, BlendRequest):
        # Only blends need SciPy, which would make every worker start a fifth slower.
        from core.inference.blend import blend

        return blend(workspace, request, dataset, reporter)
    return finetune(workspace, run, request, dataset, device, reporter)


@cache
def code_hash() -> str:
    """Return the SHA-256 (hex) of Thaw's own code below core/."""
    digest = hashlib.sha256()
    for path in sorted((PROJECT / "core").rglob("*.py")):
        digest.update(f"{path.relative_to(PROJECT).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


_LIBRARIES = ("pyarrow", "scipy", "safetensors", "scikit-learn", "lightgbm")


def runtime_environment() -> dict[str, Any]:
    """Return what may change the digits of a result, apart from the device.

    These are versions, code, CPU and threads.
    """
    return {
        "code": code_hash()[:16],
        "system": platform.platform(),
        "cuda": torch.version.cuda or "none",
        **{name: version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
