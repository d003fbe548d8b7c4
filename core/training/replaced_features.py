"""RFD, replaced feature detection: learn which fields are another row's (MAP, KDD 2023)."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from core.data.schema import NUMERIC
from core.evaluation.roc_auc import auc_variance
from core.jobs.requests import PretrainRequest
from core.models.layers import Linear
from core.models.network import Activations, Network
from core.models.objectives import PROJECTION_SIZE
from core.training.batches import RowTensors
from core.training.corruption import VALIDATION_STEP, flatten_normalised, step_generator
from core.training.losses import EVAL_BATCH_SIZE


class Detector(nn.Module):
    """Logits ``(rows, fields)`` of each field having been replaced: two layers, ReLU between."""

    def __init__(self, inputs: int, fields: int) -> None:
        super().__init__()
        hidden = fields * PROJECTION_SIZE
        self.layers = nn.Sequential(Linear(inputs, hidden), nn.ReLU(), Linear(hidden, fields))

    def forward(self, state: Activations) -> Tensor:
        return self.layers(flatten_normalised(state))


class ReplacedFeatures:
    """RFD, replaced feature detection: which fields hold the value of another row.

    The loss is the mean binary cross entropy over all fields of all rows. A field that was given
    the value it had counts as not replaced. The score is the AUC within a field, averaged over the
    fields; across fields, a detector would score by knowing which fields vary most.
    """

    score_name = "validation_auc"
    depends_on_batch_only = False

    def __init__(self, request: PretrainRequest) -> None:
        self.seed, self.mask_share = request.train.seed, request.mask_share

    def loss(self, network: Network, rows: RowTensors, batch: Tensor, step: int) -> Tensor:
        """See Task."""
        generator = step_generator(self.seed, step, batch.device)
        state, replaced = replace_fields(rows, batch, self.mask_share, generator)
        logits = network(state).float()
        return nn.functional.binary_cross_entropy_with_logits(logits, replaced.float())

    @torch.no_grad()
    def validate(self, network: Network, rows: RowTensors) -> tuple[float, float]:
        """Return (loss, mean AUC); NaN if no field has both replaced and own values."""
        network.eval()
        device = rows.labels.device
        generator = step_generator(self.seed, VALIDATION_STEP, device)
        logits, targets = [], []
        for batch in torch.arange(len(rows), device=device).split(EVAL_BATCH_SIZE):
            state, replaced = replace_fields(rows, batch, self.mask_share, generator)
            logits.append(network(state).float())
            targets.append(replaced)
        # [rows, fields]
        scores, labels = torch.cat(logits), torch.cat(targets)
        loss = nn.functional.binary_cross_entropy_with_logits(scores, labels.float())
        columns = zip(labels.T.cpu().numpy(), scores.T.cpu().numpy(), strict=True)
        aucs = [
            auc_variance(field_labels.astype(np.float32), field_scores)[0]
            for field_labels, field_scores in columns
            if field_labels.any() and not field_labels.all()
        ]
        return float(loss), float(np.mean(aucs)) if aucs else math.nan


def replace_fields(
    rows: RowTensors, batch: Tensor, share: float, generator: torch.Generator
) -> tuple[Activations, Tensor]:
    """Replace fields of a batch by those of other rows.

    Each field of each row is replaced with probability `share`, by that of a row drawn from all
    `rows`. A numeric field's id and number are replaced together: one that stayed would give the
    other away.

    Args:
        rows: all rows, whose fields may be drawn.
        batch: row numbers of the batch, ``(batch_size,)``.
        share: probability of each field, 0 to 1.
        generator: on the device of the rows.

    Returns:
        The batch's inputs; which fields changed, bool ``(batch_size, fields)``.
    """
    all_ids, all_numerics = rows.state
    # [batch_size, fields], [batch_size, 13]
    ids, numerics = rows.take(batch).state
    chosen = torch.rand(ids.shape, generator=generator, device=ids.device) < share
    donors = torch.randint(len(rows), ids.shape, generator=generator, device=ids.device)
    columns = torch.arange(ids.shape[1], device=ids.device)
    # The numeric fields come first.
    n_numeric = len(NUMERIC)
    new_ids = torch.where(chosen, all_ids[donors, columns], ids)
    donated = all_numerics[donors[:, :n_numeric], columns[:n_numeric]]
    new_numerics = torch.where(chosen[:, :n_numeric], donated, numerics)
    replaced = new_ids != ids
    replaced[:, :n_numeric] |= new_numerics != numerics
    return (new_ids, new_numerics), replaced
