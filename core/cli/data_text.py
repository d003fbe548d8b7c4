"""How commands show samples, datasets and backbones: as JSON-ready data, and as text."""

import dataclasses
from typing import Any

from core.data.datasets import Dataset
from core.data.describe_dataset import describe_dataset
from core.data.reading.dialects import FileFormat
from core.data.samples import Sample
from core.data.schema import DIALECTS
from core.models.card import BackboneCard

_MAX_RENAMED = 4
"""Renamed columns that `format_text` lists by name."""


def format_text(file_format: FileFormat) -> str:
    """Return how a file will be read, in a sentence, before it is."""
    renamed = [f"{ours} from {theirs}" for ours, theirs in file_format.renamed]
    parts = [f"{DIALECTS[file_format.dialect].title}. {file_format.reason}".rstrip(".")]
    if renamed:
        more = len(renamed) - _MAX_RENAMED
        suffix = f" and {more} more" if more > 0 else ""
        parts.append(f"columns: {', '.join(renamed[:_MAX_RENAMED])}{suffix}")
    if file_format.extra_columns:
        parts.append(f"kept beside them: {', '.join(file_format.extra_columns)}")
    return "; ".join(parts) + "."


def sample_data(sample: Sample) -> dict[str, Any]:
    """Return what `ingest` prints of a sample with ``--json``."""
    names = ("name", "dialect", "rows", "bad_rows", "labelled", "click_rate")
    data = {name: getattr(sample, name) for name in names}
    data |= {name: list(getattr(sample, name)) for name in ("kept", "notes", "bad_examples")}
    data |= {
        "id_column": sample.id_column,
        "member": sample.member,
        "columns": dict(sample.columns),
        "missing_markers": dict(sample.missing_markers),
    }
    return {"sample": sample.id, **data}


def sample_text(sample: Sample) -> str:
    """Return what was read and every note that reading left, a line each."""
    head = f"Sample {sample.name!r}: {sample.rows:,} rows, {sample.dialect} ({sample.reason})"
    lines = [head, *sample.notes]
    if sample.missing_markers:
        markers = ", ".join(f"{text} ({cells:,} cells)" for text, cells in sample.missing_markers)
        lines.append(f"Read as missing, beside empty cells: {markers}.")
    if sample.kept:
        kept = ", ".join(sample.kept)
        lines.append(f"Kept beside label and features, for splits and slices: {kept}.")
    if sample.bad_rows:
        example = sample.bad_examples[0]
        lines.append(f"{sample.bad_rows:,} bad rows skipped, such as: {example}")
    return "\n".join(lines)


def dataset_data(dataset: Dataset) -> dict[str, Any]:
    """Return the dataset's fields without its folder."""
    data = dataclasses.asdict(dataset)
    del data["folder"]
    return data


def dataset_text(dataset: Dataset) -> str:
    """Return rows and click rate of every part, then the dataset's notes."""
    parts = []
    for part in dataset.parts:
        if part.rows:
            rate = "" if part.clicks is None else f" ({part.click_rate:.3f})"
            parts.append(f"{part.part.replace('_', ' ')} {part.rows:,}{rate}")
    mark = ", simulated" if dataset.simulated else ""
    unit = "rows (click rate)" if dataset.labelled else "rows without labels"
    head = f"Dataset {dataset.name!r} ({dataset.id}{mark}): {unit} {', '.join(parts)}"
    return "\n  ".join([head, *describe_dataset(dataset)])


def card_data(card: BackboneCard) -> dict[str, Any]:
    """Return the card's fields, with its folder as text and its number of parameters."""
    data = dataclasses.asdict(card)
    return {**data, "folder": str(card.folder), "parameters": card.parameters}
