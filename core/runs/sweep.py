"""Sweeps: strategies times seeds, and optionally learning rates and target sizes, on one dataset
and backbone.

All arms share the dataset's split, the order of batches (by seed), schedule and budget, so that
only what the arm names differs between them.
"""

import dataclasses
import itertools
import json
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from core.data.datasets import Dataset, find_dataset
from core.errors import BadInput, Damaged, NameTaken
from core.freezing.plan import Plan, make_plan
from core.freezing.strategies import (
    STRATEGIES,
    complete_options,
    describe_strategy,
    is_control,
    is_trained,
)
from core.jobs.requests import FinetuneRequest, TrainSettings, head_from_json
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard, HeadSettings
from core.names import names_lock
from core.program import COMMAND
from core.runs.estimate import Estimate, calibration_runs, estimate_seconds
from core.runs.halving import FACTORS, plan_rungs
from core.runs.launch import CLUSTER_QUEUE, ensure_worker, queue_for_device
from core.runs.submit import check_rows_to_train, head_flags, train_flags
from core.stored import check_timestamp
from core.training.default_settings import AUTO, count_training_rows, presets_for
from core.workspace import Workspace, check_name

MAX_RUNS = 2000


@dataclass(frozen=True)
class Arm:
    """One strategy with its options; freeze_depth is read by the strategy "depth" alone."""

    strategy: str
    freeze_depth: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise BadInput(
                f"The strategy {self.strategy!r} is unknown; choose one of {[*STRATEGIES]}."
            )
        complete_options(self.strategy, self.options)

    @cached_property
    def title(self) -> str:
        """In a few words."""
        return describe_strategy(self.strategy, self.freeze_depth, self.options)


@dataclass(frozen=True)
class SweepSpec:
    """What a sweep asks for. dataset, backbone: ids. seeds: of head, row order and dropout, for
    every arm.

    learning_rates, target_sizes: every arm is run with each; target size 0 is all target rows.
    train: everything else. halving: at every rung of core.runs.halving only one arm in so many
    trains on; 0 for all to the end. train_by_size: where sizes train differently, the settings of
    each of target_sizes; none: `train` for every size.
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

    def __post_init__(self) -> None:
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
        for what, values in (
            ("arm", self.arms),
            ("seed", self.seeds),
            ("target size", self.target_sizes),
        ):
            if not values:
                raise BadInput(f"A sweep needs at least one {what}; it has none.")
            if any(a == b for a, b in itertools.combinations(values, 2)):
                raise BadInput(f"A sweep has each {what} once; {list(values)} has one twice.")
        if len(expand_requests(self)) > MAX_RUNS:
            raise BadInput(
                f"This sweep has {len(expand_requests(self)):,} runs; the most is {MAX_RUNS:,}."
            )

    @property
    def size_settings(self) -> tuple[TrainSettings, ...]:
        """The settings of each of target_sizes."""
        return self.train_by_size or (self.train,) * len(self.target_sizes)


@dataclass(frozen=True)
class Sweep:
    """A sweep in the store; its runs carry its id as their group."""

    id: str
    name: str
    spec: SweepSpec
    created: str


def expand_requests(spec: SweepSpec) -> list[FinetuneRequest]:
    """A request for every run, all arms of one seed before the next seed's.

    Zero-shot trains nothing, so it has one run, however many seeds, rates and sizes there are.
    """
    base = FinetuneRequest(spec.dataset, spec.backbone, head=spec.head, train=spec.train)
    sized = zip(spec.target_sizes, spec.size_settings, strict=True)
    rated = [
        (size, dataclasses.replace(train, learning_rate=rate))
        for size, train in sized
        for rate in spec.learning_rates or (train.learning_rate,)
    ]
    rates = max(1, len(spec.learning_rates))
    arms = [arm for arm in spec.arms if not is_control(arm.strategy)]
    # Halving ends arms one by one, so they cannot train together.
    together = spec.learning_rates if rates > 1 and not spec.halving else ()
    found = []
    for place, (seed, (size, train)) in enumerate(itertools.product(spec.seeds, rated)):
        train = dataclasses.replace(train, seed=seed)
        rungs = plan_rungs(train.epochs, spec.halving, len(arms) * rates) if spec.halving else ()
        for arm in spec.arms:
            if not is_trained(arm.strategy) and place:
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
                    rates=together,
                )
            )
    return found


def depth_arms(card: BackboneCard) -> tuple[Arm, ...]:
    """An arm for every freeze depth of a backbone, full fine-tuning and linear probe among them."""
    return tuple(Arm("depth", depth) for depth in range(len(card.stages) + 1))


def submit_sweep(workspace: Workspace, spec: SweepSpec, name: str, run_here: bool = False) -> Sweep:
    """Queues every run of the sweep at once; BadInput, and nothing queued, when one of them cannot
    be.

    own: in the lane of the command line, which carries the runs out itself; no worker is started.
    """
    name = check_name(name, "sweep")
    dataset, card = find_dataset(workspace, spec.dataset), find_backbone(workspace, spec.backbone)
    spec = dataclasses.replace(spec, dataset=dataset.id, backbone=card.id)
    sweep = Sweep(f"s-{secrets.token_hex(4)}", name, spec, "")
    _check(card, spec)
    for size, train in zip(spec.target_sizes, spec.size_settings, strict=True):
        check_rows_to_train(dataset, train, size)
    with names_lock(workspace):
        if any(name == one.name for one in list_sweeps(workspace)):
            raise NameTaken(
                f"There is already a sweep named {name!r}; choose another name, or go on with that"
                " one."
            )
        RunStore(workspace).save_sweep(sweep.id, name, dataclasses.asdict(spec))
    _enqueue(
        workspace,
        sweep,
        card.name,
        dataset.name,
        expand_requests(spec),
        CLUSTER_QUEUE if run_here else "",
    )
    return find_sweep(workspace, sweep.id)


def extend_sweep(workspace: Workspace, sweep: Sweep, seeds: int) -> Sweep:
    """Adds so many seeds, the next numbers after the sweep's highest, for every arm."""
    if not 1 <= seeds <= 100:
        raise BadInput(f"{seeds!r} more seeds were asked for; take 1 to 100.")
    first = max(sweep.spec.seeds) + 1
    spec = dataclasses.replace(sweep.spec, seeds=(*sweep.spec.seeds, *range(first, first + seeds)))
    dataset, card = find_dataset(workspace, spec.dataset), find_backbone(workspace, spec.backbone)
    old = expand_requests(sweep.spec)
    RunStore(workspace).save_sweep(sweep.id, sweep.name, dataclasses.asdict(spec))
    # All its runs may have been deleted one by one.
    lane = next((run.queue for run in RunStore(workspace).list_group(sweep.id)), "")
    _enqueue(
        workspace,
        sweep,
        card.name,
        dataset.name,
        [one for one in expand_requests(spec) if one not in old],
        lane,
    )
    return find_sweep(workspace, sweep.id)


def cancel_sweep(workspace: Workspace, sweep: Sweep) -> None:
    """Cancels every run that waits or runs; those that are done stay."""
    store = RunStore(workspace)
    for run in store.list_group(sweep.id):
        if run.active:
            store.request_cancel(run.id)


def resume_sweep(workspace: Workspace, sweep: Sweep) -> None:
    """Queues every run again that was cancelled, interrupted or failed; each goes on from its
    checkpoint."""
    store = RunStore(workspace)
    for run in store.list_group(sweep.id):
        if run.status in RESUMABLE_STATUSES:
            store.resume(run.id)
            if run.queue != CLUSTER_QUEUE:
                ensure_worker(workspace, run.queue)


def read_sweeps(workspace: Workspace) -> tuple[list[Sweep], list[Damaged]]:
    """(every sweep, newest first; what is damaged)."""
    found, broken = [], []
    for sweep_id, name, spec, created in RunStore(workspace).sweeps():
        try:
            check_timestamp(created, "created")
            found.append(Sweep(sweep_id, name, spec_from_json(spec), created))
        except (BadInput, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
            broken.append(
                Damaged(
                    f"The sweep {str(name)[:80]!r} ({sweep_id}) in the run store is damaged: {why}."
                    " Put a copy of thaw.sqlite in its place; its runs are as they were."
                )
            )
    return found, broken


def list_sweeps(workspace: Workspace) -> list[Sweep]:
    """Every sweep that is whole, newest first."""
    return read_sweeps(workspace)[0]


def find_sweep(workspace: Workspace, name_or_id: str) -> Sweep:
    """The sweep of that id, else the newest of that name; BadInput lists the names there are."""
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
    """The spec that `dataclasses.asdict` and JSON made `text` from; kept, for checking one of many
    runs takes long."""
    values = json.loads(text)
    return SweepSpec(
        dataset=values["dataset"],
        backbone=values["backbone"],
        arms=tuple(Arm(**arm) for arm in values["arms"]),
        seeds=tuple(values["seeds"]),
        learning_rates=tuple(values["learning_rates"]),
        target_sizes=tuple(values["target_sizes"]),
        head=head_from_json(values["head"]),
        train=TrainSettings(**values["train"]),
        halving=values.get("halving", 0),
        train_by_size=tuple(TrainSettings(**train) for train in values.get("train_by_size", ())),
    )


def arm_of_run(run: Run) -> Arm:
    """The arm that a run of a sweep belongs to."""
    request = run.finetune_request
    return _cached_arm(
        request.strategy,
        request.freeze_depth,
        json.dumps(request.options) if request.options else "{}",
    )


@lru_cache(maxsize=1024)
def _cached_arm(strategy: str, freeze_depth: int, options: str) -> Arm:
    """Kept, for checking the options of thousands of runs takes long."""
    return Arm(strategy, freeze_depth, json.loads(options))


def plan_arms(card: BackboneCard, spec: SweepSpec) -> dict[str, Plan]:
    """The plan of every arm, by the arm's title.

    Raises:
        BadInput: the backbone cannot have one of the arms.
    """
    return {
        arm.title: make_plan(card, arm.strategy, arm.freeze_depth, spec.head, arm.options)
        for arm in spec.arms
    }


def estimate_sweep(
    dataset: Dataset, plans: Mapping[str, Plan], spec: SweepSpec, history: Sequence[Run]
) -> Estimate:
    """How long all runs of a sweep take, one after another.

    A frozen prefix is computed once, for all target rows, and counted once, however many runs share
    it.

    Args:
        dataset: what the runs train on.
        plans: the plan of every arm, see `plan_arms`.
        spec: the sweep.
        history: finished runs, newest first, by which the estimate is calibrated.
    """
    # Sizes may train with different batches, and each rests on runs of its own batch size.
    kept = {run.id for train in spec.size_settings for run in calibration_runs(history, train)}
    history = [run for run in history if run.id in kept]
    seconds = 0.0
    known: dict[tuple[str, int], Estimate] = {}
    prefixes: dict[int, float] = {}
    requests = expand_requests(spec)
    for request in requests:
        title = describe_strategy(request.strategy, request.freeze_depth, request.options)
        key = (title, request.target_rows)
        if key not in known:
            rows = count_training_rows(
                dataset, "target", request.train.validation_share, request.target_rows
            )
            known[key] = estimate_seconds(
                plans[title], rows, request.train, history, request.can_batch_heads
            )
        one = known[key]
        seconds += one.seconds - sum(one.prefix_seconds.values())
        for depth, prefix in one.prefix_seconds.items():
            prefixes[depth] = max(prefix, prefixes.get(depth, 0.0))
    basis = next(iter(known.values())).explanation
    if len(requests) > 1:
        basis += " A frozen prefix that runs share is computed and counted once."
    if spec.halving:
        basis += " Upper bound: successive halving ends arms before their last epoch."
    return Estimate(seconds + sum(prefixes.values()), basis, prefixes)


def sweep_train_flags(dataset: Dataset, spec: SweepSpec, pinned: bool = False) -> list[str] | None:
    """The shortest flags that give every target size its settings; None where no single command
    can.

    lasting: without the preset "auto", whose values a later version may change, where the sizes
    share their settings.
    """
    presets = [
        presets_for(count_training_rows(dataset, "target", last=size)) for size in spec.target_sizes
    ]
    if pinned and not spec.train_by_size:
        presets = [
            {name: train for name, train in known.items() if name != AUTO} for known in presets
        ]
    return train_flags(spec.size_settings, presets)


def sweep_command_line(
    workspace: Workspace, spec: SweepSpec, name: str, pinned: bool = False
) -> str:
    """The command that asks for the same sweep, whose seeds are 0, 1, 2, …; defaults are left out.

    lasting: as in core.runs.submit.command_line. BadInput where target sizes have settings that no
    single command gives them (core.runs.reproduce names the runs then).
    """
    dataset, card = find_dataset(workspace, spec.dataset), find_backbone(workspace, spec.backbone)
    parts = [*COMMAND, "sweep", "--name", name, "--dataset", dataset.name, "--backbone", card.name]
    depths = [arm.freeze_depth for arm in spec.arms if arm.strategy == "depth"]
    if depths:
        every = depths == [arm.freeze_depth for arm in depth_arms(card)]
        parts += ["--depths", "all" if every else ",".join(map(str, depths))]
    others = [arm for arm in spec.arms if arm.strategy not in ("depth", "surgical")]
    if others:
        parts += ["--strategies", ",".join(arm.strategy for arm in others)]
    for arm in others:
        for option, value in arm.options.items():
            parts += [f"--{option.replace('_', '-')}", str(value)]
    for arm in spec.arms:
        if arm.strategy == "surgical":
            parts += ["--surgical", ",".join(arm.options["stages"])]
    if len(spec.seeds) != 3:
        parts += ["--seeds", str(len(spec.seeds))]
    if spec.learning_rates:
        parts += ["--rates", ",".join(map(str, spec.learning_rates))]
    if spec.target_sizes != (0,):
        parts += ["--target-sizes", ",".join(map(str, spec.target_sizes))]
    if spec.halving:
        parts += ["--halving", str(spec.halving)]
    flags = sweep_train_flags(dataset, spec, pinned)
    if flags is None:
        raise BadInput(
            "The target sizes of this sweep train with settings that no single command gives them."
        )
    return shlex.join([*parts, *head_flags(spec.head), *flags])


def _check(card: BackboneCard, spec: SweepSpec) -> None:
    for plan in plan_arms(card, spec).values():
        plan.check_epochs(min(train.epochs for train in spec.size_settings))


def _enqueue(
    workspace: Workspace,
    sweep: Sweep,
    backbone: str,
    dataset: str,
    requests: list[FinetuneRequest],
    lane: str,
) -> None:
    lane = lane or queue_for_device(sweep.spec.train.device)
    named = []
    for request in requests:
        words = [
            describe_strategy(request.strategy, request.freeze_depth, request.options),
            f"seed {request.train.seed}",
        ]
        if len(sweep.spec.learning_rates) > 1:
            words.append(f"rate {request.train.learning_rate:g}")
        if len(sweep.spec.target_sizes) > 1:
            words.append(f"{request.target_rows:,} rows" if request.target_rows else "all rows")
        named.append(
            (
                dataclasses.replace(request, group=sweep.id),
                f"{backbone} · {', '.join(words)} · {dataset}",
            )
        )
    RunStore(workspace).submit_all(named, lane)
    if lane != CLUSTER_QUEUE:
        ensure_worker(workspace, lane)
