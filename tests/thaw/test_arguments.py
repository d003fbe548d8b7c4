"""What the API refuses before anything is done, each in a sentence that says what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import thaw
from core.data.datasets import Dataset
from core.workspace import Workspace


@pytest.fixture
def ws(tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch) -> thaw.Workspace:
    """A workspace with the dataset tiny, in which no worker trains."""
    for module in ("submit", "sweep"):
        monkeypatch.setattr(f"core.runs.{module}.ensure_worker", lambda *_: None)
    return thaw.Workspace(tiny[0].root)


def refused(call: Callable[..., object], *args: Any, **options: Any) -> str:
    """The sentence of the BadInput that a call raises."""
    with pytest.raises(thaw.BadInput) as error:
        call(*args, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depths": 2}, "depths is 2; it must be a list of whole numbers or 'all'."),
        ({"depths": "al"}, "depths is 'al'; it must be a list of whole numbers or 'all'."),
        ({"rates": 0.1}, "rates is 0.1; it must be a list of numbers."),
        ({"target_sizes": 100}, "target_sizes is 100; it must be a list of whole numbers."),
        ({"target_sizes": []}, "target_sizes is empty; it must name"),
        ({"seeds": [0, 1]}, "seeds is [0, 1]; it must be a whole number."),
        ({"strategies": "lora"}, "strategies is 'lora'; it must be a list of texts, such as ['l"),
        ({"control_rows": ["retrain"]}, "control_rows is ['retrain']; it must be a dict."),
        ({"control_rows": {"lora": ["both"]}}, "Rows are chosen for 'lora'; the controls that"),
        ({"surgical": ["a"]}, "surgical is ['a']; it must be a list of lists of texts."),
        ({"epochs": "3"}, "epochs is '3'; it must be a whole number."),
        ({"lr": "0.1"}, "lr is '0.1'; it must be a number."),
        ({"name": 5}, "name is 5; it must be text."),
        ({"seed": 7}, "with seeds=3 it takes 3 of them, and seed=7 has no meaning; leave it out"),
        ({"wait": "Here"}, "wait is 'Here'; it must be True, False or 'here'."),
        ({"wait": 1}, "wait is 1; it must be True, False or 'here'."),
    ],
)
def test_a_sweep_refuses(ws: thaw.Workspace, options: dict[str, Any], said: str) -> None:
    given = {"depths": [1], "epochs": 1, **options}
    assert said in refused(ws.sweep, "tiny", "Simulated DNN", **given)
    assert not ws.runs


def test_a_control_is_an_arm_for_each_choice_of_rows(ws: thaw.Workspace) -> None:
    rows: dict[str, Any] = {"gradient-boosting": ("source", "target", "both"), "retrain": "source"}
    sweep = ws.sweep("tiny", "Simulated DNN", depths=[1], control_rows=rows, seeds=1, epochs=1)
    words = [run.name.split(" · ")[1] for run in sweep.runs]
    assert {one.rpartition(", seed")[0] for one in words if "depth" not in one} == {
        "gradient boosting, source rows",
        "gradient boosting, target rows",
        "gradient boosting, source and target rows",
        *(one.rpartition(", seed")[0] for one in words if one.startswith("retrained, source rows")),
    }
    assert any(one.startswith("retrained, source rows") for one in words)


def test_numbers_of_numpy_and_pandas_are_numbers(ws: thaw.Workspace) -> None:
    options: dict[str, Any] = {"depths": np.arange(2), "seeds": np.int64(1), "target_sizes": {0}}
    sweep = ws.sweep("tiny", "Simulated DNN", **options, rates=pd.Series([0.01]).tolist())
    assert len(sweep.runs) == 2
    options |= {"rates": pd.Series([0.02]), "epochs": None}
    sweep = ws.sweep("tiny", "Simulated DNN", **options)
    assert len(sweep.runs) == 2


def test_objects_stand_only_where_they_belong(ws: thaw.Workspace) -> None:
    sample, data, backbone = ws.samples[0], ws.dataset("tiny"), ws.backbone("Simulated DNN")
    wanted = "; it must be a Dataset or its name."
    assert refused(ws.finetune, sample, backbone, 1) == f"data is a Sample{wanted}"
    assert refused(ws.finetune, None, backbone, 1) == f"data is None{wanted}"
    assert refused(ws.finetune, pd.DataFrame(), backbone, 1) == f"data is a DataFrame{wanted}"
    assert "backbone is a Dataset; it must be a Backbone, a Run or its name" in refused(
        ws.finetune, data, data, 1
    )
    assert "wait is 'Here'" in refused(ws.finetune, data, backbone, 1, wait="Here")
    assert "controls is 'scratch'; it must be a list of texts, such as ['scratch']" in refused(
        ws.finetune, data, backbone, 1, controls="scratch"
    )
    assert refused(ws.dataset, sample) == f"name is a Sample{wanted}"
    assert ws.dataset(data).id == data.id and ws.sample(sample).id == sample.id
    run = ws.finetune(data, backbone, 1, epochs=1)
    assert ws.backbone(backbone).id == backbone.id and ws.run(run).id == run.id
    assert refused(run.evaluate, sample) == f"data is a Sample{wanted}"
    assert "tags is 'abc'; it must be a list of texts, such as ['abc']" in refused(
        run.annotate, tags="abc"
    )
    assert "tags is [1]; it must be a list of texts." in refused(run.annotate, tags=[1])
    assert refused(run.learning_curves, "f1") == (
        "metric is 'f1'; it must be 'loss', 'auc' or 'accuracy'."
    )
    sweep = ws.sweep(data, backbone, depths=[1], seeds=1, epochs=1)
    assert "no figure of 'accurac'; the metrics here are ['auc', 'log_loss'" in refused(
        sweep.figure, "accurac"
    )


def test_a_run_without_a_result_has_no_predictions(ws: thaw.Workspace) -> None:
    run = ws.finetune("tiny", "Simulated DNN", 1, epochs=1)
    for status in ("queued", "cancelled"):
        for show in (run.predictions, run.roc, run.calibration, run.gains, run.confusion):
            with pytest.raises(thaw.RunError, match=f"is {status}, so it has no result"):
                show()
        if status == "queued":
            run.cancel()


def test_a_part_without_rows_has_no_predictions(ws: thaw.Workspace) -> None:
    data = ws.samples[0].prepare("targets", source_share=0)
    run = ws.finetune(data, "Simulated DNN", 3, epochs=1, batch_size=512, wait="here")
    assert "scored no part 'source_test'; it scored ['target_" in refused(
        run.predictions, "source_test"
    )


def test_rows_are_a_path_or_a_table_with_rows(ws: thaw.Workspace) -> None:
    frame = thaw.simulate(10)
    assert refused(ws.ingest, frame[:0], "none") == "The DataFrame has no rows."
    wanted = "; it must be a path or a DataFrame."
    assert refused(ws.ingest, frame["I1"], "one") == f"rows is a Series{wanted}"
    assert refused(ws.ingest, 7, "one") == f"rows is 7{wanted}"
    run = ws.finetune("tiny", "Simulated DNN", 1, epochs=1)
    assert refused(run.score, frame["I1"]) == f"rows is a Series{wanted}"
    assert refused(run.score, frame[:0]) == "The DataFrame has no rows."
    sample = ws.samples[0]
    assert refused(sample.to_pandas, -1) == "rows is -1; it must be 0 or more."
    assert len(sample.to_pandas(np.int64(3))) == 3  # type: ignore[arg-type]


def test_a_split_names_no_column_that_it_ignores(ws: thaw.Workspace) -> None:
    sample = ws.samples[0]
    said = refused(sample.prepare, column="C1", target_values=["a"])
    assert "which does not use column and target_values; add split='column'" in said
    assert "source_share is '0.5'; it must be a number." in refused(
        sample.prepare, source_share="0.5"
    )
    assert "split_seed is -1; it must be 0 or more." in refused(
        sample.prepare, "new", split="random", split_seed=-1
    )
    assert "seed is -1; it must be 0 or more" in refused(thaw.simulate, 10, seed=-1)


def test_values_that_pandas_reads_as_numbers_name_target_rows(ws: thaw.Workspace) -> None:
    sample = ws.simulate(2000, seed=3, name="numbers")
    value = sample.to_pandas()["I2"].mode()[0]
    assert isinstance(value, float)
    data = sample.prepare("one", split="column", column="I2", target_values=[value])
    assert data.info.spec.target_values == (str(int(value)),)
    same = sample.prepare("one", split="column", column="I2", target_values=value)
    assert same.id == data.id


def test_outputs_may_lie_in_the_home_folder(
    ws: thaw.Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert len(thaw.simulate(10, out="~/rows.tsv.gz")) == 10
    exported = ws.backbone("Simulated DNN").export("~/backbone.zip")
    assert exported == tmp_path / "backbone.zip" and exported.exists()
    run = ws.finetune("tiny", "Simulated DNN", 1, epochs=1, batch_size=512, wait="here")
    assert run.report("~/run.html") == tmp_path / "run.html"
    assert run.export("~/model") == tmp_path / "model"
    sweep = ws.sweep("tiny", "Simulated DNN", depths=[3], seeds=1, epochs=1, wait="here")
    assert sweep.report("~/sweep.html") == tmp_path / "sweep.html"
    made = {path.name for path in tmp_path.iterdir()}
    assert {"rows.tsv.gz", "run.html", "model", "sweep.html"} <= made and "~" not in made


@pytest.mark.parametrize("name", ["o.zip", "o.tar.gz", "o.parquet", "o.zst"])
def test_simulated_rows_are_text_or_gzipped(name: str, tmp_path: Path) -> None:
    assert "name it .tsv or .tsv.gz" in refused(thaw.simulate, 10, out=tmp_path / name)
    assert not (tmp_path / name).exists()
