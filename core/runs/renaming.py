"""Giving runs, sweeps, samples, datasets and backbones other names; ids stay, and all that is
stored by them."""

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
    """Gives a run another name; BadInput for a blank one, one too long, or one of more than a
    line."""
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
    """Gives a sweep another name; BadInput where it is taken. Its runs keep theirs, which do not
    hold it."""
    require_writable()
    with names_lock(workspace):
        name = validate_new_name(list_sweeps(workspace), sweep, name, "sweep")
        RunStore(workspace).rename_sweep(sweep.id, name)
    return find_sweep(workspace, sweep.id)


def rename_sample(workspace: Workspace, sample: Sample, name: str) -> Sample:
    """Gives a sample another name, also where datasets prepared from it state it; BadInput where it
    is taken."""
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
    """Gives a dataset another name; BadInput where it is taken. Backbones trained on it keep the
    name they stated."""
    require_writable()
    with names_lock(workspace):
        name = validate_new_name(list_datasets(workspace), dataset, name, "dataset")
        _update_json_field(dataset.folder / "dataset.json", "name", name)
    return load_dataset(dataset.folder)


def rename_backbone(workspace: Workspace, card: BackboneCard, name: str) -> BackboneCard:
    """Gives one of the workspace's own backbones another name; BadInput where it is taken or being
    pretrained."""
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
    """Has a dataset state the sample's name; that of several samples lists all of theirs."""
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
    """Changes one field of a JSON file and leaves whatever else it holds."""
    write_json(file, {**read_json(file), field: value})
