"""Requests and results as they are stored: today's, earlier versions', and damaged ones."""

import json
import math
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest

from core.evaluation.metrics import Metrics
from core.jobs.requests import FinetuneRequest, PretrainRequest, request_from_json, request_to_json
from core.jobs.run_result import RunResult, result_from_json, result_to_json
from core.workspace import PROJECT, nan_to_none, parse_json

EARLIER = sorted((PROJECT / "tests" / "faults" / "workspaces").glob("schema-*.zip"))


def stored_runs(archive: Path, folder: Path) -> list[dict[str, Any]]:
    """The rows of the table of runs in a workspace that an earlier version made."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    with sqlite3.connect(next(folder.rglob("thaw.sqlite"))) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM runs")]


@pytest.mark.parametrize("archive", EARLIER, ids=lambda path: path.stem)
def test_what_earlier_versions_stored_is_read_and_written_as_it_was(
    archive: Path, tmp_path: Path
) -> None:
    rows = stored_runs(archive, tmp_path)
    results = 0
    for row in rows:
        request = parse_json(row["request"])
        again = request_to_json(request_from_json(request))
        # Later versions add settings, to training too.
        train = {name: again["train"][name] for name in request["train"]}
        assert {name: again[name] for name in request} | {"train": train} == request
        if row["result"]:
            results += 1
            result = parse_json(row["result"])
            written = nan_to_none(result_to_json(result_from_json(result)))
            stages, before = written.pop("stages", []), result.pop("stages", [])
            assert {name: written[name] for name in result} == result
            for one, stage in zip(stages, before, strict=True):
                assert {name: one[name] for name in stage} == stage
    assert rows and results


def test_a_result_is_stored_with_the_keys_it_has() -> None:
    """Of a fine-tuning run, a pretraining run and an interpolation: no key that is not its own."""
    tuned = result_to_json(RunResult(backbone="b-1", backbone_sha256="f" * 64))
    assert "learnt" not in tuned and "alphas" not in tuned and tuned["before"] is None
    made = result_to_json(RunResult(backbone="b-1", learnt={}))
    assert made["learnt"] == {} and "backbone_sha256" not in made
    values = {
        "alphas": [0.0, 1.0],
        "parts": {"target_test": {"auc": [0.5, None]}},
        "chosen": 1.0,
        "mixes_head": True,
        "seconds": {"evaluate": 0.5},
    }
    mixed = result_from_json(values)
    assert mixed.interpolation is not None and mixed.interpolation.alphas == (0.0, 1.0)
    again = result_to_json(mixed)
    assert {name: again[name] for name in values} == values
    assert "metrics" not in again and "stages" not in again and "backbone" not in again


def test_what_is_missing_or_unknown_does_no_harm() -> None:
    assert result_from_json({"a key of a newer version": 1}) == RunResult()
    assert math.isnan(RunResult().total_seconds)
    request = request_from_json({"kind": "finetune", "dataset": "d", "backbone": "b", "newer": 1})
    assert request == FinetuneRequest("d", "b")
    early = {"name": "embedding", "title": "Embedding", "parameters": 9, "frozen": False}
    (stage,) = result_from_json({"stages": [early]}).stages
    assert (stage.trained, stage.flops, stage.origin) == (9, None, "supervised")
    assert result_from_json({"stages": [{**early, "frozen": True}]}).stages[0].trained == 0


def test_any_metric_may_be_missing() -> None:
    metrics = Metrics.from_stored({"auc": None, "rows": 30})
    assert math.isnan(metrics["auc"]) and math.isnan(metrics.auc) and math.isnan(metrics.log_loss)
    assert (
        metrics["rows"] == 30 and metrics.get("log_loss") is None and [*metrics] == ["auc", "rows"]
    )
    assert metrics.as_dict() == {"auc": None, "rows": 30}
    assert metrics == Metrics.from_stored(json.loads(json.dumps(metrics.as_dict())))
    assert len(Metrics.from_stored(None)) == 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"metrics": 1}, "metrics"),
        ({"metrics": {"target_test": 0.5}}, "metrics"),
        ({"stages": {}}, "stages"),
        ({"stages": [{"name": "embedding"}]}, "title"),
        ({"seconds": []}, "seconds"),
        ({"best_epoch": "3"}, "best_epoch"),
        ({"alphas": [0.0]}, "parts"),
    ],
)
def test_a_damaged_result_names_what_is_wrong(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        result_from_json(values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "kind"),
        ({"kind": "dance"}, "'dance'"),
        ({"kind": "pretrain", "dataset": "d", "architecture": "dnn"}, "name"),
        ({"kind": "finetune", "dataset": "d", "backbone": "b", "train": 7}, "train"),
    ],
)
def test_a_damaged_request_names_what_is_wrong(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        request_from_json(values)


def test_requests_of_another_kind_are_refused() -> None:
    """What is read of a fine-tuning run alone is never read of a pretraining run."""
    request = request_from_json(request_to_json(PretrainRequest("d", "dnn", "mine")))
    assert isinstance(request, PretrainRequest) and request.objective == "supervised"


@pytest.mark.parametrize(
    ("fields", "last"),
    [
        # Up to version 0.12 steps were not stored, and an epoch ended with its only validation.
        ({"best_epoch": 4, "epochs_run": 4}, True),
        ({"best_epoch": 3, "epochs_run": 4}, False),
        ({"best_epoch": 4, "epochs_run": 4, "best_step": 70, "steps_run": 80}, False),
        ({"best_epoch": 4, "epochs_run": 4, "best_step": 80, "steps_run": 80}, True),
        ({"best_epoch": 4, "epochs_run": 4, "stopped_early": True}, False),
        ({"best_epoch": 4, "epochs_run": 4, "halted": 4}, False),
        ({}, False),
    ],
)
def test_a_run_whose_best_epoch_is_its_last_says_so(fields: dict[str, Any], last: bool) -> None:
    result = RunResult(**fields)
    assert result.best_epoch_is_last == last == bool(result.training_warning)
    stored = result_to_json(result)
    assert stored["best_epoch_is_last"] == last
    assert result_from_json(stored) == result


def test_a_run_that_no_epoch_improved_says_so() -> None:
    """A run that kept its head then ends as its backbone was, which +0.0000 says to nobody."""
    said = RunResult(best_epoch=0, epochs_run=4, stopped_early=True).training_warning
    assert said.startswith("No epoch had a lower validation loss than the start")


def test_the_step_that_was_kept_is_found_in_results_of_any_version() -> None:
    assert RunResult(best_epoch=2).kept_step([0, 10, 20, 30]) == 20
    assert RunResult(best_epoch=2).kept_step([0, 10]) is None
    assert RunResult(best_epoch=2, best_step=15, steps_run=40).kept_step([0, 5, 10, 15, 20]) == 15
