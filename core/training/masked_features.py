"""MFP, masked feature prediction: learn the values of hidden fields (Lin et al.: MAP, KDD 2023)."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core.data.schema import NUMERIC
from core.jobs.requests import PretrainRequest
from core.models.layers import EmbeddingTable, Linear
from core.models.network import Activations, Network
from core.models.objectives import NEGATIVES, PROJECTION_SIZE
from core.training.batches import RowTensors
from core.training.corruption import VALIDATION_STEP, flatten_normalised, step_generator
from core.training.losses import EVAL_BATCH_SIZE


@dataclasses.dataclass(frozen=True)
class NegativeSampler:
    """Draws negatives of each field by how often values occur in the training rows, plus one.

    Args:
        offsets: index of each field's first value among the values of all fields, ``(fields,)``.
        log_probabilities: of each value within its field, ``(values,)``.
        cumulative: cumulative probabilities, those of field f from f to f + 1, float64
            ``(values,)``. One search then serves all fields.
    """

    offsets: Tensor
    log_probabilities: Tensor
    cumulative: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """Return indices of `NEGATIVES` values of every field, int64 ``(fields, NEGATIVES)``."""
        device = self.offsets.device
        n_fields = len(self.offsets)
        fields = torch.arange(n_fields, device=device)[:, None]
        uniform = torch.rand(
            n_fields, NEGATIVES, generator=generator, device=device, dtype=torch.float64
        )
        values = torch.searchsorted(self.cumulative, uniform + fields, right=True)
        # A sum may round up to where the next field starts.
        n_values = self.offsets.new_tensor([len(self.log_probabilities)])
        last = torch.cat([self.offsets[1:], n_values]) - 1
        return torch.minimum(values, last[:, None])


def unigram_sampler(ids: Tensor, field_sizes: Sequence[int]) -> NegativeSampler:
    """Return the sampler of training rows' ids, int ``(rows, fields)``."""
    offsets = torch.tensor([0, *field_sizes[:-1]], device=ids.device).cumsum(0)
    counts = torch.bincount((ids + offsets).flatten(), minlength=sum(field_sizes)).double() + 1
    parts = [part / part.sum() for part in counts.split([*field_sizes])]
    cumulative = torch.cat(
        [field + part.cumsum(0) / part.sum() for field, part in enumerate(parts)]
    )
    return NegativeSampler(offsets, torch.cat(parts).log().float(), cumulative)


class Predictor(nn.Module):
    """A query ``(rows, fields, PROJECTION_SIZE)`` per field, and a vector and a bias per value.

    The biases start at the values' log probabilities, so that the rest learns what frequency does
    not say.
    """

    def __init__(self, inputs: int, fields: int, sampler: NegativeSampler) -> None:
        super().__init__()
        self.query = Linear(inputs, fields * PROJECTION_SIZE)
        self.vectors = EmbeddingTable(len(sampler.log_probabilities), PROJECTION_SIZE)
        biases = sampler.log_probabilities[:, None].clone()
        self.bias = EmbeddingTable.from_pretrained(biases, freeze=False)
        nn.init.uniform_(self.vectors.weight, -(PROJECTION_SIZE**-0.5), PROJECTION_SIZE**-0.5)

    def forward(self, state: Activations) -> Tensor:
        return self.query(flatten_normalised(state)).unflatten(1, (-1, PROJECTION_SIZE))

    def scores(self, queries: Tensor, hidden: Tensor, truth: Tensor, negatives: Tensor) -> Tensor:
        """Return the scores of the hidden values, each before the negatives of its field.

        Args:
            queries: as `forward` returns them.
            hidden: which fields are hidden, bool ``(rows, fields)``.
            truth: indices of the hidden values, ``(hidden_fields,)``.
            negatives: indices of drawn values, ``(fields, negatives)``.

        Returns:
            ``(hidden_fields, 1 + negatives)``.
        """
        # [hidden_fields, 1]
        own = (queries[hidden] * self.vectors(truth)).sum(1, keepdim=True) + self.bias(truth)
        # [rows, fields, negatives]
        others = torch.einsum("rfp,fnp->rfn", queries, self.vectors(negatives))
        others = others + self.bias(negatives)[:, :, 0]
        return torch.cat([own, others[hidden]], dim=1)


class MaskedFeatures:
    """MFP, masked feature prediction: which value a hidden field has.

    The loss is the mean of `nce_loss` over hidden fields. A hidden field has an id of its own, one
    after the field's values, and the number 0. The score is the share of hidden values that score
    above all their negatives; a hidden value that equals all its negatives, as happens in tiny
    vocabularies, does not count.
    """

    score_name = "validation_accuracy"
    depends_on_batch_only = False

    def __init__(
        self, request: PretrainRequest, field_sizes: Sequence[int], sampler: NegativeSampler
    ) -> None:
        self.seed, self.mask_share = request.train.seed, request.mask_share
        self.sampler = sampler
        device = sampler.offsets.device
        self.mask_ids = torch.tensor(field_sizes, dtype=torch.int32, device=device)

    def loss(self, network: Network, rows: RowTensors, batch: Tensor, step: int) -> Tensor:
        """See Task."""
        generator = step_generator(self.seed, step, batch.device)
        scores, values = self.candidates(network, rows, batch, generator)
        # A batch may have no hidden field. The sum over nothing is 0 and still has a gradient.
        return nce_loss(scores, values, self.sampler).sum() / max(1, len(scores))

    @torch.no_grad()
    def validate(self, network: Network, rows: RowTensors) -> tuple[float, float]:
        """Return (loss, accuracy among the candidates); the accuracy is NaN if nothing counts."""
        network.eval()
        device = rows.labels.device
        generator = step_generator(self.seed, VALIDATION_STEP, device)
        losses, right = [], []
        for batch in torch.arange(len(rows), device=device).split(EVAL_BATCH_SIZE):
            scores, values = self.candidates(network, rows, batch, generator)
            losses.append(nce_loss(scores, values, self.sampler))
            same_value = values[:, 1:] == values[:, :1]
            best_negative = scores[:, 1:].masked_fill(same_value, -math.inf).amax(1)
            right.append((scores[:, 0] > best_negative)[best_negative > -math.inf])
        return float(torch.cat(losses).mean()), float(torch.cat(right).float().mean())

    def candidates(
        self, network: Network, rows: RowTensors, batch: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Hide fields of a batch; return scores and indices of each value and its negatives.

        Returns:
            Both ``(hidden_fields, 1 + NEGATIVES)``, the true value first.
        """
        ids, numerics = rows.take(batch).state
        hidden = torch.rand(ids.shape, generator=generator, device=ids.device) < self.mask_share
        masked_numerics = numerics.masked_fill(hidden[:, : len(NUMERIC)], 0.0)
        masked = (torch.where(hidden, self.mask_ids, ids), masked_numerics)
        truth = (ids + self.sampler.offsets)[hidden]
        negatives = self.sampler.sample(generator)
        head = network.head
        assert isinstance(head, Predictor)
        scores = head.scores(network(masked), hidden, truth, negatives).float()
        fields = hidden.nonzero()[:, 1]
        return scores, torch.cat([truth[:, None], negatives[fields]], dim=1)


def nce_loss(scores: Tensor, values: Tensor, sampler: NegativeSampler) -> Tensor:
    """Return the noise-contrastive loss of each hidden field, ``(hidden_fields,)``.

    Each candidate is classified as true or drawn, by the logit ``score - log(n_negatives * p)``
    with p its probability of being drawn (Gutmann and Hyvarinen, AISTATS 2010; Mnih and Teh, ICML
    2012). Losses are summed over candidates, as in the paper. Negatives equal to the true value are
    left out: in a tiny vocabulary most are, and they would cancel it.

    Args:
        scores: ``(hidden_fields, 1 + negatives)``, the true value first.
        values: indices of the values, of the same shape.
        sampler: that drew the negatives.
    """
    n_negatives = values.shape[1] - 1
    logits = scores - sampler.log_probabilities[values] - math.log(n_negatives)
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1
    losses = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    counts = values[:, 1:] != values[:, :1]
    return losses[:, 0] + (losses[:, 1:] * counts).sum(1)
