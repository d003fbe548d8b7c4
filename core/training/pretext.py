"""Learn from rows without labels: replaced and masked features (Lin et al.: MAP, KDD 2023).

Both objectives corrupt fields of a row and put a head of their own, that of the paper's code, on
the last stage; it is thrown away afterwards. Which fields are corrupted depends on the seed and the
optimiser step alone, so a resumed run sees what an uninterrupted one sees.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from core.freezing.plan import Plan, make_pretraining_plan
from core.jobs.reporter import Reporter
from core.jobs.requests import PretrainRequest
from core.models.backbone import build_network, describe_stages
from core.models.card import HeadSettings
from core.models.network import Network
from core.models.objectives import NEGATIVES, PROJECTION_SIZE
from core.models.registry import complete_settings
from core.training.batches import RowTensors
from core.training.loop import FitResult, fit
from core.training.losses import Task
from core.training.masked_features import MaskedFeatures, Predictor, unigram_sampler
from core.training.replaced_features import Detector, ReplacedFeatures


def train_pretext(
    network: Network,
    request: PretrainRequest,
    field_sizes: Sequence[int],
    train: RowTensors,
    validation: RowTensors,
    reporter: Reporter,
    checkpoint: Path,
) -> tuple[Plan, FitResult, dict[str, float]]:
    """Train the stages of `network` in place by the request's objective, "rfd" or "mfp".

    Args:
        network: its head is left as it is.
        request: names the objective.
        field_sizes: embedding rows of each field.
        train: rows to learn from; all on the device, because rows are corrupted by values of any
            other row.
        validation: rows that choose the best epoch.
        reporter: see `fit`.
        checkpoint: see `fit`.

    Returns:
        The plan with the objective's own head, how training ended, and what it reached on the
        validation rows, by title.
    """
    fields, inputs = len(field_sizes), network.representation * network.members
    masked = request.objective == "mfp"
    torch.manual_seed(request.train.seed)
    device = train.labels.device
    # MFP needs one more embedding per field, that of a hidden value. So a second network is trained
    # and its stages are copied back without those embeddings.
    sizes = [size + masked for size in field_sizes]
    settings = settings_without_dropout(request)
    dense = train.state[1].shape[1]
    working = build_network(request.architecture, settings, sizes, HeadSettings(), dense).to(device)
    kept_rows = value_rows(field_sizes, masked).to(device)
    copy_weights(network, working, kept_rows)
    task: Task
    if masked:
        sampler = unigram_sampler(train.state[0], field_sizes)
        task = MaskedFeatures(request, field_sizes, sampler)
        working.head, title = Predictor(inputs, fields, sampler).to(device), "Predictor (not kept)"
        scored = round(request.mask_share * fields) * (1 + NEGATIVES)
        flops = 2 * PROJECTION_SIZE * (inputs * fields + scored)
    else:
        task = ReplacedFeatures(request)
        working.head, title = Detector(inputs, fields).to(device), "Detector (not kept)"
        flops = 2 * PROJECTION_SIZE * fields * (inputs + fields)
    stages = tuple(
        dataclasses.replace(stage, origin=request.objective)
        for stage in describe_stages(working, fields, dense)
    )
    head_parameters = sum(parameter.numel() for parameter in working.head.parameters())
    plan = make_pretraining_plan(stages, head_parameters, flops)
    head = dataclasses.replace(plan.stages[-1], title=title)
    plan = dataclasses.replace(plan, stages=(*plan.stages[:-1], head))
    fitted = fit(working, plan, train, validation, request.train, reporter, checkpoint, task)
    copy_weights(working, network, kept_rows)
    loss, score = task.validate(working, validation)
    learnt = {"accuracy among candidates" if masked else "detector AUC": score, "loss": loss}
    return plan, fitted, learnt


def settings_without_dropout(request: PretrainRequest) -> dict[str, object]:
    """Return the request's settings with dropout 0: corrupted fields are noise enough.

    The paper's code does the same.
    """
    settings = complete_settings(request.architecture, request.settings)
    return settings | ({"dropout": 0.0} if "dropout" in settings else {})


def value_rows(field_sizes: Sequence[int], masked: bool) -> Tensor:
    """Return the rows of the embedding table that hold values, int64 ``(sum(field_sizes),)``.

    Args:
        field_sizes: values of each field.
        masked: whether each field has one more row after its values, that of a hidden value.

    >>> value_rows([2, 3], masked=True)
    tensor([0, 1, 3, 4, 5])
    """
    sizes = torch.tensor(field_sizes)
    fields = torch.arange(len(sizes)).repeat_interleave(sizes)
    return torch.arange(int(sizes.sum())) + (fields if masked else 0)


@torch.no_grad()
def copy_weights(source: Network, target: Network, kept_rows: Tensor) -> None:
    """Copy parameters and statistics of all stages.

    Args:
        source: network to copy from.
        target: network to copy to, of the same architecture.
        kept_rows: of two embedding tables that differ in length, the rows of the longer one that
            the shorter one has, see `value_rows`.
    """
    target_state = target.stages.state_dict()
    for name, tensor in source.stages.state_dict().items():
        destination = target_state[name]
        if destination.shape == tensor.shape:
            destination.copy_(tensor)
        elif len(destination) > len(tensor):
            destination[kept_rows] = tensor
        else:
            destination.copy_(tensor[kept_rows])
