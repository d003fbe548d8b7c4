"""Queue blends: of runs that were chosen one by one, or of arms of a sweep, seed by seed."""

import dataclasses
from collections.abc import Mapping, Sequence

from core.data.datasets import find_dataset
from core.errors import BadInput
from core.evaluation.format_metrics import is_missing
from core.evaluation.recalibration import NONE
from core.freezing.strategies import has_seed, is_trained
from core.inference.blend_members import check_blendable, distinct_titles
from core.inference.run_calibration import used_method
from core.jobs.requests import BlendRequest, FinetuneRequest
from core.jobs.store import NAME_LENGTH, Run, RunStore
from core.models.backbone_store import list_backbones
from core.runs.launch import CLUSTER_QUEUE, ensure_worker, queue_for_device
from core.runs.sweep import Sweep, arm_title
from core.runs.sweep_result import ArmResult, summarise_arms
from core.workspace import Workspace

BOOSTING = "gradient-boosting"
"""The strategy that a network is blended with by default."""
NO_NETWORK = ("zero-shot", "logistic-regression", BOOSTING, "blend", "pretraining")
"""Strategies of arms that train no network on the target."""


def submit_blend(
    workspace: Workspace,
    run_ids: Sequence[str],
    name: str = "",
    group: str = "",
    run_here: bool = False,
    calibration: Sequence[str] | None = None,
) -> Run:
    """Queue a blend of finished runs.

    If these runs have been blended already, or are about to be, that blend is returned. The order
    of the runs changes nothing.

    Args:
        workspace: of the runs.
        run_ids: two runs or more, with the same dataset and validation rows.
        name: of the blend; "" for one made of its runs' arms.
        group: id of the sweep whose arm it is; "" for none.
        run_here: see `core.runs.submit.submit_finetune`.
        calibration: the method by which the scores of each run are calibrated before they are
            blended, in the order of `run_ids`, or a single one for all; None for what each uses.

    Raises:
        BadInput: the runs cannot be blended; see
            `core.inference.blend_members.check_blendable`.
    """
    store = RunStore(workspace)
    runs = [store.get(run_id) for run_id in dict.fromkeys(run_ids)]
    if len(runs) < 2:
        raise BadInput(
            f"A blend takes two runs or more, and {len(runs)} was named; name another one."
        )
    dataset = find_dataset(workspace, runs[0].dataset)
    check_blendable(dataset, runs)
    request = _blend_request(workspace, runs, group, _methods(workspace, runs, calibration))
    for other in store.list(kind="blend"):
        known = other.blend_request
        same = (known.runs, known.calibration, other.group) == (
            request.runs,
            request.calibration,
            group,
        )
        if same and (other.active or other.status == "done"):
            return other
    seed = f", seed {request.train.seed}" if group else ""
    title = name.strip() or f"{request.title}{seed} · {dataset.name}"
    queue = CLUSTER_QUEUE if run_here else queue_for_device(request.train.device)
    run = store.submit(request, title[:NAME_LENGTH], queue)
    if not run_here:
        ensure_worker(workspace, queue)
    return run


def _methods(
    workspace: Workspace, runs: Sequence[Run], calibration: Sequence[str] | None
) -> dict[str, str]:
    """Return the calibration method of each run, by its id."""
    given = [None] * len(runs) if calibration is None else [*calibration]
    given = given * len(runs) if len(given) == 1 else given
    if len(given) != len(runs):
        raise BadInput(
            f"{len(given)} calibrations were named for {len(runs)} runs; name one for all, or one"
            " for each."
        )
    return {
        run.id: used_method(workspace, run, method) for run, method in zip(runs, given, strict=True)
    }


def _blend_request(
    workspace: Workspace, runs: Sequence[Run], group: str, methods: Mapping[str, str]
) -> BlendRequest:
    """Return the request, the same for every order of the runs."""
    titles = [
        f"{title}, calibrated" if methods[run.id] != NONE else title
        for title, run in zip(_titles(workspace, runs), runs, strict=True)
    ]
    pairs = sorted(zip(titles, runs, strict=True), key=lambda pair: (pair[0], pair[1].id))
    ordered = [run for _, run in pairs]
    calibration = tuple(methods[run.id] for run in ordered)
    # The seed of a run that it does not change says nothing.
    first = next((run for run in ordered if has_seed(run.strategy)), ordered[0])
    train = first.request.train
    if not isinstance(first.request, FinetuneRequest):
        # A pretraining run cuts its share from source rows.
        train = dataclasses.replace(train, validation_share=None)
    return BlendRequest(
        first.dataset,
        tuple(run.id for run in ordered),
        train,
        group,
        tuple(title for title, _ in pairs),
        first.target_rows,
        calibration if set(calibration) != {NONE} else (),
    )


def _titles(workspace: Workspace, runs: Sequence[Run]) -> list[str]:
    titles = [
        f"pretraining {run.pretrain_request.name}" if run.kind == "pretrain" else arm_title(run)
        for run in runs
    ]
    backbones = [
        run.request.backbone if isinstance(run.request, FinetuneRequest) else "" for run in runs
    ]
    if len(set(filter(None, backbones))) > 1:
        names = {card.id: card.name for card in list_backbones(workspace)}
        titles = [
            f"{title}, {names.get(backbone, backbone)}" if backbone else title
            for title, backbone in zip(titles, backbones, strict=True)
        ]
    return distinct_titles(runs, titles)


def blend_arms(
    workspace: Workspace,
    sweep: Sweep,
    titles: Sequence[str] = (),
    calibration: Sequence[str] | None = None,
    run_here: bool = False,
) -> list[Run]:
    """Queue a blend of arms of a sweep for every seed, as a further arm of the sweep.

    At each number of target rows that the sweep has, for the seeds that all of the arms have
    finished. Blends that there are already are returned, not repeated.

    Args:
        workspace: of the sweep.
        sweep: has finished runs of the arms.
        titles: of two arms or more; none for the network arm with the lowest log loss on validation
            rows and gradient boosting.
        calibration: see `submit_blend`, in the order of the arms.
        run_here: see `submit_blend`.

    Raises:
        BadInput: an arm is unknown or not finished, or the arms have no seed in common.
    """
    results = [
        one
        for one in summarise_arms(sweep, RunStore(workspace).list_group(sweep.id))
        if one.strategy != "blend"
    ]
    queued = []
    for size in dict.fromkeys(one.target_rows for one in results if is_trained(one.strategy)):
        of_size = [one for one in results if one.target_rows == size]
        untrained = [one for one in results if not is_trained(one.strategy)]
        known = [*of_size, *(one for one in untrained if one not in of_size)]
        arms = _named_arms(sweep, known, titles) if titles else _default_arms(sweep, of_size)
        queued += [
            submit_blend(
                workspace, run_ids, group=sweep.id, calibration=calibration, run_here=run_here
            )
            for run_ids in _by_seed(sweep, arms)
        ]
    if not queued:
        raise BadInput(
            f"No arm of the sweep {sweep.name!r} is finished, so there is nothing to blend; wait"
            " for one."
        )
    return queued


def _default_arms(sweep: Sweep, results: Sequence[ArmResult]) -> list[ArmResult]:
    networks = [one for one in results if one.strategy not in NO_NETWORK]
    boosting = [one for one in results if one.strategy == BOOSTING]
    for what, found in (("a network", networks), ("gradient boosting", boosting)):
        if not found:
            raise BadInput(
                f"The sweep {sweep.name!r} has no finished arm of {what}; where no arms are named,"
                " the leading network is blended with gradient boosting. Name the arms to blend."
            )
    return [_leading(networks), _leading(boosting)]


def _leading(results: Sequence[ArmResult]) -> ArmResult:
    """Return the arm with the lowest log loss on validation rows; missing ones come last."""
    return min(results, key=lambda one: (is_missing(one.validation_loss), one.validation_loss))


def _named_arms(
    sweep: Sweep, results: Sequence[ArmResult], titles: Sequence[str]
) -> list[ArmResult]:
    by_title: dict[str, list[ArmResult]] = {}
    for one in results:
        by_title.setdefault(one.title, []).append(one)
    for title in titles:
        if title not in by_title:
            raise BadInput(
                f"The sweep {sweep.name!r} has no finished arm {title!r}; its finished arms are"
                f" {[*by_title]}."
            )
    # Of several learning rates the one that leads.
    return [_leading(by_title[title]) for title in dict.fromkeys(titles)]


def _by_seed(sweep: Sweep, arms: Sequence[ArmResult]) -> list[list[str]]:
    """Return the ids of the arms' runs, a list for each seed that all arms with seeds have."""
    seeds = [{run.seed for run in one.runs} for one in arms if has_seed(one.strategy)]
    common = sorted(set.intersection(*seeds)) if seeds else [arms[0].runs[0].seed]
    if not common:
        raise BadInput(
            f"The arms {[one.title for one in arms]} of the sweep {sweep.name!r} have no finished"
            " seed in common, so there is nothing to blend; wait for one."
        )
    return [
        [next((run.id for run in one.runs if run.seed == seed), one.runs[0].id) for one in arms]
        for seed in common
    ]
