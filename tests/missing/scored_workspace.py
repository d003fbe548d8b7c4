"""A workspace whose runs have given scores, as training and evaluation would leave it, without the
training."""

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from core.data.datasets import Dataset, find_dataset, load_parts
from core.data.split import SPLIT_PARTS, summarise_parts
from core.evaluation.format_metrics import metric_or_none
from core.evaluation.thresholds import best_f1_threshold
from core.freezing.plan import make_plan
from core.inference.blend import blend
from core.inference.interpolate import ALPHAS, CURVES, best_alpha
from core.jobs.reporter import Reporter
from core.jobs.requests import (
    BlendRequest,
    FinetuneRequest,
    InterpolateRequest,
    PretrainRequest,
    Request,
    TrainSettings,
)
from core.jobs.run_result import InterpolationResult, RunResult
from core.jobs.store import Run, RunStore
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard, HeadSettings, load_card, save_card
from core.runs.blends import submit_blend
from core.runs.demo import SWEEP_NAME
from core.runs.dispatch import execute, runtime_environment
from core.runs.launch import CLUSTER_QUEUE
from core.runs.sweep import Arm, Sweep, SweepSpec, submit_sweep
from core.runs.sweep_result import summarise_arms
from core.runs.worker import run_job
from core.training.finetune import finetuned_card
from core.training.loop import FitResult
from core.training.results import build_result, evaluate_parts, prediction_arrays
from core.workspace import Workspace, open_workspace, read_json, write_json
from tests.core.training.helpers import QUICK, pretrained
from tests.missing.examples import Example, arrays

SCORED = ("target_validation", "target_test", "source_test")
ARMS = (Arm("depth", 0), Arm("depth", 1), Arm("zero-shot"), Arm("scratch"))
RATED_ARMS = (Arm("depth", 0), Arm("gradient-boosting"))
TRAIN = TrainSettings(epochs=2, batch_size=256, early_stopping=0, device="cpu")


@dataclass(frozen=True)
class Made:
    """What one example's workspace holds.

    runs: of the sweep. rated: a sweep that chooses rates, with a blend of its arms. other: a run of
    another setting. pretraining, mixing, blending: runs. backbone: with its metrics.
    """

    workspace: Workspace
    dataset: Dataset
    sweep: Sweep
    runs: tuple[Run, ...]
    rated: Sweep
    other: Run
    pretraining: Run
    mixing: Run
    blending: Run
    backbone: BackboneCard


def template(root: Path, tiny: Path) -> Workspace:
    """A workspace with a small backbone and a run that really trained, from one that holds the
    dataset tiny."""
    shutil.copytree(tiny, root)
    workspace = open_workspace(root)
    dataset, card = find_dataset(workspace, "tiny"), pretrained(workspace, "dnn")
    train(workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK))
    return workspace


def make(template_root: Path, root: Path, example: Example) -> Made:
    """A copy of the template at `root`, in which every scored part is `example`."""
    shutil.copytree(template_root, root)
    workspace = open_workspace(root)
    store = RunStore(workspace)
    dataset = with_parts(workspace, find_dataset(workspace, "tiny"), example)
    trained = store.list(kind="finetune")[0]
    card = with_metrics(
        workspace, find_backbone(workspace, trained.finetune_request.backbone), example
    )
    scores = partial(finish, example=example, model=workspace.runs / trained.id / "model")

    def swept(spec: SweepSpec, name: str) -> tuple[Sweep, list[Run]]:
        sweep = submit_sweep(workspace, spec, name, run_here=True)
        while (run := store.claim(CLUSTER_QUEUE, 1)) is not None:
            run_job(workspace, store, run, scores)
        return sweep, store.list_group(sweep.id)

    def blended(run_ids: Sequence[str], group: str = "") -> Run:
        submit_blend(workspace, run_ids, group=group, run_here=True)
        run = store.claim(CLUSTER_QUEUE, 1)
        assert run is not None
        run_job(workspace, store, run, scores)
        return store.get(run.id)

    spec = SweepSpec(dataset.id, card.id, RATED_ARMS, (0,), train=TRAIN, keep_head=True)
    spec = dataclasses.replace(spec, learning_rates=(0.001, 0.01), choose_rate=True)
    rated, tried = swept(spec, "rates")
    # What `blend --sweep` asks for, so that it finds it done.
    tried.append(blended([one.runs[0].id for one in summarise_arms(rated, tried)], rated.id))
    sweep, runs = swept(
        SweepSpec(dataset.id, card.id, ARMS, (0, 1), train=TRAIN, keep_head=True), SWEEP_NAME
    )

    def ended(request: Request, name: str) -> Run:
        run = store.submit(request, name, CLUSTER_QUEUE)
        store.claim(CLUSTER_QUEUE, 1)
        run_job(workspace, store, run, scores)
        return store.get(run.id)

    faster = dataclasses.replace(TRAIN, learning_rate=0.01)
    other = ended(FinetuneRequest(dataset.id, card.id, "depth", 1, train=faster), "another rate")
    pretraining = ended(PretrainRequest(dataset.id, "dnn", card.name, TRAIN), "a pretraining")
    mixing = ended(InterpolateRequest(dataset.id, runs[0].id), "a mixing")
    blending = blended([run.id for run in runs[:2]])
    found = (*tried, *runs, other, pretraining, mixing, blending)
    assert [run.status for run in found] == ["done"] * len(found), [run.message for run in found]
    return Made(
        workspace, dataset, sweep, tuple(runs), rated, other, pretraining, mixing, blending, card
    )


def train(workspace: Workspace, request: Request) -> Run:
    """A run that really trained, as a worker carries it out: its points go by the store."""
    store = RunStore(workspace)
    run = store.submit(request, "trained", CLUSTER_QUEUE)
    store.claim(CLUSTER_QUEUE, 1)
    run_job(workspace, store, run, execute)
    run = store.get(run.id)
    assert run.status == "done", run.message
    return run


def with_parts(workspace: Workspace, dataset: Dataset, example: Example) -> Dataset:
    """The dataset with as many rows as the example, and its labels, in every part that is
    scored."""
    parts, labels = np.array(load_parts(dataset)), np.load(dataset.folder / "labels.npy")
    for part in SCORED:
        code = SPLIT_PARTS.index(part)
        own = np.flatnonzero(parts == code)
        parts[own[example.rows :]] = SPLIT_PARTS.index(f"{part.split('_')[0]}_train")
        labels[own[: example.rows]] = arrays(example)[0]
    np.save(dataset.folder / "parts.npy", parts)
    np.save(dataset.folder / "labels.npy", labels)
    values = read_json(dataset.folder / "dataset.json")
    values["parts"] = [dataclasses.asdict(one) for one in summarise_parts(labels, parts)]
    write_json(dataset.folder / "dataset.json", values)
    return find_dataset(workspace, dataset.id)


def with_metrics(workspace: Workspace, card: BackboneCard, example: Example) -> BackboneCard:
    """The backbone with a card that says what it reached on the example, as pretraining writes
    it."""
    labels, after, _ = arrays(example)
    metrics = evaluate_parts({"source_test": labels}, {"source_test": after}, 0.5)["source_test"]
    card = dataclasses.replace(
        card, metrics={name: metric_or_none(metrics, name) for name in card.metrics}
    )
    save_card(card, card.folder)
    return card


def finish(
    workspace: Workspace, run: Run, reporter: Reporter, example: Example, model: Path
) -> RunResult:
    """An Execute that trains nothing: the run's network scored the example in every part."""
    request = run.request
    labels, after, before = (dict.fromkeys(SCORED, one) for one in arrays(example))
    folder = workspace.runs / run.id
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(request, InterpolateRequest):
        result, predictions = mixed(labels, after)
    elif isinstance(request, BlendRequest):
        outcome = blend(workspace, request, find_dataset(workspace, run.dataset), reporter)
        result, predictions = outcome.result, outcome.predictions
    else:
        # The arms differ, so that there is something to compare.
        if (
            isinstance(request, FinetuneRequest)
            and request.strategy == "depth"
            and not request.freeze_depth
        ):
            after, before = before, after
        result, predictions = scored(workspace, request, labels, after, before, folder, model)
        # Validation rows of one class have a loss and no AUC.
        for step in (0, 4, 8):
            auc = 0.5 if example.has_auc else float("nan")
            reporter.points(
                [(step, "validation_loss", 0.5 - step / 100), (step, "validation_auc", auc)]
            )
            reporter.points([(step, "train_loss", 0.5), (step, "seconds", float(step))])
    np.savez(folder / "predictions.npz", **predictions)  # type: ignore[arg-type]
    dataset = find_dataset(workspace, run.dataset)
    return dataclasses.replace(
        result,
        device="cpu",
        environment=runtime_environment(),
        dataset_hash=dataset.content_hash,
        peak_memory=None,
    )


def scored(
    workspace: Workspace,
    request: Request,
    labels: dict[str, np.ndarray],
    after: dict[str, np.ndarray],
    before: dict[str, np.ndarray],
    folder: Path,
    model: Path,
) -> tuple[RunResult, dict[str, np.ndarray]]:
    """(result, predictions) of a pretraining or a fine-tuning."""
    tuned = request if isinstance(request, FinetuneRequest) else None
    card = find_backbone(workspace, tuned.backbone if tuned else request.name)  # type: ignore[union-attr]
    strategy, depth = (tuned.strategy, tuned.freeze_depth) if tuned else ("depth", 0)
    keep_head = tuned is not None and tuned.keep_head
    plan = make_plan(card, strategy, depth, HeadSettings(), keep_head=keep_head)
    thresholds = [
        best_f1_threshold(labels["target_validation"], one["target_validation"])
        for one in (after, before)
    ]
    metrics = evaluate_parts(labels, after, thresholds[0])
    seconds = {"prepare": 0.1, "train": 0.1, "evaluate": 0.1, "total": 0.3}
    was = evaluate_parts(labels, before, thresholds[1]) if tuned else None
    result = build_result(plan, 100, FitResult(1, 2, False), seconds, metrics, was, thresholds[0])
    result = dataclasses.replace(result, backbone=card.id, backbone_sha256=card.weights_sha256)
    if tuned:
        shutil.copytree(model, folder / "model")
        if plan.trains:
            own, dataset = load_card(folder / "model"), find_dataset(workspace, tuned.dataset)
            save_card(
                finetuned_card(own, plan, tuned, dataset, 100, metrics["target_test"]),
                folder / "model",
            )
    return result, prediction_arrays(labels, after, before if tuned else None)


def mixed(
    labels: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> tuple[RunResult, dict[str, np.ndarray]]:
    """(result, predictions) of a mixing whose mixtures all score alike."""
    metrics = evaluate_parts(labels, after, 0.5)
    parts = {
        part: {name: (metric_or_none(values, name),) * len(ALPHAS) for name in CURVES}
        for part, values in metrics.items()
    }
    chosen = best_alpha(parts["target_validation"]["log_loss"])
    result = RunResult(
        interpolation=InterpolationResult(ALPHAS, parts, chosen, False), seconds={"total": 0.1}
    )
    arrays_of = {f"{part}_label": values for part, values in labels.items()}
    return result, arrays_of | {
        f"{part}_{alpha}": values for part, values in after.items() for alpha in ALPHAS
    }
