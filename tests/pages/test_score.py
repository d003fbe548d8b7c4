"""The page Score compared with the command line's function, scikit-learn and pandas."""

import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from streamlit.testing.v1 import AppTest

from core.cli.parser import build_parser
from core.data.datasets import Dataset, delete_dataset
from core.data.schema import FIELDS
from core.data.simulate import simulate
from core.inference.score_file import score_file
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.store import Run, RunStore
from core.runs import tasks
from core.runs.artifacts import list_scorings, scoring_id
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, pretrained, run_request
from tests.pages.helpers import open_page, page_text, submit_finetune, table_with_column

Tiny = tuple[Workspace, Dataset]
pytestmark = pytest.mark.usefixtures("commands_in_process")


@pytest.fixture
def run(tiny: Tiny) -> Run:
    request = FinetuneRequest(
        tiny[1].id, pretrained(tiny[0], "dnn").id, freeze_depth=1, train=QUICK
    )
    return run_request(tiny[0], request)


def text_of(app: AppTest) -> str:
    """Every text on the page, as a reader sees it."""
    return page_text(app).replace("\\", "")


def rows(tmp_path: Path, labelled: bool = True, number: int = 300) -> str:
    """Simulated rows as a file's text, whose C3 the vocabulary has never seen."""
    simulate(tmp_path / "rows.tsv", number, "target", seed=21)
    cells = [line.split("\t") for line in (tmp_path / "rows.tsv").read_text().splitlines()]
    lines = ["\t".join([*row[:16], "=never()", *row[17:]]) for row in cells]
    (tmp_path / "rows.tsv").write_text(
        "".join(f"{line if labelled else line[2:]}\n" for line in lines)
    )
    return (tmp_path / "rows.tsv").read_text()


def score(
    app: AppTest, content: str, name: str = "../rows of today.tsv", on_bad_rows: str = "reject"
) -> None:
    app.file_uploader[0].set_value((name, content.encode(), "text/plain")).run()
    next(one for one in app.segmented_control if one.key == "score_bad").set_value(
        on_bad_rows
    ).run()
    app.button("score").click().run()
    assert not app.exception


def numbers(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_labelled_rows(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.result is not None
    workspace = tiny[0]
    app = open_page(workspace, "score", monkeypatch, run=run.id)
    text = rows(tmp_path)
    score(app, text)
    (kept,) = list_scorings(workspace, run.id)
    assert (
        kept.id == scoring_id(tmp_path / "rows.tsv", "reject")
        and kept.id in app.query_params["scored"]
    )
    score_file(workspace, run, tmp_path / "rows.tsv", tmp_path / "out.csv")
    assert kept.csv.read_bytes() == (tmp_path / "out.csv").read_bytes()

    found = pd.read_csv(tmp_path / "out.csv")["score"].to_numpy()
    labels = np.array([int(line[0]) for line in text.splitlines()])
    assert numbers(app) == {
        "Rows": "300",
        "At or above the threshold": str((found >= np.float32(run.result.threshold)).sum()),
        "Predicted click rate": f"{100 * found.mean():.2f} %",
        "Actual click rate": f"{100 * labels.mean():.2f} %",
    }
    metrics = table_with_column(app, "Metric").set_index("Metric")["Value"]
    assert metrics["AUC-ROC"] == f"{roc_auc_score(labels, found):.4f}"
    assert metrics["Log loss"] == f"{log_loss(labels, found):.4f}"
    assert {"F1", "Accuracy", "Accuracy of predicting no click", "AUC, 95 % interval (DeLong)"} <= {
        *metrics.index
    }
    # Too few rows for drift: the shares are shown, and neither index nor level.
    assert "Drift is not judged on 300 rows" in text_of(app) and "strong" not in text_of(app)
    shares = table_with_column(app, "Unseen, file")
    assert shares["Field"].tolist() == list(FIELDS) and not {"Index", "Drift"} & {*shares.columns}
    assert shares.set_index("Field").loc["C3", "Unseen, file"] == 1.0
    assert table_with_column(app, "Score")["Score"].to_numpy() == pytest.approx(
        found[:100], abs=1e-6
    )
    options = build_parser().parse_args(shlex.split(app.code[0].value)[3:])
    assert (options.run_id, str(options.input), options.on_bad_rows) == (
        run.id,
        "../rows of today.tsv",
        "reject",
    )
    assert "rows of today" in app.subheader[0].value and not list(workspace.uploads.glob("*rows*"))

    # A fresh session finds it by the address, and deleting leaves nothing.
    other = open_page(workspace, "score", monkeypatch, run=run.id, scored=kept.id)
    assert numbers(other) == numbers(app) and other.file_uploader
    other.button("scored_delete").click().run()
    assert list_scorings(workspace, run.id) == [] and not numbers(other)
    gone = open_page(workspace, "score", monkeypatch, run=run.id, scored=kept.id)
    assert "do not exist" in gone.warning[0].value


def test_drift_on_enough_rows(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(tiny[0], "score", monkeypatch, run=run.id)
    score(app, rows(tmp_path, number=600))
    drift = table_with_column(app, "Index")
    assert len(drift) == 39 and drift["Index"].is_monotonic_decreasing
    strong = drift.loc[drift["Drift"] == "strong", "Field"].tolist()
    assert strong[0] == "C3"
    words = (
        f"rows of tiny and the 600 rows of this file: strongly in {len(strong)}"
        f" ({', '.join(strong)})"
    )
    assert words in text_of(app)
    assert "With this few rows, chance alone gives an index of up to" in text_of(app)


def test_ids_missing_labels_and_another_spelling(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(tmp_path / "rows.tsv", 100, "target", seed=22)
    cells = [line.split("\t") for line in (tmp_path / "rows.tsv").read_text().splitlines()]
    lines = [
        ",".join(
            [
                f"{place:04d}",
                row[0] if place < 40 else "?",
                *row[1:14],
                *(value.upper() for value in row[14:]),
            ]
        )
        for place, row in enumerate(cells)
    ]
    app = open_page(tiny[0], "score", monkeypatch, run=run.id)
    score(app, "\n".join([",".join(["Id", "label", *FIELDS]), *lines]) + "\n", "mine.csv")
    (warning,) = app.warning
    assert "in upper case, the model in lower case" in warning.value.replace("\\", "")
    assert "60 of 100 rows have no label" in text_of(app)
    assert "On 40 rows" in text_of(app)
    first = table_with_column(app, "Row in the file")
    assert first["Row in the file"].tolist() == list(range(2, 102))
    assert first["Id"].tolist() == [f"{place:04d}" for place in range(100)]
    (kept,) = list_scorings(tiny[0], run.id)
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(kept.parquet()))
    assert table["Id"].to_pylist() == first["Id"].tolist() and table["row"].to_pylist() == [
        *range(2, 102)
    ]


def test_one_row(tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = rows(tmp_path).splitlines()[0]
    app = open_page(tiny[0], "score", monkeypatch, run=run.id)
    score(app, f"{line}\n", "one.tsv")
    assert numbers(app)["Rows"] == "1" and "Drift is not judged on 1 row" in text_of(app)
    assert "against those of the run's test rows" not in text_of(app)


def test_rows_without_labels_and_a_run_whose_dataset_is_gone(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(tiny[0], "score", monkeypatch, run=run.id)
    delete_dataset(tiny[1])
    score(app, rows(tmp_path, labelled=False))
    assert set(numbers(app)) == {
        "Rows",
        "At or above the threshold",
        "Predicted click rate",
        "Share at or above the threshold",
    }
    assert not [one for one in app.dataframe if "Metric" in one.value.columns]
    assert "dataset was deleted" in page_text(app)


def test_bad_rows_are_refused_with_a_message_or_skipped(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tiny[0]
    lines = rows(tmp_path).splitlines(keepends=True)
    lines[6] = "1\t![x](http://evil)" + lines[6][lines[6].index("\t", 2) :]
    app = open_page(workspace, "score", monkeypatch, run=run.id)
    score(app, "".join(lines), "mine.tsv")
    said = app.error[0].value
    assert "\\[x\\](http" in said
    assert "Row 7 of 'mine.tsv'" in said.replace("\\", "") and "skip bad rows" in said.replace(
        "\\", ""
    )
    assert list_scorings(workspace, run.id) == [] and not numbers(app)
    # The file is still at hand.
    next(one for one in app.segmented_control if one.key == "score_bad").set_value("skip").run()
    assert app.code[0].value.endswith("--on-bad-rows skip")
    app.button("score").click().run()
    assert not app.exception and not app.error
    assert numbers(app)["Rows"] == "299"
    assert "Row 7 of 'mine.tsv'" in text_of(app) and "1 bad row was skipped" in [
        one.label for one in app.expander
    ]


def test_a_sample_of_the_workspace(tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(tiny[0], "score", monkeypatch, run=run.id)
    next(one for one in app.segmented_control if one.key == "score_way").set_value("sample").run()
    app.button("score").click().run()
    assert not app.exception
    assert numbers(app)["Rows"] == "3,000" and app.subheader[0].value == "tiny"


def test_how_far_it_is_and_stop(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = tasks.BackgroundTask("", 0.5)
    monkeypatch.setattr(tasks, "find", lambda key: going if f"{run.id} abc" in key else None)
    app = open_page(tiny[0], "score", monkeypatch, run=run.id, scored="abc")
    assert app.get("progress")[0].proto.text == "Scoring the rows: 50%"
    next(one for one in app.button if one.label == "Stop").click().run()
    assert going.stopping


def test_only_runs_that_can_score_are_offered(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    blind = run_request(
        workspace,
        PretrainRequest(dataset.id, "dnn", "blind", QUICK, {"widths": [8], "embedding": 4}, "none"),
    )
    waiting = submit_finetune(workspace, dataset)
    for named, why in (
        (blind.id, "was never trained on click labels"),
        (waiting.id, "is queued"),
        ("r-none", "There is no run"),
    ):
        app = open_page(workspace, "score", monkeypatch, run=named)
        assert why in app.error[0].value.replace("\\", "")
        assert len(app.selectbox[0].options) == 2
    for one in RunStore(workspace).list():
        RunStore(workspace).delete(one.id)
    assert (
        "No finished run can score yet" in open_page(workspace, "score", monkeypatch).info[0].value
    )


def test_another_run_forgets_the_first_ones_file(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(tiny[0], "score", monkeypatch, run=run.id)
    score(app, rows(tmp_path))
    box = app.selectbox[0]
    box.set_value(next(one.id for one in RunStore(tiny[0]).list() if one.id != run.id)).run()
    assert not app.exception and not app.warning and not numbers(app)
    assert "scored" not in app.query_params and "simulated" in page_text(app)
