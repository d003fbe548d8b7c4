"""The results of a run that must be the same however often it was interrupted."""

import hashlib
from typing import Any

from core.jobs.run_result import result_to_json
from core.jobs.store import Run, RunStore
from core.workspace import Workspace

SECONDS = "seconds"
"""The one curve that tells how long something took."""


def outcome(workspace: Workspace, store: RunStore, run: Run) -> dict[str, Any]:
    """Weights, metrics, predictions and every point but the values of seconds; AssertionError where
    it is not done."""
    assert run.result is not None, f"{run.name} is {run.status}: {run.message}"
    folder = workspace.runs / run.id
    weights = (
        workspace.backbones / run.result.backbone if run.kind == "pretrain" else folder / "model"
    )
    points = store.points(run.id)
    return {
        "weights": _hash(weights / "model.safetensors") if run.kind != "interpolate" else "",
        "predictions": _hash(folder / "predictions.npz")
        if (folder / "predictions.npz").exists()
        else "",
        "metrics": result_to_json(run.result)["parts" if run.kind == "interpolate" else "metrics"],
        "points": {
            name: (steps.tolist(), values.tolist())
            for name, (steps, values) in points.items()
            if name != SECONDS
        },
        "seconds at": points[SECONDS][0].tolist() if SECONDS in points else [],
    }


def require_same(found: dict[str, Any], expected: dict[str, Any], what: str) -> None:
    """AssertionError, with what differs, unless two outcomes are the same."""
    assert found.keys() == expected.keys(), (
        f"{what}: {sorted(found)} where {sorted(expected)} belong"
    )
    for part, value in expected.items():
        if isinstance(value, dict) and found[part] != value:
            require_same(found[part], value, f"{what}, {part}")
        assert found[part] == value, (
            f"{what}: {part} is {found[part]!r:.400}, unbroken {value!r:.400}"
        )


def _hash(path: Any) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
