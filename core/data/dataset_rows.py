"""The rows of a dataset: as stored in its samples, and as a preprocessing encodes them."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from core.data.dataset_files import (
    columns_in_all,
    concat_rows,
    decode_column,
)
from core.data.datasets import REPAIR_ADVICE, Dataset, select_training_rows
from core.data.parallel import map_ordered
from core.data.preprocessing import (
    MISSING,
    UNSEEN,
    Encoded,
    Preprocessing,
)
from core.data.samples import Sample, read_samples
from core.data.schema import FIELDS
from core.errors import BadInput, Damaged
from core.files.durable import publish_folder, staging
from core.stored import (
    read_array,
)
from core.workspace import Workspace

_NAME_NUMBER = re.compile(r"-name\d+$")
"""What `core.names.unused_id` appends to the id of rows that have several names."""


def find_samples(workspace: Workspace, dataset: Dataset) -> list[Sample]:
    """Return the samples of a dataset in the order of its rows.

    A sample of another name with the same rows replaces one that was deleted.

    Raises:
        BadInput: a sample was deleted.
    """
    intact, damaged = read_samples(workspace)
    named = {candidate.id: candidate.name for candidate in dataset.samples} or {
        dataset.sample_id: dataset.sample_name
    }
    samples = []
    for sample_id, name in named.items():
        matches = [
            candidate for candidate in intact if sample_id in (candidate.id, candidate.rows_id)
        ]
        matches += [
            candidate
            for candidate in intact
            if _NAME_NUMBER.sub("", sample_id) == candidate.rows_id
        ]
        if not matches:
            reason = next(
                (
                    f" {candidate}"
                    for candidate in damaged
                    if candidate.path.parent.name == sample_id
                ),
                "",
            )
            raise BadInput(
                f"There is no sample {name!r} any more, of which the dataset {dataset.name!r}"
                f" is made; ingest its file again.{reason}"
            )
        samples.append(min(matches, key=lambda candidate: candidate.id != sample_id))
    return samples


def read_dataset_rows(workspace: Workspace, dataset: Dataset) -> pa.Table:
    """Return all rows, as `dataset_files.concat_rows`; raise BadInput if a sample was deleted."""
    return concat_rows(find_samples(workspace, dataset))


def shared_extra_columns(workspace: Workspace, dataset: Dataset) -> tuple[str, ...]:
    """Return the extra columns that every row has; () if a sample was deleted."""
    try:
        return columns_in_all(find_samples(workspace, dataset))
    except BadInput:
        return ()


def read_column(workspace: Workspace, dataset: Dataset, column: str) -> pa.ChunkedArray:
    """Return the values of a column in all rows, float64 or string, null where missing.

    Raises:
        BadInput: there is no such column, or a sample was deleted.
    """
    table = read_dataset_rows(workspace, dataset)
    if column not in table.column_names:
        raise BadInput(f"The rows of the dataset {dataset.name!r} have no column {column!r}.")
    return decode_column(table[column])


def load_encoded(workspace: Workspace, dataset: Dataset, preprocessing: Preprocessing) -> Encoded:
    """Return all rows as `preprocessing` encodes them, memory-mapped; computed once and stored.

    Raises:
        BadInput: a sample was deleted before its rows were encoded.
    """
    # A damaged encoding can be computed again from the rows.
    if found := find_encoded(dataset, preprocessing):
        return found
    encode_rows(
        read_dataset_rows(workspace, dataset), preprocessing, dataset.folder, lambda share: None
    )
    return _read_encoded(
        _encoded_folder(dataset, preprocessing), dataset.rows, preprocessing.n_dense
    )


def find_encoded(dataset: Dataset, preprocessing: Preprocessing) -> Encoded | None:
    """Return all rows as `preprocessing` encodes them if they are stored and intact."""
    with suppress(Damaged):
        return _read_encoded(
            _encoded_folder(dataset, preprocessing), dataset.rows, preprocessing.n_dense
        )
    return None


def _encoded_folder(dataset: Dataset, preprocessing: Preprocessing) -> Path:
    return dataset.folder / f"encoded-{preprocessing.hash[:12]}"


def _read_encoded(folder: Path, rows: int, n_dense: int) -> Encoded:
    return Encoded(
        read_array(folder / "ids.npy", REPAIR_ADVICE, (rows, len(FIELDS)), "i", mmap_mode="r"),
        read_array(folder / "numerics.npy", REPAIR_ADVICE, (rows, n_dense), "f", mmap_mode="r"),
    )


def encode_rows(
    table: pa.Table, preprocessing: Preprocessing, folder: Path, report: Callable[[float], None]
) -> None:
    """Encode the rows of a table batch by batch and store them in the dataset's folder."""
    batches = (pa.Table.from_batches([batch]) for batch in table.to_batches())
    with staging(folder) as part:
        with (part / "ids.npy").open("wb") as ids, (part / "numerics.npy").open("wb") as numerics:
            _write_npy_header(ids, np.int32, (table.num_rows, len(FIELDS)))
            _write_npy_header(numerics, np.float32, (table.num_rows, preprocessing.n_dense))
            done = 0
            for rows in map_ordered(preprocessing.encode, batches):
                ids.write(rows.ids.data)
                numerics.write(rows.numerics.data)
                done += len(rows.ids)
                report(done / table.num_rows)
        publish_folder(part, folder / f"encoded-{preprocessing.hash[:12]}")


def _write_npy_header(stream: BinaryIO, dtype: type, shape: tuple[int, ...]) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(stream, header)


@dataclass(frozen=True)
class FieldCoverage:
    """How well a vocabulary covers a field: shares of the target training rows."""

    field: str
    unseen_share: float
    missing_share: float


def measure_coverage(
    workspace: Workspace, dataset: Dataset, preprocessing: Preprocessing
) -> list[FieldCoverage]:
    """Return per field the share of target training rows whose value is not in a vocabulary.

    Raises:
        BadInput: the dataset has no labels and therefore no target rows.
    """
    if not dataset.labelled:
        raise BadInput(
            f"The dataset {dataset.name!r} has no labels and so no target rows to check a"
            " vocabulary against; choose a dataset with labels."
        )
    ids = load_encoded(workspace, dataset, preprocessing).ids[
        select_training_rows(dataset, "target", None)[0]
    ]
    unseen, missing = (ids == UNSEEN).mean(axis=0), (ids == MISSING).mean(axis=0)
    return [
        FieldCoverage(field, float(unseen[i]), float(missing[i])) for i, field in enumerate(FIELDS)
    ]
