"""The demo: a simulated dataset and a sweep that tells the whole story. `python -m core.runs.demo` makes
the dataset."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable

from filelock import FileLock

from core.data.datasets import Dataset, list_datasets, prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.errors import BadInput
from core.files.durable import staging
from core.jobs.requests import TrainSettings
from core.jobs.store import Run, RunStore
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard
from core.read_only import require_writable
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
from core.runs.sweep_result import default_reference, judge_arms, summarise_arms
from core.training.default_settings import count_training_rows, default_settings
from core.workspace import Workspace, open_workspace

ROWS = 60_000
SAMPLE_NAME = "Simulated Criteo"
DATASET_NAME = "Simulated demo"
SWEEP_NAME = "Simulated demo"
ARCHITECTURE = "dcnv2"
SEEDS = (0, 1)
EPOCHS = 3
"""They keep the demo short: full fine-tuning is at its best by then, a linear probe would gain from
more."""
POLL_SECONDS = 0.3


def ensure_demo_dataset(
    workspace: Workspace, progress: Callable[[float], None] | None = None
) -> Dataset:
    """The simulated dataset, made when absent: 60,000 rows of both domains, split by order.
    progress: 0..1."""
    report = progress or (lambda share: None)
    # Two tabs, or the page and `make app`, may ask at once: the second waits and finds it made.
    with FileLock(workspace.root / "demo.lock"):
        for dataset in list_datasets(workspace):
            if dataset.simulated and dataset.name == DATASET_NAME:
                return dataset
        with staging(workspace.uploads) as folder:
            path = folder / "simulated_criteo.tsv.gz"
            simulate(path, ROWS, "both", 0, lambda share: report(0.4 * share))
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
    """The bundled DCNv2 backbone, pretrained on the simulated source domain."""
    for card in list_backbones(workspace):
        if card.bundled and card.architecture == ARCHITECTURE:
            return card
    raise BadInput(
        "The bundled DCNv2 backbone is not in assets/backbones; restore that folder from the"
        " repository."
    )


def demo_spec(dataset: Dataset, card: BackboneCard) -> SweepSpec:
    """Every freeze depth and both controls: the backbone as it is, and from scratch."""
    arms = (*depth_arms(card), Arm("zero-shot"), Arm("scratch"))
    return SweepSpec(dataset.id, card.id, arms, SEEDS, train=demo_settings(dataset))


def demo_settings(dataset: Dataset) -> TrainSettings:
    """The default for the dataset's target training rows, but for the epochs."""
    return dataclasses.replace(
        default_settings(count_training_rows(dataset, "target"))[1], epochs=EPOCHS
    )


def demo_sweep(workspace: Workspace) -> Sweep | None:
    """The demo's sweep; None before it was asked for, or once all its runs are deleted."""
    store = RunStore(workspace)
    found = [sweep for sweep in list_sweeps(workspace) if sweep.name.startswith(SWEEP_NAME)]
    return next((sweep for sweep in found if store.list_group(sweep.id)), None)


def run_demo(workspace: Workspace, progress: Callable[[float], None] | None = None) -> Sweep:
    """Makes the dataset and queues the sweep, or what of it broke off; then the mixing of a run
    with its backbone."""
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
    """The run whose mixtures with the backbone the demo shows: full fine-tuning, first seed."""
    full = [
        run for run in runs if run.strategy == "depth" and run.finetune_request.freeze_depth == 0
    ]
    return full[0] if full else None


def wait_for_demo(workspace: Workspace, sweep: Sweep) -> list[str]:
    """Waits until every run and the mixing have ended; what the numbers allow to say, sentence by
    sentence."""
    store = RunStore(workspace)
    while True:
        refresh_statuses(workspace, store)
        runs = store.list_group(sweep.id)
        mixed = interpolated_run(runs)
        if not any(
            run.active for run in [*runs, *(list_interpolations(workspace, mixed) if mixed else [])]
        ):
            break
        time.sleep(POLL_SECONDS)
    results = summarise_arms(sweep, runs)
    return judge_arms(workspace, results, default_reference(results))[1]


def main() -> int:
    """Makes the demo's dataset in the workspace and, with --run, queues its sweep; the exit
    status."""
    # The app imports this file too, and prints nothing.
    from core.cli.output import print_error

    parser = argparse.ArgumentParser(prog="python -m core.runs.demo", description=main.__doc__)
    parser.add_argument("--run", action="store_true", help="queue the sweep as well")
    parser.add_argument(
        "--wait", action="store_true", help="with --run: wait for its end and say what came out"
    )
    options = parser.parse_args()
    began = time.monotonic()
    try:
        dataset = ensure_demo_dataset(open_workspace())
        print(f"Dataset {dataset.name!r} is ready: {dataset.rows:,} simulated rows.")
        if options.run:
            sweep = run_demo(open_workspace())
            runs = RunStore(open_workspace()).list_group(sweep.id)
            print(
                f"Sweep {sweep.name!r} ({sweep.id}): {len(runs)} runs,"
                f" {sum(run.active for run in runs)} queued."
            )
            if options.wait:
                print("\n".join(wait_for_demo(open_workspace(), sweep)))
                print(
                    f"{time.monotonic() - began:.0f} s from the first command to the last verdict."
                )
    except Exception as error:
        return print_error(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
