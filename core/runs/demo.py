"""The demo: a sweep over every freeze depth on a simulated dataset, with controls.

It shows every page with results in a minute or two on an idle machine.
"""

import time
from collections.abc import Callable

from filelock import FileLock

from core.data.datasets import Dataset, list_datasets
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.errors import BadInput
from core.files.durable import staging
from core.freezing.heads import default_keep_head, keeps_head
from core.freezing.strategies import control_strategies
from core.jobs.requests import TrainSettings
from core.jobs.store import Run, RunStore
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard
from core.read_only import require_writable
from core.runs.arm_verdicts import judge_arms
from core.runs.default_blend import queue_default_blends
from core.runs.launch import refresh_statuses
from core.runs.submit import list_interpolations, submit_interpolation
from core.runs.sweep import (
    Arm,
    Sweep,
    SweepSpec,
    depth_arms,
    list_sweeps,
    resume_sweep,
    submit_sweep,
)
from core.runs.sweep_result import default_reference, summarise_arms
from core.training.default_settings import (
    AUTO,
    preset_settings,
    replace_settings,
    target_rows_and_share,
)
from core.workspace import Workspace

ROWS = 60_000
SAMPLE_NAME = "Simulated Criteo"
DATASET_NAME = "Simulated demo"
SWEEP_NAME = "Simulated demo"
RECIPE = "transfer"
"""See `core.data.generative_model.RECIPES`."""
WHAT_IT_SHOWS = (
    "The rows are simulated, of a recipe where transfer pays: the demo shows how Thaw works, not"
    " whether fine-tuning pays on your rows."
)
ARCHITECTURE = "dcnv2"
SEEDS = (0, 1)
MAX_EPOCHS = 100
"""Early stopping ends every arm before: the last block alone needs more than 60 epochs."""
POLL_SECONDS = 0.3


def ensure_demo_dataset(
    workspace: Workspace, progress: Callable[[float], None] | None = None
) -> Dataset:
    """Return the simulated dataset, 60,000 rows of both domains, split by order; make it if absent.

    Args:
        workspace: where the sample and the dataset are stored.
        progress: called with the share that is done, 0 to 1.
    """
    report = progress or (lambda share: None)
    # Two tabs, or a page and `make app`, may call this at once: the second one waits for the lock
    # and then finds the dataset.
    with FileLock(workspace.root / "demo.lock"):
        for dataset in list_datasets(workspace):
            if dataset.simulated and dataset.name == DATASET_NAME:
                return dataset
        with staging(workspace.uploads) as folder:
            path = folder / "simulated_criteo.tsv.gz"
            simulate(path, ROWS, "both", 0, lambda share: report(0.4 * share), RECIPE)
            sample = ingest(
                workspace,
                path,
                SAMPLE_NAME,
                progress=lambda share: report(0.4 + 0.3 * share),
                simulated=True,
            )
        return prepare(
            workspace,
            sample,
            SplitSpec(),
            DATASET_NAME,
            progress=lambda share: report(0.7 + 0.3 * share),
        )


def demo_backbone(workspace: Workspace) -> BackboneCard:
    """Return the bundled DCNv2 backbone, which was pretrained on the simulated source domain."""
    for card in list_backbones(workspace):
        if card.bundled and card.architecture == ARCHITECTURE:
            return card
    raise BadInput(
        "The bundled DCNv2 backbone is not in assets/backbones; restore that folder from the"
        " repository."
    )


def demo_spec(dataset: Dataset, card: BackboneCard) -> SweepSpec:
    """Return the sweep: every freeze depth with the backbone's own head, and the controls.

    The retrained network is left out: it would take longer than all the others together. No
    learning rates are chosen either, which would take several times as long; page Home says so.
    """
    controls = (Arm(name) for name in control_strategies() if name != "retrain")
    arms = (*depth_arms(card), *controls)
    return SweepSpec(
        dataset.id,
        card.id,
        arms,
        SEEDS,
        head=card.head,
        train=demo_settings(dataset),
        keep_head=default_keep_head(card),
        blend=True,
    )


def demo_settings(dataset: Dataset) -> TrainSettings:
    """Return the default settings for the dataset's size: early stopping ends each arm."""
    rows, share = target_rows_and_share(dataset)
    settings = preset_settings(AUTO, rows, validation_share=share)
    return replace_settings(settings, {"epochs": MAX_EPOCHS})


def demo_sweep(workspace: Workspace) -> Sweep | None:
    """Return the demo's sweep, or None if there is none or all its runs have been deleted."""
    store = RunStore(workspace)
    found = [sweep for sweep in list_sweeps(workspace) if sweep.name.startswith(SWEEP_NAME)]
    return next((sweep for sweep in found if store.list_group(sweep.id)), None)


def run_demo(workspace: Workspace, progress: Callable[[float], None] | None = None) -> Sweep:
    """Create the demo's dataset and queue its sweep, or resume it.

    One interpolation with the backbone is queued as well.
    """
    require_writable()
    dataset = ensure_demo_dataset(workspace, progress)
    card = demo_backbone(workspace)
    with FileLock(workspace.root / "demo.lock"):
        sweep = demo_sweep(workspace)
        if sweep is None:
            earlier = sum(one.name.startswith(SWEEP_NAME) for one in list_sweeps(workspace))
            name = f"{SWEEP_NAME} {earlier + 1}" if earlier else SWEEP_NAME
            sweep = submit_sweep(workspace, demo_spec(dataset, card), name)
        else:
            resume_sweep(workspace, sweep)
        if mixed := interpolated_run(RunStore(workspace).list_group(sweep.id)):
            submit_interpolation(workspace, mixed)
    return sweep


def interpolated_run(runs: list[Run]) -> Run | None:
    """Return the run that the demo interpolates with its backbone: full fine-tuning, first seed.

    None in demos of versions up to 0.12, whose runs have new heads.
    """
    full = [
        run
        for run in runs
        if run.strategy == "depth"
        and run.finetune_request.freeze_depth == 0
        and keeps_head(run.finetune_request)
    ]
    return full[0] if full else None


def wait_for_demo(workspace: Workspace, sweep: Sweep) -> list[str]:
    """Wait until every run and the interpolation have ended; return the verdicts in sentences."""
    store = RunStore(workspace)
    while True:
        refresh_statuses(workspace, store)
        runs = store.list_group(sweep.id)
        mixed = interpolated_run(runs)
        mixings = list_interpolations(workspace, mixed) if mixed else []
        ended = not any(run.active for run in [*runs, *mixings])
        # The worker queues the blends too, a moment after the last run has ended.
        blended = any(run.kind == "blend" for run in runs)
        if ended and (blended or not queue_default_blends(workspace, sweep)):
            break
        time.sleep(POLL_SECONDS)
    results = summarise_arms(sweep, runs)
    return judge_arms(workspace, results, default_reference(results))[1]
