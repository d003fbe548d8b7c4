"""What a network learns: the loss of a batch and how it is validated.

Clicks are here; objectives that need no labels are in `core.training.pretext`.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.evaluation.metric_functions import log_loss
from core.evaluation.roc_auc import auc_variance
from core.models.network import Network, click_loss, click_probabilities
from core.training.batches import RowTensors

EVAL_BATCH_SIZE = 16384
"""Rows per forward pass where no gradients are needed."""


class Task(Protocol):
    """What the loop trains by.

    Args:
        score_name: name of the point that `validate` gives beside the loss, one of POINT_NAMES.
        depends_on_batch_only: whether the loss of a batch depends on its own rows alone, neither on
            other rows nor on the step. Only then can the pass be captured as a CUDA graph.
    """

    score_name: str
    depends_on_batch_only: bool

    def loss(self, network: Network, rows: RowTensors, batch: Tensor, step: int) -> Tensor:
        """Return the mean loss of the rows numbered `batch`, a scalar.

        Random numbers, if any, depend on the optimiser step alone, so that a resumed run draws the
        same ones.
        """
        ...

    def validate(self, network: Network, rows: RowTensors) -> tuple[float, float]:
        """Return (loss, score) on all rows, in eval mode: a function of rows and weights alone."""
        ...


class ClickTask:
    """Predict clicks: binary cross entropy, and the AUC beside it."""

    score_name = "validation_auc"
    depends_on_batch_only = True

    def loss(self, network: Network, rows: RowTensors, batch: Tensor, step: int) -> Tensor:
        """See Task."""
        part = rows.take(batch)
        # In float32 under autocast too: the logarithm of a bfloat16 probability is too coarse.
        return click_loss(network(part.state, part.first_stage).float(), part.labels)

    def validate(self, network: Network, rows: RowTensors) -> tuple[float, float]:
        """Return (log loss, AUC) on all rows."""
        scores = predict(network, rows).astype(np.float64)
        labels = rows.labels.cpu().numpy()
        return log_loss(labels, scores), auc_variance(labels, scores)[0]


CLICK_TASK = ClickTask()


@torch.no_grad()
def predict(network: Network, rows: RowTensors) -> np.ndarray:
    """Return click probabilities, float32 ``(rows,)``, computed in eval mode.

    The train/eval mode of every module is restored afterwards. The rows need not be on the
    network's device.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    device = next(network.parameters()).device
    scores = []
    for start in range(0, len(rows), EVAL_BATCH_SIZE):
        batch = tuple(tensor[start : start + EVAL_BATCH_SIZE].to(device) for tensor in rows.state)
        # [batch_size]
        scores.append(click_probabilities(network(batch, rows.first_stage)))
    # Module by module: frozen stages are in eval mode while the others train.
    for module, training in modes:
        module.training = training
    return torch.cat(scores).float().cpu().numpy() if scores else np.zeros(0, dtype=np.float32)
