"""Learning from rows without labels: replaced and masked features (Lin et al.: MAP, KDD 2023, with
its code's heads).

Both objectives spoil fields of a row and put a head of their own on the last stage, which is thrown
away afterwards. What is spoilt hangs on the seed and the optimiser step alone, so a resumed run
sees what an unbroken one sees.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from core.data.schema import NUMERIC
from core.evaluation.roc_auc import auc_variance
from core.freezing.plan import Plan, make_pretraining_plan
from core.jobs.reporter import Reporter
from core.jobs.requests import PretrainRequest
from core.models.backbone import build_network, describe_stages
from core.models.card import HeadSettings
from core.models.layers import EmbeddingTable, Linear
from core.models.network import Network, State, flatten_state
from core.models.registry import complete_settings
from core.training.batches import RowTensors
from core.training.loop import FitResult, fit
from core.training.losses import EVAL_BATCH_SIZE, Task

PROJECTION_SIZE = 32
"""Floats a field between the last stage and a detector's logits, and of an output vector (the
paper's code)."""
NEGATIVES = 25
"""Values drawn against a hidden one (the paper's code). Here all hidden values of a field in a
batch share one draw: the expected loss is the same, and scoring is one matrix product instead of a
look-up for each."""
VALIDATION_STEP = -1
"""The step whose chance validation rows are spoilt by, every time."""


def train_pretext(
    network: Network,
    request: PretrainRequest,
    field_sizes: Sequence[int],
    train: RowTensors,
    validation: RowTensors,
    reporter: Reporter,
    checkpoint: Path,
) -> tuple[Plan, FitResult, dict[str, float]]:
    """Trains the stages of `network` in place by the request's objective; the head is left as it
    was.

    Gives the plan that was carried out, the objective's own head in it, how training ended, and
    what it reached on the validation rows, by title.
    """
    fields, inputs = len(field_sizes), network.representation * network.members
    masked = request.objective == "mfp"
    torch.manual_seed(request.train.seed)
    device = train.labels.device
    sizes = [size + masked for size in field_sizes]
    working = build_network(
        request.architecture, settings_without_dropout(request), sizes, HeadSettings()
    ).to(device)
    kept = value_rows(field_sizes, masked).to(device)
    copy_weights(network, working, kept)
    task: Task
    if masked:
        noise = unigram_sampler(train.state[0], field_sizes)
        task = MaskedFeatures(request, field_sizes, noise)
        working.head, title = Predictor(inputs, fields, noise).to(device), "Predictor (not kept)"
        operations = (
            2
            * PROJECTION_SIZE
            * (inputs * fields + round(request.mask_share * fields) * (1 + NEGATIVES))
        )
    else:
        task = ReplacedFeatures(request)
        working.head, title = Detector(inputs, fields).to(device), "Detector (not kept)"
        operations = 2 * PROJECTION_SIZE * fields * (inputs + fields)
    stages = tuple(
        dataclasses.replace(stage, origin=request.objective)
        for stage in describe_stages(working, fields)
    )
    plan = make_pretraining_plan(
        stages, sum(parameter.numel() for parameter in working.head.parameters()), operations
    )
    plan = dataclasses.replace(
        plan, stages=(*plan.stages[:-1], dataclasses.replace(plan.stages[-1], title=title))
    )
    fitted = fit(working, plan, train, validation, request.train, reporter, checkpoint, task)
    copy_weights(working, network, kept)
    loss, score = task.validate(working, validation)
    learnt = {"accuracy among candidates" if masked else "detector AUC": score, "loss": loss}
    return plan, fitted, learnt


def settings_without_dropout(request: PretrainRequest) -> dict[str, object]:
    """The request's settings with nothing dropped: spoilt fields are noise enough (the paper's code
    has it so)."""
    settings = complete_settings(request.architecture, request.settings)
    return settings | ({"dropout": 0.0} if "dropout" in settings else {})


def value_rows(field_sizes: Sequence[int], masked: bool) -> Tensor:
    """Rows of an embedding table that hold values, int64 (sum(field_sizes),).

    masked: whether every field has one more row behind its values, that of a hidden value.
    """
    sizes = torch.tensor(field_sizes)
    fields = torch.arange(len(sizes)).repeat_interleave(sizes)
    return torch.arange(int(sizes.sum())) + (fields if masked else 0)


@torch.no_grad()
def copy_weights(source: Network, target: Network, kept: Tensor) -> None:
    """Copies the stages' parameters and statistics; tables that differ in length meet at the rows
    `kept`."""
    theirs = target.stages.state_dict()
    for name, tensor in source.stages.state_dict().items():
        other = theirs[name]
        if other.shape == tensor.shape:
            other.copy_(tensor)
        elif len(other) > len(tensor):
            other[kept] = tensor
        else:
            other.copy_(tensor[kept])


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Random numbers of one optimiser step, alike whenever and however often they are asked for."""
    words = np.random.SeedSequence([seed, step + 1]).generate_state(1)
    return torch.Generator(device).manual_seed(int(words[0]))


def flatten_normalised(state: State) -> Tensor:
    """The tensors of a state side by side, each row at mean 0 and variance 1, (rows, floats).

    Without it (the paper's code has none) a network learns its objective by handing on ever larger
    numbers, and a new head on top of those starts out with confident nonsense that few target rows
    cannot correct (docs/decisions.md).
    """
    values = flatten_state(state)
    return nn.functional.layer_norm(values, values.shape[1:])


class Detector(nn.Module):
    """Logits (rows, fields) of each field having been replaced: two layers with ReLU between."""

    def __init__(self, inputs: int, fields: int) -> None:
        super().__init__()
        hidden = fields * PROJECTION_SIZE
        self.layers = nn.Sequential(Linear(inputs, hidden), nn.ReLU(), Linear(hidden, fields))

    def forward(self, state: State) -> Tensor:
        return self.layers(flatten_normalised(state))


class ReplacedFeatures:
    """RFD: which fields hold another row's value. The loss is the mean over all fields of all rows.

    A field that was given the value it had counts as not replaced: nothing changed. The score is
    the mean over fields of the AUC within a field; across fields the detector would score by
    knowing which field changes often.
    """

    score_name = "validation_auc"
    depends_on_batch_only = False

    def __init__(self, request: PretrainRequest) -> None:
        self.seed, self.mask_share = request.train.seed, request.mask_share

    def loss(self, network: Network, rows: RowTensors, batch: Tensor, step: int) -> Tensor:
        """See Task."""
        state, replaced = replace_fields(
            rows, batch, self.mask_share, step_generator(self.seed, step, batch.device)
        )
        return nn.functional.binary_cross_entropy_with_logits(
            network(state).float(), replaced.float()
        )

    @torch.no_grad()
    def validate(self, network: Network, rows: RowTensors) -> tuple[float, float]:
        """(loss, AUC within a field); NaN where no field has both replaced and own values."""
        network.eval()
        generator = step_generator(self.seed, VALIDATION_STEP, rows.labels.device)
        logits, targets = [], []
        for batch in torch.arange(len(rows), device=rows.labels.device).split(EVAL_BATCH_SIZE):
            state, replaced = replace_fields(rows, batch, self.mask_share, generator)
            logits.append(network(state).float())
            targets.append(replaced)
        scores, labels = torch.cat(logits), torch.cat(targets)
        loss = nn.functional.binary_cross_entropy_with_logits(scores, labels.float())
        columns = zip(labels.T.cpu().numpy(), scores.T.cpu().numpy(), strict=True)
        aucs = [
            auc_variance(own.astype(np.float32), values)[0]
            for own, values in columns
            if own.any() and not own.all()
        ]
        return float(loss), float(np.mean(aucs)) if aucs else math.nan


def replace_fields(
    rows: RowTensors, batch: Tensor, share: float, generator: torch.Generator
) -> tuple[State, Tensor]:
    """The rows numbered by `batch` with fields replaced, and which ones changed, bool (rows,
    fields).

    Each field of each row is replaced with probability `share` by that of a row of its own drawn
    from all `rows`; a numeric field's id and number move together, since one left behind would give
    the other away.
    """
    all_ids, all_numerics = rows.state
    ids, numerics = rows.take(batch).state
    chosen = torch.rand(ids.shape, generator=generator, device=ids.device) < share
    donors = torch.randint(len(rows), ids.shape, generator=generator, device=ids.device)
    columns = torch.arange(ids.shape[1], device=ids.device)
    numbered = len(NUMERIC)
    new_ids = torch.where(chosen, all_ids[donors, columns], ids)
    given = all_numerics[donors[:, :numbered], columns[:numbered]]
    new_numerics = torch.where(chosen[:, :numbered], given, numerics)
    replaced = new_ids != ids
    replaced[:, :numbered] |= new_numerics != numerics
    return (new_ids, new_numerics), replaced


@dataclasses.dataclass(frozen=True)
class NegativeSampler:
    """Per field the distribution that negatives are drawn from: counts of training rows, each and
    one more.

    offsets: place of each field's first value among all values (fields,). log_probabilities: log probability within
    its field (values,). cumulative: of the same probabilities, field f from f to f + 1 (values,),
    float64.
    """

    offsets: Tensor
    log_probabilities: Tensor
    cumulative: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """Places of NEGATIVES values of every field, int64 (fields, NEGATIVES)."""
        device = self.offsets.device
        fields = torch.arange(len(self.offsets), device=device)[:, None]
        at = (
            torch.rand(
                len(fields), NEGATIVES, generator=generator, device=device, dtype=torch.float64
            )
            + fields
        )
        places = torch.searchsorted(self.cumulative, at, right=True)
        # A sum may round up to the next field's beginning.
        last = (
            torch.cat([self.offsets[1:], self.offsets.new_tensor([len(self.log_probabilities)])])
            - 1
        )
        return torch.minimum(places, last[:, None])


def unigram_sampler(ids: Tensor, field_sizes: Sequence[int]) -> NegativeSampler:
    """The noise of training rows' ids (rows, fields)."""
    first = torch.tensor([0, *field_sizes[:-1]], device=ids.device).cumsum(0)
    counts = torch.bincount((ids + first).flatten(), minlength=sum(field_sizes)).double() + 1
    parts = [part / part.sum() for part in counts.split([*field_sizes])]
    cumulative = torch.cat(
        [field + part.cumsum(0) / part.sum() for field, part in enumerate(parts)]
    )
    return NegativeSampler(first, torch.cat(parts).log().float(), cumulative)


class Predictor(nn.Module):
    """A query (rows, fields, PROJECTION) from the last stage's output, and an output vector and a
    bias per value.

    The biases start at the values' log probabilities, so that the rest learns what frequency does
    not say.
    """

    def __init__(self, inputs: int, fields: int, sampler: NegativeSampler) -> None:
        super().__init__()
        self.query = Linear(inputs, fields * PROJECTION_SIZE)
        self.vectors = EmbeddingTable(len(sampler.log_probabilities), PROJECTION_SIZE)
        self.bias = EmbeddingTable.from_pretrained(
            sampler.log_probabilities[:, None].clone(), freeze=False
        )
        nn.init.uniform_(self.vectors.weight, -(PROJECTION_SIZE**-0.5), PROJECTION_SIZE**-0.5)

    def forward(self, state: State) -> Tensor:
        return self.query(flatten_normalised(state)).unflatten(1, (-1, PROJECTION_SIZE))

    def scores(self, queries: Tensor, hidden: Tensor, truth: Tensor, drawn: Tensor) -> Tensor:
        """Scores (cells, 1 + negatives) of the hidden values, each before the negatives of its
        field.

        hidden: bool (rows, fields), true in the cells. truth: places of the hidden values (cells,).
        drawn: places of the negatives (fields, negatives).
        """
        own = (queries[hidden] * self.vectors(truth)).sum(1, keepdim=True) + self.bias(truth)
        others = (
            torch.einsum("rfp,fnp->rfn", queries, self.vectors(drawn)) + self.bias(drawn)[:, :, 0]
        )
        return torch.cat([own, others[hidden]], dim=1)


class MaskedFeatures:
    """MFP: which value a hidden field has. The loss is the mean over hidden fields (see
    `contrast`).

    A hidden field has an id of its own, one behind the field's values, and the number 0. The score
    is the share of hidden values that score above all negatives drawn for them; hidden values whose
    negatives all equal them, as happens in tiny vocabularies, do not count.
    """

    score_name = "validation_accuracy"
    depends_on_batch_only = False

    def __init__(
        self, request: PretrainRequest, field_sizes: Sequence[int], sampler: NegativeSampler
    ) -> None:
        self.seed, self.mask_share, self.sampler = request.train.seed, request.mask_share, sampler
        self.mask_ids = torch.tensor(field_sizes, dtype=torch.int32, device=sampler.offsets.device)

    def loss(self, network: Network, rows: RowTensors, batch: Tensor, step: int) -> Tensor:
        """See Task."""
        scores, places = self.candidates(
            network, rows, batch, step_generator(self.seed, step, batch.device)
        )
        # Without a hidden field in the batch there is nothing to learn; the sum keeps a gradient.
        return nce_loss(scores, places, self.sampler).sum() / max(1, len(scores))

    @torch.no_grad()
    def validate(self, network: Network, rows: RowTensors) -> tuple[float, float]:
        """(loss, accuracy among the candidates); the accuracy is NaN where nothing counts."""
        network.eval()
        generator = step_generator(self.seed, VALIDATION_STEP, rows.labels.device)
        losses, right = [], []
        for batch in torch.arange(len(rows), device=rows.labels.device).split(EVAL_BATCH_SIZE):
            scores, places = self.candidates(network, rows, batch, generator)
            losses.append(nce_loss(scores, places, self.sampler))
            rivals = scores[:, 1:].masked_fill(places[:, 1:] == places[:, :1], -math.inf).amax(1)
            right.append((scores[:, 0] > rivals)[rivals > -math.inf])
        return float(torch.cat(losses).mean()), float(torch.cat(right).float().mean())

    def candidates(
        self, network: Network, rows: RowTensors, batch: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Scores and places (hidden fields, 1 + NEGATIVES) of the hidden values, each before its
        negatives."""
        ids, numerics = rows.take(batch).state
        hidden = torch.rand(ids.shape, generator=generator, device=ids.device) < self.mask_share
        spoilt = (
            torch.where(hidden, self.mask_ids, ids),
            numerics.masked_fill(hidden[:, : len(NUMERIC)], 0.0),
        )
        truth, drawn = (ids + self.sampler.offsets)[hidden], self.sampler.sample(generator)
        head = network.head
        assert isinstance(head, Predictor)
        scores = head.scores(network(spoilt), hidden, truth, drawn).float()
        return scores, torch.cat([truth[:, None], drawn[hidden.nonzero()[:, 1]]], dim=1)


def nce_loss(scores: Tensor, values: Tensor, sampler: NegativeSampler) -> Tensor:
    """Noise-contrastive losses (cells,) of candidates (cells, 1 + negatives), the true one first.

    Each candidate is classed as true or drawn: the logit is its score - log(negatives * its
    probability of being drawn) (Gutmann and Hyvarinen, AISTATS 2010; Mnih and Teh, ICML 2012),
    summed over candidates as in the paper. Negatives equal to the true value are left out: in a
    tiny vocabulary most are, and would undo it.
    """
    logits = scores - sampler.log_probabilities[values] - math.log(values.shape[1] - 1)
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1
    losses = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    drawn = values[:, 1:] != values[:, :1]
    return losses[:, 0] + (losses[:, 1:] * drawn).sum(1)
