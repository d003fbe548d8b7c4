"""What a fine-tuning run starts from: the backbone, or the backbone with refitted inputs.

Refitted, its vocabulary and target statistics are extended by the target's training rows. Frozen
stages keep every weight: a new value's vector stays that of an unseen value there, and only what
the statistics say of it is new.
"""

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np

from core.data.dataset_rows import read_dataset_rows
from core.data.datasets import Dataset
from core.data.extend_inputs import add_counts, extend_vocabulary
from core.data.preprocessing import Preprocessing, load_preprocessing
from core.files.durable import staging
from core.freezing.inputs import check_inputs
from core.models.backbone import load_backbone, save_backbone
from core.models.card import BackboneCard
from core.models.extend_embeddings import extend_embeddings
from core.models.network import Network
from core.training.target_inputs import hide_own_labels, statistics_rows
from core.training.training_rows import TrainingRows, encode_row_numbers
from core.workspace import Workspace


@dataclass(frozen=True)
class StartingPoint:
    """The network and the rows that training starts from.

    Attributes:
        card: of the network, with the number of parameters that it has here.
        network: with the backbone's own head, on the CPU.
        rows: inputs of stage 0 of all training and scored rows.
        data_key: identifies these inputs.
        refitted: the preprocessing of these inputs; None if it is the backbone's.
    """

    card: BackboneCard
    network: Network
    rows: TrainingRows
    data_key: str
    refitted: Preprocessing | None = None

    def save(self, workspace: Workspace, run_id: str, network: Network, card: BackboneCard) -> None:
        """Store the trained network as the model of a run, with the inputs it was trained on."""
        folder = workspace.runs / run_id / "model"
        if self.refitted is None:
            save_backbone(network, card, self.card.folder / "preprocessing", folder)
            return
        with staging(workspace.cache) as part:
            self.refitted.save(part / "preprocessing")
            save_backbone(network, card, part / "preprocessing", folder)


def kept_inputs(card: BackboneCard, rows: TrainingRows, dataset: Dataset) -> StartingPoint:
    """Return the backbone as it is.

    Args:
        card: the backbone.
        rows: encoded by its preprocessing.
        dataset: of the rows.
    """
    data_key = f"{dataset.content_hash}|{card.preprocessing_hash}"
    return StartingPoint(card, load_backbone(card), rows, data_key)


def refit_inputs(
    workspace: Workspace,
    dataset: Dataset,
    card: BackboneCard,
    train: np.ndarray,
    row_numbers: np.ndarray,
) -> StartingPoint:
    """Return the backbone with vocabulary and statistics extended by training rows.

    Args:
        workspace: of the dataset.
        dataset: prepared sample with labels.
        card: the backbone.
        train: numbers of the training rows; their statistics are out of fold.
        row_numbers: of all rows that the run reads, those of `train` among them.

    Raises:
        BadInput: the backbone has no embedding vectors.
    """
    check_inputs(card, "refitted")
    before = load_preprocessing(card.folder / "preprocessing")
    refitted = extend_preprocessing(workspace, dataset, before, train)
    network = extend_embeddings(card, load_backbone(card), before.field_sizes, refitted.field_sizes)
    rows = encode_row_numbers(workspace, dataset, refitted, row_numbers)
    hide_own_labels(workspace, dataset, refitted, rows, train, before.statistics)
    stages = tuple(
        dataclasses.replace(one, parameters=sum(weight.numel() for weight in stage.parameters()))
        for one, stage in zip(card.stages, network.stage_list(), strict=True)
    )
    # Which rows are out of fold decides the inputs too.
    rows_hash = hashlib.sha256(np.sort(train).tobytes()).hexdigest()
    return StartingPoint(
        dataclasses.replace(card, stages=stages, preprocessing_hash=refitted.hash),
        network,
        rows,
        f"{dataset.content_hash}|{refitted.hash}|{rows_hash}",
        refitted,
    )


def extend_preprocessing(
    workspace: Workspace, dataset: Dataset, before: Preprocessing, train: np.ndarray
) -> Preprocessing:
    """Return a preprocessing extended by training rows: its vocabulary, and statistics if any.

    Args:
        workspace: of the dataset.
        dataset: prepared sample with labels.
        before: fitted on other rows.
        train: numbers of the training rows, in any order.
    """
    mask = np.zeros(dataset.rows, dtype=bool)
    mask[train] = True
    extended = extend_vocabulary(before, read_dataset_rows(workspace, dataset), mask)
    if before.statistics is None:
        return extended
    plain = dataclasses.replace(extended, statistics=None)
    ids = encode_row_numbers(workspace, dataset, plain, train).state[0].numpy()
    return add_counts(extended, statistics_rows(workspace, dataset, train, ids))
