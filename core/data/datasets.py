"""Datasets: what is stored of samples prepared for training, and which rows are in which part."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset_files import (
    SampleRole,
)
from core.data.duplicates import Duplicates
from core.data.integrity import find_dataset_fault
from core.data.split import ALL_PARTS, SPLIT_PARTS, PartSummary, SplitSpec
from core.errors import BadInput, Damaged
from core.files.durable import remove_folder
from core.names import find_by_name_or_id
from core.read_only import require_writable
from core.stored import (
    check_files_intact,
    check_timestamp,
    load_stored,
    parse_stored,
    read_array,
    read_entries,
)
from core.workspace import Workspace

DATASET_FILE = "dataset.json"
_FILES = (
    "parts.npy",
    "order.npy",
    "labels.npy",
    "preprocessing/preprocessing.json",
    "preprocessing/vocabulary.parquet",
)
REPAIR_ADVICE = (
    "prepare the dataset again from its sample, put a copy of the folder back, or delete the folder"
)
"""What to do about a damaged file of a dataset, for messages."""


@dataclass(frozen=True)
class Dataset:
    """One or several samples prepared for training.

    `folder` holds parts.npy (int8), order.npy (int64), labels.npy (float32), preprocessing/ and the
    encoded rows.

    Attributes:
        sample_id, sample_name: of the sample; for several samples "" and a list of their names.
        rows: number of rows.
        spec: how they were split.
        parts: rows and clicks of every part, in the order of SPLIT_PARTS.
        content_hash: SHA-256 of the samples' bytes, the split and the minimum count.
        preprocessing_hash: of the fitted preprocessing.
        min_count: minimum count of a vocabulary entry.
        labelled: whether the rows have labels; otherwise all are source rows and labels.npy holds
            NaN.
        notes: sentences about what the split changed so that every part has both classes.
        samples: for a dataset of several files each file's role, in the order of the rows; else
            empty.
        duplicates: rows that occur in two parts or files; counted for several files only.
    """

    id: str
    name: str
    sample_id: str
    sample_name: str
    simulated: bool
    rows: int
    spec: SplitSpec
    parts: tuple[PartSummary, ...]
    content_hash: str
    preprocessing_hash: str
    min_count: int
    created: str
    labelled: bool = True
    folder: Path = Path()
    notes: tuple[str, ...] = ()
    samples: tuple[SampleRole, ...] = ()
    duplicates: tuple[Duplicates, ...] = ()

    def row_parts(self) -> np.ndarray:
        """Return the part of every row, see `load_parts`."""
        return read_array(self.folder / "parts.npy", REPAIR_ADVICE, (self.rows,), "i")

    def row_order(self) -> np.ndarray:
        """Return all row numbers in the order in which parts were cut, int64 ``(n_rows,)``."""
        path = self.folder / "order.npy"
        return read_array(path, REPAIR_ADVICE, (self.rows,), "i", mmap_mode="r")

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """Ids of its samples, in the order of its rows."""
        return tuple(sample.id for sample in self.samples) or (self.sample_id,)

    @property
    def fitted_rows(self) -> int:
        """Number of training rows that vocabulary and statistics are fitted on."""
        return count_fitted_rows(self.parts)

    @property
    def has_source(self) -> bool:
        """Whether there are source rows."""
        return any(part.rows for part in self.parts if part.part.startswith("source"))


def count_fitted_rows(parts: Sequence[PartSummary]) -> int:
    """Return the number of rows that vocabulary and statistics are fitted on.

    These are the source training rows, or the target ones if there is no source domain.
    """
    rows = {part.part: part.rows for part in parts}
    return rows["source_train"] or rows["target_train"]


def count_source_rows(dataset: Dataset) -> int:
    """Return the number of source rows that are no test rows: those a control may train on."""
    parts = {part.part: part.rows for part in dataset.parts}
    return parts["source_train"] + parts["source_validation"]


def load_dataset(folder: Path) -> Dataset:
    """Load the dataset stored in `folder`.

    Raises:
        Damaged: its description or one of its files is damaged.
    """

    def make(values: dict[str, Any]) -> Dataset:
        dataset = dataclasses.replace(parse_stored(Dataset, values), folder=folder)
        if dataset.id != folder.name:
            raise ValueError(f"it describes the dataset {dataset.id[:40]!r}")
        if tuple(part.part for part in dataset.parts) != SPLIT_PARTS:
            raise ValueError(f"its parts are not {', '.join(SPLIT_PARTS)}")
        if dataset.rows < 1 or sum(part.rows for part in dataset.parts) != dataset.rows:
            raise ValueError(f"its parts do not add up to its {dataset.rows} rows")
        check_timestamp(dataset.created, "created")
        return dataset

    dataset = load_stored(folder / DATASET_FILE, REPAIR_ADVICE, make)
    advice = REPAIR_ADVICE.replace("the dataset", f"the dataset {dataset.name!r}")
    check_files_intact(folder, _FILES, lambda: find_dataset_fault(folder, dataset.rows), advice)
    return dataset


def read_datasets(workspace: Workspace) -> tuple[list[Dataset], list[Damaged]]:
    """Return (every intact dataset, newest first; errors for the damaged ones)."""
    intact, damaged = read_entries(workspace.datasets, DATASET_FILE, load_dataset, "d-")
    return sorted(intact, key=lambda dataset: dataset.created, reverse=True), damaged


def list_datasets(workspace: Workspace) -> list[Dataset]:
    """Return every intact dataset, newest first."""
    return read_datasets(workspace)[0]


def find_dataset(workspace: Workspace, name_or_id: str) -> Dataset:
    """Return the dataset of this id or name; raise BadInput with the names there are."""
    return find_by_name_or_id(*read_datasets(workspace), name_or_id, "dataset")


def require_labels(dataset: Dataset) -> None:
    """Raise BadInput if the dataset has no labels."""
    if not dataset.labelled:
        raise BadInput(
            f"The dataset {dataset.name!r} has no labels (39 columns): only pretraining by RFD or"
            " MFP, or a start without training, can use it; choose a dataset with labels for"
            " anything else."
        )


def delete_dataset(dataset: Dataset) -> None:
    """Remove the dataset; its runs keep their results."""
    require_writable()
    remove_folder(dataset.folder)


def load_parts(dataset: Dataset) -> np.ndarray:
    """Return the part of every row as an index into ALL_PARTS, int8, shape ``(n_rows,)``.

    A row that a window of a dataset leaves out (core.data.windows) has -1.
    """
    return dataset.row_parts()


def load_labels(dataset: Dataset) -> np.ndarray:
    """Return the labels, 0.0 or 1.0 (NaN without labels), float32, shape ``(n_rows,)``."""
    return read_array(
        dataset.folder / "labels.npy", REPAIR_ADVICE, (dataset.rows,), "f", mmap_mode="r"
    )


def select_training_rows(
    dataset: Dataset, domain: str, validation_share: float | None, n_last: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return (training rows, validation rows) of a domain as row numbers.

    They are in the order in which the domain was split. If the new validation rows would hold a
    single class, more rows validate if that gives both classes.

    Args:
        dataset: the dataset.
        domain: "source" or "target".
        validation_share: share of both parts that validates, their last rows; None keeps the
            dataset's own split.
        n_last: use only the last `n_last` rows of both parts, split by the same share; 0 for all.
            The rows of a smaller number are among those of a larger one. If the validation rows are
            a file of their own and no share is given, the last rows of each file are used.

    Raises:
        BadInput: there are fewer rows than `n_last`, or none is left to train on.
    """
    train = rows_of_part(dataset, f"{domain}_train")
    validation = rows_of_part(dataset, f"{domain}_validation")
    rows = np.concatenate([train, validation])
    if n_last > len(rows):
        raise BadInput(
            f"There are {len(rows):,} {domain} rows to train and validate on; {n_last:,} were asked"
            " for."
        )
    if validation_share is None and not n_last:
        return train, validation
    share = len(validation) / len(rows) if validation_share is None else validation_share
    n_validation = count_validation_rows(n_last or len(rows), share)
    rows = rows[-n_last:]
    n_train = len(rows) - n_validation
    if n_train < 1:
        raise BadInput(
            f"A validation share of {share:g} leaves no {domain} row to train on; lower it."
        )
    if validation_share is None and any(
        sample.role == f"{domain}_validation" for sample in dataset.samples
    ):
        return train[-n_train:], validation[-n_validation:]
    n_train = cut_with_both_classes(load_labels(dataset)[rows], n_train)
    return rows[:n_train], rows[n_train:]


def count_validation_rows(n_rows: int, share: float) -> int:
    """Return how many of `n_rows` rows validate: at least one.

    >>> count_validation_rows(1000, 0.1), count_validation_rows(3, 0.1)
    (100, 1)
    """
    return max(1, round(n_rows * share))


def cut_with_both_classes(labels: np.ndarray, cut: int) -> int:
    """Return the largest cut up to `cut` with both classes on either side, else `cut`."""
    clicks = labels == 1
    cuts = np.arange(1, cut + 1)
    clicks_before = np.cumsum(clicks)[: len(cuts)]
    clicks_after, rows_after = clicks.sum() - clicks_before, len(labels) - cuts
    valid = (
        (clicks_before > 0)
        & (clicks_before < cuts)
        & (clicks_after > 0)
        & (clicks_after < rows_after)
    )
    return int(cuts[valid][-1]) if valid.any() else cut


def select_test_rows(dataset: Dataset, domain: str) -> np.ndarray:
    """Return the row numbers of the test rows of "source" or "target"."""
    return rows_of_part(dataset, f"{domain}_test")


def rows_of_part(dataset: Dataset, part: str) -> np.ndarray:
    """Return the row numbers of one of ALL_PARTS, in the order in which it was cut."""
    order = dataset.row_order()
    return np.asarray(order[load_parts(dataset)[order] == ALL_PARTS.index(part)])
