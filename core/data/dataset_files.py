"""The files of a dataset that is made of several: what each of them is, and their rows as one
table."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from core.data.samples import Sample, read_dictionary_table
from core.data.schema import FIELDS, LABEL
from core.data.split import FILE_ROLES, SplitSpec
from core.data.split_adjust import Split
from core.errors import BadInput
from core.workspace import hash_json


@dataclass(frozen=True)
class SampleRole:
    """A sample that a dataset is made of. role: one of FILE_ROLES."""

    role: str
    id: str
    name: str
    rows: int


def check_files(files: Mapping[str, Sample]) -> dict[str, Sample]:
    """The files by role in the order of FILE_ROLES; BadInput where they make no dataset."""
    if unknown := [role for role in files if role not in FILE_ROLES]:
        raise BadInput(
            f"A file cannot be {unknown[0]!r} of a dataset; choose from {', '.join(FILE_ROLES)}."
        )
    ordered = {role: files[role] for role in FILE_ROLES if role in files}
    if "target" not in ordered:
        raise BadInput(
            "A dataset needs a file with the target's training rows; name one as the target."
        )
    for role, sample in ordered.items():
        domain = role.split("_")[0]
        if domain not in ordered:
            raise BadInput(
                f"The sample {sample.name!r} is to be the {_role_name(role)} file, but there is no"
                f" {domain} file with training rows; name one, or leave it out."
            )
        if not sample.labelled:
            raise BadInput(
                f"The sample {sample.name!r} (the {_role_name(role)} file) has no labels; a dataset of"
                " several files needs labels in each. Without labels it can be prepared alone, for"
                " pretraining."
            )
        twin = next(one for one, other in ordered.items() if other.rows_id == sample.rows_id)
        if twin != role:
            raise BadInput(
                f"The sample {sample.name!r} is named as the {_role_name(twin)} file and as the"
                f" {_role_name(role)} file; its rows can be only one of them. To cut several parts from"
                " one file, prepare it alone."
            )
    return ordered


def concat_rows(samples: Sequence[Sample]) -> pa.Table:
    """Rows of all samples one after another, memory-mapped and coded: label, fields and the columns
    that all kept."""
    columns = [LABEL] * all(sample.labelled for sample in samples) + [
        *FIELDS,
        *columns_in_all(samples),
    ]
    return pa.concat_tables([read_dictionary_table(sample).select(columns) for sample in samples])


def columns_in_all(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Names of the columns beyond label and fields that every sample has."""
    return tuple(name for name in samples[0].kept if all(name in sample.kept for sample in samples))


def decode_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A coded column's values: float64 or string, null where missing."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _role_name(role: str) -> str:
    return role.replace("_", " ")


def hash_dataset_content(
    files: Mapping[str, Sample], spec: SplitSpec, min_count: int, split: Split
) -> str:
    """SHA-256 (hex) of what decides a dataset's rows, parts and vocabulary. files: by role, "" for
    one sample alone.

    For one sample whose split needs no adjusting it is what it always was: runs know datasets by
    it.
    """
    content: list[Any] = (
        [_single_sample_key(files[""])]
        if "" in files
        else [[[role, *_rows_key(one)] for role, one in files.items()]]
    )
    content += [spec.as_json(), min_count, sum(sample.rows for sample in files.values())]
    if split.adjusted:
        content.append(hashlib.sha256(split.parts.tobytes()).hexdigest())
    return hash_json(content)


def _rows_key(sample: Sample) -> list[str | int]:
    return [sample.content_hash, sample.rows_id, sample.rows]


def _single_sample_key(sample: Sample) -> str | list[str | int]:
    """The hash of the sample's file; with its id where that says more (such as which file of an
    archive)."""
    plain = f"s-{sample.content_hash[:12]}"
    return sample.content_hash if sample.rows_id in (plain, f"{plain}-skip") else _rows_key(sample)
