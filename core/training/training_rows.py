"""The rows a run touches, as tensors that are addressed by row numbers of the dataset."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from core.data.dataset_rows import find_encoded, load_encoded, read_dataset_rows
from core.data.datasets import (
    Dataset,
    load_labels,
    load_parts,
    rows_of_part,
    select_training_rows,
)
from core.data.parallel import map_ordered
from core.data.preprocessing import Preprocessing, load_preprocessing
from core.data.split import ALL_PARTS
from core.freezing.strategies import complete_options
from core.jobs.requests import BlendRequest, FinetuneRequest, PretrainRequest
from core.models.network import Activations, Network
from core.training.batches import RowTensors, fits_on_device
from core.training.prefix_cache import frozen_prefix_outputs
from core.workspace import Workspace


@dataclass(frozen=True)
class TrainingRows:
    """Rows of some parts of a dataset.

    Args:
        row_numbers: of the rows in the dataset, ascending, int64 ``(rows,)``.
        state: inputs of the stage `first_stage`; for stage 0 ids int32 ``(rows, fields)`` and
            numerics float32 ``(rows, dense)``.
        labels: float32 ``(rows,)``; NaN if the dataset has no labels.
        first_stage: index of the stage that `state` enters.
    """

    row_numbers: np.ndarray
    state: Activations
    labels: torch.Tensor
    first_stage: int = 0

    def take(
        self, row_numbers: np.ndarray, device: torch.device, always_resident: bool = False
    ) -> RowTensors:
        """Return the given rows in the given order, on the device if they fit there.

        Args:
            row_numbers: of the dataset; all of them must be in `self.row_numbers`.
            device: the training device.
            always_resident: put the rows on the device even if they take more than their share of
                its memory, for what computes with all rows at once.
        """
        resident = always_resident or fits_on_device(
            (*self.state, self.labels), len(row_numbers), device
        )
        # Rows that do not fit stay in main memory; batches of them are copied one at a time.
        where = device if resident else torch.device("cpu")
        index = torch.from_numpy(np.searchsorted(self.row_numbers, row_numbers))
        rows = RowTensors(self.state, self.labels).take(index)
        state = tuple(tensor.to(where) for tensor in rows.state)
        return RowTensors(state, rows.labels.to(where), self.first_stage, resident)


def load_rows(
    workspace: Workspace, dataset: Dataset, preprocessing_folder: Path, parts: tuple[str, ...]
) -> TrainingRows:
    """Load the rows of the named parts, encoded by a backbone's preprocessing.

    Args:
        workspace: caches the encoded rows.
        dataset: prepared sample.
        preprocessing_folder: of the backbone, or of the dataset for pretraining.
        parts: of `core.data.split.ALL_PARTS`.
    """
    return load_encoded_parts(workspace, dataset, load_preprocessing(preprocessing_folder), parts)


def load_encoded_parts(
    workspace: Workspace, dataset: Dataset, preprocessing: Preprocessing, parts: tuple[str, ...]
) -> TrainingRows:
    """Load the rows of the named parts as `preprocessing` encodes them; see `load_rows`."""
    rows = load_encoded(workspace, dataset, preprocessing)
    codes = [ALL_PARTS.index(part) for part in parts]
    row_numbers = np.flatnonzero(np.isin(load_parts(dataset), codes))
    # The dataset is memory-mapped; np.asarray reads the rows of these parts alone.
    ids = torch.from_numpy(np.asarray(rows.ids[row_numbers]))
    numerics = torch.from_numpy(np.asarray(rows.numerics[row_numbers]))
    labels = np.asarray(load_labels(dataset)[row_numbers], dtype=np.float32)
    return TrainingRows(row_numbers, (ids, numerics), torch.from_numpy(labels))


def encode_row_numbers(
    workspace: Workspace, dataset: Dataset, preprocessing: Preprocessing, row_numbers: np.ndarray
) -> TrainingRows:
    """Encode some rows of a dataset in memory, unless all of them are stored in this encoding.

    For a vocabulary that a single run has, so that storing all rows would waste the disk.

    Args:
        workspace: of the dataset.
        dataset: prepared sample.
        preprocessing: of the inputs.
        row_numbers: of the rows; each may occur several times.
    """
    row_numbers = np.unique(row_numbers)
    mask = np.zeros(dataset.rows, dtype=bool)
    mask[row_numbers] = True
    labels = torch.from_numpy(np.asarray(load_labels(dataset)[row_numbers], dtype=np.float32))
    if stored := find_encoded(dataset, preprocessing):
        state = tuple(
            torch.from_numpy(array[row_numbers]) for array in (stored.ids, stored.numerics)
        )
        return TrainingRows(row_numbers, state, labels)
    batches, start = [], 0
    for batch in read_dataset_rows(workspace, dataset).to_batches():
        chosen = mask[start : start + batch.num_rows]
        start += batch.num_rows
        if chosen.any():
            batches.append(pa.Table.from_batches([batch]).filter(pa.array(chosen)))
    encoded = list(map_ordered(preprocessing.encode, batches))
    ids = torch.from_numpy(np.concatenate([rows.ids for rows in encoded]))
    numerics = torch.from_numpy(np.concatenate([rows.numerics for rows in encoded]))
    return TrainingRows(row_numbers, (ids, numerics), labels)


def training_domain(request: PretrainRequest | FinetuneRequest | BlendRequest) -> str:
    """Return the domain that a run trains on: "source" for pretraining, else "target"."""
    return "source" if isinstance(request, PretrainRequest) else "target"


def request_rows(
    dataset: Dataset, request: PretrainRequest | FinetuneRequest | BlendRequest
) -> tuple[np.ndarray, np.ndarray]:
    """Return the row numbers that a run trains on and those that it validates on.

    Those of a blend are those of its runs. The one place that decides it: training, scoring and
    drift all call it.
    """
    # 0 rows means all of them; pretraining takes no subset.
    last = 0 if isinstance(request, PretrainRequest) else request.target_rows
    domain, share = training_domain(request), request.train.validation_share
    train, validation = select_training_rows(dataset, domain, share, last)
    if not isinstance(request, FinetuneRequest):
        return train, validation
    domains = control_domains(dataset, request)
    chosen = [source_rows(dataset)] * ("source" in domains)
    if request.window and _control_rows(request) == "both":
        # Everything that is known by then, but for the rows that validate some window.
        chosen.append(rows_of_part(dataset, "earlier_train"))
    return np.concatenate(chosen + [train] * ("target" in domains)), validation


def control_domains(dataset: Dataset, request: FinetuneRequest) -> tuple[str, ...]:
    """Return the domains whose rows a run trains on: the target, for some controls others too.

    A control on "both" takes what there is: only the target where a dataset has no source rows.
    """
    choice = _control_rows(request)
    if choice == "target" or (choice == "both" and not dataset.has_source):
        return ("target",)
    return ("source",) if choice == "source" else ("source", "target")


def _control_rows(request: FinetuneRequest) -> str:
    return str(complete_options(request.strategy, request.options).get("rows", "target"))


def source_rows(dataset: Dataset) -> np.ndarray:
    """Return the source rows that a control may train on: all but the test rows.

    The source's validation rows are among them, since target rows validate.
    """
    return np.concatenate(select_training_rows(dataset, "source", None))


def apply_frozen_prefix(
    workspace: Workspace, network: Network, depth: int, rows: TrainingRows, data_key: str
) -> TrainingRows:
    """Return the rows as they leave the first `depth` stages, computed once and cached on disk.

    Returns `rows` itself for depth 0, or if the outputs would take more disk space than a cache
    entry may.

    Args:
        workspace: holds the cache.
        network: its first `depth` stages are frozen.
        depth: number of stages.
        rows: inputs of stage 0.
        data_key: identifies the dataset's content and the preprocessing that encoded it.
    """
    if depth == 0:
        return rows
    rows_key = f"{data_key}|{hashlib.sha256(rows.row_numbers.tobytes()).hexdigest()}"
    state = frozen_prefix_outputs(network, depth, rows.state, rows_key, workspace)
    if state is None:
        return rows
    return dataclasses.replace(rows, state=state, first_stage=depth)
