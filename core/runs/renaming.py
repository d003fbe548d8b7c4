"""Rename runs, sweeps, samples, datasets and backbones. Ids, and what is stored by them, stay."""

import dataclasses
from pathlib import Path

from core.data.datasets import Dataset, list_datasets, load_dataset
from core.data.samples import Sample, list_samples, save_sample
from core.errors import BadInput, NameTaken
from core.jobs.store import NAME_LENGTH, Run, RunStore
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard, load_card
from core.names import names_lock, validate_new_name
from core.read_only import require_writable
from core.runs.submit import backbone_names_in_training
from core.runs.sweep import Sweep, find_sweep, list_sweeps
from core.workspace import Workspace, read_json, write_json


def rename_run(workspace: Workspace, run_id: str, name: str) -> Run:
    """Rename a run; BadInput where the name is blank, too long or not on one line."""
    require_writable()
    cleaned = name.strip()
    if not 1 <= len(cleaned) <= NAME_LENGTH or not cleaned.isprintable():
        raise BadInput(
            f"The run name {name[:80]!r} cannot be used: take 1 to {NAME_LENGTH} letters on one"
            " line."
        )
    store = RunStore(workspace)
    store.annotate(run_id, name=cleaned)
    return store.get(run_id)


def rename_sweep(workspace: Workspace, sweep: Sweep, name: str) -> Sweep:
    """Rename a sweep; BadInput where the name is taken. Its runs keep their names."""
    require_writable()
    with names_lock(workspace):
        name = validate_new_name(list_sweeps(workspace), sweep, name, "sweep")
        RunStore(workspace).rename_sweep(sweep.id, name)
    return find_sweep(workspace, sweep.id)


def rename_sample(workspace: Workspace, sample: Sample, name: str) -> Sample:
    """Rename a sample, also in the datasets prepared from it; BadInput where the name is taken."""
    require_writable()
    with names_lock(workspace):
        name = validate_new_name(list_samples(workspace), sample, name, "sample")
        renamed = dataclasses.replace(sample, name=name)
        save_sample(renamed)
    for dataset in list_datasets(workspace):
        if sample.id in dataset.sample_ids:
            _update_sample_name(dataset, renamed)
    return renamed


def rename_dataset(workspace: Workspace, dataset: Dataset, name: str) -> Dataset:
    """Rename a dataset; BadInput where the name is taken. Cards of backbones keep its old name."""
    require_writable()
    with names_lock(workspace):
        name = validate_new_name(list_datasets(workspace), dataset, name, "dataset")
        _update_json_field(dataset.folder / "dataset.json", "name", name)
    return load_dataset(dataset.folder)


def rename_backbone(workspace: Workspace, card: BackboneCard, name: str) -> BackboneCard:
    """Rename one of the workspace's own backbones; BadInput where the name is taken."""
    require_writable()
    if card.bundled:
        raise BadInput(f"The backbone {card.name!r} comes with Thaw and cannot be renamed.")
    with names_lock(workspace):
        name = validate_new_name(list_backbones(workspace), card, name, "backbone")
        if name in backbone_names_in_training(workspace):
            raise NameTaken(f"A backbone named {name!r} is being pretrained; choose another name.")
        _update_json_field(card.folder / "card.json", "name", name)
    return load_card(card.folder)


def _update_sample_name(dataset: Dataset, sample: Sample) -> None:
    """Write the sample's name into a dataset; one of several samples lists all names."""
    file = dataset.folder / "dataset.json"
    if not dataset.samples:
        _update_json_field(file, "sample_name", sample.name)
        return
    samples = [
        {**one, "name": sample.name} if one["id"] == sample.id else one
        for one in read_json(file)["samples"]
    ]
    _update_json_field(file, "samples", samples)
    _update_json_field(file, "sample_name", ", ".join(one["name"] for one in samples))


def _update_json_field(file: Path, field: str, value: object) -> None:
    """Change one field of a JSON file and keep the others."""
    write_json(file, {**read_json(file), field: value})
