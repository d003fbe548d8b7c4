"""WiSE-FT: interpolate between the weights of a backbone and of a network fine-tuned from it.

The weights are ``(1 - alpha) * backbone + alpha * fine-tuned``; alpha is chosen on validation rows.
The line between the two has a low loss only where both lie in one basin, as they do if training
went on from the backbone's weights. A new head did not, so runs with one are refused.

Source: Wortsman et al.: Robust fine-tuning of zero-shot models, CVPR 2022.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.data.datasets import Dataset
from core.errors import BadInput
from core.evaluation.format_metrics import is_missing
from core.evaluation.metrics import compute_metrics
from core.freezing.heads import keeps_head
from core.freezing.inputs import check_same_inputs
from core.inference.run_model import load_model_card, load_start_card
from core.jobs.reporter import Reporter
from core.jobs.requests import InterpolateRequest
from core.jobs.run_result import InterpolationResult, RunResult
from core.jobs.store import RunStore
from core.models.backbone import load_backbone
from core.training.loop import CancelledError
from core.training.results import (
    SCORED_PARTS,
    Outcome,
    labels_by_part,
    run_validation_rows,
    score_parts,
    scored_rows,
)
from core.training.training_rows import load_rows
from core.workspace import Workspace

ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))
CURVES = ("auc", "log_loss")


def interpolate(
    workspace: Workspace,
    request: InterpolateRequest,
    dataset: Dataset,
    device: torch.device,
    reporter: Reporter,
) -> Outcome:
    """Score every part at every alpha.

    Raises:
        BadInput: the run that the request names is not a fine-tuning run that is done, or its
            head was new or its inputs were refitted; or its backbone has other weights now.
        CancelledError: the reporter asked to stop.
    """
    run = RunStore(workspace).get(request.run)
    trained = run.kind == "finetune" and keeps_head(run.finetune_request)
    if run.status != "done" or not trained or run.result is None or run.result.threshold is None:
        raise BadInput(
            f"Run {run.id} is not a finished fine-tuning run that kept its backbone's head, so"
            " there is nothing to interpolate; choose another run."
        )
    check_same_inputs(run.finetune_request, run.id)
    started = time.monotonic()
    reporter.phase("encoding")
    backbone_card = load_start_card(workspace, run)
    run_card = load_model_card(workspace, run)
    rows = load_rows(
        workspace, dataset, backbone_card.folder / "preprocessing", ("target_train", *SCORED_PARTS)
    )
    network = load_backbone(run_card).to(device)
    # Copies: load_state_dict below overwrites the network's own tensors.
    finetuned = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start = load_backbone(backbone_card).to(device).state_dict()
    scored = scored_rows(dataset, run_validation_rows(dataset, run))
    labels = labels_by_part(dataset, scored)
    parts: dict[str, dict[str, list[Any]]] = {
        part: {name: [] for name in CURVES} for part in scored
    }
    predictions = {f"{part}_label": values for part, values in labels.items()}
    reporter.phase("evaluating")
    for index, alpha in enumerate(ALPHAS):
        if reporter.should_stop():
            raise CancelledError
        network.load_state_dict(interpolate_weights(start, finetuned, alpha))
        for part, scores in score_parts(network, scored, rows, device).items():
            predictions[f"{part}_{alpha}"] = scores
            metrics = compute_metrics(labels[part], scores, run.result.threshold).as_dict()
            for name in CURVES:
                parts[part][name].append(metrics[name])
        reporter.progress(1, 1, index + 1, len(ALPHAS))
    interpolation = InterpolationResult(
        ALPHAS,
        {
            part: {name: tuple(values) for name, values in curves.items()}
            for part, curves in parts.items()
        },
        best_alpha(parts.get("target_validation", {}).get("log_loss", ())),
        mixes_head=True,
    )
    seconds = {"evaluate": round(time.monotonic() - started, 3)}
    return Outcome(RunResult(interpolation=interpolation, seconds=seconds), predictions)


def best_alpha(losses: Sequence[float | None]) -> float:
    """Return the alpha with the lowest log loss on validation rows; 1 if none is known.

    Args:
        losses: of each of `ALPHAS`; None or NaN if unknown.
    """
    known = {alpha: loss for alpha, loss in zip(ALPHAS, losses, strict=False) if loss is not None}
    known = {alpha: loss for alpha, loss in known.items() if not is_missing(loss)}
    return min(known, key=known.__getitem__, default=ALPHAS[-1])


def interpolate_weights(
    start: dict[str, Tensor], finetuned: dict[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """Return the interpolated state dict, ``(1 - alpha) * start + alpha * finetuned``.

    Integer tensors (BatchNorm's counts) are the fine-tuned ones.

    Args:
        start: weights of the backbone, by name.
        finetuned: weights of the run, by name.
        alpha: 0 to 1.
    """
    return {
        name: torch.lerp(start[name], value, alpha) if value.is_floating_point() else value
        for name, value in finetuned.items()
    }
