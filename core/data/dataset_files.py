"""Datasets of several files: the role of each file, and their rows as one table."""

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
    """A sample of a dataset, and its role, one of FILE_ROLES."""

    role: str
    id: str
    name: str
    rows: int


def check_files(files: Mapping[str, Sample]) -> dict[str, Sample]:
    """Return the samples by role, in the order of FILE_ROLES.

    Raises:
        BadInput: they do not make a dataset.
    """
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
                f"The sample {sample.name!r} (the {_role_name(role)} file) has no labels; a dataset"
                " of several files needs labels in each. Without labels it can be prepared alone,"
                " for pretraining."
            )
        first_role = next(
            other_role for other_role, other in ordered.items() if other.rows_id == sample.rows_id
        )
        if first_role != role:
            raise BadInput(
                f"The sample {sample.name!r} is named as the {_role_name(first_role)} file and as"
                f" the {_role_name(role)} file; its rows can be only one of them. To cut several"
                " parts from one file, prepare it alone."
            )
    return ordered


def concat_rows(samples: Sequence[Sample]) -> pa.Table:
    """Return the rows of all samples as one memory-mapped, dictionary-encoded table.

    Its columns are label, features and the extra columns that all samples have.
    """
    columns = [LABEL] * all(sample.labelled for sample in samples) + [
        *FIELDS,
        *columns_in_all(samples),
    ]
    return pa.concat_tables([read_dictionary_table(sample).select(columns) for sample in samples])


def columns_in_all(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return the names of the extra columns that every sample has."""
    return tuple(name for name in samples[0].kept if all(name in sample.kept for sample in samples))


def decode_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values of a dictionary-encoded column: float64 or string, null where missing."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _role_name(role: str) -> str:
    return role.replace("_", " ")


def hash_dataset_content(
    files: Mapping[str, Sample], spec: SplitSpec, min_count: int, split: Split
) -> str:
    """Return the SHA-256 (hex) of all that decides a dataset's rows, parts and vocabulary.

    Existing runs refer to datasets by this hash, so for one sample whose split needs no adjusting
    it must stay as it is.

    Args:
        files: the samples by role; a single sample has the role "".
        spec: the split.
        min_count: minimum count of a vocabulary entry.
        split: the parts that the split gives.
    """
    content: list[Any] = (
        [_single_sample_key(files[""])]
        if "" in files
        else [[[role, *_rows_key(sample)] for role, sample in files.items()]]
    )
    content += [spec.as_json(), min_count, sum(sample.rows for sample in files.values())]
    if split.adjusted:
        content.append(hashlib.sha256(split.parts.tobytes()).hexdigest())
    return hash_json(content)


def _rows_key(sample: Sample) -> list[str | int]:
    return [sample.content_hash, sample.rows_id, sample.rows]


def _single_sample_key(sample: Sample) -> str | list[str | int]:
    """Return the hash of the sample's file, with its id if the file was read in a special way."""
    plain = f"s-{sample.content_hash[:12]}"
    return sample.content_hash if sample.rows_id in (plain, f"{plain}-skip") else _rows_key(sample)
