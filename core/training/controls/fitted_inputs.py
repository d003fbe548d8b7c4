"""Vocabulary and statistics of a control, fitted on its own training rows."""

import numpy as np

from core.data.dataset_rows import read_dataset_rows
from core.data.datasets import Dataset
from core.data.preprocessing import Preprocessing, default_min_count, fit_preprocessing
from core.workspace import Workspace


def fit_inputs(workspace: Workspace, dataset: Dataset, train: np.ndarray) -> Preprocessing:
    """Fit a preprocessing on the rows numbered `train`, with the default minimum count."""
    mask = np.zeros(dataset.rows, dtype=bool)
    mask[train] = True
    return fit_preprocessing(
        read_dataset_rows(workspace, dataset), default_min_count(len(train)), mask
    )
