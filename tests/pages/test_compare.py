"""The page Compare: table, filters, verdicts, tags, deleting."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.runs.store import Run, RunStore
from core.training.settings import FinetuneRequest, PretrainRequest
from core.workspace import Workspace
from pages.components.run_table import learning_of, safe_csv
from pages.components.side_by_side import short_labels
from tests.core.training.helpers import QUICK, carry_out, pretrained
from tests.pages.test_finetune import open_page


@pytest.fixture
def runs(tiny: tuple[Workspace, Dataset]) -> tuple[Workspace, list[Run]]:
    """Depth 0 twice with the same seed, then zero-shot, in one group; and the pretraining run before them."""
    workspace, dataset = tiny
    train = dataclasses.replace(QUICK, epochs=6, learning_rate=1e-2)
    card = pretrained(workspace, "dnn", train)
    request = FinetuneRequest(dataset.id, card.id, "depth", 0, train=QUICK, group="g-1")
    done = [carry_out(workspace, request), carry_out(workspace, request)]
    done.append(carry_out(workspace, dataclasses.replace(request, strategy="zero-shot")))
    return workspace, done


def tables(app: AppTest) -> list[pd.DataFrame]:
    return [one.value for one in app.dataframe]


def test_without_runs_it_says_where_they_come_from(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(tiny[0], "compare", monkeypatch)
    assert "No runs yet" in app.info[0].value


def test_the_table_shows_what_the_results_say(
    runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = runs
    app = open_page(workspace, "compare", monkeypatch)
    table = tables(app)[0]
    assert len(table) == 4 and set(table["Status"]) == {"done"}
    assert table["Strategy"].tolist() == ["zero-shot", "freeze depth 0", "freeze depth 0", "pretraining"]
    assert done[0].result is not None
    assert table["Target AUC"].iloc[1] == done[0].result["metrics"]["target_test"]["auc"]
    assert table["Dataset"].iloc[0] == "tiny (simulated)"


def test_filters_by_text_and_kind(runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, done = runs
    RunStore(workspace).annotate(done[0].id, "the special one", ["week 47"], "")
    app = open_page(workspace, "compare", monkeypatch)
    app.text_input("find").set_value("special").run()
    assert tables(app)[0]["Name"].tolist() == ["the special one"]
    app.text_input("find").set_value("nothing like it").run()
    assert any("No run passes the filters" in one.value for one in app.info)
    app.text_input("find").set_value("").run()
    app.multiselect("kind").set_value(["pretrain"]).run()
    assert tables(app)[0]["Strategy"].tolist() == ["pretraining"]
    assert not app.exception


def test_equal_runs_are_not_distinguishable(runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch) -> None:
    from pages.components import side_by_side as view

    workspace, done = runs
    monkeypatch.setenv("THAW_HOME", str(workspace.root))
    drawn: list[pd.DataFrame] = []
    monkeypatch.setattr(view.st, "dataframe", lambda frame, **_: drawn.append(frame))
    monkeypatch.setattr(view, "workspace", lambda: workspace)
    monkeypatch.setattr("pages.components.result.workspace", lambda: workspace)
    view._verdicts(done[:2], short_labels(done))
    verdict = drawn[0].iloc[0]
    assert verdict["Verdict"] == "not distinguishable at n = 600" and verdict["ΔAUC"] == "+0.0000"
    assert verdict["Adjusted p"] == "1.0000"


def test_labels_tell_runs_of_one_strategy_apart(runs: tuple[Workspace, list[Run]]) -> None:
    _, done = runs
    labels = short_labels(done)
    assert labels[done[2].id] == "zero-shot"
    assert labels[done[0].id] == f"freeze depth 0, {done[0].id}"
    seeded = [
        dataclasses.replace(
            run, id=f"r-{seed}", request={**run.request, "train": {**run.request["train"], "seed": seed}}
        )
        for seed, run in enumerate(done[:2])
    ]
    assert list(short_labels(seeded).values()) == ["freeze depth 0, seed 0", "freeze depth 0, seed 1"]


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    frame = pd.DataFrame({"Name": ["=1+1", "+2", "-3", "@x", "\tTAB", "plain"], "AUC": [0.5, -0.5, 0, 1, 2, 3]})
    (tmp_path / "t.csv").write_text(safe_csv(frame))
    read = pd.read_csv(tmp_path / "t.csv", skipinitialspace=False)
    assert read["Name"].tolist() == ["'=1+1", "'+2", "'-3", "'@x", "'\tTAB", "plain"]
    assert read["AUC"].tolist() == [0.5, -0.5, 0, 1, 2, 3]


def test_runs_of_several_backbones_are_told_apart_by_their_names(
    runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = runs
    request = FinetuneRequest(done[0].dataset, "simulated-dnn", "depth", 1, train=QUICK)
    other = carry_out(workspace, request)
    monkeypatch.setattr("pages.components.side_by_side.workspace", lambda: workspace)
    labels = short_labels([done[0], other])
    assert labels == {done[0].id: "small dnn, freeze depth 0", other.id: "Simulated DNN, freeze depth 1"}
    app = open_page(workspace, "compare", monkeypatch, runs=f"{done[0].id},{other.id}")
    assert any("choose runs of one backbone" in one.value for one in app.caption)
    differing = next(table for table in tables(app) if "Setting" in table.columns).set_index("Setting")
    assert sorted(differing.loc["backbone"]) == ["Simulated DNN", "small dnn"]


@pytest.mark.parametrize(
    ("request_values", "words"),
    [
        ({}, ""),
        ({"objective": "rfd"}, " (RFD)"),
        ({"objective": "none", "start": "word2vec"}, " (Word2Vec, no training)"),
        ({"objective": "supervised", "start": "imagenet"}, " (ImageNet)"),
    ],
)
def test_a_pretraining_says_how_it_learnt(request_values: dict[str, str], words: str) -> None:
    assert learning_of(request_values) == words


def test_runs_that_score_no_clicks_are_left_out_and_said_so(
    runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = runs
    settings = {"widths": [8], "embedding": 4}
    plain = carry_out(workspace, PretrainRequest(done[0].dataset, "dnn", "as it is", QUICK, settings, "none"))
    app = open_page(workspace, "compare", monkeypatch, runs=f"{done[0].id},{plain.id}")
    assert any("or score no clicks" in one.value for one in app.caption)
    row = tables(app)[0].set_index("Strategy").loc["pretraining (no training)"]
    assert pd.isna(row["Target AUC"]) and row["Backbone"] == "DNN"
