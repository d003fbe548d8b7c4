"""Which runs can be blended: finished ones that were validated and tested on the same rows."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from core.data.datasets import Dataset, select_training_rows
from core.errors import BadInput
from core.freezing.strategies import has_seed
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run, RunStore
from core.workspace import Workspace

MAX_RUNS = 50
"""Most runs of a blend."""


def check_blendable(dataset: Dataset, runs: Sequence[Run]) -> None:
    """Check that these runs can be blended.

    Args:
        dataset: of the first run.
        runs: two or more.

    Raises:
        BadInput: a run is not done, has no scores or is a blend itself, or two of them differ in
            dataset or validation rows; the message names what differs.
    """
    if not 2 <= len({run.id for run in runs}) <= MAX_RUNS:
        raise BadInput(
            f"A blend takes 2 to {MAX_RUNS} runs, and {len({run.id for run in runs})} was named;"
            " name others."
        )
    for run in runs:
        _check_run(run)
    first = runs[0]
    for run in runs[1:]:
        if run.dataset != first.dataset:
            raise _differ(first, run, "their datasets", first.dataset, run.dataset)
        hashes = [one.result.dataset_hash[:12] for one in (first, run) if one.result]
        if hashes[0] != hashes[-1]:
            raise _differ(first, run, "the content of their dataset", *hashes)
        if not np.array_equal(
            target_validation_rows(dataset, first), target_validation_rows(dataset, run)
        ):
            raise _differ(first, run, *_differing_rows(first, run))


def target_validation_rows(dataset: Dataset, run: Run) -> np.ndarray:
    """Return the target rows of `dataset` that the run was validated on, in their order.

    They are the dataset's own for a pretraining run, which validates on source rows.
    """
    share = (
        None if not isinstance(run.request, FinetuneRequest) else run.request.train.validation_share
    )
    return select_training_rows(dataset, "target", share, run.target_rows)[1]


def blended_runs(workspace: Workspace, run: Run) -> list[Run]:
    """Return the runs of a blend, in its order.

    Raises:
        BadInput: one of them was deleted.
    """
    store = RunStore(workspace)
    try:
        return [store.get(run_id) for run_id in run.blend_request.runs]
    except BadInput as error:
        raise BadInput(
            f"Run {run.id} is a blend, and one of its runs was deleted since; its predictions are"
            " kept, but new rows need the models of all of its runs."
        ) from error


def distinct_titles(runs: Sequence[Run], titles: Sequence[str]) -> list[str]:
    """Return the titles, those that are equal completed by what the runs differ in.

    Args:
        runs: of a blend.
        titles: what each is called as an arm.
    """
    found = [*titles]
    seeded = {run.id for run in runs if has_seed(run.strategy)}
    if len({run.seed for run in runs if run.id in seeded}) > 1:
        found = [
            f"{title}, seed {run.seed}" if run.id in seeded else title
            for title, run in zip(found, runs, strict=True)
        ]
    tell_apart: tuple[Callable[[Run], str], ...] = (
        lambda run: f"rate {run.request.train.learning_rate:g}",
        lambda run: run.id,
    )
    for describe in tell_apart:
        counts = Counter(found)
        groups = {
            title: {describe(run) for name, run in zip(found, runs, strict=True) if name == title}
            for title in counts
        }
        found = [
            f"{title}, {describe(run)}" if counts[title] > 1 and len(groups[title]) > 1 else title
            for title, run in zip(found, runs, strict=True)
        ]
    return found


def _check_run(run: Run) -> None:
    if run.kind == "blend":
        raise BadInput(f"Run {run.id} is a blend itself; blend its runs with the others instead.")
    if run.kind == "interpolate":
        raise BadInput(
            f"Run {run.id} mixes a model with its backbone, at many shares; blend the run that it"
            " mixes instead."
        )
    if run.status != "done" or run.result is None:
        raise BadInput(
            f"Run {run.id} is {run.status}, so it has no scores to blend; wait until it is done, or"
            " choose another run."
        )
    if run.window:
        raise BadInput(
            f"Run {run.id} trained on {run.window.title} of a rolling evaluation, whose runs are"
            " not blended; choose runs that trained on the dataset's own split."
        )
    if run.result.threshold is None:
        raise BadInput(
            f"The model of run {run.id} was not trained on click labels, so it has no scores to"
            " blend; choose another run."
        )


def _differing_rows(first: Run, run: Run) -> tuple[str, str, str]:
    """Return what makes the validation rows of two runs differ: a name and both values."""
    sizes = [f"{one.target_rows:,}" if one.target_rows else "all" for one in (first, run)]
    if sizes[0] != sizes[1]:
        return "their numbers of target rows", sizes[0], sizes[1]
    shares = [
        f"{one.request.train.validation_share:g}"
        if one.kind == "finetune" and one.request.train.validation_share is not None
        else "as prepared"
        for one in (first, run)
    ]
    return "their validation shares", shares[0], shares[1]


def _differ(first: Run, run: Run, what: str, one: str, other: str) -> BadInput:
    return BadInput(
        f"Runs {first.id} and {run.id} cannot be blended, as {what} differ ({one} and {other}); a"
        " blend needs the same validation and test rows."
    )
