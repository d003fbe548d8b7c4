"""Deleting runs, sweeps, samples, datasets and backbones, unless a run still needs them."""

from collections.abc import Collection, Sequence

from core.data.datasets import Dataset, delete_dataset, list_datasets
from core.data.samples import Sample, delete_sample
from core.errors import BadInput
from core.files.durable import remove_folder
from core.jobs.requests import InterpolateRequest
from core.jobs.store import Run, RunStore
from core.models.card import BackboneCard
from core.read_only import require_writable
from core.runs.sweep import Sweep
from core.workspace import Workspace


def delete_runs(workspace: Workspace, run_ids: Sequence[str]) -> list[Run]:
    """Removes runs with their models, predictions and curves, and what they were mixed into; the
    runs removed.

    BadInput, and nothing is removed, where there is no such run, or one of them is running or being
    mixed.
    """
    require_writable()
    store = RunStore(workspace)
    runs = [store.get(run_id) for run_id in dict.fromkeys(run_ids)]
    mixings = _interpolations_of(store, {run.id for run in runs})
    for run in (*runs, *mixings):
        if run.status == "running":
            raise BadInput(f"Run {run.id} ({run.name}) is running; cancel it before you delete it.")
    for run in (*mixings, *runs):
        store.delete(run.id)
    return runs


def delete_sweep(workspace: Workspace, sweep: Sweep) -> list[Run]:
    """Removes a sweep and all its runs; the runs removed. BadInput while one of them waits or
    runs."""
    require_writable()
    store = RunStore(workspace)
    runs = store.list_group(sweep.id)
    mixings = _interpolations_of(store, {run.id for run in runs})
    _require_ended([run for run in (*runs, *mixings) if run.active], "of the sweep", sweep.name)
    for run in mixings:
        store.delete(run.id)
    store.delete_sweep(sweep.id)
    return runs


def delete_unused_sample(workspace: Workspace, sample: Sample) -> None:
    """Removes a sample; datasets prepared from it stay. BadInput while a run on one of them waits
    or runs."""
    require_writable()
    datasets = {one.id for one in list_datasets(workspace) if sample.id in one.sample_ids}
    active = [run for run in _active_runs(workspace) if run.dataset in datasets]
    _require_ended(active, "on a dataset of the sample", sample.name)
    delete_sample(sample)


def delete_unused_dataset(workspace: Workspace, dataset: Dataset) -> None:
    """Removes a dataset; its runs keep their results. BadInput while a run on it waits or runs."""
    require_writable()
    active = [run for run in _active_runs(workspace) if run.dataset == dataset.id]
    _require_ended(active, "on the dataset", dataset.name)
    delete_dataset(dataset)


def delete_backbone(workspace: Workspace, card: BackboneCard) -> None:
    """Removes one of the workspace's own backbones; BadInput while a run that fine-tunes it waits
    or runs."""
    require_writable()
    if card.bundled:
        raise BadInput(f"The backbone {card.name!r} comes with Thaw and cannot be deleted.")
    store = RunStore(workspace)
    tuning = {
        run.id for run in store.list(kind="finetune") if run.finetune_request.backbone == card.id
    }
    waiting = [
        run for run in _active_runs(workspace) if run.id in tuning or _interpolates(run, tuning)
    ]
    if waiting:
        raise BadInput(
            f"The backbone {card.name!r} is being fine-tuned by {len(waiting)} run(s), such as"
            f" {waiting[0].name!r}; cancel them or wait for their end."
        )
    remove_folder(workspace.backbones / card.id)


def _active_runs(workspace: Workspace) -> list[Run]:
    """Every run that waits or runs, mixings among them."""
    store = RunStore(workspace)
    statuses = ("queued", "running")
    return [
        run for status in statuses for run in store.list(status) + store.list(status, "interpolate")
    ]


def _interpolations_of(store: RunStore, run_ids: set[str]) -> list[Run]:
    """Runs that mix one of these with its backbone; lists of runs leave them out."""
    return [run for run in store.list(kind="interpolate") if _interpolates(run, run_ids)]


def _interpolates(run: Run, run_ids: Collection[str]) -> bool:
    """Whether it is the interpolation of one of these runs."""
    return isinstance(run.request, InterpolateRequest) and run.request.run in run_ids


def _require_ended(active: Sequence[Run], where: str, name: str) -> None:
    """BadInput where there are such runs, which are on or of what is to be deleted."""
    if active:
        runs = (
            f"1 run {where} {name!r} has"
            if len(active) == 1
            else f"{len(active)} runs {where} {name!r} have"
        )
        raise BadInput(
            f"{runs} still to end, such as {active[0].id}; cancel first what is queued or running."
        )
