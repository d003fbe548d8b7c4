"""Sweeps: strategies × seeds on one dataset and backbone.

Optionally × learning rates and × target sizes. All arms share the dataset's split, the order of
batches (by seed), schedule and budget, so that they differ only in what the arm names.
"""

import dataclasses
import itertools
import json
import secrets
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from core.data.datasets import Dataset, find_dataset
from core.data.windows import MAX_WINDOWS, MIN_WINDOWS, check_windows, count_window_runs
from core.errors import BadInput, Damaged, NameTaken
from core.files.typed_json import check_types, to_json
from core.freezing.inputs import check_inputs, inputs_of_strategy
from core.freezing.plan import Plan, make_plan
from core.freezing.strategies import (
    STRATEGIES,
    complete_options,
    control_strategies,
    describe_strategy,
    has_learning_rate,
    has_own_model,
    has_seed,
    is_control,
    is_trained,
)
from core.jobs.requests import (
    WINDOW_STARTS,
    FinetuneRequest,
    TrainSettings,
    Window,
    old_strategy_options,
)
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore, new_run_ids
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard, HeadSettings
from core.names import names_lock
from core.runs.halving import FACTORS, plan_rungs
from core.runs.launch import CLUSTER_QUEUE, ensure_worker, queue_for_device
from core.runs.search_spec import SearchSpec
from core.runs.submit import check_rows_to_train, check_source_rows
from core.stored import check_timestamp, parse_stored
from core.workspace import Workspace, check_name

MAX_RUNS = 2000


@dataclass(frozen=True)
class Arm:
    """One strategy with its options; only the strategy "depth" reads `freeze_depth`.

    >>> Arm("depth", 2).title
    'freeze depth 2'
    """

    strategy: str
    freeze_depth: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self)
        if self.strategy not in STRATEGIES:
            raise BadInput(
                f"The strategy {self.strategy!r} is unknown; choose one of {[*STRATEGIES]}."
            )
        complete_options(self.strategy, self.options)

    @cached_property
    def title(self) -> str:
        """The arm in a few words."""
        return describe_strategy(self.strategy, self.freeze_depth, self.options)


@dataclass(frozen=True)
class SweepSpec:
    """What a sweep asks for.

    Args:
        dataset, backbone: ids.
        arms: every one runs with each seed, learning rate and target size.
        seeds: of head, row order and dropout.
        learning_rates: none for the rate of the settings. The head's own rate changes with them.
        target_sizes: numbers of target rows; 0 for all.
        head: the head that trains.
        train: everything else.
        halving: factor of successive halving (core.runs.halving); 0 trains every arm to its end.
        train_by_size: the settings of each of `target_sizes`, where they differ; else `train` for
            all.
        keep_head: whether arms go on from the backbone's own head, as in FinetuneRequest.
        choose_rate: whether every arm has one of `learning_rates` in the results, chosen on
            validation rows (core.runs.rate_choice), so that all arms are tuned with the same
            budget; else each rate is a setting of its own.
        inputs: of the arms that are no controls, as in FinetuneRequest.
        blend: whether the network arm that leads on validation rows is blended with gradient
            boosting once all runs have ended, as a further arm (core.runs.default_blend).
        search: for a search within a budget (core.runs.search): `arms` are the strategies it
            chooses from, and `seeds` those of the runs that judge its winner.
        windows: number of windows of the target rows for rolling evaluation (core.data.windows);
            every arm trains on each but the last and is tested on the next one. 0 for the dataset's
            own split.
        window_start: "backbone", from which every window starts, or "last", the model of the window
            before. A control with a model of its own is fitted anew on every window either way.
        window_column: extra column by whose values windows are cut; "" for row order.

    Raises:
        BadInput: a value occurs twice, is missing or has another type, there are more than
            MAX_RUNS runs, a rate is to be chosen from fewer than two, or windows are combined with
            target sizes or halving.
    """

    dataset: str
    backbone: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    learning_rates: tuple[float, ...] = ()
    target_sizes: tuple[int, ...] = (0,)
    head: HeadSettings = field(default_factory=HeadSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    halving: int = 0
    train_by_size: tuple[TrainSettings, ...] = ()
    keep_head: bool = False
    choose_rate: bool = False
    inputs: str = "kept"
    blend: bool = False
    search: SearchSpec | None = None
    windows: int = 0
    window_start: str = "backbone"
    window_column: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        check_window_settings(self)
        if self.train_by_size and len(self.train_by_size) != len(self.target_sizes):
            raise BadInput(
                f"A sweep's settings by size are {len(self.train_by_size)} for"
                f" {len(self.target_sizes)} target sizes; give one for each size, or none."
            )
        if self.halving not in (0, *FACTORS):
            raise BadInput(
                f"The halving factor is {self.halving!r}; it must be one of {[*FACTORS]}, or 0 for"
                " none."
            )
        repeatable: tuple[tuple[str, tuple[Any, ...]], ...] = (
            ("arm", self.arms),
            ("seed", self.seeds),
            ("target size", self.target_sizes),
        )
        for what, values in repeatable:
            if not values:
                raise BadInput(f"A sweep needs at least one {what}; it has none.")
            repeated = next((one for one in values if values.count(one) > 1), None)
            if repeated is not None:
                named = repr(repeated.title) if isinstance(repeated, Arm) else f"{repeated:,}"
                raise BadInput(
                    f"A sweep has each {what} once, and {named} is named"
                    f" {_times(values.count(repeated))}; leave out what is repeated."
                )
        rates = self.learning_rates
        if self.choose_rate and not 1 < len(rates) == len(set(rates)):
            raise BadInput(
                f"The learning rates to choose from are {[*rates]}; name at least two, each once,"
                " or have no rate chosen."
            )
        if len(expand_requests(self)) > MAX_RUNS:
            raise BadInput(
                f"This sweep has {len(expand_requests(self)):,} runs; the most is {MAX_RUNS:,}."
            )

    @property
    def size_settings(self) -> tuple[TrainSettings, ...]:
        """The settings of each of `target_sizes`."""
        return self.train_by_size or (self.train,) * len(self.target_sizes)


def check_window_settings(spec: SweepSpec) -> None:
    """Raise BadInput if the windows of a sweep cannot be what they are."""
    if spec.window_start not in WINDOW_STARTS:
        raise BadInput(
            f"The windows start from {spec.window_start!r}; choose one of {[*WINDOW_STARTS]}."
        )
    if not spec.windows:
        if spec.window_start != "backbone" or spec.window_column:
            raise BadInput(
                "A start or a column of windows is named, but no number of windows; ask for"
                f" {MIN_WINDOWS} windows or more, or leave it out."
            )
        return
    if not MIN_WINDOWS <= spec.windows <= MAX_WINDOWS:
        raise BadInput(
            f"The number of windows is {spec.windows!r}; it must be {MIN_WINDOWS} to"
            f" {MAX_WINDOWS}, or 0 for no rolling evaluation."
        )
    if spec.target_sizes != (0,):
        raise BadInput(
            f"The target sizes are {[*spec.target_sizes]}, but windows already say which target"
            " rows train; leave one of the two out."
        )
    if spec.halving:
        raise BadInput(
            "Successive halving ends arms before others train, so an arm would not have every"
            " window; leave the windows or the halving out."
        )


@dataclass(frozen=True)
class Sweep:
    """A sweep in the store; its runs have its id as their group."""

    id: str
    name: str
    spec: SweepSpec
    created: str


def _times(number: int) -> str:
    return "twice" if number == 2 else f"{number} times"


def expand_requests(spec: SweepSpec) -> list[FinetuneRequest]:
    """Return a request for every run, all arms of one seed before those of the next seed.

    A strategy without a learning rate runs once for every seed and size, and one that no seed
    changes once for every size. Zero-shot trains nothing, so that it has one run, however many
    seeds, rates and sizes there are, for every window. Of one seed, all arms of one window come
    before those of the next window.
    """
    base = FinetuneRequest(
        spec.dataset, spec.backbone, head=spec.head, train=spec.train, keep_head=spec.keep_head
    )
    sized = zip(spec.target_sizes, spec.size_settings, strict=True)
    rated = [
        (size, train.with_learning_rate(rate) if spec.learning_rates else train, not place)
        for size, train in sized
        for place, rate in enumerate(spec.learning_rates or (train.learning_rate,))
    ]
    n_rates = max(1, len(spec.learning_rates))
    arms = [arm for arm in spec.arms if not is_control(arm.strategy)]
    # Halving ends arms one by one, so that their heads cannot train in one batched product; neither
    # can heads that go on from models of their own.
    alone = spec.halving or (spec.windows and spec.window_start == "last")
    batched_rates = spec.learning_rates if n_rates > 1 and not alone else ()
    numbers = range(1, count_window_runs(spec.windows) + 1) if spec.windows else (0,)
    found = []
    for seed, number, (place, (size, train, is_first_rate)) in itertools.product(
        spec.seeds, numbers, [*enumerate(rated)]
    ):
        is_first = seed == spec.seeds[0] and not place
        train = dataclasses.replace(train, seed=seed)
        rungs = plan_rungs(train.epochs, spec.halving, len(arms) * n_rates) if spec.halving else ()
        for arm in spec.arms:
            has_rate = has_learning_rate(arm.strategy)
            if not (has_rate or is_first_rate) or not (is_first or is_trained(arm.strategy)):
                continue
            if seed != spec.seeds[0] and not has_seed(arm.strategy):
                continue
            found.append(
                dataclasses.replace(
                    base,
                    strategy=arm.strategy,
                    freeze_depth=arm.freeze_depth,
                    options=arm.options,
                    train=train,
                    target_rows=size,
                    rungs=rungs if arm in arms else (),
                    rates=batched_rates if has_rate else (),
                    inputs=inputs_of_strategy(arm.strategy, spec.inputs),
                    window=_window_of_arm(spec, arm, number),
                )
            )
    return found


def _window_of_arm(spec: SweepSpec, arm: Arm, number: int) -> Window | None:
    if not number:
        return None
    chains = is_trained(arm.strategy) and not has_own_model(arm.strategy)
    start = spec.window_start if chains else "backbone"
    return Window(number, spec.windows, spec.window_column, start)


def rates_sentence(spec: SweepSpec) -> str:
    """Return which rates every arm of a sweep that chooses them is tried with."""
    rates = ", ".join(f"{rate:g}" for rate in spec.learning_rates)
    return f"Each arm's learning rate is chosen on validation rows from {rates}."


def depth_arms(card: BackboneCard) -> tuple[Arm, ...]:
    """Return an arm for every freeze depth of a backbone.

    They range from full fine-tuning to the linear probe.
    """
    return tuple(Arm("depth", depth) for depth in range(len(card.stages) + 1))


def control_arms(card: BackboneCard, dataset: Dataset) -> tuple[Arm, ...]:
    """Return an arm for every control that says something about this backbone and dataset.

    Zero-shot needs a head that scores clicks, and a network retrained on source and target rows a
    source: without one it is the network from scratch.
    """
    left_out = {
        name
        for name, possible in (("zero-shot", card.scores_clicks), ("retrain", dataset.has_source))
        if not possible
    }
    return tuple(Arm(name) for name in control_strategies() if name not in left_out)


def default_arms(card: BackboneCard, dataset: Dataset) -> tuple[Arm, ...]:
    """Return the arms of a sweep that names none: every freeze depth, and every control."""
    return depth_arms(card) + control_arms(card, dataset)


def submit_sweep(workspace: Workspace, spec: SweepSpec, name: str, run_here: bool = False) -> Sweep:
    """Queue every run of a sweep at once.

    Args:
        workspace: where to queue them.
        spec: dataset and backbone may be given by name or id.
        name: of the sweep.
        run_here: queue them for the command line, which runs them itself; no worker is started.

    Raises:
        BadInput: one of the runs cannot be; none is queued then.
        NameTaken: a sweep has that name.
    """
    name = check_name(name, "sweep")
    dataset, card = find_dataset(workspace, spec.dataset), find_backbone(workspace, spec.backbone)
    spec = dataclasses.replace(spec, dataset=dataset.id, backbone=card.id)
    sweep = Sweep(f"s-{secrets.token_hex(4)}", name, spec, "")
    _check(card, spec)
    for size, train in zip(spec.target_sizes, spec.size_settings, strict=True):
        check_rows_to_train(dataset, train, size)
    if spec.windows:
        share = spec.train.validation_share
        check_windows(workspace, dataset, spec.windows, spec.window_column, share)
    for arm in spec.arms:
        check_source_rows(dataset, arm.strategy, arm.options)
    with names_lock(workspace):
        save_new_sweep(workspace, sweep)
    _enqueue(
        workspace,
        sweep,
        card.name,
        dataset.name,
        expand_requests(spec),
        CLUSTER_QUEUE if run_here else "",
    )
    return find_sweep(workspace, sweep.id)


def save_new_sweep(workspace: Workspace, sweep: Sweep) -> None:
    """Store a sweep or search; the caller holds `names_lock`.

    Raises:
        NameTaken: a sweep has its name.
    """
    if any(sweep.name == one.name for one in list_sweeps(workspace)):
        raise NameTaken(
            f"There is already a sweep named {sweep.name!r}; choose another name, or go on with"
            " that one."
        )
    RunStore(workspace).save_sweep(sweep.id, sweep.name, dataclasses.asdict(sweep.spec))


def extend_sweep(workspace: Workspace, sweep: Sweep, seeds: int) -> Sweep:
    """Add seeds, the next numbers after the sweep's highest, for every arm.

    Raises:
        BadInput: `seeds` is not 1 to 100.
    """
    if not 1 <= seeds <= 100:
        raise BadInput(f"{seeds!r} more seeds were asked for; take 1 to 100.")
    first = max(sweep.spec.seeds) + 1
    spec = dataclasses.replace(sweep.spec, seeds=(*sweep.spec.seeds, *range(first, first + seeds)))
    if spec.search is not None:
        from core.runs.search import continue_search  # it imports this module

        RunStore(workspace).save_sweep(sweep.id, sweep.name, dataclasses.asdict(spec))
        continue_search(workspace, sweep.id)
        return find_sweep(workspace, sweep.id)
    dataset, card = find_dataset(workspace, spec.dataset), find_backbone(workspace, spec.backbone)
    old = expand_requests(sweep.spec)
    RunStore(workspace).save_sweep(sweep.id, sweep.name, dataclasses.asdict(spec))
    # No default queue: all its runs may have been deleted one by one.
    queue = next((run.queue for run in RunStore(workspace).list_group(sweep.id)), "")
    _enqueue(
        workspace,
        sweep,
        card.name,
        dataset.name,
        [one for one in expand_requests(spec) if one not in old],
        queue,
    )
    return find_sweep(workspace, sweep.id)


def cancel_sweep(workspace: Workspace, sweep: Sweep) -> None:
    """Cancel every run that waits or runs; finished ones stay."""
    if sweep.spec.search is not None:
        from core.runs.search import cancel_search  # it imports this module

        cancel_search(workspace, sweep)
        return
    store = RunStore(workspace)
    for run in store.list_group(sweep.id):
        if run.active:
            store.request_cancel(run.id)


def resume_sweep(workspace: Workspace, sweep: Sweep) -> None:
    """Queue every cancelled, interrupted or failed run again; each resumes from its checkpoint."""
    if sweep.spec.search is not None:
        from core.runs.search import resume_search  # it imports this module

        resume_search(workspace, sweep)
        return
    store = RunStore(workspace)
    for run in store.list_group(sweep.id):
        if run.status in RESUMABLE_STATUSES:
            store.resume(run.id)
            if run.queue != CLUSTER_QUEUE:
                ensure_worker(workspace, run.queue)


def read_sweeps(workspace: Workspace) -> tuple[list[Sweep], list[Damaged]]:
    """Return every sweep, newest first, and what is wrong with those that cannot be read."""
    found, broken = [], []
    for sweep_id, name, spec, created in RunStore(workspace).sweeps():
        try:
            check_timestamp(created, "created")
            found.append(Sweep(sweep_id, name, spec_from_json(spec), created))
        except (BadInput, ValueError, TypeError, RecursionError) as error:
            why = str(error).rstrip(".")
            broken.append(
                Damaged(
                    f"The sweep {str(name)[:80]!r} ({sweep_id}) in the run store is damaged: {why}."
                    " Put a copy of thaw.sqlite in its place; its runs are as they were."
                )
            )
    return found, broken


def list_sweeps(workspace: Workspace) -> list[Sweep]:
    """Return every sweep that can be read, newest first."""
    return read_sweeps(workspace)[0]


def list_rate_sweeps(workspace: Workspace) -> frozenset[str]:
    """Return the ids of the sweeps that choose the learning rate of each arm."""
    return frozenset(sweep.id for sweep in list_sweeps(workspace) if sweep.spec.choose_rate)


def find_sweep(workspace: Workspace, name_or_id: str) -> Sweep:
    """Return the sweep of that id, else the newest of that name.

    Raises:
        BadInput: there is none; the message lists the names there are.
    """
    sweeps = list_sweeps(workspace)
    for sweep in sorted(sweeps, key=lambda one: one.id != name_or_id):
        if name_or_id in (sweep.id, sweep.name):
            return sweep
    raise BadInput(
        f"There is no sweep {name_or_id[:40]!r}; the sweeps here are"
        f" {sorted(one.name for one in sweeps)}."
    )


@lru_cache(maxsize=256)
def spec_from_json(text: str) -> SweepSpec:
    """Return the spec that `dataclasses.asdict` and JSON made `text` from.

    Cached, because checking a spec of many runs takes long.
    """
    values = json.loads(text)
    if isinstance(values, dict) and "keep_head" not in values:
        # Of version 0.12 or earlier, as are the requests of its runs.
        values["arms"] = [
            {**arm, **old_strategy_options(arm)} if isinstance(arm, dict) else arm
            for arm in values.get("arms", [])
        ]
    return parse_stored(SweepSpec, values)


def plan_arms(card: BackboneCard, spec: SweepSpec) -> dict[str, Plan]:
    """Return the plan of every arm, by the arm's title.

    Raises:
        BadInput: the backbone cannot have one of the arms, or not the spec's inputs.
    """
    check_inputs(card, spec.inputs)
    return {
        arm.title: make_plan(
            card, arm.strategy, arm.freeze_depth, spec.head, arm.options, spec.keep_head
        )
        for arm in spec.arms
    }


def arm_title(run: Run) -> str:
    """Return what a fine-tuning run or a blend is called as an arm."""
    if run.kind == "blend":
        return run.blend_request.title
    return run.finetune_request.arm_name or arm_of_run(run).title


def arm_of_run(run: Run) -> Arm:
    """Return the arm that a run of a sweep belongs to."""
    request = run.finetune_request
    return _cached_arm(
        request.strategy,
        request.freeze_depth,
        json.dumps(request.options) if request.options else "{}",
    )


@lru_cache(maxsize=1024)
def _cached_arm(strategy: str, freeze_depth: int, options: str) -> Arm:
    """Cached, because checking the options of thousands of runs takes long."""
    return Arm(strategy, freeze_depth, json.loads(options))


def _check(card: BackboneCard, spec: SweepSpec) -> None:
    for plan in plan_arms(card, spec).values():
        plan.check_epochs(min(train.epochs for train in spec.size_settings))


def _enqueue(
    workspace: Workspace,
    sweep: Sweep,
    backbone: str,
    dataset: str,
    requests: list[FinetuneRequest],
    queue: str,
) -> None:
    queue = queue or queue_for_device(sweep.spec.train.device)
    named = []
    for request in requests:
        words = [
            describe_strategy(request.strategy, request.freeze_depth, request.options),
            f"seed {request.train.seed}",
        ]
        if len(sweep.spec.learning_rates) > 1 and has_learning_rate(request.strategy):
            words.append(f"rate {request.train.learning_rate:g}")
        if len(sweep.spec.target_sizes) > 1:
            words.append(f"{request.target_rows:,} rows" if request.target_rows else "all rows")
        if request.window:
            words.append(request.window.title)
        named.append(
            (
                dataclasses.replace(request, group=sweep.id),
                f"{backbone} · {', '.join(words)} · {dataset}",
            )
        )
    ids = new_run_ids(len(named))
    RunStore(workspace).submit_all(_with_start_runs(named, ids), queue, ids)
    if queue != CLUSTER_QUEUE:
        ensure_worker(workspace, queue)


def _with_start_runs(
    named: list[tuple[FinetuneRequest, str]], ids: list[str]
) -> list[tuple[FinetuneRequest, str]]:
    """Return the requests, those that start from the last window with the id of its run."""
    id_by_window: dict[tuple[str, int], str] = {}
    linked = []
    for (request, name), run_id in zip(named, ids, strict=True):
        window = request.window
        if window is not None and window.start == "last":
            chain = json.dumps(to_json(dataclasses.replace(request, window=None)), sort_keys=True)
            id_by_window[chain, window.number] = run_id
            start_run = id_by_window.get((chain, window.number - 1), "")
            request = dataclasses.replace(
                request, window=dataclasses.replace(window, start_run=start_run)
            )
        linked.append((request, name))
    return linked
