"""The page Compare: table, filters, verdicts, tags, deleting."""

import dataclasses
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset, find_dataset
from core.evaluation.decision_cost import DecisionCosts, cheapest_threshold
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.store import Run, RunStore
from core.report.run_tables import pretraining_suffix
from core.report.table_files import to_safe_csv
from core.runs.launch import worker_lock
from core.workspace import Workspace, open_workspace
from tests.core.report.helpers import finished_sweep
from tests.core.training.helpers import QUICK, pretrained, run_request
from tests.pages.helpers import open_page


@pytest.fixture
def runs(tiny: tuple[Workspace, Dataset]) -> tuple[Workspace, list[Run]]:
    """Depth 0 twice with the same seed, then zero-shot, in one group; and the pretraining run
    before them."""
    workspace, dataset = tiny
    train = dataclasses.replace(QUICK, epochs=6, learning_rate=1e-2)
    card = pretrained(workspace, "dnn", train)
    request = FinetuneRequest(dataset.id, card.id, "depth", 0, train=QUICK, group="g-1")
    done = [run_request(workspace, request), run_request(workspace, request)]
    done.append(run_request(workspace, dataclasses.replace(request, strategy="zero-shot")))
    return workspace, done


@pytest.fixture(scope="module")
def swept(
    tiny_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workspace, list[Run]]:
    """A sweep of freeze depths 0 and 1, LoRA and zero-shot over two seeds; no test changes it."""
    root = tmp_path_factory.mktemp("swept") / "tiny"
    shutil.copytree(tiny_template, root)
    workspace = open_workspace(root)
    return workspace, RunStore(workspace).list_group(
        finished_sweep(workspace, find_dataset(workspace, "tiny")).id
    )


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
    points = [(step, "validation_loss", loss) for step, loss in ((0, 0.7), (5, 0.5), (9, 0.6))]
    RunStore(workspace).add_points(done[0].id, points)
    app = open_page(workspace, "compare", monkeypatch)
    table = tables(app)[0]
    row = table.set_index("Run").loc[done[0].id]
    assert (row["Best val. loss"], row["Last val. loss"]) == (0.5, 0.6)
    assert len(table) == 4 and set(table["Status"]) == {"done"}
    assert table["Strategy"].tolist() == [
        "zero-shot",
        "freeze depth 0",
        "freeze depth 0",
        "pretraining",
    ]
    assert done[0].result is not None
    assert table["Target AUC"].iloc[1] == done[0].result.metrics["target_test"]["auc"]
    assert table["Dataset"].iloc[0] == "tiny (simulated)"


def test_what_changes_elsewhere_is_there_on_the_next_rerun(
    runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = runs
    app = open_page(workspace, "compare", monkeypatch)
    store = RunStore(workspace)
    store.annotate(done[0].id, "another name", ["tag"], "a note")
    queued = store.submit(
        FinetuneRequest(done[0].dataset, done[0].finetune_request.backbone), "next", "cpu"
    )
    store.delete(done[1].id)
    table = tables(app.run())[0].set_index("Run")
    assert set(table.index) == {run.id for run in store.list()} and len(table) == 4
    assert table.loc[done[0].id, ["Name", "Tags", "Note"]].tolist() == [
        "another name",
        ["tag"],
        "a note",
    ]
    assert table.loc[queued.id, "Status"] == "queued"
    # A page takes a run for interrupted that no worker holds.
    with worker_lock(workspace, "cpu").acquire(timeout=5):
        store.claim("cpu", 1)
        store.add_points(queued.id, [(1, "validation_loss", 0.5)])
        row = tables(app.run())[0].set_index("Run").loc[queued.id]
        assert (row["Status"], row["Last val. loss"]) == ("running", 0.5)
        store.add_points(queued.id, [(2, "validation_loss", 0.4)])
        store.finish(queued.id, "done", result=done[0].result)
    row = tables(app.run())[0].set_index("Run").loc[queued.id]
    assert (row["Status"], row["Last val. loss"]) == ("done", 0.4)
    assert (
        done[0].result is not None
        and row["Target AUC"] == done[0].result.metrics["target_test"]["auc"]
    )


def test_filters_by_text_and_kind(
    runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = runs
    RunStore(workspace).annotate(done[0].id, "the special one", ["week 47"], "")
    app = open_page(workspace, "compare", monkeypatch)
    app.text_input("find").set_value("special").run()
    assert tables(app)[0]["Name"].tolist() == ["the special one"]
    app.text_input("find").set_value("nothing like it").run()
    assert any("No run matches the filters" in one.value for one in app.info)
    app.text_input("find").set_value("").run()
    app.multiselect("kind").set_value(["pretrain"]).run()
    assert tables(app)[0]["Strategy"].tolist() == ["pretraining"]
    assert not app.exception


def with_columns(app: AppTest, *columns: str) -> pd.DataFrame:
    return next(table for table in tables(app) if set(columns) <= set(table.columns))


def test_equal_runs_are_not_distinguishable(
    runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = runs
    app = open_page(workspace, "compare", monkeypatch, runs=f"{done[0].id},{done[1].id}")
    verdict = with_columns(app, "Verdict", "Compared with").iloc[0]
    assert verdict["Verdict"] == "not distinguishable at n = 600" and verdict["ΔAUC"] == "+0.0000"
    assert verdict["Adjusted p"] == "1.0000"
    assert verdict["Arm"] == f"freeze depth 0 again ({done[1].id})"


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"Name": ["=1+1", "+2", "-3", "@x", "\tTAB", "plain"], "AUC": [0.5, -0.5, 0, 1, 2, 3]}
    )
    (tmp_path / "t.csv").write_text(to_safe_csv(frame))
    read = pd.read_csv(tmp_path / "t.csv", skipinitialspace=False)
    assert read["Name"].tolist() == ["'=1+1", "'+2", "'-3", "'@x", "'\tTAB", "plain"]
    assert read["AUC"].tolist() == [0.5, -0.5, 0, 1, 2, 3]


def test_runs_of_several_backbones_are_labelled_by_name(
    runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = runs
    request = FinetuneRequest(done[0].dataset, "simulated-dnn", "depth", 1, train=QUICK)
    other = run_request(workspace, request)
    app = open_page(workspace, "compare", monkeypatch, runs=f"{done[0].id},{other.id}")
    assert any("one line per setting" in one.value for one in app.caption)
    differing = with_columns(app, "Arm", "backbone").set_index("Arm")["backbone"]
    assert differing.to_dict() == {
        "freeze depth 0, small dnn": "small dnn",
        "freeze depth 1, Simulated DNN": "Simulated DNN",
    }
    assert app.selectbox("setting").options == ["every setting", "small dnn", "Simulated DNN"]
    app.selectbox("setting").select("Simulated DNN").run()
    assert not app.exception and not any("Verdict" in table.columns for table in tables(app))


@pytest.mark.parametrize(
    ("request_values", "words"),
    [
        ({}, ""),
        ({"objective": "rfd"}, " (RFD)"),
        ({"objective": "none", "start": "word2vec"}, " (Word2Vec, no training)"),
        ({"objective": "supervised", "start": "imagenet"}, " (ImageNet)"),
    ],
)
def test_a_pretraining_says_how_it_learnt(request_values: dict[str, Any], words: str) -> None:
    architecture = "resnet50" if request_values.get("start") == "imagenet" else "dnn"
    assert pretraining_suffix(PretrainRequest("d", architecture, "b", **request_values)) == words


def test_runs_that_score_no_clicks_are_left_out_and_said_so(
    runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = runs
    settings = {"widths": [8], "embedding": 4}
    plain = run_request(
        workspace, PretrainRequest(done[0].dataset, "dnn", "as it is", QUICK, settings, "none")
    )
    app = open_page(workspace, "compare", monkeypatch, runs=f"{done[0].id},{plain.id}")
    assert any("or score no clicks" in one.value for one in app.caption)
    row = tables(app)[0].set_index("Strategy").loc["pretraining (no training)"]
    assert pd.isna(row["Target AUC"]) and row["Backbone"] == "DNN"


def test_rows_can_be_arms_with_means_over_their_runs(
    swept: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = swept
    app = open_page(workspace, "compare", monkeypatch, rows="One row per arm", kind="finetune")
    table = tables(app)[0].set_index("Arm")
    assert list(table["Runs"]) == ["2 of 2 done", "2 of 2 done", "2 of 2 done", "1 of 1 done"]
    aucs = [run.result.metrics["target_test"]["auc"] for run in done[::4][:2] if run.result]
    assert table.loc["freeze depth 0", "Target AUC"] == pytest.approx(np.mean(aucs))
    assert table.loc["freeze depth 0", "± seeds"] == pytest.approx(np.std(aucs, ddof=1))
    assert any("7 selected" in one.value for one in app.caption)


def test_a_choice_survives_a_filter_that_hides_it(
    swept: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = swept
    app = open_page(workspace, "compare", monkeypatch, runs=f"{done[0].id},{done[1].id}")
    app.text_input("find").set_value(done[0].id).run()
    assert len(tables(app)[0]) == 1
    assert any("2 selected, 1 of them hidden by the filters" in one.value for one in app.caption)
    next(one for one in app.button if one.label == "Clear the selection").click().run()
    assert app.query_params["runs"] == "" and any("0 selected" in one.value for one in app.caption)
    app.text_input("find").set_value("").run()
    app.multiselect("of_sweep").set_value(["first"]).run()
    next(one for one in app.button if one.label == "Select all shown").click().run()
    assert any("7 selected" in one.value for one in app.caption) and not app.exception


def test_the_address_gives_the_same_view(
    swept: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = swept
    query = {
        "fp": "2.0",
        "fn": "9.0",
        "against": "LoRA, rank 2",
        "seed": "1",
        "column": "C6",
        "one-threshold": "0.3",
    }
    chosen = ",".join(run.id for run in done)
    app = open_page(
        workspace,
        "compare",
        monkeypatch,
        runs=chosen,
        lines="freeze depth 1",
        part="Source test rows",
        **query,
    )
    assert app.number_input("fn").value == 9 and app.slider("one-threshold").value == 0.3
    assert app.multiselect("lines").value == ["freeze depth 1"]
    (counts,) = [table for table in tables(app) if "False negatives" in table.columns]
    run = next(run for run in done if run.finetune_request.freeze_depth == 1 and run.seed == 1)
    with np.load(workspace.runs / run.id / "predictions.npz") as arrays:
        clicked = arrays["source_test_label"] == 1
        assert counts["False negatives"].tolist() == [
            int((clicked & (arrays["source_test_score"] < 0.3)).sum())
        ]
    assert set(with_columns(app, "Compared with")["Compared with"]) >= {"LoRA, rank 2"}
    differing = with_columns(app, "Arm", "strategy").set_index("Arm")
    assert list(differing.columns) == ["strategy", "freeze depth", "options · rank"]
    assert differing.loc["zero-shot"].tolist() == ["Zero-shot", "–", "–"]
    assert with_columns(app, "Slice", "Log loss")["Arm"].unique().tolist() == ["freeze depth 1"]


def test_bad_values_in_the_address_are_left_out(
    swept: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = swept
    bad = dict.fromkeys(
        (
            "against",
            "seed",
            "column",
            "lines",
            "part",
            "way",
            "fp",
            "one-threshold",
            "rows",
            "status",
        ),
        "x",
    )
    app = open_page(
        workspace,
        "compare",
        monkeypatch,
        runs=f"{done[0].id},r-none,{done[1].id}",
        setting="x",
        **bad,
    )
    assert not app.exception
    assert any("'r-none'" in one.value for one in app.warning)
    assert (
        any("2 selected" in one.value for one in app.caption) and app.number_input("fp").value == 1
    )


def test_costs_and_slices_of_arms(
    swept: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = swept
    app = open_page(
        workspace, "compare", monkeypatch, runs=",".join(run.id for run in done), fn="9"
    )
    paid = with_columns(app, "Cost per test row").set_index("Arm")
    each = []
    for run in done[::4][:2]:
        with np.load(workspace.runs / run.id / "predictions.npz") as arrays:
            read = {name: arrays[name].astype(float) for name in arrays.files}
        threshold = cheapest_threshold(
            read["target_validation_label"], read["target_validation_score"], DecisionCosts(1, 9)
        )
        acted, clicked = read["target_test_score"] >= threshold, read["target_test_label"] == 1
        each.append(np.mean((acted & ~clicked) + 9 * (~acted & clicked)))
    assert paid.loc["freeze depth 0", "Cost per test row"] == pytest.approx(np.mean(each))
    assert paid.loc["freeze depth 0", "Minus the baseline's"] == "–"

    # Source against target comes first.
    slices = with_columns(app, "Slice", "Log loss")
    assert slices["Slice"].unique().tolist() == ["target", "source"]
    metrics = [run.result.metrics["source_test"] for run in done[::4][:2] if run.result]
    row = slices[(slices["Slice"] == "source") & (slices["Arm"] == "freeze depth 0")].iloc[0]
    assert row["AUC"] == pytest.approx(np.mean([one["auc"] for one in metrics]), abs=5e-5)
    assert row["Log loss"] == pytest.approx(np.mean([one["log_loss"] for one in metrics]), abs=5e-5)
    app.selectbox("column").select("every column").run()
    differences = with_columns(app, "Slice", "Adjusted p")
    assert differences["Slice"].str.match(r"[CI]\d+ = ").all() and not app.exception
    app.number_input("fp").set_value(0.0).run()
    app.number_input("fn").set_value(0.0).run()
    assert any("Both costs are 0" in one.value for one in app.error)


def test_tags_come_and_go_and_notes_are_searched(
    runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = runs
    RunStore(workspace).annotate(done[0].id, done[0].name, ["old"], "")
    open_page(workspace, "compare", monkeypatch)

    def dialog(run_id: str) -> None:
        from core.jobs.store import RunStore
        from pages.components.compare.run_actions import annotate_dialog
        from pages.components.shared.common import workspace

        annotate_dialog([RunStore(workspace()).get(run_id)])

    app = AppTest.from_function(dialog, args=(done[0].id,), default_timeout=30).run()
    app.text_input[0].set_value("new, week 47")
    app.multiselect[0].set_value(["old"])
    app.text_area[0].set_value("a rare word")
    app.button[0].click().run()
    assert not app.exception
    kept = RunStore(workspace).get(done[0].id)
    assert kept.tags == ("new", "week 47") and kept.note == "a rare word"
    app = open_page(workspace, "compare", monkeypatch, find="rare", tags="new")
    assert tables(app)[0]["Note"].tolist() == ["a rare word"]


def test_the_table_is_a_parquet_file_too(
    runs: tuple[Workspace, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = runs
    app = open_page(workspace, "compare", monkeypatch)
    table = tables(app)[0]
    read = pd.read_parquet(io.BytesIO(table.to_parquet(index=False)))
    assert (
        read["Run"].tolist() == table["Run"].tolist()
        and [list(tags) for tags in read["Tags"]] == [[]] * 4
    )
    assert {getattr(one, "label", "") for one in app.get("download_button")} >= {
        "CSV of the table",
        "Parquet",
    }
