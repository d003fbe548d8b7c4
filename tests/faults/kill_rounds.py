"""What the killing campaign queues: rounds of runs of every kind, each small enough to be killed
often."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from core.jobs.requests import (
    FinetuneRequest,
    InterpolateRequest,
    PretrainRequest,
    Request,
    TrainSettings,
)
from core.jobs.store import Run, RunStore
from core.models.card import HeadSettings
from core.runs.sweep import Arm, SweepSpec, expand_requests

Wanted = Callable[[str, str, TrainSettings], list[Request]]
"""Requests for a dataset and a backbone (ids); a mixing names no run yet: it is of the first one of
its round."""


@dataclass(frozen=True)
class Round:
    """Runs that are queued together and executed by a worker with `arms` at a time."""

    wanted: Wanted
    arms: int = 1


def light(dataset: str, backbone: str, train: TrainSettings) -> list[Request]:
    """A fine-tuning behind a cached prefix, and a pretraining."""
    return [
        FinetuneRequest(dataset, backbone, "depth", 1, train=train),
        PretrainRequest(dataset, "dnn", f"made {train.seed}", train),
    ]


def strategies(dataset: str, backbone: str, train: TrainSettings) -> list[Request]:
    """One of each family: by depth, in turn, by rates of their own, by a pull, by few weights, by a
    rule, controls."""
    named = (
        *(
            "linear-probe",
            "lp-ft",
            "gradual",
            "decay",
            "auto-rgn",
            "l2-sp",
            "bitfit",
            "lora",
            "meda",
        ),
        *("embeddings-only", "autofreeze", "scratch", "zero-shot"),
    )
    long = dataclasses.replace(train, epochs=6)
    return [
        *(FinetuneRequest(dataset, backbone, "depth", depth, train=train) for depth in (0, 1, 2)),
        FinetuneRequest(
            dataset,
            backbone,
            "depth",
            0,
            head=HeadSettings(hidden=(4,), output="softmax"),
            train=train,
        ),
        *(FinetuneRequest(dataset, backbone, name, train=long) for name in named),
        FinetuneRequest(
            dataset, backbone, "surgical", train=train, options={"stages": ("block1",)}
        ),
    ]


def pretrainings(dataset: str, backbone: str, train: TrainSettings) -> list[Request]:
    """Every kind of pretraining, logistic regression among them, and a mixing of a run with its
    backbone."""
    kinds = [("dnn", "supervised"), ("lr", "supervised"), ("dnn", "mfp"), ("dnn", "rfd")]
    return [
        FinetuneRequest(dataset, backbone, "depth", 1, train=train),
        *(
            PretrainRequest(dataset, kind, f"{kind} {way} {train.seed}", train, objective=way)
            for kind, way in kinds
        ),
        InterpolateRequest(dataset, "", TrainSettings(device="cpu")),
    ]


def halving(dataset: str, backbone: str, train: TrainSettings) -> list[Request]:
    """A sweep in which half of the arms end at each rung."""
    arms = (*(Arm("depth", depth) for depth in (0, 1, 2)), Arm("lora"), Arm("zero-shot"))
    spec = SweepSpec(dataset, backbone, arms, seeds=(train.seed,), train=train, halving=2)
    return _of_one_group(spec)


def heads(dataset: str, backbone: str, train: TrainSettings) -> list[Request]:
    """Linear probes of four learning rates, whose heads train together in one process."""
    rates = (1e-3, 3e-3, 1e-2, 3e-2)
    spec = SweepSpec(
        dataset,
        backbone,
        (Arm("linear-probe"),),
        (train.seed, train.seed + 1),
        learning_rates=rates,
        train=train,
    )
    return _of_one_group(spec)


def processes(dataset: str, backbone: str, train: TrainSettings) -> list[Request]:
    """Arms of a sweep, two at a time, each in a process of its own."""
    arms = (Arm("depth", 0), Arm("depth", 1), Arm("lora"), Arm("linear-probe"))
    return _of_one_group(SweepSpec(dataset, backbone, arms, seeds=(train.seed,), train=train))


def _of_one_group(spec: SweepSpec) -> list[Request]:
    return [dataclasses.replace(one, group="s-killed") for one in expand_requests(spec)]


ROUNDS = {
    "light": Round(light),
    "strategies": Round(strategies),
    "pretrainings and a mixing": Round(pretrainings),
    "sweep with halving": Round(halving),
    "heads trained together": Round(heads),
    "arms in processes": Round(processes, arms=2),
}


def submit(store: RunStore, wanted: list[Request]) -> list[str]:
    """Queues them; their ids in that order."""
    trainings = [one for one in wanted if not isinstance(one, InterpolateRequest)]
    ids = [run.id for run in store.submit_all([(one, "killed") for one in trainings], "cpu")]
    mixings = [
        dataclasses.replace(one, run=ids[0])
        for one in wanted
        if isinstance(one, InterpolateRequest)
    ]
    return ids + [run.id for run in store.submit_all([(one, "mixed") for one in mixings], "cpu")]


def every(store: RunStore) -> list[Run]:
    """Mixings too, which lists leave out."""
    return store.list() + store.list(kind="interpolate")
