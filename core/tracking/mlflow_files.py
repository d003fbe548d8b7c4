"""MLflow's file store, written without MLflow.

MLflow 3.17 shows it with MLFLOW_ALLOW_FILE_STORE=true, or takes it into a database by `mlflow
migrate-filestore`; earlier versions read it as it is.

Layout (mlflow.store.tracking.file_store): OUT/EXPERIMENT/meta.yaml, and for every run a folder with
meta.yaml, one file per parameter and per tag that holds its value, and one file per metric with
lines "milliseconds value step".
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.tracking.tracked import TrackedRun

STATUSES = {"queued": 2, "running": 1, "done": 3, "failed": 4, "cancelled": 5, "interrupted": 5}
"""mlflow.entities.RunStatus: running 1, scheduled 2, finished 3, failed 4, killed 5."""
LONGEST_PARAM = 6000


def write_mlflow(target: Path, runs: Sequence[TrackedRun], final: Path) -> list[Path]:
    """Write every run into one experiment, and return the files.

    Args:
        target: folder to write into.
        runs: what to write.
        final: where `target` will be moved; the files state addresses there.
    """
    # MLflow keeps an experiment "0" called Default in every store and makes it when it is not
    # there.
    files = _experiment(target, final, "0", "Default", runs)
    name = runs[0].experiment
    experiment = str(int(hashlib.sha256(name.encode()).hexdigest()[:14], 16))
    files += _experiment(target, final, experiment, name, runs)
    for run in runs:
        files += _run(target / experiment, final / experiment, experiment, run)
    return files


def _experiment(
    target: Path, final: Path, experiment: str, name: str, runs: Sequence[TrackedRun]
) -> list[Path]:
    folder = target / experiment
    folder.mkdir()
    created = _milliseconds(min(run.started for run in runs))
    meta: dict[str, Any] = {
        "artifact_location": (final / experiment).as_uri(),
        "creation_time": created,
        "experiment_id": experiment,
        "last_update_time": created,
        "lifecycle_stage": "active",
        "name": name,
    }
    return [_yaml(folder / "meta.yaml", meta)]


def _run(folder: Path, final: Path, experiment: str, run: TrackedRun) -> list[Path]:
    run_id = hashlib.sha256(run.id.encode()).hexdigest()[:32]
    own = folder / run_id
    for part in ("artifacts", "metrics", "params", "tags"):
        (own / part).mkdir(parents=True)
    meta: dict[str, Any] = {
        "artifact_uri": (final / run_id / "artifacts").as_uri(),
        "end_time": None if run.finished is None else _milliseconds(run.finished),
        "entry_point_name": "",
        "experiment_id": experiment,
        "lifecycle_stage": "active",
        "run_id": run_id,
        "run_name": run.name,
        "run_uuid": run_id,
        "source_name": "",
        "source_type": 4,
        "source_version": "",
        "start_time": _milliseconds(run.started),
        "status": STATUSES[run.status],
        "tags": [],
        "user_id": "thaw",
    }
    files = [_yaml(own / "meta.yaml", meta)]
    for name, value in run.params.items():
        files.append(_text(own / "params" / name, value[:LONGEST_PARAM]))
    for name, value in {**run.tags, "mlflow.runName": run.name}.items():
        files.append(_text(own / "tags" / name, value))
    for name, (steps, values, seconds) in run.curves.items():
        rows = zip(steps.tolist(), values.tolist(), seconds.tolist(), strict=True)
        lines = [
            f"{_milliseconds(run.started + passed)} {value!r} {step}"
            for step, value, passed in rows
        ]
        files.append(_text(own / "metrics" / name, "\n".join(lines) + "\n"))
    end = _milliseconds(run.finished or run.started)
    for name, number in run.metrics.items():
        files.append(_text(own / "metrics" / name, f"{end} {number!r} {run.last_step}\n"))
    return files


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _yaml(path: Path, values: dict[str, Any]) -> Path:
    """Write a flat mapping as YAML, of which JSON scalars are a subset."""
    return _text(path, "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()))


def _text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
