"""The rows of one run as tensors, addressed by their row numbers in the dataset."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core.data.datasets import Dataset, encoded, labels_of, parts_of
from core.data.preprocessing import load_preprocessing
from core.data.split import PARTS
from core.models.network import Network, State
from core.training.feeding import Rows, fits
from core.training.prefix import frozen_state
from core.workspace import Workspace


@dataclass(frozen=True)
class Table:
    """The rows a run touches: `index` holds their dataset row numbers, ascending; `state` and
    `labels` lie beside it.

    first: the stage that `state` goes into, 0 for (ids int32 (rows, fields), numerics float32
    (rows, 13)).
    """

    index: np.ndarray
    state: State
    labels: torch.Tensor
    first: int = 0

    def take(self, rows: np.ndarray, device: torch.device, together: bool = False) -> Rows:
        """The given dataset rows, in that order, on `device` where it has room for them, else in
        main memory.

        together: puts them on the device in any case, for what computes on all of them at once.
        """
        resident = together or fits((*self.state, self.labels), len(rows), device)
        where = device if resident else torch.device("cpu")
        near = Rows(self.state, self.labels).at(torch.from_numpy(np.searchsorted(self.index, rows)))
        return Rows(
            tuple(tensor.to(where) for tensor in near.state),
            near.labels.to(where),
            self.first,
            resident,
        )


def read_table(
    workspace: Workspace, dataset: Dataset, preprocessing_folder: Path, parts: tuple[str, ...]
) -> Table:
    """The dataset's rows of the named parts, encoded by the given preprocessing."""
    rows = encoded(workspace, dataset, load_preprocessing(preprocessing_folder))
    index = np.flatnonzero(np.isin(parts_of(dataset), [PARTS.index(part) for part in parts]))
    state = (
        torch.from_numpy(np.asarray(rows.ids[index])),
        torch.from_numpy(np.asarray(rows.numerics[index])),
    )
    return Table(
        index, state, torch.from_numpy(np.asarray(labels_of(dataset)[index], dtype=np.float32))
    )


def behind_prefix(
    workspace: Workspace, network: Network, depth: int, table: Table, data_key: str
) -> Table:
    """The table moved up behind the first `depth` stages; as it is when there are none or they hand
    on too much.

    data_key: identifies the dataset's content and the preprocessing that encoded it.
    """
    if depth == 0:
        return table
    rows_key = f"{data_key}|{hashlib.sha256(table.index.tobytes()).hexdigest()}"
    state = frozen_state(network, depth, table.state, rows_key, workspace)
    if state is None:
        return table
    return dataclasses.replace(table, state=state, first=depth)
