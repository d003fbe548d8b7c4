"""One run from its request to its result: what a worker does with what it claimed."""

import dataclasses
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from core.data.datasets import Dataset, find_dataset, labels_of, training_rows
from core.data.preprocessing import load_preprocessing
from core.data.split import PARTS
from core.errors import BadInput
from core.evaluation.thresholds import best_threshold
from core.freezing.plan import Plan, make_plan, plan_pretraining
from core.models.backbone import build_network, describe_stages, load_backbone, save_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.library import find_backbone
from core.models.network import Network
from core.models.registry import complete_settings
from core.runs.reporter import Reporter
from core.runs.store import Run
from core.training.devices import choose_device, device_name
from core.training.loop import FitResult, fit, predict
from core.training.results import SCORED_PARTS, measure, named_predictions, score_parts, summary
from core.training.settings import FinetuneRequest, PretrainRequest, request_from_json
from core.training.table import behind_prefix, read_table
from core.workspace import Workspace, write_atomic, write_json

LICENCES = {True: "Apache-2.0 (simulated data)", False: "as the training data's own licence allows"}


@dataclass(frozen=True)
class Outcome:
    """What a kind of run hands back to `execute`."""

    result: dict[str, Any]
    predictions: dict[str, np.ndarray]


def execute(workspace: Workspace, run: Run, reporter: Reporter) -> dict[str, Any]:
    """Carries `run` through, writes predictions.npz and result.json to its folder, and returns the result.

    Raises BadInput or RunError with a sentence for the user, CancelledError when the reporter says stop.
    """
    began = time.monotonic()
    folder = workspace.runs / run.id
    folder.mkdir(parents=True, exist_ok=True)
    request = request_from_json(run.request)
    device = choose_device(request.train.device)
    dataset = find_dataset(workspace, request.dataset)
    if isinstance(request, PretrainRequest):
        outcome = pretrain(workspace, run, request, dataset, device, reporter)
    else:
        outcome = finetune(workspace, run, request, dataset, device, reporter)
    result = outcome.result | {
        "device": device_name(device),
        "environment": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "dataset_hash": dataset.content_hash,
    }
    result["seconds"]["total"] = round(time.monotonic() - began, 3)
    write_atomic(folder / "predictions.npz", lambda part: np.savez(part.open("wb"), **outcome.predictions))  # type: ignore[arg-type]
    write_json(folder / "result.json", result)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return result


def pretrain(
    workspace: Workspace,
    run: Run,
    request: PretrainRequest,
    dataset: Dataset,
    device: torch.device,
    reporter: Reporter,
) -> Outcome:
    """Trains a fresh network on the dataset's source rows and stores it as a backbone named by the request."""
    if not len(training_rows(dataset, "source", None)[0]):
        raise BadInput(
            f"The dataset {dataset.name!r} has no source rows to pretrain on; prepare it with a source domain."
        )
    clock = Clock()
    reporter.phase("encoding")
    preprocessing_folder = dataset.folder / "preprocessing"
    preprocessing = load_preprocessing(preprocessing_folder)
    table = read_table(workspace, dataset, preprocessing_folder, parts=PARTS)
    torch.manual_seed(request.train.seed)
    head = HeadSettings()
    settings = complete_settings(request.architecture, request.settings)
    network = build_network(request.architecture, settings, preprocessing.field_sizes, head).to(device)
    stages = describe_stages(network, len(preprocessing.field_sizes))
    plan = plan_pretraining(stages, head, network.representation, network.members)
    seconds = {"prepare": clock.lap()}

    reporter.phase("training")
    train, validation = training_rows(dataset, "source", request.train.validation_share)
    fitted = fit(
        network,
        plan,
        table.take(train, device),
        table.take(validation, device),
        request.train,
        reporter,
        workspace.runs / run.id / "checkpoint.pt",
    )
    seconds["train"] = clock.lap()

    reporter.phase("evaluating")
    scores = score_parts(network, dataset, table, device)
    validation_rows = table.take(validation, device)
    threshold = best_threshold(validation_rows.labels.cpu().numpy(), predict(network, validation_rows))
    metrics = measure(scores, dataset, threshold)
    own = metrics.get("source_test", {})
    card = BackboneCard(
        id=f"b-{run.id.removeprefix('r-')}",
        name=request.name,
        architecture=request.architecture,
        settings=settings,
        stages=stages,
        representation=network.representation,
        members=network.members,
        head=head,
        trained_on={
            "dataset": dataset.name,
            "content_hash": dataset.content_hash,
            "rows": len(train),
            "simulated": dataset.simulated,
            "domain": "source",
        },
        metrics={key: own[key] for key in ("auc", "auc_low", "auc_high", "log_loss", "rows") if key in own},
        preprocessing_hash=preprocessing.hash,
        weights_sha256="",
        licence=LICENCES[dataset.simulated],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    save_backbone(network, card, preprocessing_folder, workspace.backbones / card.id)
    seconds["evaluate"] = clock.lap()
    result = summary(plan, len(train), fitted, seconds, metrics, None, threshold) | {"backbone": card.id}
    return Outcome(result, named_predictions(dataset, scores, None))


def finetune(
    workspace: Workspace,
    run: Run,
    request: FinetuneRequest,
    dataset: Dataset,
    device: torch.device,
    reporter: Reporter,
) -> Outcome:
    """Executes the request's plan on the target rows, beside what the backbone scored before."""
    clock = Clock()
    reporter.phase("encoding")
    card = find_backbone(workspace, request.backbone)
    plan = make_plan(card, request.strategy, request.freeze_depth, request.head)
    table = read_table(workspace, dataset, card.folder / "preprocessing", parts=("target_train", *SCORED_PARTS))
    network = load_backbone(card).to(device)
    before = score_parts(network, dataset, table, device)
    seconds = {"prepare": clock.lap()}

    train, validation = training_rows(dataset, "target", request.train.validation_share)
    fitted, scores = FitResult(0, 0, False), before
    if plan.new_head:
        network = starting_network(card, plan, request, network).to(device)
        reporter.phase("caching frozen stages")
        data_key = f"{dataset.content_hash}|{card.preprocessing_hash}"
        table = behind_prefix(workspace, network, plan, table, data_key)
        seconds["cache"] = clock.lap()
        reporter.phase("training")
        fitted = fit(
            network,
            plan,
            table.take(train, device),
            table.take(validation, device),
            request.train,
            reporter,
            workspace.runs / run.id / "checkpoint.pt",
        )
        seconds["train"] = clock.lap()
        reporter.phase("evaluating")
        scores = score_parts(network, dataset, table, device)

    # The threshold is chosen on the rows that validated this very run, never on test rows.
    validation_rows = table.take(validation, device)
    threshold = best_threshold(validation_rows.labels.cpu().numpy(), predict(network, validation_rows))
    labels = labels_of(dataset)
    own_validation = training_rows(dataset, "target", None)[1]
    threshold_before = best_threshold(labels[own_validation], before["target_validation"])
    model = dataclasses.replace(
        card, id=run.id, name=run.name, head=card.head if not plan.new_head else request.head, bundled=False
    )
    save_backbone(network, model, card.folder / "preprocessing", workspace.runs / run.id / "model")
    seconds["evaluate"] = clock.lap()
    metrics = measure(scores, dataset, threshold)
    result = summary(plan, len(train), fitted, seconds, metrics, measure(before, dataset, threshold_before), threshold)
    return Outcome(result | {"backbone": card.id}, named_predictions(dataset, scores, before))


class Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap, rounded to milliseconds."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        return round(passed, 3)


def starting_network(card: BackboneCard, plan: Plan, request: FinetuneRequest, pretrained: Network) -> Network:
    """The network training starts from: the backbone with a new head, or all new for the strategy "scratch"."""
    torch.manual_seed(request.train.seed)
    if plan.fresh_backbone:
        sizes = load_preprocessing(card.folder / "preprocessing").field_sizes
        return build_network(card.architecture, card.settings, sizes, request.head)
    pretrained.replace_head(request.head)
    return pretrained
