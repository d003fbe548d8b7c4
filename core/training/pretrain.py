"""Pretrain a new network on the source rows of a dataset and store it as a backbone."""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime

import torch

from core.data.datasets import Dataset, require_labels, select_training_rows
from core.data.preprocessing import load_preprocessing
from core.data.split import SPLIT_PARTS
from core.errors import BadInput
from core.evaluation.metric_registry import metrics_shown_in, stored_names
from core.evaluation.thresholds import best_f1_threshold
from core.files.durable import staging
from core.freezing.plan import make_pretraining_plan
from core.jobs.reporter import Reporter
from core.jobs.requests import PretrainRequest
from core.jobs.store import Run
from core.models.backbone import build_network, describe_stages, save_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.objectives import OBJECTIVES, stage_origins
from core.models.registry import complete_settings
from core.training.initialise import initialise
from core.training.loop import FitResult, fit
from core.training.losses import predict
from core.training.pretext import train_pretext
from core.training.results import (
    Outcome,
    Stopwatch,
    build_result,
    evaluate_parts,
    labels_by_part,
    prediction_arrays,
    score_parts,
    scored_rows,
)
from core.training.target_inputs import add_statistics, hide_own_labels
from core.training.training_rows import load_encoded_parts, request_rows
from core.workspace import Workspace

LICENCES = {True: "Apache-2.0 (simulated data)", False: "as the training data's own licence allows"}


def card_metric_names() -> tuple[str, ...]:
    """What a card says of its head's test rows.

    The click rate explains a missing AUC or interval.
    """
    metrics = (name for key in metrics_shown_in("card") for name in stored_names(key))
    return (*metrics, "rows", "click_rate")


def pretrain(
    workspace: Workspace,
    run: Run,
    request: PretrainRequest,
    dataset: Dataset,
    device: torch.device,
    reporter: Reporter,
) -> Outcome:
    """Run a pretraining request from rows to stored backbone.

    Args:
        workspace: receives the backbone.
        run: receives the predictions.
        request: architecture, objective, initialisation and training settings.
        dataset: prepared sample with source rows.
        device: to compute on.
        reporter: receives phases, points and progress; says when to stop.

    Raises:
        BadInput: the dataset has no source rows, or no labels for a supervised objective.
        RunError: the loss is not finite.
        CancelledError: the reporter asked to stop.
    """
    if not len(select_training_rows(dataset, "source", None)[0]):
        raise BadInput(
            f"The dataset {dataset.name!r} has no source rows to pretrain on; prepare it with a"
            " source domain."
        )
    if OBJECTIVES[request.objective].reads_labels:
        require_labels(dataset)
    stopwatch = Stopwatch()
    reporter.phase("encoding")
    train_numbers, validation_numbers = request_rows(dataset, request)
    preprocessing = add_statistics(
        workspace,
        dataset,
        load_preprocessing(dataset.folder / "preprocessing"),
        train_numbers,
        request.statistics,
    )
    rows = load_encoded_parts(workspace, dataset, preprocessing, SPLIT_PARTS)
    hide_own_labels(workspace, dataset, preprocessing, rows, train_numbers)
    # RFD and MFP corrupt a row by values of any other row, so all rows must be on the device.
    resident = request.objective != "supervised"
    train, validation = (
        rows.take(numbers, device, always_resident=resident)
        for numbers in (train_numbers, validation_numbers)
    )
    head = HeadSettings()
    torch.manual_seed(request.train.seed)
    sizes, dense = preprocessing.field_sizes, preprocessing.n_dense
    network = build_network(request.architecture, request.settings, sizes, head, dense).to(device)
    network.stage_list()[0].fit_preprocessing(train.state, train.labels)
    coverage = initialise(network, request, preprocessing, train, reporter)
    described = describe_stages(network, len(sizes), dense)
    origins = stage_origins(request.start, request.objective, len(described))
    stages = tuple(
        dataclasses.replace(stage, origin=origin)
        for stage, origin in zip(described, origins, strict=True)
    )
    seconds = {"prepare": stopwatch.lap()}

    checkpoint = workspace.runs / run.id / "checkpoint.pt"
    plan = make_pretraining_plan(
        stages,
        head.parameters(network.representation, network.members),
        head.flops(network.representation, network.members),
    )
    fitted = FitResult(0, 0, False)
    learnt: Mapping[str, float | None] = {}
    if request.objective == "supervised":
        reporter.phase("training")
        fitted = fit(network, plan, train, validation, request.train, reporter, checkpoint)
    elif OBJECTIVES[request.objective].trains:
        reporter.phase("training")
        plan, fitted, learnt = train_pretext(
            network, request, sizes, train, validation, reporter, checkpoint
        )
    learnt = {**learnt, **coverage}
    card_metrics = dict(learnt)
    seconds["train"] = stopwatch.lap()

    reporter.phase("evaluating")
    result = build_result(plan, len(train), fitted, seconds, {}, None, None)
    if not OBJECTIVES[request.objective].trains:
        result = dataclasses.replace(result, trained_parameters=0)
    predictions = {}
    if request.objective == "supervised":
        scored = scored_rows(dataset)
        labels = labels_by_part(dataset, scored)
        scores = score_parts(network, scored, rows, device)
        threshold = best_f1_threshold(validation.labels.cpu().numpy(), predict(network, validation))
        metrics = evaluate_parts(labels, scores, threshold)
        result = dataclasses.replace(result, metrics=metrics, threshold=threshold)
        predictions = prediction_arrays(labels, scores, None)
        own = metrics["source_test"].as_dict() if "source_test" in metrics else {}
        card_metrics = {key: own[key] for key in card_metric_names() if key in own}
        # Without the click rate: results of older versions lack it, and `verify` compares every
        # number of two results.
        learnt = {key: value for key, value in card_metrics.items() if key != "click_rate"}
    card = BackboneCard(
        id=f"b-{run.id.removeprefix('r-')}",
        name=request.name,
        architecture=request.architecture,
        settings=complete_settings(request.architecture, request.settings),
        stages=stages,
        representation=network.representation,
        members=network.members,
        objective=request.objective,
        head=head,
        trained_on={
            "dataset": dataset.name,
            "content_hash": dataset.content_hash,
            "rows": len(train),
            "simulated": dataset.simulated,
            "domain": "source",
        },
        metrics=card_metrics,
        preprocessing_hash=preprocessing.hash,
        weights_sha256="",
        licence=LICENCES[dataset.simulated],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        n_dense=preprocessing.n_dense,
    )
    with staging(workspace.cache) as part:
        # The backbone has a preprocessing of its own: that of the dataset knows no statistics.
        preprocessing.save(part / "preprocessing")
        save_backbone(network, card, part / "preprocessing", workspace.backbones / card.id)
    seconds["evaluate"] = stopwatch.lap()
    return Outcome(dataclasses.replace(result, backbone=card.id, learnt=learnt), predictions)
