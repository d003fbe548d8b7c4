"""A truncated, empty or zero-filled file, as power cuts leave them, is detected; an intact one is
not."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.data.datasets import Dataset
from core.data.integrity import (
    find_backbone_fault,
    find_dataset_fault,
    find_encoded_fault,
    find_sample_fault,
)
from core.data.samples import Sample, list_samples
from core.workspace import BUNDLED_BACKBONES, Workspace

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
}


@pytest.fixture
def furnished(tiny: tuple[Workspace, Dataset]) -> tuple[Sample, Dataset]:
    """The only sample and the only dataset."""
    return list_samples(tiny[0])[0], tiny[1]


def faults(sample: Sample, dataset: Dataset) -> list[str]:
    [encoded] = dataset.folder.glob("encoded-*")
    found = [
        find_sample_fault(sample.folder, sample.rows),
        find_dataset_fault(dataset.folder, dataset.rows),
        find_encoded_fault(encoded, dataset.rows),
    ]
    return [fault for fault in found if fault]


def test_complete_entries_have_no_fault(furnished: tuple[Sample, Dataset]) -> None:
    assert faults(*furnished) == []
    assert [find_backbone_fault(folder) for folder in BUNDLED_BACKBONES.glob("*/")] != []
    assert not any(find_backbone_fault(folder) for folder in BUNDLED_BACKBONES.glob("*/"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damaged_file_is_named_alone(furnished: tuple[Sample, Dataset], damage: str) -> None:
    sample, dataset = furnished
    files = [
        sample.rows_path,
        *dataset.folder.rglob("*.npy"),
        *dataset.folder.rglob("preprocessing/*"),
    ]
    assert len(files) == 8
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(DAMAGES[damage](whole))
        [fault] = faults(*furnished)
        assert fault.startswith(f"{file.name} "), fault
        file.unlink()
        assert faults(*furnished) == [f"{file.name} is missing"]
        file.write_bytes(whole)
    assert faults(*furnished) == []


@pytest.mark.parametrize("place", ["begin", "name of a column"])
def test_a_damaged_footer_is_a_fault(furnished: tuple[Sample, Dataset], place: str) -> None:
    """Its magic numbers and length are intact. Arrow raises an OSError without errno, or cannot
    decode a name."""
    _, dataset = furnished
    file = dataset.folder / "preprocessing" / "vocabulary.parquet"
    data = bytearray(file.read_bytes())
    footer = slice(-8 - int.from_bytes(data[-8:-4], "little"), -8)
    damaged = bytearray(data[footer])
    damaged[0 if place == "begin" else damaged.index(b"field")] = 0xFF
    data[footer] = damaged
    file.write_bytes(data)
    assert faults(*furnished) == [f"vocabulary.parquet has a damaged footer ({len(data):,} bytes)"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_named(tmp_path: Path, damage: str) -> None:
    bundled = next(iter(BUNDLED_BACKBONES.glob("*/")))
    folder = tmp_path / "backbone"
    shutil.copytree(bundled, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(DAMAGES[damage](weights.read_bytes()))
    assert find_backbone_fault(folder).startswith("model.safetensors ")


def test_rows_of_another_number_are_a_fault(furnished: tuple[Sample, Dataset]) -> None:
    sample, dataset = furnished
    assert "rows" in find_sample_fault(sample.folder, sample.rows + 1)
    assert "parts.npy" in find_dataset_fault(dataset.folder, dataset.rows - 1)
