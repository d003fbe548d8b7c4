"""Fine-tune a backbone on the target rows of a dataset.

The result is compared with the backbone as it was.
"""

import dataclasses
from datetime import UTC, datetime

import numpy as np
import torch

from core.data.datasets import Dataset, require_labels
from core.data.preprocessing import load_preprocessing
from core.evaluation.format_metrics import metric_or_none
from core.evaluation.metrics import Metrics
from core.evaluation.thresholds import best_f1_threshold
from core.freezing.plan import Plan, make_plan
from core.freezing.strategies import has_own_model
from core.jobs.reporter import Reporter
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run
from core.models.backbone import build_network
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard
from core.models.network import Network
from core.training.baseline_scores import baseline_scores
from core.training.batched_heads import batched_heads_folder, fit_batched_heads, should_batch_heads
from core.training.batches import RowTensors
from core.training.controls.finetune_control import finetune_control
from core.training.loop import FitResult, fit
from core.training.pretrain import LICENCES, card_metric_names
from core.training.refitted_inputs import kept_inputs, refit_inputs
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
from core.training.start_model import find_start_card
from core.training.training_rows import apply_frozen_prefix, load_rows, request_rows
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
    stopwatch = Stopwatch()
    reporter.phase("encoding")
    card = find_backbone(workspace, request.backbone)
    # Where training goes on from an earlier window's model, so does its head.
    start_card = find_start_card(workspace, request, card)
    keep_head = request.keep_head or start_card is not card
    plan = make_plan(
        start_card,
        request.strategy,
        request.freeze_depth,
        request.head,
        request.options,
        keep_head,
    )
    if has_own_model(request.strategy):
        return finetune_control(workspace, run, request, dataset, card, plan, device, reporter)
    # The backbone's own preprocessing: its embedding rows belong to its own vocabulary.
    backbone_rows = load_rows(
        workspace, dataset, card.folder / "preprocessing", ("target_train", *SCORED_PARTS)
    )
    train_numbers, validation_numbers = request_rows(dataset, request)
    scored = scored_rows(dataset, validation_numbers)
    start = kept = kept_inputs(card, backbone_rows, dataset)
    if request.inputs == "refitted" and plan.trains:
        numbers = np.concatenate([train_numbers, validation_numbers, *scored.values()])
        start = refit_inputs(workspace, dataset, start_card, train_numbers, numbers)
        # The plan of the network that it is now: its embeddings have grown.
        plan = make_plan(
            start.card,
            request.strategy,
            request.freeze_depth,
            request.head,
            request.options,
            keep_head,
        )
    elif start_card is not card:
        start = kept_inputs(start_card, backbone_rows, dataset)
    network, rows, data_key = start.network.to(device), start.rows, start.data_key
    labels = labels_by_part(dataset, scored)
    seconds = {"prepare": stopwatch.lap()}

    fitted, scores = FitResult(0, 0, False), None
    if plan.trains:
        network = initial_network(start_card, plan, request, network).to(device)
        if plan.reinitialise:
            # Some architectures fit statistics of their inputs, which "scratch" must not inherit.
            first = rows.take(train_numbers, device)
            network.stage_list()[0].fit_preprocessing(first.state, first.labels)
        reporter.phase("caching frozen stages")
        prefix_rows = apply_frozen_prefix(workspace, network, plan.frozen_depth, rows, data_key)
        seconds["cache"] = stopwatch.lap()

        def rows_after_prefix(depth: int) -> tuple[RowTensors, RowTensors]:
            after = apply_frozen_prefix(workspace, network, depth, rows, data_key)
            return after.take(train_numbers, device), after.take(validation_numbers, device)

        reporter.phase("training")
        train = prefix_rows.take(train_numbers, device)
        validation = prefix_rows.take(validation_numbers, device)
        if should_batch_heads(request, plan, train, network, device):
            folder = batched_heads_folder(workspace, request, start_card.weights_sha256, data_key)
            fitted = fit_batched_heads(
                network, plan, train, validation, request.train, reporter, request.rates, folder
            )
        else:
            checkpoint = workspace.runs / run.id / "checkpoint.pt"
            fitted = fit(
                network,
                plan,
                train,
                validation,
                request.train,
                reporter,
                checkpoint,
                rows_after_prefix=rows_after_prefix,
            )
        seconds["train"] = stopwatch.lap()
        reporter.phase("evaluating")
        scores = score_parts(network, scored, prefix_rows, device)

    # The backbone is scored last, so that whoever watches sees the first loss a second earlier. A
    # head that was not trained on click labels has no scores.
    baseline = (
        baseline_scores(workspace, card, scored, backbone_rows, kept.data_key, device)
        if card.scores_clicks
        else None
    )
    scores = scores or baseline or {}
    # Thresholds are chosen on the rows that this run validated on, never on test rows.
    validation_labels = labels["target_validation"]
    threshold = best_f1_threshold(validation_labels, scores["target_validation"])
    metrics, baseline_metrics = evaluate_parts(labels, scores, threshold), None
    if baseline is not None:
        # The backbone's scores may lie elsewhere, so it has a threshold of its own.
        baseline_threshold = best_f1_threshold(validation_labels, baseline["target_validation"])
        baseline_metrics = evaluate_parts(labels, baseline, baseline_threshold)
    model = dataclasses.replace(
        start.card, id=run.id, name=run.name.replace(" · ", ", ")[:64], bundled=False
    )
    n_train = len(train_numbers)
    if plan.trains:
        target_metrics = metrics.get("target_test")
        model = finetuned_card(model, plan, request, dataset, n_train, target_metrics)
    start.save(workspace, run.id, network, model)
    seconds["evaluate"] = stopwatch.lap()
    result = build_result(plan, n_train, fitted, seconds, metrics, baseline_metrics, threshold)
    result = dataclasses.replace(
        result,
        backbone=card.id,
        backbone_sha256=card.weights_sha256,
        start_sha256=None if start_card is card else start_card.weights_sha256,
    )
    return Outcome(result, prediction_arrays(labels, scores, baseline))


def finetuned_card(
    card: BackboneCard,
    plan: Plan,
    request: FinetuneRequest,
    dataset: Dataset,
    rows: int,
    metrics: Metrics | None,
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
    licence = LICENCES[dataset.simulated]
    if not plan.reinitialise:
        # Each licence once, in the order in which the weights were trained.
        licence = "; ".join(dict.fromkeys([*card.licence.split("; "), licence]))
    return dataclasses.replace(
        card,
        head=request.head if plan.new_head else card.head,
        objective="supervised",
        stages=tuple(
            stage if planned.frozen else dataclasses.replace(stage, origin="supervised")
            for stage, planned in zip(card.stages, plan.stages, strict=False)
        ),
        trained_on={
            "dataset": dataset.name,
            "content_hash": dataset.content_hash,
            "rows": rows,
            # The vocabulary of a backbone that was pretrained on simulated rows stays.
            "simulated": dataset.simulated or card.trained_on["simulated"],
            "domain": "target",
            "head": "new" if plan.new_head else "kept",
            **({} if request.inputs == "kept" else {"inputs": request.inputs}),
            **({"window": request.window.title} if request.window else {}),
        },
        earlier=() if plan.reinitialise else (*card.earlier, card.trained_on),
        metrics={key: metric_or_none(metrics, key) for key in card_metric_names()},
        licence=licence,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def initial_network(
    card: BackboneCard, plan: Plan, request: FinetuneRequest, pretrained: Network
) -> Network:
    """Return the network that training starts from.

    The backbone itself or with a new head, as the plan says, or all new for "scratch".
    """
    torch.manual_seed(request.train.seed)
    if plan.reinitialise:
        fitted = load_preprocessing(card.folder / "preprocessing")
        return build_network(
            card.architecture, card.settings, fitted.field_sizes, request.head, fitted.n_dense
        )
    if plan.new_head:
        pretrained.replace_head(request.head)
    return pretrained
