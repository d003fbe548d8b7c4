"""The rows of one run as tensors, addressed by their row numbers in the dataset."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core.data.datasets import Dataset, load_encoded, load_labels, load_parts
from core.data.preprocessing import load_preprocessing
from core.data.split import SPLIT_PARTS
from core.models.network import Network, State
from core.training.batches import RowTensors, fits_on_device
from core.training.prefix_cache import frozen_prefix_outputs
from core.workspace import Workspace


@dataclass(frozen=True)
class TrainingRows:
    """The rows a run touches: `file_row_numbers` holds their dataset row numbers, ascending; `state` and
    `labels` lie beside it.

    first_stage: the stage that `state` goes into, 0 for (ids int32 (rows, fields), numerics float32
    (rows, 13)).
    """

    row_numbers: np.ndarray
    state: State
    labels: torch.Tensor
    first_stage: int = 0

    def take(
        self, rows: np.ndarray, device: torch.device, always_resident: bool = False
    ) -> RowTensors:
        """The given dataset rows, in that order, on `device` where it has room for them, else in
        main memory.

        together: puts them on the device in any case, for what computes on all of them at once.
        """
        resident = always_resident or fits_on_device((*self.state, self.labels), len(rows), device)
        where = device if resident else torch.device("cpu")
        near = RowTensors(self.state, self.labels).take(
            torch.from_numpy(np.searchsorted(self.row_numbers, rows))
        )
        return RowTensors(
            tuple(tensor.to(where) for tensor in near.state),
            near.labels.to(where),
            self.first_stage,
            resident,
        )


def load_rows(
    workspace: Workspace, dataset: Dataset, preprocessing_folder: Path, parts: tuple[str, ...]
) -> TrainingRows:
    """The dataset's rows of the named parts, encoded by the given preprocessing."""
    rows = load_encoded(workspace, dataset, load_preprocessing(preprocessing_folder))
    index = np.flatnonzero(
        np.isin(load_parts(dataset), [SPLIT_PARTS.index(part) for part in parts])
    )
    state = (
        torch.from_numpy(np.asarray(rows.ids[index])),
        torch.from_numpy(np.asarray(rows.numerics[index])),
    )
    return TrainingRows(
        index, state, torch.from_numpy(np.asarray(load_labels(dataset)[index], dtype=np.float32))
    )


def apply_frozen_prefix(
    workspace: Workspace, network: Network, depth: int, rows: TrainingRows, data_key: str
) -> TrainingRows:
    """The table moved up behind the first `depth` stages; as it is when there are none or they hand
    on too much.

    data_key: identifies the dataset's content and the preprocessing that encoded it.
    """
    if depth == 0:
        return rows
    rows_key = f"{data_key}|{hashlib.sha256(rows.row_numbers.tobytes()).hexdigest()}"
    state = frozen_prefix_outputs(network, depth, rows.state, rows_key, workspace)
    if state is None:
        return rows
    return dataclasses.replace(rows, state=state, first_stage=depth)
