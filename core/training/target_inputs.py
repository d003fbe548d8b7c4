"""Target statistics among the inputs of a network that is trained from scratch."""

import numpy as np
import torch

from core.data.dataset_rows import read_dataset_rows
from core.data.datasets import Dataset, load_labels
from core.data.fit_statistics import StatisticsRows, fit_statistics, out_of_fold_columns
from core.data.fitted_statistics import FittedStatistics
from core.data.preprocessing import Preprocessing
from core.data.schema import NUMERIC
from core.data.target_statistics import N_PAIRS
from core.training.training_rows import TrainingRows, encode_row_numbers
from core.workspace import Workspace


def add_statistics(
    workspace: Workspace,
    dataset: Dataset,
    preprocessing: Preprocessing,
    train: np.ndarray,
    statistics: str,
) -> Preprocessing:
    """Return the preprocessing with target statistics of training rows.

    Args:
        workspace: of the dataset.
        dataset: prepared sample with labels.
        preprocessing: without statistics.
        train: numbers of the rows that the network will be trained on, in any order.
        statistics: of `core.jobs.requests.STATISTICS`; "none" returns the preprocessing as it is.
    """
    if statistics == "none":
        return preprocessing
    ids = encode_row_numbers(workspace, dataset, preprocessing, train).state[0].numpy()
    n_pairs = N_PAIRS if statistics == "pairs" else 0
    return fit_statistics(preprocessing, statistics_rows(workspace, dataset, train, ids), n_pairs)


def hide_own_labels(
    workspace: Workspace,
    dataset: Dataset,
    preprocessing: Preprocessing,
    rows: TrainingRows,
    train: np.ndarray,
    others: FittedStatistics | None = None,
) -> None:
    """Give the rows that statistics were fitted on their out-of-fold values, in place.

    Otherwise every training row would meet its own label among its inputs. Rows that the
    statistics were not fitted on keep the values of all training rows.

    Args:
        workspace: of the dataset.
        dataset: prepared sample.
        preprocessing: what `add_statistics` returned for `train`; without statistics nothing
            changes.
        rows: inputs of stage 0, all of `train` among them.
        train: numbers of these rows, in any order.
        others: see `FittedStatistics.training_columns`.
    """
    if preprocessing.statistics is None:
        return
    ids, numerics = rows.state
    train = np.unique(train)
    index = torch.from_numpy(np.searchsorted(rows.row_numbers, train))
    fitted_on = statistics_rows(workspace, dataset, train, ids[index].numpy())
    columns = out_of_fold_columns(preprocessing, fitted_on, others)
    numerics[index, len(NUMERIC) :] = torch.from_numpy(columns)


def statistics_rows(
    workspace: Workspace, dataset: Dataset, train: np.ndarray, ids: np.ndarray
) -> StatisticsRows:
    """Return training rows as `core.data.fit_statistics` takes them.

    Args:
        workspace: of the dataset.
        dataset: prepared sample with labels.
        train: numbers of the rows, in any order.
        ids: of these rows by the vocabulary, in ascending order of their numbers.
    """
    mask = np.zeros(dataset.rows, dtype=bool)
    mask[train] = True
    labels = np.asarray(load_labels(dataset)[mask], dtype=np.float64)
    return StatisticsRows(read_dataset_rows(workspace, dataset), mask, ids, labels)
