"""A file cut short, emptied or filled with zeros, as power cuts leave them, is noticed; a whole one is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.data.datasets import Dataset, load_dataset
from core.data.samples import load_sample
from core.data.wholeness import backbone_fault, dataset_fault, encoded_fault, sample_fault
from core.workspace import BUNDLED_BACKBONES, Workspace

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
}


@pytest.fixture
def furnished(tiny: tuple[Workspace, Dataset]) -> Workspace:
    return tiny[0]


def faults(workspace: Workspace) -> list[str]:
    """Of the one sample and the one dataset."""
    [sample] = workspace.samples.glob("*/sample.json")
    [dataset] = workspace.datasets.glob("*/dataset.json")
    [encoded] = dataset.parent.glob("encoded-*")
    rows = [json.loads(path.read_bytes())["rows"] for path in (sample, dataset)]
    found = [
        sample_fault(sample.parent, rows[0]),
        dataset_fault(dataset.parent, rows[1]),
        encoded_fault(encoded, rows[1]),
    ]
    return [fault for fault in found if fault]


def test_what_is_whole_has_no_fault(furnished: Workspace) -> None:
    assert faults(furnished) == []
    assert [backbone_fault(folder) for folder in BUNDLED_BACKBONES.glob("*/")] != []
    assert not any(backbone_fault(folder) for folder in BUNDLED_BACKBONES.glob("*/"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damaged_file_is_named_alone(furnished: Workspace, damage: str) -> None:
    files = [*furnished.samples.glob("*/rows.arrow"), *furnished.datasets.rglob("*.npy")]
    files += [*furnished.datasets.rglob("preprocessing/*")]
    assert len(files) == 8
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(DAMAGES[damage](whole))
        [fault] = faults(furnished)
        assert fault.startswith(f"{file.name} "), fault
        file.unlink()
        assert faults(furnished) == [f"{file.name} is missing"]
        file.write_bytes(whole)
    assert faults(furnished) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_named(tmp_path: Path, damage: str) -> None:
    bundled = next(iter(BUNDLED_BACKBONES.glob("*/")))
    folder = tmp_path / "backbone"
    shutil.copytree(bundled, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(DAMAGES[damage](weights.read_bytes()))
    assert backbone_fault(folder).startswith("model.safetensors ")


def test_rows_of_another_number_are_a_fault(furnished: Workspace) -> None:
    [sample] = [load_sample(path.parent) for path in furnished.samples.glob("*/sample.json")]
    assert "rows" in sample_fault(sample.folder, sample.rows + 1)
    [dataset] = [load_dataset(path.parent) for path in furnished.datasets.glob("*/dataset.json")]
    assert "parts.npy" in dataset_fault(dataset.folder, dataset.rows - 1)
