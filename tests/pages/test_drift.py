"""Drift on the pages: levels if there are enough rows, otherwise a message."""

from pathlib import Path

import pytest

from core.data.datasets import Dataset
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.workspace import Workspace
from tests.pages.helpers import open_page, page_text


def test_the_data_page_judges_drift_only_on_enough_rows(
    tiny: tuple[Workspace, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    app = open_page(workspace, "data", monkeypatch, dataset=dataset.id)
    app.session_state["view"] = "Datasets"
    app.run()
    # Ordinary rows hardly drift; those of the recipe "transfer" do.
    assert "No field differs much between" in page_text(app)
    simulate(tmp_path / "moved.tsv", 3000, "both", seed=3, recipe="transfer")
    sample = ingest(workspace, tmp_path / "moved.tsv", "moved")
    moved = prepare(workspace, sample, SplitSpec(), "moved", min_count=5)
    app.query_params["dataset"] = moved.id
    app.run()
    assert "strongly in 2 (C9, C10)" in page_text(app) and [
        one for one in app.dataframe if "Drift" in one.value.columns
    ]

    simulate(tmp_path / "few.tsv", 400, "both", seed=4)
    few = prepare(
        workspace, ingest(workspace, tmp_path / "few.tsv", "few"), SplitSpec(), "few", min_count=2
    )
    rows = {part.part: part.rows for part in few.parts}
    app.query_params["dataset"] = few.id
    app.run()
    assert not app.exception
    text = page_text(app).replace("\\", "")
    assert f"Drift is not judged against {rows['source_train']} source training rows" in text
    assert "strongly in" not in text and not [
        one for one in app.dataframe if "Drift" in one.value.columns
    ]
    assert [one for one in app.dataframe if "Unseen, target" in one.value.columns]
