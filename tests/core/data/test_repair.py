"""What a power cut under an earlier version left incomplete is repaired by ingesting and preparing
it again."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from core.data.dataset_rows import load_encoded
from core.data.datasets import Dataset, find_dataset, list_datasets, read_datasets
from core.data.prepare import prepare
from core.data.preprocessing import load_preprocessing
from core.data.reading.ingest import ingest
from core.data.samples import find_sample, list_samples, read_sample_rows, read_samples, save_sample
from core.data.split import SplitSpec
from core.errors import BadInput
from core.workspace import Workspace

Tiny = tuple[Workspace, Dataset]


def again(workspace: Workspace) -> None:
    """Ingest the tiny sample's file once more, in the same way."""
    ingest(workspace, workspace.uploads / "tiny.tsv", "tiny", simulated=True)


@pytest.mark.parametrize(
    "damage", ["hollow rows", "short rows", "no rows", "hollow description", "no description"]
)
def test_an_incomplete_sample_is_repaired_under_its_id(tiny: Tiny, damage: str) -> None:
    workspace, dataset = tiny
    sample = find_sample(workspace, "tiny")
    whole = read_sample_rows(sample)
    file = sample.folder / ("sample.json" if "description" in damage else "rows.arrow")
    data = file.read_bytes()
    file.unlink()
    if damage.split()[0] != "no":
        file.write_bytes(data[: len(data) // 2] if damage.startswith("short") else b"")
    again(workspace)
    [healed] = list_samples(workspace)
    assert healed.id == sample.id and read_sample_rows(healed).equals(whole)
    # The dataset that was made of it goes on as it was.
    shutil.rmtree(next(dataset.folder.glob("encoded-*")))
    assert (
        len(
            load_encoded(
                workspace, dataset, load_preprocessing(dataset.folder / "preprocessing")
            ).ids
        )
        == dataset.rows
    )


@pytest.mark.parametrize(("more", "id_ends"), [(0, ""), (1, "-2")])
def test_an_incomplete_sample_of_an_earlier_reader_is_replaced_only_by_as_many_rows(
    tiny: Tiny, more: int, id_ends: str
) -> None:
    """Datasets rely on the number of rows; with another number their labels would move."""
    workspace, _ = tiny
    sample = find_sample(workspace, "tiny")
    save_sample(dataclasses.replace(sample, reader=1, rows=sample.rows + more))
    (sample.folder / "rows.arrow").write_bytes(b"")
    again(workspace)
    assert [(one.id, one.reader) for one in list_samples(workspace)] == [(sample.id + id_ends, 2)]


@pytest.mark.parametrize(
    "name", ["labels.npy", "parts.npy", "preprocessing/vocabulary.parquet", "dataset.json"]
)
def test_an_incomplete_dataset_is_repaired_under_its_id(tiny: Tiny, name: str) -> None:
    workspace, dataset = tiny
    file = dataset.folder / name
    whole = file.read_bytes()
    file.write_bytes(b"")
    prepare(workspace, find_sample(workspace, "tiny"), SplitSpec(), "tiny", min_count=5)
    assert find_dataset(workspace, "tiny").id == dataset.id
    if name != "dataset.json":
        assert file.read_bytes() == whole


@pytest.mark.parametrize("name", ["ids.npy", "numerics.npy"])
def test_incomplete_encoded_rows_are_encoded_again(tiny: Tiny, name: str) -> None:
    workspace, dataset = tiny
    preprocessing = load_preprocessing(dataset.folder / "preprocessing")
    file = dataset.folder / f"encoded-{preprocessing.hash[:12]}" / name
    whole = file.read_bytes()
    for data in (b"", whole[:-1], bytes(len(whole))):
        file.write_bytes(data)
        load_encoded(workspace, dataset, preprocessing)
        assert file.read_bytes() == whole


def test_preparing_again_that_fails_late_leaves_the_old_dataset(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    before = {path: path.read_bytes() for path in dataset.folder.rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise BadInput("no")

    monkeypatch.setattr("core.files.durable.sync_tree", full)
    with pytest.raises(BadInput, match="no"):
        prepare(workspace, find_sample(workspace, "tiny"), SplitSpec(), "tiny", min_count=5)
    assert {
        path: path.read_bytes() for path in dataset.folder.rglob("*") if path.is_file()
    } == before
    assert [one.id for one in list_datasets(workspace)] == [dataset.id]
    assert not [*workspace.root.rglob(".part-*")]


def test_nothing_half_written_is_listed(tiny: Tiny, tmp_path: Path) -> None:
    """A process killed right before the last rename left a complete folder under another name."""
    workspace, dataset = tiny
    part = workspace.samples / ".part-thaw-0123456789abcdef"
    shutil.copytree(find_sample(workspace, "tiny").folder, part / "new")
    part = workspace.datasets / ".part-thaw-0123456789abcdef"
    shutil.copytree(dataset.folder, part / "new")
    assert len(list_samples(workspace)) == len(list_datasets(workspace)) == 1


def files_of(workspace: Workspace) -> dict[str, tuple[str, str]]:
    """Each sample's id, with its name and the id of its rows."""
    return {one.id: (one.name, one.rows_id) for one in list_samples(workspace)}


def ingest_as(workspace: Workspace, name: str) -> None:
    ingest(workspace, workspace.uploads / "tiny.tsv", name, simulated=True)


@pytest.mark.parametrize("order", [("tiny", "second", "third"), ("third", "second", "tiny")])
def test_incomplete_samples_that_share_rows_are_each_repaired_under_their_own_id(
    tiny: Tiny, order: tuple[str, ...]
) -> None:
    """Damage of a file with several names damages all of its samples; a fourth name replaces
    none."""
    workspace, _ = tiny
    ingest_as(workspace, "second")
    ingest_as(workspace, "third")
    before = files_of(workspace)
    whole = read_sample_rows(find_sample(workspace, "tiny"))
    for one in list_samples(workspace):
        # Others map the rows: they keep what they have.
        one.rows_path.unlink()
        (one.folder / "rows.arrow").write_bytes(b"")
    said = sorted(
        str(error).partition("; ")[2].partition(" with")[0] for error in read_samples(workspace)[1]
    )
    assert said == [f"ingest 'tiny.tsv' again as {name!r}" for name in sorted(order)]
    ingest_as(workspace, "fourth")
    for name in order:
        ingest_as(workspace, name)
    healed = files_of(workspace)
    assert {sample_id: healed[sample_id] for sample_id in before} == before
    assert not read_samples(workspace)[1] and len(healed) == 4
    assert all(read_sample_rows(one).equals(whole) for one in list_samples(workspace))


@pytest.mark.parametrize("name", ["tiny", "second"])
def test_an_empty_description_is_repaired_beside_others_of_the_same_rows(
    tiny: Tiny, name: str
) -> None:
    workspace, _ = tiny
    ingest_as(workspace, "second")
    before = files_of(workspace)
    (find_sample(workspace, name).folder / "sample.json").write_bytes(b"")
    ingest_as(workspace, name)
    assert files_of(workspace) == before and not read_samples(workspace)[1]


def test_incomplete_datasets_of_one_content_are_each_repaired_under_their_own_id(
    tiny: Tiny,
) -> None:
    workspace, dataset = tiny
    sample = find_sample(workspace, "tiny")
    second = prepare(workspace, sample, SplitSpec(), "second", min_count=5)
    for one in (dataset, second):
        (one.folder / "labels.npy").write_bytes(b"")
    said = " ".join(str(error) for error in read_datasets(workspace)[1])
    assert "the dataset 'tiny' again" in said and "the dataset 'second' again" in said
    for name in ("second", "tiny"):
        prepare(workspace, sample, SplitSpec(), name, min_count=5)
    assert {(one.id, one.name) for one in list_datasets(workspace)} == {
        (dataset.id, "tiny"),
        (second.id, "second"),
    }
