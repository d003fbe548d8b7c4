"""Run a control that fits inputs of its own: from rows to a stored model, as fine-tuning does."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from core.data.datasets import Dataset
from core.data.preprocessing import Preprocessing
from core.data.schema import FIELDS
from core.evaluation.format_metrics import metric_or_none
from core.evaluation.metrics import Metrics
from core.evaluation.thresholds import best_f1_threshold
from core.files.durable import staging
from core.freezing.plan import Plan, PlannedStage
from core.jobs.reporter import Reporter
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run
from core.models.backbone import describe_stages, save_backbone
from core.models.card import BackboneCard
from core.training.baseline_scores import baseline_scores
from core.training.controls.fitted_control import ControlRows, FittedControl
from core.training.controls.fitted_inputs import control_statistics, fit_inputs
from core.training.controls.gradient_boosting import fit_gradient_boosting
from core.training.controls.logistic_regression import fit_logistic_regression
from core.training.controls.refitted_network import fit_refitted_network
from core.training.pretrain import LICENCES, card_metric_names
from core.training.results import (
    SCORED_PARTS,
    ArraysByPart,
    Outcome,
    Stopwatch,
    build_result,
    evaluate_parts,
    labels_by_part,
    prediction_arrays,
    score_parts,
    scored_rows,
)
from core.training.target_inputs import hide_own_labels
from core.training.training_rows import (
    control_domains,
    encode_row_numbers,
    load_rows,
    request_rows,
)
from core.workspace import Workspace

CPU = torch.device("cpu")


def finetune_control(
    workspace: Workspace,
    run: Run,
    request: FinetuneRequest,
    dataset: Dataset,
    card: BackboneCard,
    plan: Plan,
    device: torch.device,
    reporter: Reporter,
) -> Outcome:
    """Run a control from rows to stored model.

    Its vocabulary and statistics are fitted on its training rows alone. It is chosen on the
    target's validation rows and scored on the parts that every run is scored on.

    Args:
        workspace: of the run.
        run: receives the model and the predictions.
        request: its strategy is one that fits inputs.
        dataset: prepared sample with labels.
        card: of the backbone that the control is compared with.
        plan: of the run.
        device: to compute on.
        reporter: receives phases, points and progress; says when to stop.

    Raises:
        BadInput: the request does not fit the dataset.
        RunError: a loss is not finite.
        CancelledError: the reporter asked to stop.
    """
    stopwatch = Stopwatch()
    train_numbers, validation_numbers = request_rows(dataset, request)
    scored = scored_rows(dataset, validation_numbers)
    labels = labels_by_part(dataset, scored)
    statistics = control_statistics(request.strategy, card)
    preprocessing = fit_inputs(workspace, dataset, train_numbers, statistics)
    numbers = np.concatenate([train_numbers, validation_numbers, *scored.values()])
    encoded = encode_row_numbers(workspace, dataset, preprocessing, numbers)
    hide_own_labels(workspace, dataset, preprocessing, encoded, train_numbers)
    # Neither LightGBM nor scikit-learn computes on a GPU.
    where = device if plan.trains_network else CPU
    rows = ControlRows(
        encoded.take(train_numbers, where),
        encoded.take(validation_numbers, where),
        preprocessing.field_sizes,
        preprocessing.n_dense,
    )
    seconds = {"prepare": stopwatch.lap()}

    reporter.phase("training")
    checkpoint = workspace.runs / run.id / "checkpoint.pt"
    fitted = _fit(rows, card, plan, request, where, reporter, checkpoint)
    seconds["train"] = stopwatch.lap()

    reporter.phase("evaluating")
    scores = score_parts(fitted.network.to(where), scored, encoded, where)
    before = _backbone_scores(workspace, card, dataset, scored, device)
    # Thresholds are chosen on the rows that this run validated on, never on test rows.
    validation_labels = labels["target_validation"]
    threshold = best_f1_threshold(validation_labels, scores["target_validation"])
    metrics, metrics_before = evaluate_parts(labels, scores, threshold), None
    if before is not None:
        own_threshold = best_f1_threshold(validation_labels, before["target_validation"])
        metrics_before = evaluate_parts(labels, before, own_threshold)
    model = _card(run, request, dataset, fitted, preprocessing, train_numbers, metrics)
    with staging(workspace.cache) as folder:
        preprocessing.save(folder / "preprocessing")
        model_folder = workspace.runs / run.id / "model"
        save_backbone(fitted.network, model, folder / "preprocessing", model_folder)
    seconds["evaluate"] = stopwatch.lap()

    result = build_result(
        _plan_as_fitted(plan, model),
        len(train_numbers),
        fitted.result,
        seconds,
        metrics,
        metrics_before,
        threshold,
    )
    result = dataclasses.replace(result, backbone=card.id, backbone_sha256=card.weights_sha256)
    return Outcome(result, prediction_arrays(labels, scores, before))


def _fit(
    rows: ControlRows,
    card: BackboneCard,
    plan: Plan,
    request: FinetuneRequest,
    device: torch.device,
    reporter: Reporter,
    checkpoint: Path,
) -> FittedControl:
    """Fit the control that the strategy names."""
    if not plan.trains_network:
        rows.require_both_classes()
    if request.strategy == "logistic-regression":
        return fit_logistic_regression(rows, reporter)
    if request.strategy == "gradient-boosting":
        return fit_gradient_boosting(rows, request.train.seed, reporter)
    return fit_refitted_network(rows, card, plan, request, device, reporter, checkpoint)


def _backbone_scores(
    workspace: Workspace,
    card: BackboneCard,
    dataset: Dataset,
    scored: ArraysByPart,
    device: torch.device,
) -> ArraysByPart | None:
    """Return the scores of the backbone as it is; None if it was not trained on click labels."""
    if not card.scores_clicks:
        return None
    # The parts that every fine-tuning run loads, so that all share one cached result.
    rows = load_rows(
        workspace, dataset, card.folder / "preprocessing", ("target_train", *SCORED_PARTS)
    )
    data_key = f"{dataset.content_hash}|{card.preprocessing_hash}"
    return baseline_scores(workspace, card, scored, rows, data_key, device)


def _card(
    run: Run,
    request: FinetuneRequest,
    dataset: Dataset,
    fitted: FittedControl,
    preprocessing: Preprocessing,
    train: np.ndarray,
    metrics: dict[str, Metrics],
) -> BackboneCard:
    """Return the card of the fitted model: what fitted it, on which rows."""
    stages = describe_stages(fitted.network.cpu(), len(FIELDS), preprocessing.n_dense)
    target_test = metrics.get("target_test")
    return BackboneCard(
        id=run.id,
        name=run.name.replace(" · ", ", ")[:64],
        architecture=fitted.architecture,
        settings=fitted.settings,
        stages=stages,
        representation=fitted.network.representation,
        head=fitted.head,
        trained_on={
            "dataset": dataset.name,
            "content_hash": dataset.content_hash,
            "rows": len(train),
            "simulated": dataset.simulated,
            "domain": " and ".join(control_domains(dataset, request)),
            **({"window": request.window.title} if request.window else {}),
            "learner": fitted.learner,
        },
        metrics={key: metric_or_none(target_test, key) for key in card_metric_names()},
        preprocessing_hash=preprocessing.hash,
        weights_sha256="",
        licence=LICENCES[dataset.simulated],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        members=fitted.network.members,
        n_dense=preprocessing.n_dense,
    )


def _plan_as_fitted(plan: Plan, card: BackboneCard) -> Plan:
    """Return the plan with the stages and parameters that fitting has led to."""
    head_parameters = card.head.parameters(card.representation, card.members)
    head_flops = card.head.flops(card.representation, card.members)
    total = card.parameters + head_parameters
    sizes = [(stage.name, stage.title, stage.parameters, stage.flops) for stage in card.stages]
    stages = tuple(
        PlannedStage(
            name=name,
            title=title,
            parameters=parameters,
            share=parameters / total,
            frozen=False,
            flops=flops,
            origin="random",
            trained_parameters=parameters,
        )
        for name, title, parameters, flops in [
            *sizes,
            ("head", "Head (new)", head_parameters, head_flops),
        ]
    )
    return dataclasses.replace(plan, stages=stages, sizes_known=True)
