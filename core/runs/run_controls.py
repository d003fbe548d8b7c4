"""A fine-tuning run against its controls: those that are done, and those that can still be run."""

import dataclasses
import math
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.data.datasets import find_dataset
from core.errors import BadInput
from core.evaluation.non_inferiority import Margins
from core.evaluation.recommendation import Recommendation
from core.freezing.strategies import is_control, is_trained
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run, RunStore
from core.models.backbone_store import find_backbone
from core.runs.arm_recommendation import recommend_selected
from core.runs.rate_choice import mean_validation_loss
from core.runs.submit import submit_finetune
from core.runs.sweep import arm_title, control_arms
from core.runs.sweep_result import ArmResult, summarise_arm
from core.workspace import Workspace


@dataclass(frozen=True)
class RunControls:
    """A run's arm and its controls.

    Args:
        arms: the run's own arm first, then the finished controls and blends of the same dataset,
            backbone, target rows and seeds.
        missing: names of the control strategies of which no run is done or active.
        active: control runs that are queued or running.
    """

    arms: tuple[ArmResult, ...]
    missing: tuple[str, ...]
    active: tuple[Run, ...]


def find_controls(workspace: Workspace, run: Run) -> RunControls:
    """Return a finished fine-tuning run's arm and its controls.

    A control that was trained at several learning rates stands with the one that has the lowest log
    loss on validation rows.

    Raises:
        BadInput: the run is not a fine-tuning run, is not done, or is a control itself.
    """
    if run.kind != "finetune" or run.status != "done" or is_control(run.strategy):
        raise BadInput(
            f"Run {run.id} is no finished fine-tuning run; name one that is done and no control."
        )
    request = run.finetune_request
    card, dataset = find_backbone(workspace, request.backbone), find_dataset(workspace, run.dataset)
    possible = [arm.strategy for arm in control_arms(card, dataset)]
    runs = [one for one in RunStore(workspace).list() if one.dataset == run.dataset]
    tuned = [
        one
        for one in runs
        if one.kind == "finetune" and one.finetune_request.backbone == request.backbone
    ]
    own = _by_seed(one for one in tuned if _is_done(one) and _but_seed(one) == _but_seed(run))
    own[run.seed] = run
    beside = [one for one in tuned if is_control(one.strategy) and _fits(one, run, own)]
    ids = {one.id for one in own.values()}
    blends = [
        one
        for one in runs
        if one.kind == "blend" and _is_done(one) and ids & {*one.blend_request.runs}
    ]
    active = [one for one in beside if one.active]
    found = {one.strategy for one in beside if one.active or _is_done(one)}
    arms = [summarise_arm([*own.values()], arm_title(run), "")]
    by_title: dict[str, list[Run]] = {}
    for one in [*(control for control in beside if _is_done(control)), *blends]:
        by_title.setdefault(arm_title(one), []).append(one)
    arms += [summarise_arm(_best_setting(group), title, "") for title, group in by_title.items()]
    missing = tuple(name for name in possible if name not in found)
    return RunControls(tuple(arms), missing, tuple(active))


def recommend_run(
    workspace: Workspace, controls: RunControls, margins: Margins | None = None
) -> Recommendation:
    """Return what a run's controls say of it."""
    return recommend_selected(workspace, controls.arms, margins)[0]


def submit_controls(workspace: Workspace, run: Run, controls: Sequence[str]) -> list[Run]:
    """Queue controls of a finished run, with its settings and every seed of its arm.

    Args:
        workspace: of the run.
        run: a fine-tuning run.
        controls: names of control strategies, such as `find_controls` says are missing.
    """
    arm = find_controls(workspace, run).arms[0]
    group = f"g-{secrets.token_hex(4)}"
    queued = []
    for strategy in controls:
        for number, one in enumerate(arm.runs):
            if number and not is_trained(strategy):
                break
            request = dataclasses.replace(
                one.finetune_request,
                strategy=strategy,
                freeze_depth=0,
                options={},
                rungs=(),
                rates=(),
                group=group,
            )
            queued += submit_finetune(workspace, request)
    return queued


def _is_done(run: Run) -> bool:
    return run.status == "done" and run.result is not None


def _but_seed(run: Run) -> FinetuneRequest:
    """The request without what does not tell an arm from another."""
    request = run.finetune_request
    train = dataclasses.replace(request.train, seed=0)
    return dataclasses.replace(request, train=train, group="", rungs=(), rates=())


def _fits(one: Run, run: Run, own: dict[int, Run]) -> bool:
    """Whether a control has the run's target rows, and a seed of its arm."""
    if not is_trained(one.strategy):
        return True
    return one.target_rows == run.target_rows and one.seed in own


def _by_seed(runs: Iterable[Run]) -> dict[int, Run]:
    """Runs by seed; of two with the same seed the one that was listed later."""
    return {one.seed: one for one in runs}


def _best_setting(runs: Sequence[Run]) -> list[Run]:
    """The runs of the setting with the lowest mean validation loss, one for each seed."""
    settings: dict[str, list[Run]] = {}
    for one in runs:
        key = repr(_but_seed(one)) if one.kind == "finetune" else "blend"
        settings.setdefault(key, []).append(one)
    losses = {key: mean_validation_loss(found) for key, found in settings.items()}
    best = min(losses, key=lambda key: math.inf if math.isnan(losses[key]) else losses[key])
    return [*_by_seed(settings[best]).values()]
