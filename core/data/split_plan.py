"""What a split makes of samples: the parts, before anything is prepared."""

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
    """What `spec` makes of a sample's rows. BadInput for a column or values that the sample does
    not have."""
    if not sample.labelled:
        return _plan_unlabelled(sample, unlabelled_spec(spec))
    table = read_dictionary_table(sample)
    return split_rows(table[LABEL].to_numpy(), spec, _target_mask(sample, table, spec))


def plan_files(files: Mapping[str, Sample], spec: SplitSpec) -> Split:
    """What `spec` (its shares, seed and shuffle) makes of several samples. files: by role, see
    FILE_ROLES."""
    files = check_files(files)
    labels = concat_rows([*files.values()])[LABEL].to_numpy()
    return split_rows(
        labels, file_split_spec(spec), files={role: sample.rows for role, sample in files.items()}
    )


def file_split_spec(spec: SplitSpec) -> SplitSpec:
    """The split of several files with the shares, seed and shuffle of `spec`; what else it says
    does not apply."""
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
    validation, asked = split.summaries[1].rows, round(sample.rows * spec.source_validation_share)
    if validation > asked:
        note = (
            f"The source validation rows were widened from {asked} to {validation}, so that there"
            " are some."
        )
        return dataclasses.replace(split, notes=(note,))
    try:
        check_parts(split.summaries)
    except BadInput as error:
        return dataclasses.replace(split, refusal=str(error))
    return split


def _target_mask(sample: Sample, table: pa.Table, spec: SplitSpec) -> np.ndarray | None:
    """Whether each row is a target row by the split's column, bool (rows,); None where it splits by
    none."""
    if spec.method != "column":
        return None
    if spec.column not in (*FIELDS, *sample.kept):
        kept = f", and {', '.join(sample.kept)} beside them" if sample.kept else ""
        raise BadInput(
            f"The sample {sample.name!r} has no column {spec.column!r} to split by; its columns are"
            f" I1 to I13 and C1 to C26{kept}."
        )
    column = decode_column(table[spec.column])
    if spec.column in NUMERIC:
        column = pa.chunked_array([pc.cast(column, pa.int64(), safe=False).combine_chunks()])
    texts = pc.fill_null(column.cast(pa.string()), "")
    in_target = pc.is_in(texts, value_set=pa.array(spec.target_values, pa.string())).to_numpy()
    if not in_target.any():
        found = pc.value_counts(texts).to_pylist()
        held = [
            f"{repr(one['values']) if one['values'] else 'nothing'} ({one['counts']:,})"
            for one in sorted(found, key=lambda one: -one["counts"])[:8]
        ]
        more = " …" if len(found) > 8 else ""
        asked = " or ".join(map(repr, spec.target_values))
        raise BadInput(
            f"No row has {asked} in column {spec.column}, which holds {', '.join(held)}{more};"
            " choose the values that mean target among these."
            + (" With one value alone no split by it is possible." * (len(found) == 1))
        )
    return in_target
