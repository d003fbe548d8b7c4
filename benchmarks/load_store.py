"""A store of thousands of finished runs, copied from a few real ones.

The copies differ in seed and learning rate.
"""

import dataclasses
import itertools
import json
import secrets
import sqlite3
from pathlib import Path

from core.data.datasets import Dataset
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.freezing.strategies import STRATEGIES, has_learning_rate
from core.jobs.requests import FinetuneRequest, TrainSettings, request_to_json
from core.jobs.run_result import result_to_json
from core.jobs.store import Run, RunStore, utc_now
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard
from core.runs.sweep import Arm, SweepSpec, depth_arms, expand_requests
from core.workspace import Workspace, open_workspace
from tests.core.training.helpers import run_request

ROWS, POINTS = 20_000, 50
BACKBONE = "Simulated DNN"
LARGE = 0.4
"""Share of the runs that are in one large sweep; the rest is in sweeps of 30."""
RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
SIZES = (1000, 3000, 0)


def fill(home: Path, runs: int, rows: int = ROWS) -> Workspace:
    """Make a workspace with `runs` finished runs of POINTS points each, on a simulated dataset."""
    workspace = open_workspace(home)
    file = workspace.uploads / "load.tsv"
    simulate(file, rows, "both")
    dataset = prepare(
        workspace, ingest(workspace, file, "load", simulated=True), SplitSpec(), "load"
    )
    card = find_backbone(workspace, BACKBONE)
    train = TrainSettings(epochs=2, early_stopping=0, plateau=0, device="cpu")
    real = [
        run_request(
            workspace,
            FinetuneRequest(dataset.id, card.id, arm.strategy, arm.freeze_depth, train=train),
        )
        for arm in (*depth_arms(card), Arm("zero-shot"))
    ]
    # What runs once a seed, whatever the rates, would make too few runs of an arm.
    rated = [name for name in STRATEGIES if has_learning_rate(name)]
    others = [Arm(name) for name in rated if name not in ("depth", "surgical")]
    arms = (*depth_arms(card), *others, Arm("zero-shot"))
    large = SweepSpec(dataset.id, card.id, arms, tuple(range(5)), RATES, SIZES, train=train)
    with sqlite3.connect(workspace.database) as db:
        left = runs - len(real)
        left -= _copy(db, workspace, real, large, "the large one", min(left, int(runs * LARGE)))
        for number in itertools.count(1):
            if left <= 0:
                break
            left -= _copy(
                db, workspace, real, _small(dataset, card, train), f"small {number}", min(left, 30)
            )
    return workspace


def _small(dataset: Dataset, card: BackboneCard, train: TrainSettings) -> SweepSpec:
    return SweepSpec(
        dataset.id, card.id, (*depth_arms(card), Arm("zero-shot")), tuple(range(5)), train=train
    )


def _copy(
    db: sqlite3.Connection,
    workspace: Workspace,
    real: list[Run],
    spec: SweepSpec,
    name: str,
    most: int,
) -> int:
    """A sweep whose runs, `most` at the most, are copies of the real ones; how many there are."""
    sweep = f"s-{secrets.token_hex(4)}"
    db.execute(
        "INSERT INTO sweeps VALUES (?, ?, ?, ?)",
        (sweep, name, json.dumps(dataclasses.asdict(spec)), utc_now()),
    )
    requests = expand_requests(spec)[:most]
    for index, request in enumerate(requests):
        like = real[-1] if request.strategy == "zero-shot" else real[request.freeze_depth]
        run = f"r-{secrets.token_hex(4)}"
        assert like.result is not None
        seconds = {**like.result.seconds, "total": 1 + index / 1000}
        values = {
            "id": run,
            "kind": "finetune",
            "name": (
                f"{BACKBONE} · {request.strategy} {request.freeze_depth}, seed {request.train.seed}"
                " · load"
            ),
            "status": "done",
            "request": json.dumps(request_to_json(dataclasses.replace(request, group=sweep))),
            "lane": "cpu",
            "dataset": request.dataset,
            "grouping": sweep,
            "created": utc_now(),
            "started": utc_now(),
            "finished": utc_now(),
            # What the history of runs shows decides what estimates of time read; a run done here
            # has told no one.
            "epoch": like.result.epochs_run,
            "epochs": like.result.epochs_run,
            "step": POINTS if like.result.epochs_run else 0,
            "steps": POINTS if like.result.epochs_run else 0,
            # No two results are the same text, as in life.
            "result": json.dumps(result_to_json(dataclasses.replace(like.result, seconds=seconds))),
        }
        db.execute(
            f"INSERT INTO runs ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
            [*values.values()],
        )
        points = [(run, step, "train_loss", 1 / step) for step in range(1, POINTS - 3)]
        points += [
            (run, step, f"validation_{what}", 0.5) for step in (2, 4) for what in ("loss", "auc")
        ]
        db.executemany("INSERT INTO points VALUES (?, ?, ?, ?)", points)
        (workspace.runs / run).mkdir()
        (workspace.runs / run / "predictions.npz").hardlink_to(
            workspace.runs / like.id / "predictions.npz"
        )
    return len(requests)


def start_long_run(workspace: Workspace) -> Run:
    """Queue a run that trains longer than the measurement takes."""
    (dataset,) = workspace.datasets.glob("d-*")
    train = TrainSettings(epochs=1000, batch_size=16, early_stopping=0, plateau=0, device="cpu")
    request = FinetuneRequest(dataset.name, find_backbone(workspace, BACKBONE).id, train=train)
    return RunStore(workspace).submit(request, "watched", "cpu")
