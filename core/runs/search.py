"""Search within a budget: Optuna chooses the settings that are tried, one after another.

A search is a sweep whose runs are queued one at a time: when one has ended, the process that ran it
queues the next (`continue_search`). Settings are chosen by log loss on validation rows alone. When
the budget is spent, the setting with the lowest one trains again with new seeds, beside full
fine-tuning at the default settings and the backbone as it was; these runs are the arms of the
sweep's results, and test rows judge them once.
"""

import dataclasses
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from core.data.datasets import find_dataset, require_labels
from core.errors import BadInput, ThawError
from core.freezing.inputs import check_inputs
from core.freezing.plan import make_plan
from core.freezing.strategies import describe_strategy, is_control
from core.jobs.reporter import Decision
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard
from core.names import names_lock
from core.runs.launch import CLUSTER_QUEUE, ensure_worker, is_worker_alive, queue_for_device
from core.runs.search_sampler import should_prune, strategy_titles, suggest
from core.runs.search_spec import FIRST_TRIAL_SEED, SearchSpec
from core.runs.search_trials import (
    COMPLETE,
    FAILED,
    PRUNED,
    RUNNING,
    Parameters,
    Trial,
    best_trial,
    collect_trials,
    epoch_losses,
    request_parameters,
    spent_seconds,
)
from core.runs.submit import check_rows_to_train
from core.runs.sweep import Sweep, SweepSpec, find_sweep, list_sweeps, save_new_sweep
from core.workspace import Workspace, check_name

MAX_FAILURES = 3
"""Trials in a row that may fail before the search stops: what makes every run fail, such as a full
disk, would spend its whole budget."""
CANCELLED_SENTENCE = "The search was cancelled. Resume goes on with it."
BEST_ARM = "best of the search"


@dataclass(frozen=True)
class SearchProgress:
    """How far a search has come.

    Args:
        phase: "searching"; "judging", while the runs that judge the winner are missing; "done"; or
            "stopped".
        trials: all so far.
        best: the complete trial with the lowest validation loss; None as long as there is none.
        runs: how many of the search's runs have been queued.
        seconds: how long they have taken in all.
        runs_left, seconds_left: of the budget; None where it does not bound them.
        message: why it has stopped, or why nothing is judged, as a sentence; else "".
    """

    phase: str
    trials: tuple[Trial, ...]
    best: Trial | None
    runs: int
    seconds: float
    runs_left: int | None
    seconds_left: float | None
    message: str

    @property
    def share_spent(self) -> float:
        """How much of the budget is spent, of runs or of minutes, whichever is more: 0 to 1."""
        spent = [
            done / (done + left)
            for done, left in ((self.runs, self.runs_left), (self.seconds, self.seconds_left))
            if left is not None and done + left
        ]
        return max(spent, default=0.0)

    def count(self, state: str) -> int:
        """Return how many trials have that state."""
        return sum(trial.state == state for trial in self.trials)


def search_spec_of(sweep: Sweep) -> SearchSpec:
    """Return what a search asks for; BadInput for another sweep."""
    if sweep.spec.search is None:
        raise BadInput(f"The sweep {sweep.name!r} is no search; name one that `search` started.")
    return sweep.spec.search


def submit_search(
    workspace: Workspace, spec: SweepSpec, name: str, run_here: bool = False
) -> Sweep:
    """Store a search and queue its first run.

    Args:
        workspace: where to queue it.
        spec: what it asks for, with `search`.
        name: of the search.
        run_here: queue its runs for this process, which trains them itself.

    Raises:
        BadInput: a strategy is a control, or not possible with this backbone and one of the heads.
        NameTaken: a sweep has that name.
    """
    name = check_name(name, "search")
    dataset, card = find_dataset(workspace, spec.dataset), find_backbone(workspace, spec.backbone)
    require_labels(dataset)
    spec = dataclasses.replace(spec, dataset=dataset.id, backbone=card.id)
    check_search(card, spec)
    check_rows_to_train(dataset, spec.train, spec.target_sizes[0])
    sweep = Sweep(f"s-{secrets.token_hex(4)}", name, spec, "")
    with names_lock(workspace):
        save_new_sweep(workspace, sweep)
        _queue_next(workspace, sweep, CLUSTER_QUEUE if run_here else "")
    return find_sweep(workspace, sweep.id)


def check_search(card: BackboneCard, spec: SweepSpec) -> None:
    """Check that a backbone can have every strategy of a search with every head.

    Raises:
        BadInput: it cannot, a strategy is a control, or there are several target sizes.
    """
    search = spec.search
    assert search is not None
    if len(spec.target_sizes) > 1 or spec.halving or spec.learning_rates:
        raise BadInput(
            "A search has one number of target rows, and neither learning rates to try one by one"
            " nor successive halving; leave these out."
        )
    if controls := [arm.title for arm in spec.arms if is_control(arm.strategy)]:
        raise BadInput(
            f"{controls[0]!r} is a control and has nothing to be searched; leave it out. Full"
            " fine-tuning and zero-shot are compared with the winner anyway."
        )
    check_inputs(card, spec.inputs)
    for arm in spec.arms:
        for head in search.heads:
            plan = make_plan(
                card, arm.strategy, arm.freeze_depth, spec.head, arm.options, head == "keep"
            )
            plan.check_epochs(spec.train.epochs)


def continue_search(workspace: Workspace, group: str) -> bool:
    """Queue the next run of a search if its last one has ended; return whether one was queued.

    Does nothing for any other group of runs, and for a search that was stopped, is over, or waits
    for an interrupted run.

    Raises:
        BadInput: the next run cannot be.
    """
    sweep = _find_search(workspace, group)
    if sweep is None:
        return False
    with names_lock(workspace):
        # Read again: it may have been cancelled meanwhile.
        sweep = _find_search(workspace, group)
        return sweep is not None and _queue_next(workspace, sweep)


def continue_or_stop(workspace: Workspace, group: str) -> None:
    """Do as `continue_search`, for a worker: what goes wrong stops the search, with a sentence."""
    try:
        continue_search(workspace, group)
    except ThawError as error:
        print(f"search {group}: {error}", file=sys.stderr)
        if sweep := _find_search(workspace, group):
            _save_stopped(workspace, sweep, str(error))


def decide_trial(workspace: Workspace, run: Run, epoch: int) -> Decision:
    """Decide what a run of a search does after `epoch`: "continue" or "stop".

    It is compared with the runs of the same seed of all complete trials.
    """
    sweep = _find_search(workspace, run.group)
    if sweep is None or search_spec_of(sweep).pruner == "none":
        return "continue"
    losses = epoch_losses(workspace, run)[:epoch]
    if len(losses) < epoch:
        return "continue"
    trials = collect_trials(
        RunStore(workspace).list_group(run.group), search_spec_of(sweep).trial_seeds
    )
    others = [
        epoch_losses(workspace, one)
        for trial in trials
        if trial.state == COMPLETE
        for one in trial.runs
        if one.seed == run.seed
    ]
    return "stop" if should_prune(losses, others) else "continue"


def cancel_search(workspace: Workspace, sweep: Sweep) -> None:
    """Stop a search: its runs are cancelled and no other is queued until it is resumed."""
    store = RunStore(workspace)
    with names_lock(workspace):
        progress = search_progress(workspace, sweep, store.list_group(sweep.id))
        if progress.phase in ("searching", "judging"):
            _save_stopped(workspace, sweep, CANCELLED_SENTENCE)
        for run in store.list_group(sweep.id):
            if run.active:
                store.request_cancel(run.id)


def resume_search(workspace: Workspace, sweep: Sweep) -> None:
    """Go on with a search that was cancelled, interrupted or has stopped.

    Its unfinished run goes on from its checkpoint. Where it was cancelled, or stopped because runs
    failed, the trials that it ended with are tried again.
    """
    store = RunStore(workspace)
    with names_lock(workspace):
        sweep = find_sweep(workspace, sweep.id)
        runs = store.list_group(sweep.id)
        again = {run.id for run in runs if run.status == "interrupted" or not run.is_trial}
        if search_spec_of(sweep).stopped:
            _save_stopped(workspace, sweep, "")
            sweep = find_sweep(workspace, sweep.id)
            again |= {run.id for trial in _last_failures(sweep, runs) for run in trial.runs}
        for run in runs:
            if run.id in again and run.status in RESUMABLE_STATUSES:
                store.resume(run.id)
        _queue_next(workspace, sweep)
        queued = [run for run in store.list_group(sweep.id) if run.status == "queued"]
    if queued and queued[0].queue != CLUSTER_QUEUE:
        ensure_worker(workspace, queued[0].queue)


def search_progress(workspace: Workspace, sweep: Sweep, runs: Sequence[Run]) -> SearchProgress:
    """Return how far a search has come.

    Args:
        workspace: of the search.
        sweep: the search.
        runs: all of its runs.
    """
    search = search_spec_of(sweep)
    trials = collect_trials(runs, search.trial_seeds)
    n_runs = sum(run.is_trial for run in runs)
    seconds = spent_seconds(workspace, runs)
    best = best_trial(trials)
    message = search.stopped
    waits = any(run.status in RESUMABLE_STATUSES for run in runs if not run.is_trial) or any(
        run.status == "interrupted" for run in runs
    )
    if message or (waits and not any(run.active for run in runs)):
        phase = "stopped"
    elif _wants_trial(search, trials, n_runs, seconds):
        phase = "searching"
    elif best is None:
        phase, message = "done", "No run of the search was done, so there is nothing to judge."
    else:
        judging = [run for run in runs if not run.is_trial]
        ended = bool(judging) and not any(run.active for run in judging)
        phase = "done" if ended else "judging"
    return SearchProgress(
        phase,
        tuple(trials),
        best,
        n_runs,
        seconds,
        max(0, search.runs - n_runs) if search.runs else None,
        max(0.0, 60 * search.minutes - seconds) if search.minutes else None,
        message,
    )


def is_under_way(workspace: Workspace, sweep: Sweep, runs: Sequence[Run]) -> bool:
    """Whether runs of a sweep are active, or a search is about to queue its next one."""
    if any(run.active for run in runs):
        return True
    if sweep.spec.search is None:
        return False
    sweep = find_sweep(workspace, sweep.id)
    if search_progress(workspace, sweep, runs).phase not in ("searching", "judging"):
        return False
    queue = next((run.queue for run in runs), queue_for_device(sweep.spec.train.device))
    return is_worker_alive(workspace, queue)


def first_parameters(spec: SweepSpec) -> Parameters:
    """Return the setting of the first trial: full fine-tuning at the settings of the sweep.

    As far as the space of the search has it, so that the search can only be better on validation
    rows than what one would do without it.
    """
    search = spec.search
    assert search is not None
    titles, base = strategy_titles(spec), _reference_request(spec)
    wanted = request_parameters(base)
    return {
        "strategy": wanted["strategy"] if wanted["strategy"] in titles else titles[0],
        "learning_rate": min(search.rate_high, max(search.rate_low, base.train.learning_rate)),
        "head": wanted["head"] if wanted["head"] in search.heads else search.heads[0],
        "weight_decay": base.train.weight_decay
        if base.train.weight_decay in search.weight_decays
        else search.weight_decays[0],
    }


def winner_request(sweep: Sweep, runs: Sequence[Run]) -> FinetuneRequest | None:
    """Return the setting that a search chose, as it is judged; None while it is searching.

    What was once judged stays: test rows are read for one setting.
    """
    judged = next((run for run in runs if not run.is_trial and _is_best(run)), None)
    if judged is not None:
        return judged.finetune_request
    best = best_trial(collect_trials(runs, search_spec_of(sweep).trial_seeds))
    if best is None:
        return None
    request = best.runs[0].finetune_request
    title = describe_strategy(request.strategy, request.freeze_depth, request.options)
    return dataclasses.replace(request, trial=None, arm_name=f"{BEST_ARM} ({title})")


def is_default(sweep: Sweep, request: FinetuneRequest) -> bool:
    """Whether a search's winner is full fine-tuning at the default settings itself."""
    return request_parameters(request) == request_parameters(_reference_request(sweep.spec))


def _is_best(run: Run) -> bool:
    return isinstance(run.request, FinetuneRequest) and run.request.arm_name.startswith(BEST_ARM)


def _find_search(workspace: Workspace, group: str) -> Sweep | None:
    """Return the search whose runs have that group; None where it is none."""
    if not group.startswith("s-"):
        return None
    found = next((one for one in list_sweeps(workspace) if one.id == group), None)
    return found if found and found.spec.search else None


def _save_stopped(workspace: Workspace, sweep: Sweep, why: str) -> None:
    search = dataclasses.replace(search_spec_of(sweep), stopped=why)
    spec = dataclasses.replace(sweep.spec, search=search)
    RunStore(workspace).save_sweep(sweep.id, sweep.name, dataclasses.asdict(spec))


def _last_failures(sweep: Sweep, runs: Sequence[Run]) -> list[Trial]:
    """Return the failed trials after which there is no other one."""
    found: list[Trial] = []
    for trial in reversed(collect_trials(runs, search_spec_of(sweep).trial_seeds)):
        if trial.state != FAILED:
            break
        found.append(trial)
    return found


def _wants_trial(search: SearchSpec, trials: Sequence[Trial], n_runs: int, seconds: float) -> bool:
    """Whether a trial is under way or the budget allows another one."""
    if trials and trials[-1].state == RUNNING:
        return True
    within_runs = not search.runs or n_runs + search.trial_seeds <= search.runs
    return within_runs and (not search.minutes or seconds < 60 * search.minutes)


def _queue_next(workspace: Workspace, sweep: Sweep, queue: str = "") -> bool:
    """Queue what comes next, unless a run is active or the search has stopped."""
    store, search = RunStore(workspace), search_spec_of(sweep)
    runs = store.list_group(sweep.id)
    if search.stopped or any(run.active or run.status == "interrupted" for run in runs):
        return False
    failures = _last_failures(sweep, runs)
    if len(failures) >= MAX_FAILURES and any(run.status == "failed" for run in failures[0].runs):
        why = failures[0].message.rstrip(".")
        _save_stopped(
            workspace,
            sweep,
            f"The last {len(failures)} runs failed ({why}), so the search has stopped. Resume tries"
            " them again.",
        )
        return False
    requests = _next_requests(workspace, sweep, runs)
    if not requests:
        return False
    dataset = find_dataset(workspace, sweep.spec.dataset)
    card = find_backbone(workspace, sweep.spec.backbone)
    queue = queue or next((run.queue for run in runs), queue_for_device(sweep.spec.train.device))
    store.submit_all(
        [
            (
                dataclasses.replace(request, group=sweep.id),
                f"{card.name} · {_run_words(request)} · {dataset.name}",
            )
            for request in requests
        ],
        queue,
    )
    if queue != CLUSTER_QUEUE:
        ensure_worker(workspace, queue)
    return True


def _run_words(request: FinetuneRequest) -> str:
    title = describe_strategy(request.strategy, request.freeze_depth, request.options)
    if request.trial is None:
        return f"{request.arm_name or title}, seed {request.train.seed}"
    return f"{trial_title(request.trial, title)}, rate {request.train.learning_rate:g}"


def trial_title(number: int, strategy: str) -> str:
    """Return what a trial's run is called, its number from 1."""
    return f"trial {number + 1}: {strategy}"


def _next_requests(
    workspace: Workspace, sweep: Sweep, runs: Sequence[Run]
) -> list[FinetuneRequest]:
    """Return the next run of the search, or those that judge its winner; [] once all are there."""
    search = search_spec_of(sweep)
    trials = collect_trials(runs, search.trial_seeds)
    seconds = spent_seconds(workspace, runs)
    judged = any(not run.is_trial for run in runs)
    # Once the winner was judged, nothing is searched any more, not even if runs were deleted.
    if not judged and _wants_trial(search, trials, sum(run.is_trial for run in runs), seconds):
        return [_trial_request(workspace, sweep.spec, trials)]
    winner = winner_request(sweep, runs)
    if winner is None:
        return []
    there = [dataclasses.replace(run.finetune_request, group="") for run in runs if run.strategy]
    wanted = _judging_requests(find_backbone(workspace, sweep.spec.backbone), sweep, winner)
    return [one for one in wanted if one not in there]


def _trial_request(
    workspace: Workspace, spec: SweepSpec, trials: Sequence[Trial]
) -> FinetuneRequest:
    """Return the request of the last trial's next seed, or of a new trial."""
    if trials and trials[-1].state == RUNNING:
        last = trials[-1]
        number, parameters, seed = last.number, last.parameters, len(last.runs)
    elif trials:
        losses = [epoch_losses(workspace, _deciding_run(trial)) for trial in trials]
        number, parameters, seed = trials[-1].number + 1, suggest(spec, trials, losses), 0
    else:
        number, parameters, seed = 0, first_parameters(spec), 0
    return _request_of(spec, number, parameters, FIRST_TRIAL_SEED + seed)


def _deciding_run(trial: Trial) -> Run:
    """Return the run that ended a pruned trial, else its first one."""
    if trial.state == PRUNED:
        return next(run for run in trial.runs if run.halted)
    return trial.runs[0]


def _request_of(spec: SweepSpec, number: int, parameters: Parameters, seed: int) -> FinetuneRequest:
    arm = spec.arms[strategy_titles(spec).index(str(parameters["strategy"]))]
    train = dataclasses.replace(
        spec.train.with_learning_rate(float(parameters["learning_rate"])),
        weight_decay=float(parameters["weight_decay"]),
        seed=seed,
    )
    return FinetuneRequest(
        spec.dataset,
        spec.backbone,
        arm.strategy,
        arm.freeze_depth,
        spec.head,
        train,
        options=arm.options,
        target_rows=spec.target_sizes[0],
        keep_head=parameters["head"] == "keep",
        inputs=spec.inputs,
        trial=number,
        arm_name=trial_title(number, arm.title),
    )


def _reference_request(spec: SweepSpec) -> FinetuneRequest:
    """Return full fine-tuning at the settings that one would have taken without a search."""
    return FinetuneRequest(
        spec.dataset,
        spec.backbone,
        head=spec.head,
        train=spec.train,
        target_rows=spec.target_sizes[0],
        keep_head=spec.keep_head,
        inputs=spec.inputs,
    )


def _judging_requests(
    card: BackboneCard, sweep: Sweep, winner: FinetuneRequest
) -> list[FinetuneRequest]:
    """Return the runs that judge the winner: it, full fine-tuning and zero-shot, by seed."""
    reference = _reference_request(sweep.spec)
    # Where it is the reference itself, there is nothing to compare it with but the backbone.
    arms = [reference] if is_default(sweep, winner) else [winner, reference]
    found = [
        dataclasses.replace(arm, train=dataclasses.replace(arm.train, seed=seed), group="")
        for seed in sweep.spec.seeds
        for arm in arms
    ]
    if card.scores_clicks:
        zero_shot = dataclasses.replace(reference, strategy="zero-shot", inputs="kept")
        found.append(
            dataclasses.replace(
                zero_shot, train=dataclasses.replace(zero_shot.train, seed=sweep.spec.seeds[0])
            )
        )
    return found
