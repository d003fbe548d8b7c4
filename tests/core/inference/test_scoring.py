"""Scoring files as users have them: row numbers, ids, placeholder labels, and what is reported."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from core.cli.parser import main
from core.data.datasets import Dataset
from core.data.reading.ingest import ingest
from core.data.schema import FIELDS
from core.data.simulate import simulate
from core.errors import BadInput
from core.inference.score_file import score_file
from core.inference.score_sentences import (
    label_sentence,
    sentences_before_metrics,
    skipped_sentence,
)
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, pretrained, run_request

Tuned = tuple[Workspace, Run]


@pytest.fixture
def tuned(tiny: tuple[Workspace, Dataset]) -> Tuned:
    workspace, dataset = tiny
    request = FinetuneRequest(
        dataset.id, pretrained(workspace, "dnn").id, freeze_depth=1, train=QUICK
    )
    return workspace, run_request(workspace, request)


@pytest.fixture
def cells(tmp_path: Path) -> list[list[str]]:
    """40 simulated rows of 40 cells, the label first."""
    simulate(tmp_path / "simulated.tsv", 40, "target", seed=5)
    return [line.split("\t") for line in (tmp_path / "simulated.tsv").read_text().splitlines()]


def tsv(path: Path, rows: list[list[str]]) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


def comma(path: Path, names: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def score(tuned: Tuned, path: Path, **options: Any) -> tuple[dict[str, Any], pd.DataFrame]:
    """(the summary, the predictions; ids as they are written)."""
    out = path.with_name("out.csv")
    said = score_file(*tuned, path, out, **options)
    json.dumps(said)
    frame = pd.read_csv(out, dtype=str, keep_default_na=False)
    return said, frame.astype({"row": int, "score": float, "predicted_click": int})


@pytest.fixture
def expected(tuned: Tuned, cells: list[list[str]], tmp_path: Path) -> np.ndarray:
    """The scores of the 40 rows."""
    return score(tuned, tsv(tmp_path / "plain.tsv", cells))[1]["score"].to_numpy()


def test_bad_rows_are_counted_and_the_others_keep_their_numbers(
    tuned: Tuned, cells: list[list[str]], expected: np.ndarray, tmp_path: Path
) -> None:
    bad = [list(row) for row in cells]
    bad[2][3], bad[30] = "oops", ["1", "2"]
    said, found = score(tuned, tsv(tmp_path / "bad.tsv", bad), on_bad_rows="skip")
    kept = [place for place in range(40) if place not in (2, 30)]
    assert found["row"].tolist() == [place + 1 for place in kept]
    assert found["score"].to_numpy() == pytest.approx(expected[kept], abs=1e-6)
    assert (said["rows"], said["bad_rows"], len(said["bad_examples"])) == (38, 2, 2)
    assert skipped_sentence(said).startswith("2 bad rows skipped, such as: Row 3 of 'bad.tsv'")
    # A header is a line of the file, and messages count it.
    names = ["label", *FIELDS]
    said, found = score(tuned, comma(tmp_path / "bad.csv", names, bad), on_bad_rows="skip")
    assert found["row"].tolist() == [place + 2 for place in kept]
    assert "Row 4 of 'bad.csv'" in said["bad_examples"][0]
    with pytest.raises(BadInput, match="Row 4 of"):
        score(tuned, tmp_path / "bad.csv")
    # A sample that was added with bad rows skipped still has the numbers of its file.
    sample = ingest(tuned[0], tmp_path / "bad.tsv", "kept", "skip")
    score_file(*tuned, sample.rows_path, tmp_path / "sample.csv")
    assert pd.read_csv(tmp_path / "sample.csv")["row"].tolist() == [place + 1 for place in kept]


def test_ids_are_kept_as_they_are(
    tuned: Tuned, cells: list[list[str]], expected: np.ndarray, tmp_path: Path
) -> None:
    ids = [f"{place:08d}" for place in range(40)]
    ids[3:6] = ["", 'a,"b"', "60000000.50"]
    rows = [[*row[1:5], one, *row[5:]] for one, row in zip(ids, cells, strict=True)]
    said, found = score(tuned, comma(tmp_path / "ids.csv", [*FIELDS[:4], "Id", *FIELDS[4:]], rows))
    assert list(found.columns) == ["row", "Id", "score", "predicted_click"]
    assert found["Id"].tolist() == ids and said["id_column"] == "Id"
    assert found["score"].to_numpy() == pytest.approx(expected, abs=1e-6)
    assert label_sentence(said) == "The rows have no labels: scored without metrics."


@pytest.mark.parametrize("placeholder", ["", "?", "-1"])
@pytest.mark.parametrize("header", [True, False])
def test_placeholder_labels_count_as_missing(
    placeholder: str,
    header: bool,
    tuned: Tuned,
    cells: list[list[str]],
    expected: np.ndarray,
    tmp_path: Path,
) -> None:
    def file(rows: list[list[str]]) -> Path:
        return (
            comma(tmp_path / "some.csv", ["label", *FIELDS], rows)
            if header
            else tsv(tmp_path / "some.tsv", rows)
        )

    none = [[placeholder, *row[1:]] for row in cells]
    said, found = score(tuned, file(none))
    assert said["metrics"] is None and said["unlabelled_rows"] == 40
    assert label_sentence(said).startswith(
        "No row has a label (all are empty, ?, -1 or another marker of a missing"
    )
    assert found["score"].to_numpy() == pytest.approx(expected, abs=1e-6)

    labelled = [place for place, row in enumerate(cells) if row[0] == "1"][:4] + [
        place for place, row in enumerate(cells) if row[0] == "0"
    ][:6]
    some = [row if place in labelled else none[place] for place, row in enumerate(cells)]
    said, found = score(tuned, file(some))
    assert said["unlabelled_rows"] == 30 and said["metrics"]["rows"] == 10
    assert label_sentence(said).startswith(
        "30 of 40 rows have no label"
    ) and "10 labelled rows" in label_sentence(said)
    truth = [int(cells[place][0]) for place in labelled]
    scores = found["score"].to_numpy()[labelled]
    assert said["metrics"]["auc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    assert said["metrics"]["log_loss"] == pytest.approx(log_loss(truth, scores), abs=1e-5)
    assert found["score"].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_few_rows_and_few_clicks(tuned: Tuned, cells: list[list[str]], tmp_path: Path) -> None:
    said, found = score(tuned, tsv(tmp_path / "one.tsv", cells[:1]))
    assert len(found) == 1 and said["metrics"]["auc"] is None
    assert not said["drift"]["judged"] and said["drift"]["why"].startswith(
        "Drift is not judged on 1 row"
    )
    assert {one["level"] for one in said["drift"]["fields"]} | {
        said["drift"]["scores"]["level"]
    } == {None}
    one_click = [["0", *row[1:]] for row in cells]
    one_click[7][0] = "1"
    said, _ = score(tuned, tsv(tmp_path / "click.tsv", one_click))
    assert 0 <= said["metrics"]["auc"] <= 1 and label_sentence(said) == ""
    assert said["unknown"]["sentences"] == [] and set(said["unknown"]["shares"]) == set(FIELDS)


def test_another_spelling_is_reported_before_the_metrics(
    tuned: Tuned, cells: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tsv(
        tmp_path / "upper.tsv", [[*row[:14], *map(str.upper, row[14:])] for row in cells * 3]
    )
    said, _ = score(tuned, path)
    (sentence,) = said["unknown"]["sentences"]
    assert "in upper case, the model in lower case" in sentence and "C9" in str(
        said["unknown"]["columns"]
    )
    assert said["unknown"]["shares"]["C9"] > 0.9 and said["unknown"]["shares"]["I5"] < 0.5
    words = [
        "score",
        "--run",
        tuned[1].id,
        "--input",
        str(path),
        "--output",
        str(tmp_path / "out.csv"),
    ]
    assert main(["--workspace", str(tuned[0].root), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0].startswith("Wrote 120 scores")
        and lines[1] == sentence
        and lines[2].startswith("AUC ")
    )
    assert lines[3].startswith("Drift is not judged on 120 rows")
    # The same rows as the model was trained on need no word.
    said, _ = score(tuned, tsv(tmp_path / "lower.tsv", cells * 3))
    assert sentences_before_metrics(said) == []


def test_nothing_is_left_of_scores_that_fail(
    tuned: Tuned, cells: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tsv(tmp_path / "rows.tsv", cells), tmp_path / "new" / "out.csv"

    def fail(*_: object) -> None:
        raise BadInput("no")

    monkeypatch.setattr("core.inference.scoring.predict", fail)
    with pytest.raises(BadInput, match="no"):
        score_file(*tuned, path, out)
    assert not out.parent.exists() and not list(tuned[0].cache.glob(".part-*"))
    for output in (path, tmp_path / "." / "rows.tsv"):
        monkeypatch.setattr("core.inference.score_file.ingest", fail)
        with pytest.raises(BadInput, match="would be overwritten"):
            score_file(*tuned, path, output)
    assert path.read_text().count("\n") == 40


def test_what_an_earlier_version_kept_can_still_be_worded() -> None:
    assert (
        label_sentence({"rows": 5, "metrics": None})
        == "The rows have no labels: scored without metrics."
    )
    assert (
        sentences_before_metrics(
            {"rows": 5, "metrics": {"auc": 0.5}, "bad_rows": 0, "bad_examples": []}
        )
        == []
    )
