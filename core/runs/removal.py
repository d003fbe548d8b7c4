"""Delete runs, sweeps, samples, datasets and backbones, unless a run still needs them."""

from collections.abc import Collection, Sequence

from core.data.datasets import Dataset, delete_dataset, list_datasets
from core.data.samples import Sample, delete_sample
from core.errors import BadInput
from core.files.durable import remove_folder
from core.jobs.requests import InterpolateRequest
from core.jobs.run import RunLabel
from core.jobs.store import Run, RunStore
from core.models.card import BackboneCard
from core.read_only import require_writable
from core.runs.sweep import Sweep
from core.workspace import Workspace


def delete_runs(workspace: Workspace, run_ids: Sequence[str]) -> list[RunLabel]:
    """Delete runs with their models, predictions, curves and interpolations; return their labels.

    A run whose row is damaged can be deleted as well. Finished blends of a run stay: they keep
    their predictions and weights.

    Raises:
        BadInput: there is no such run, one of them or its interpolation is running, or a blend
            that waits or runs needs one; nothing is deleted then.
    """
    require_writable()
    store = RunStore(workspace)
    runs = [store.get_label(run_id) for run_id in dict.fromkeys(run_ids)]
    interpolations = [
        store.get_label(run.id) for run in _interpolations_of(store, {run.id for run in runs})
    ]
    named = {run.id for run in runs}
    for blend in store.list(kind="blend"):
        if blend.active and blend.id not in named and named & set(blend.blend_request.runs):
            raise BadInput(
                f"Run {blend.id} ({blend.name}) is about to blend what you want to delete; cancel"
                " it first, or wait for its end."
            )
    for run in (*runs, *interpolations):
        if run.status == "running":
            raise BadInput(f"Run {run.id} ({run.name}) is running; cancel it before you delete it.")
    for run in (*interpolations, *runs):
        store.delete(run.id)
    return runs


def delete_sweep(workspace: Workspace, sweep: Sweep) -> list[Run]:
    """Delete a sweep and all its runs; return the runs. BadInput while one of them is active."""
    require_writable()
    store = RunStore(workspace)
    runs = store.list_group(sweep.id)
    interpolations = _interpolations_of(store, {run.id for run in runs})
    _require_ended(
        [run for run in (*runs, *interpolations) if run.active], "of the sweep", sweep.name
    )
    for run in interpolations:
        store.delete(run.id)
    store.delete_sweep(sweep.id)
    return runs


def delete_unused_sample(workspace: Workspace, sample: Sample) -> None:
    """Delete a sample; datasets prepared from it stay.

    Raises:
        BadInput: a run on one of these datasets is active.
    """
    require_writable()
    datasets = {one.id for one in list_datasets(workspace) if sample.id in one.sample_ids}
    active = [run for run in _active_runs(workspace) if run.dataset in datasets]
    _require_ended(active, "on a dataset of the sample", sample.name)
    delete_sample(sample)


def delete_unused_dataset(workspace: Workspace, dataset: Dataset) -> None:
    """Delete a dataset; its runs keep their results. BadInput while a run on it is active."""
    require_writable()
    active = [run for run in _active_runs(workspace) if run.dataset == dataset.id]
    _require_ended(active, "on the dataset", dataset.name)
    delete_dataset(dataset)


def delete_backbone(workspace: Workspace, card: BackboneCard) -> None:
    """Delete one of the workspace's own backbones.

    Raises:
        BadInput: a run that fine-tunes it is active.
    """
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
    """Return every queued or running run, interpolations included."""
    store = RunStore(workspace)
    statuses = ("queued", "running")
    return [
        run for status in statuses for run in store.list(status) + store.list(status, "interpolate")
    ]


def _interpolations_of(store: RunStore, run_ids: set[str]) -> list[Run]:
    """Return the interpolations of these runs, which other lists of runs leave out."""
    return [run for run in store.list(kind="interpolate") if _interpolates(run, run_ids)]


def _interpolates(run: Run, run_ids: Collection[str]) -> bool:
    """Return whether a run is the interpolation of one of these runs."""
    return isinstance(run.request, InterpolateRequest) and run.request.run in run_ids


def _require_ended(active: Sequence[Run], where: str, name: str) -> None:
    """Raise BadInput where there are active runs on or of what is to be deleted."""
    if active:
        runs = (
            f"1 run {where} {name!r} has"
            if len(active) == 1
            else f"{len(active)} runs {where} {name!r} have"
        )
        raise BadInput(
            f"{runs} still to end, such as {active[0].id}; cancel first what is queued or running."
        )
