"""What a network learns: the loss of a batch, and how it is validated. Clicks here, pretexts in
pretext.py."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.evaluation.roc_auc import auc_variance
from core.models.network import Network, click_loss, click_probabilities
from core.training.batches import RowTensors

EVAL_BATCH_SIZE = 16384


class Task(Protocol):
    """What is learnt. score_name: the name of the point that `validate` gives beside the loss, one of
    POINT_NAMES.

    depends_on_batch_only: whether the loss of a batch hangs on its own rows and nothing else, neither on other rows
    nor on the step.
    """

    score_name: str
    depends_on_batch_only: bool

    def loss(self, network: Network, rows: RowTensors, batch: Tensor, step: int) -> Tensor:
        """Mean loss of the rows numbered by `batch` at optimiser step `step`; chance, if any, hangs
        on `step`."""
        ...

    def validate(self, network: Network, rows: RowTensors) -> tuple[float, float]:
        """(loss, score) on `rows` in eval mode; the same rows and weights always give the same."""
        ...


class ClickTask:
    """Clicks from rows: cross entropy, and the AUC beside it."""

    score_name = "validation_auc"
    depends_on_batch_only = True

    def loss(self, network: Network, rows: RowTensors, batch: Tensor, step: int) -> Tensor:
        """See Task."""
        part = rows.take(batch)
        return click_loss(network(part.state, part.first_stage).float(), part.labels)

    def validate(self, network: Network, rows: RowTensors) -> tuple[float, float]:
        """(log loss, AUC) on `rows`."""
        scores = predict(network, rows).astype(np.float64)
        labels = rows.labels.cpu().numpy()
        clipped = np.clip(scores, 1e-7, 1 - 1e-7)
        loss = -np.mean(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped))
        return float(loss), auc_variance(labels, scores)[0]


CLICK_TASK = ClickTask()


@torch.no_grad()
def predict(network: Network, rows: RowTensors) -> np.ndarray:
    """Click probabilities float32 (rows,), in eval mode; the network's modes are put back after
    it."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    device = next(network.parameters()).device
    scores = [
        click_probabilities(
            network(
                tuple(tensor[start : start + EVAL_BATCH_SIZE].to(device) for tensor in rows.state),
                rows.first_stage,
            )
        )
        for start in range(0, len(rows), EVAL_BATCH_SIZE)
    ]
    for module, training in modes:
        module.training = training
    return torch.cat(scores).float().cpu().numpy() if scores else np.zeros(0, dtype=np.float32)
