"""Fine-tune a backbone on the target rows of a dataset, and compare it with the backbone as it
was.
"""

import dataclasses
from datetime import UTC, datetime

import torch

from core.data.datasets import Dataset, require_labels, select_training_rows
from core.data.preprocessing import load_preprocessing
from core.evaluation.format_metrics import metric_or_none
from core.evaluation.thresholds import best_f1_threshold
from core.freezing.plan import Plan, make_plan
from core.jobs.reporter import Reporter
from core.jobs.requests import FinetuneRequest
from core.jobs.run_result import PartMetrics
from core.jobs.store import Run
from core.models.backbone import build_network, load_backbone, save_backbone
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard
from core.models.network import Network
from core.training.baseline_scores import baseline_scores
from core.training.batched_heads import batched_heads_folder, fit_batched_heads, should_batch_heads
from core.training.batches import RowTensors
from core.training.loop import FitResult, fit
from core.training.pretrain import LICENCES, card_metric_names
from core.training.results import (
    SCORED_PARTS,
    Outcome,
    Stopwatch,
    build_result,
    evaluate_parts,
    labels_by_part,
    prediction_arrays,
    score_parts,
    scored_rows,
)
from core.training.training_rows import apply_frozen_prefix, load_rows
from core.workspace import Workspace


def finetune(
    workspace: Workspace,
    run: Run,
    request: FinetuneRequest,
    dataset: Dataset,
    device: torch.device,
    reporter: Reporter,
) -> Outcome:
    """Run a fine-tuning request from rows to stored model.

    Args:
        workspace: of the run.
        run: receives the model and the predictions.
        request: backbone, strategy, head and training settings.
        dataset: prepared sample with labels.
        device: to compute on.
        reporter: receives phases, points and progress; says when to stop.

    Raises:
        BadInput: the request does not fit the backbone or the dataset.
        RunError: the loss is not finite.
        CancelledError: the reporter asked to stop.
    """
    require_labels(dataset)
    clock = Stopwatch()
    reporter.phase("encoding")
    card = find_backbone(workspace, request.backbone)
    plan = make_plan(card, request.strategy, request.freeze_depth, request.head, request.options)
    table = load_rows(
        workspace, dataset, card.folder / "preprocessing", parts=("target_train", *SCORED_PARTS)
    )
    network = load_backbone(card).to(device)
    train, validation = select_training_rows(
        dataset, "target", request.train.validation_share, request.target_rows
    )
    data_key, rows = (
        f"{dataset.content_hash}|{card.preprocessing_hash}",
        scored_rows(dataset, validation),
    )
    labels = labels_by_part(dataset, rows)
    seconds = {"prepare": clock.lap()}

    fitted, whole, scores = FitResult(0, 0, False), table, None
    if plan.new_head:
        network = initial_network(card, plan, request, network).to(device)
        if plan.reinitialise:
            first = table.take(train, device)
            network.stage_list()[0].fit_preprocessing(first.state, first.labels)
        reporter.phase("caching frozen stages")
        table = apply_frozen_prefix(workspace, network, plan.frozen_depth, whole, data_key)
        seconds["cache"] = clock.lap()

        def behind(depth: int) -> tuple[RowTensors, RowTensors]:
            near = apply_frozen_prefix(workspace, network, depth, whole, data_key)
            return near.take(train, device), near.take(validation, device)

        reporter.phase("training")
        taken = table.take(train, device), table.take(validation, device)
        if should_batch_heads(request, plan, taken[0], network, device):
            folder = batched_heads_folder(workspace, request, card.weights_sha256, data_key)
            fitted = fit_batched_heads(
                network, plan, *taken, request.train, reporter, request.rates, folder
            )
        else:
            checkpoint = workspace.runs / run.id / "checkpoint.pt"
            fitted = fit(
                network, plan, *taken, request.train, reporter, checkpoint, rows_after_prefix=behind
            )
        seconds["train"] = clock.lap()
        reporter.phase("evaluating")
        scores = score_parts(network, rows, table, device)

    # Asked of the backbone last, so that whoever watches sees a loss a second earlier. A head that
    # never learnt clicks has nothing to say about them.
    before = (
        baseline_scores(workspace, card, rows, whole, data_key, device)
        if card.scores_clicks
        else None
    )
    scores = scores or before or {}
    # The threshold is chosen on the rows that validated this very run, never on test rows.
    threshold = best_f1_threshold(labels["target_validation"], scores["target_validation"])
    metrics, metrics_before = evaluate_parts(labels, scores, threshold), None
    if before is not None:
        threshold_before = best_f1_threshold(
            labels["target_validation"], before["target_validation"]
        )
        metrics_before = evaluate_parts(labels, before, threshold_before)
    model = dataclasses.replace(
        card, id=run.id, name=run.name.replace(" · ", ", ")[:64], bundled=False
    )
    if plan.new_head:
        model = finetuned_card(
            model, plan, request, dataset, len(train), metrics.get("target_test")
        )
    save_backbone(network, model, card.folder / "preprocessing", workspace.runs / run.id / "model")
    seconds["evaluate"] = clock.lap()
    result = build_result(plan, len(train), fitted, seconds, metrics, metrics_before, threshold)
    result = dataclasses.replace(result, backbone=card.id, backbone_sha256=card.weights_sha256)
    return Outcome(result, prediction_arrays(labels, scores, before))


def finetuned_card(
    card: BackboneCard,
    plan: Plan,
    request: FinetuneRequest,
    dataset: Dataset,
    rows: int,
    metrics: PartMetrics | None,
) -> BackboneCard:
    """Return the card of the fine-tuned network.

    Args:
        card: of the backbone.
        plan: that was executed.
        request: of the run.
        dataset: whose target rows it was trained on.
        rows: number of training rows.
        metrics: on the target test rows.
    """
    own = LICENCES[dataset.simulated]
    return dataclasses.replace(
        card,
        head=request.head,
        objective="supervised",
        stages=tuple(
            stage if planned.frozen else dataclasses.replace(stage, origin="supervised")
            for stage, planned in zip(card.stages, plan.stages, strict=False)
        ),
        trained_on={
            "dataset": dataset.name,
            "content_hash": dataset.content_hash,
            "rows": rows,
            # A simulated backbone's vocabulary stays, so what is built on it keeps the word.
            "simulated": dataset.simulated or card.trained_on["simulated"],
            "domain": "target",
        },
        earlier=() if plan.reinitialise else (*card.earlier, card.trained_on),
        metrics={key: metric_or_none(metrics, key) for key in card_metric_names()},
        licence=own
        if plan.reinitialise
        else "; ".join(dict.fromkeys([*card.licence.split("; "), own])),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def initial_network(
    card: BackboneCard, plan: Plan, request: FinetuneRequest, pretrained: Network
) -> Network:
    """Return the network that training starts from: with a new head, or all new for "scratch"."""
    torch.manual_seed(request.train.seed)
    if plan.reinitialise:
        sizes = load_preprocessing(card.folder / "preprocessing").field_sizes
        return build_network(card.architecture, card.settings, sizes, request.head)
    pretrained.replace_head(request.head)
    return pretrained
