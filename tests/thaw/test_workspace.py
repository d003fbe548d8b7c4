"""Data in and out of a workspace by the API; what it refuses, in the core's sentences."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import thaw
from core.data.datasets import Dataset
from core.data.datasets import list_datasets as stored_datasets
from core.workspace import Workspace


@pytest.fixture
def ws(workspace: Workspace) -> thaw.Workspace:
    """An empty workspace."""
    return thaw.Workspace(workspace.root)


def test_the_folder_is_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THAW_HOME", str(tmp_path / "here"))
    assert thaw.Workspace().folder == tmp_path / "here"


def test_a_file_becomes_a_dataset_that_the_app_finds(ws: thaw.Workspace, tmp_path: Path) -> None:
    thaw.simulate(2000, seed=1, out=tmp_path / "day_0.tsv.gz")
    sample = ws.ingest(tmp_path / "day_0.tsv.gz", simulated=True)
    assert (sample.name, len(sample)) == ("day_0", 2000)
    data = sample.prepare(source_share=np.float64(0.5), split="random", split_seed=4)
    assert data.name == "day_0" and data.info.spec.seed == 4
    (stored,) = stored_datasets(ws._workspace)
    assert stored.id == data.id and stored.spec.source_share == 0.5
    assert data.parts.groupby("domain")["rows"].sum().to_dict() == {"source": 1000, "target": 1000}
    assert sample.prepare(source_share=0.5, split="random", split_seed=4).id == data.id
    with pytest.raises(thaw.BadInput, match="already a dataset named 'day_0'"):
        sample.prepare()


def test_a_table_goes_in_as_the_same_rows_of_a_file_do(ws: thaw.Workspace, tmp_path: Path) -> None:
    frame = thaw.simulate(500, "target", seed=3, out=tmp_path / "rows.tsv")
    assert frame.shape == (500, 40) and frame["I1"].isna().any()
    from_file = ws.ingest(tmp_path / "rows.tsv").to_pandas()
    shuffled = frame.assign(C1=frame["C1"].astype("category")).set_index(frame.index[::-1])
    from_table = ws.ingest(shuffled, name="table").to_pandas()
    pd.testing.assert_frame_equal(from_table, from_file, check_dtype=False)
    assert ws.ingest(shuffled, name="table").id == ws.sample("table").id
    with pytest.raises(thaw.BadInput, match="give the sample one"):
        ws.ingest(frame)
    with pytest.raises(thaw.BadInput, match=r"'DataFrame\.parquet'.*label"):
        ws.ingest(frame.assign(label=7), name="bad")
    with pytest.raises(thaw.BadInput, match="The DataFrame cannot be converted: .*I1"):
        ws.ingest(frame.astype({"I1": object}).assign(I1=["a", *[1] * 499]), name="mixed")
    # Both may be of the same second, so that neither is the newer one.
    assert sorted(one.name for one in ws.samples) == ["rows", "table"]


def test_columns_of_other_names_are_mapped(ws: thaw.Workspace) -> None:
    frame = thaw.simulate(300, seed=2).rename(columns={"label": "clicked", "I3": "age"})
    frame["day"] = np.arange(300) // 100
    mapped = ws.ingest(frame, "mapped", columns={"label": "clicked", "I3": "age"}, keep=["day"])
    assert mapped.to_pandas()["day"].nunique() == 3 and len(mapped.profile()) == 39


def test_domains_of_two_samples(ws: thaw.Workspace) -> None:
    old = ws.simulate(1500, "source", name="old")
    ws.simulate(1500, "target", seed=1, name="new")
    data = ws.prepare("both", source=old, target="new", target_test_share=0.4, shuffle=True)
    assert [one.name for one in data.info.samples] == ["old", "new"]
    assert data.info.spec.shuffle and len(data) == 3000
    with pytest.raises(TypeError, match="prepare\\(\\) takes no option 'source_share'"):
        ws.prepare("again", source=old, target="new", source_share=0.5)  # type: ignore[call-arg]
    with pytest.raises(thaw.BadInput, match="for rows at random use split='random'"):
        old.prepare(shuffle=True)


def test_lists_are_tables_and_found_by_name(
    tiny: tuple[Workspace, Dataset], workspace: Workspace
) -> None:
    ws = thaw.Workspace(tiny[0].root)
    assert ws.datasets["tiny"].id == ws.datasets[0].id == ws.dataset("tiny").id
    assert ws.backbones.to_pandas()["simulated"].all() and "DCNv2" in ws.backbones._repr_html_()
    assert len(ws.backbones[1:3].to_pandas()) == 2
    assert ws.backbone("Simulated DCNv2").stages["depth"].tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(thaw.BadInput, match="There is no dataset 'large'; the datasets here are"):
        ws.datasets["large"]
    empty = thaw.Workspace(workspace.root)
    assert "No runs yet" in empty.runs._repr_html_() and empty.runs.to_pandas().empty
    assert "0 samples, 0 datasets" in repr(empty)


def test_names_of_users_are_escaped_and_simulated_rows_are_marked(
    tiny: tuple[Workspace, Dataset],
) -> None:
    data = thaw.Workspace(tiny[0].root).dataset("tiny").rename("a = b, (c)")
    assert "Dataset a = b, (c)" in data._repr_html_() and ">simulated<" in data._repr_html_()
    from thaw.display import card_html, table_html

    assert "<script>" not in card_html("<script>", ["<script>"]) + table_html([{"<script>": "<b>"}])


def test_drift_and_vocabulary_are_tables(tiny: tuple[Workspace, Dataset]) -> None:
    ws = thaw.Workspace(tiny[0].root)
    data, backbone = ws.dataset("tiny"), ws.backbone("Simulated DNN")
    drift = data.drift()
    assert len(drift) == 39 and drift["psi"].is_monotonic_decreasing
    unseen = backbone.vocabulary(data)["unseen"]
    assert unseen.between(0, 1).all() and unseen.is_monotonic_decreasing
