"""What a network learns: the loss of a batch, and how it is validated. Clicks here, pretexts in
pretext.py."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.evaluation.delong import auc_variance
from core.models.network import Network, loss_of, scores_of
from core.training.feeding import Rows

EVALUATION_ROWS = 16384


class Task(Protocol):
    """What is learnt. score: the name of the point that `validate` gives beside the loss, one of
    POINT_NAMES.

    alone: whether the loss of a batch hangs on its own rows and nothing else, neither on other rows
    nor on the step.
    """

    score: str
    alone: bool

    def loss(self, network: Network, rows: Rows, batch: Tensor, step: int) -> Tensor:
        """Mean loss of the rows numbered by `batch` at optimiser step `step`; chance, if any, hangs
        on `step`."""
        ...

    def validate(self, network: Network, rows: Rows) -> tuple[float, float]:
        """(loss, score) on `rows` in eval mode; the same rows and weights always give the same."""
        ...


class Clicks:
    """Clicks from rows: cross entropy, and the AUC beside it."""

    score = "validation_auc"
    alone = True

    def loss(self, network: Network, rows: Rows, batch: Tensor, step: int) -> Tensor:
        """See Task."""
        part = rows.at(batch)
        return loss_of(network(part.state, part.first).float(), part.labels)

    def validate(self, network: Network, rows: Rows) -> tuple[float, float]:
        """(log loss, AUC) on `rows`."""
        scores = predict(network, rows).astype(np.float64)
        labels = rows.labels.cpu().numpy()
        clipped = np.clip(scores, 1e-7, 1 - 1e-7)
        loss = -np.mean(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped))
        return float(loss), auc_variance(labels, scores)[0]


CLICKS = Clicks()


@torch.no_grad()
def predict(network: Network, rows: Rows) -> np.ndarray:
    """Click probabilities float32 (rows,), in eval mode; the network's modes are put back after
    it."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    device = next(network.parameters()).device
    scores = [
        scores_of(
            network(
                tuple(tensor[start : start + EVALUATION_ROWS].to(device) for tensor in rows.state),
                rows.first,
            )
        )
        for start in range(0, len(rows), EVALUATION_ROWS)
    ]
    for module, training in modes:
        module.training = training
    return torch.cat(scores).float().cpu().numpy() if scores else np.zeros(0, dtype=np.float32)
