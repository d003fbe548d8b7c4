"""Computes the split of samples before anything is prepared."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.data.dataset_files import check_files, concat_rows, decode_column
from core.data.samples import Sample, read_dictionary_table
from core.data.schema import FIELDS, LABEL, NUMERIC
from core.data.split import (
    SplitSpec,
    assign_unlabelled_parts,
    check_parts,
    summarise_parts,
    unlabelled_spec,
)
from core.data.split_adjust import Split, split_rows
from core.errors import BadInput


def plan_split(sample: Sample, spec: SplitSpec) -> Split:
    """Return the split of a sample's rows; raise BadInput for a column or values it lacks."""
    if not sample.labelled:
        return _plan_unlabelled(sample, unlabelled_spec(spec))
    table = read_dictionary_table(sample)
    return split_rows(table[LABEL].to_numpy(), spec, _target_mask(sample, table, spec))


def plan_files(files: Mapping[str, Sample], spec: SplitSpec) -> Split:
    """Return the split of several samples by role (see FILE_ROLES), with the shares of `spec`."""
    files = check_files(files)
    labels = concat_rows([*files.values()])[LABEL].to_numpy()
    return split_rows(
        labels, file_split_spec(spec), files={role: sample.rows for role, sample in files.items()}
    )


def file_split_spec(spec: SplitSpec) -> SplitSpec:
    """Return the split of several files with the shares, seed and shuffle of `spec`."""
    default = SplitSpec()
    return dataclasses.replace(
        spec,
        method="files",
        source_share=default.source_share,
        column="",
        target_values=(),
        seed=spec.seed if spec.shuffle else default.seed,
    )


def _plan_unlabelled(sample: Sample, spec: SplitSpec) -> Split:
    parts, order = assign_unlabelled_parts(sample.rows, spec)
    split = Split(parts, order, summarise_parts(None, parts))
    n_validation = split.summaries[1].rows
    n_requested = round(sample.rows * spec.source_validation_share)
    if n_validation > n_requested:
        note = (
            f"The source validation rows were widened from {n_requested} to {n_validation}, so"
            " that there are some."
        )
        return dataclasses.replace(split, notes=(note,))
    try:
        check_parts(split.summaries)
    except BadInput as error:
        return dataclasses.replace(split, refusal=str(error))
    return split


def _target_mask(sample: Sample, table: pa.Table, spec: SplitSpec) -> np.ndarray | None:
    """Return which rows are target rows, bool, shape ``(n_rows,)``; None for other methods."""
    if spec.method != "column":
        return None
    if spec.column not in (*FIELDS, *sample.kept):
        extra = f", and {', '.join(sample.kept)} beside them" if sample.kept else ""
        raise BadInput(
            f"The sample {sample.name!r} has no column {spec.column!r} to split by; its columns are"
            f" I1 to I13 and C1 to C26{extra}."
        )
    column = decode_column(table[spec.column])
    if spec.column in NUMERIC:
        column = pa.chunked_array([pc.cast(column, pa.int64(), safe=False).combine_chunks()])
    texts = pc.fill_null(column.cast(pa.string()), "")
    in_target = pc.is_in(texts, value_set=pa.array(spec.target_values, pa.string())).to_numpy()
    if not in_target.any():
        value_counts = pc.value_counts(texts).to_pylist()
        examples = [
            f"{repr(entry['values']) if entry['values'] else 'nothing'} ({entry['counts']:,})"
            for entry in sorted(value_counts, key=lambda entry: -entry["counts"])[:8]
        ]
        more = " …" if len(value_counts) > 8 else ""
        requested = " or ".join(map(repr, spec.target_values))
        raise BadInput(
            f"No row has {requested} in column {spec.column}, which holds"
            f" {', '.join(examples)}{more}; choose the values that mean target among these."
            + (" A column with a single value cannot split the rows." * (len(value_counts) == 1))
        )
    return in_target
