"""Pretraining: a fresh network given its start, trained on a dataset's source rows, and stored as a
backbone."""

import dataclasses
from datetime import UTC, datetime

import torch

from core.data.datasets import Dataset, require_labels, select_training_rows
from core.data.preprocessing import load_preprocessing
from core.data.split import SPLIT_PARTS
from core.errors import BadInput
from core.evaluation.thresholds import best_f1_threshold
from core.freezing.plan import make_pretraining_plan
from core.jobs.reporter import Reporter
from core.jobs.store import Run
from core.models.backbone import build_network, describe_stages, save_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.registry import complete_settings
from core.training.initialise import initialise
from core.training.loop import FitResult, fit
from core.training.losses import predict
from core.training.objectives import OBJECTIVES, stage_origins
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
from core.training.settings import PretrainRequest
from core.training.training_rows import load_rows
from core.workspace import Workspace

LICENCES = {True: "Apache-2.0 (simulated data)", False: "as the training data's own licence allows"}
RESULT_METRICS = ("auc", "auc_low", "auc_high", "log_loss", "rows")
CARD_METRICS = (*RESULT_METRICS, "click_rate")
"""What a card says of its head's test rows; the click rate says why an AUC or its interval is
missing."""


def pretrain(
    workspace: Workspace,
    run: Run,
    request: PretrainRequest,
    dataset: Dataset,
    device: torch.device,
    reporter: Reporter,
) -> Outcome:
    """Makes the backbone that the request names from the dataset's source rows."""
    if not len(select_training_rows(dataset, "source", None)[0]):
        raise BadInput(
            f"The dataset {dataset.name!r} has no source rows to pretrain on; prepare it with a"
            " source domain."
        )
    if OBJECTIVES[request.objective].reads_labels:
        require_labels(dataset)
    clock = Stopwatch()
    reporter.phase("encoding")
    folder = dataset.folder / "preprocessing"
    preprocessing = load_preprocessing(folder)
    table = load_rows(workspace, dataset, folder, parts=SPLIT_PARTS)
    train_rows, validation_rows = select_training_rows(
        dataset, "source", request.train.validation_share
    )
    # The other objectives spoil rows with values from any other.
    together = request.objective != "supervised"
    train, validation = (
        table.take(rows, device, together) for rows in (train_rows, validation_rows)
    )
    head = HeadSettings()
    torch.manual_seed(request.train.seed)
    network = build_network(
        request.architecture, request.settings, preprocessing.field_sizes, head
    ).to(device)
    network.stage_list()[0].fit_preprocessing(train.state, train.labels)
    filled = initialise(network, request, preprocessing, train, reporter)
    described = describe_stages(network, len(preprocessing.field_sizes))
    origin = stage_origins(request.start, request.objective, len(described))
    stages = tuple(
        dataclasses.replace(stage, origin=one) for stage, one in zip(described, origin, strict=True)
    )
    seconds = {"prepare": clock.lap()}

    checkpoint = workspace.runs / run.id / "checkpoint.pt"
    plan = make_pretraining_plan(
        stages,
        head.parameters(network.representation, network.members),
        head.flops(network.representation, network.members),
    )
    fitted = FitResult(0, 0, False)
    learnt: dict[str, float] = {}
    if request.objective == "supervised":
        reporter.phase("training")
        fitted = fit(network, plan, train, validation, request.train, reporter, checkpoint)
    elif OBJECTIVES[request.objective].trains:
        reporter.phase("training")
        plan, fitted, learnt = train_pretext(
            network, request, preprocessing.field_sizes, train, validation, reporter, checkpoint
        )
    learnt |= filled
    of_card: dict[str, float] = learnt
    seconds["train"] = clock.lap()

    reporter.phase("evaluating")
    result = build_result(plan, len(train), fitted, seconds, {}, None, None)
    if not OBJECTIVES[request.objective].trains:
        result["trained_parameters"] = 0
    predictions = {}
    if request.objective == "supervised":
        rows = scored_rows(dataset)
        labels, scores = labels_by_part(dataset, rows), score_parts(network, rows, table, device)
        threshold = best_f1_threshold(validation.labels.cpu().numpy(), predict(network, validation))
        metrics = evaluate_parts(labels, scores, threshold)
        result |= {"metrics": metrics, "threshold": threshold}
        predictions = prediction_arrays(labels, scores, None)
        own = metrics.get("source_test", {})
        of_card = {key: own[key] for key in CARD_METRICS if key in own}
        # Not the click rate: results of older versions lack it, and verifying compares every number
        # of both.
        learnt = {key: own[key] for key in RESULT_METRICS if key in own}
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
        metrics=of_card,
        preprocessing_hash=preprocessing.hash,
        weights_sha256="",
        licence=LICENCES[dataset.simulated],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    save_backbone(network, card, folder, workspace.backbones / card.id)
    seconds["evaluate"] = clock.lap()
    return Outcome(result | {"backbone": card.id, "learnt": learnt}, predictions)
