"""Vocabulary and statistics of a control, fitted on its own training rows."""

import numpy as np

from core.data.dataset_rows import read_dataset_rows
from core.data.datasets import Dataset
from core.data.preprocessing import Preprocessing, default_min_count, fit_preprocessing
from core.data.schema import CATEGORICAL, NUMERIC
from core.models.card import BackboneCard
from core.training.target_inputs import add_statistics
from core.workspace import Workspace


def fit_inputs(
    workspace: Workspace, dataset: Dataset, train: np.ndarray, statistics: str
) -> Preprocessing:
    """Fit a preprocessing on the rows numbered `train`, with the default minimum count.

    Args:
        workspace: of the dataset.
        dataset: prepared sample with labels.
        train: numbers of the training rows.
        statistics: one of core.jobs.requests.STATISTICS.
    """
    mask = np.zeros(dataset.rows, dtype=bool)
    mask[train] = True
    fitted = fit_preprocessing(
        read_dataset_rows(workspace, dataset), default_min_count(len(train)), mask
    )
    return add_statistics(workspace, dataset, fitted, train, statistics)


def control_statistics(strategy: str, card: BackboneCard) -> str:
    """Return which target statistics a control has among its inputs.

    A logistic regression has weights of values instead, gradient boosting the statistics of fields,
    and a network those that the backbone has.
    """
    if strategy == "logistic-regression":
        return "none"
    if strategy == "gradient-boosting":
        return "fields"
    n_columns = card.n_dense - len(NUMERIC)
    if not n_columns:
        return "none"
    return "fields" if n_columns == 2 * len(CATEGORICAL) else "pairs"
