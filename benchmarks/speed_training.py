"""An epoch of our training compared with the peers' own (docs/performance.md).

`python -m benchmarks.speed_training` writes its section of docs/performance.md.

Simulated rows, encoded once. Two tables: one of 95,000 ids, one of 1.26 million. Ours and the peer
train the same network on the same rows in turn; the share of the matrix product is that of the
operations of an epoch.
"""

import argparse
import dataclasses
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.page_section import put_section
from benchmarks.parity import Silent, count, peer_python, plan_at
from benchmarks.real_rows import thaw
from benchmarks.timing import (
    alternate,
    ceilings,
    machine,
    product_rate,
    ratio,
    ratio_text,
    time_call,
)
from core.data.dataset_rows import load_encoded
from core.data.datasets import find_dataset, load_labels
from core.data.preprocessing import load_preprocessing
from core.evaluation.roc_auc import auc_variance
from core.jobs.requests import TrainSettings
from core.models.backbone import build_network
from core.models.card import HeadSettings
from core.training.batches import RowTensors
from core.training.checkpoint import Progress, save_checkpoint
from core.training.loop import fit
from core.training.losses import predict
from core.workspace import PROJECT, open_workspace

HEADING = "Training an epoch"
PAGE = PROJECT / "docs" / "performance.md"
FEW_IDS, MANY_IDS = 95_000, 1_260_000
BATCH = 4096
TRAIN = TrainSettings(epochs=1, batch_size=BATCH, early_stopping=0, plateau=0, device="cpu")
_DEEP = {"embedding": 16, "widths": [400, 400, 400], "dropout": 0.0, "batch_norm": False}
SETTINGS: dict[str, dict[str, Any]] = {
    "dnn": _DEEP,
    "deepfm": _DEEP,
    "dcnv2": _DEEP | {"crosses": 3},
}
TITLES = {"dnn": "DNN", "deepfm": "DeepFM", "dcnv2": "DCNv2"}
PEERS = {
    "deepctr-torch": "DeepCTR-Torch",
    "fuxictr": "FuxiCTR",
    "pytorch-tabular": "pytorch_tabular",
}
GOALS = {
    ("deepctr-torch", False): 1.6,
    ("fuxictr", False): 1.2,
    ("deepctr-torch", True): 2.5,
    ("fuxictr", True): 1.7,
}
PAIRS = (
    ("dnn", "deepctr-torch"),
    ("dnn", "fuxictr"),
    ("dnn", "pytorch-tabular"),
    ("deepfm", "deepctr-torch"),
    ("dcnv2", "fuxictr"),
)
VALIDATION_ROWS = 1000
WARM_ROWS = 2 * BATCH


@dataclass(frozen=True)
class Prepared:
    """Encoded rows of one table size; `file` holds them as npz for the peers."""

    file: Path
    train: RowTensors
    test: RowTensors
    field_sizes: tuple[int, ...]


def prepare(folder: Path, rows: int, many: bool) -> Prepared:
    """Prepare simulated rows: the first `rows` for training, the last fifth for the test.

    Ids that occur often have a row in the embedding table; with `many`, every id that occurs has
    one. The largest field is padded, so that all fields have FEW_IDS or MANY_IDS ids together.
    """
    workspace = open_workspace(folder / "workspace")
    name = "many" if many else "few"
    if not (folder / "rows.tsv").exists():
        thaw(workspace, f"simulate --rows {rows * 5 // 4} --out {folder / 'rows.tsv'}", [])
    thaw(
        workspace,
        f"ingest {folder / 'rows.tsv'} --name {name} --min-count {1 if many else 10} --simulated",
        [],
    )
    dataset = find_dataset(workspace, name)
    preprocessing = load_preprocessing(dataset.folder / "preprocessing")
    table, labels = load_encoded(workspace, dataset, preprocessing), np.array(load_labels(dataset))
    sizes = list(preprocessing.field_sizes)
    sizes[sizes.index(max(sizes))] += max(0, (MANY_IDS if many else FEW_IDS) - sum(sizes))
    arrays: dict[str, np.ndarray] = {}
    parts = {}
    for part, chosen in (("train", slice(0, rows)), ("test", slice(rows, None))):
        values = {
            "ids": table.ids[chosen].astype(np.int64),
            "numerics": np.array(table.numerics[chosen]),
        }
        values["labels"] = labels[chosen]
        arrays |= {f"{part}_{key}": array for key, array in values.items()}
        tensors = {key: torch.from_numpy(array) for key, array in values.items()}
        parts[part] = RowTensors((tensors["ids"].int(), tensors["numerics"]), tensors["labels"])
    np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    return Prepared(folder / f"{name}.npz", parts["train"], parts["test"], tuple(sizes))


def first_rows(rows: RowTensors, number: int) -> RowTensors:
    """Return the first `number` rows."""
    state = tuple(tensor[:number] for tensor in rows.state)
    return dataclasses.replace(rows, state=state, labels=rows.labels[:number])


def our_epoch(
    model: str, prepared: Prepared, folder: Path, aucs: list[float], amp: bool = False
) -> float:
    """Return the seconds of one epoch by core.training.loop.fit, with a small validation."""
    torch.manual_seed(0)
    network = build_network(model, SETTINGS[model], prepared.field_sizes, HeadSettings())
    plan, checkpoint = plan_at(network, 0), folder / "checkpoint.pt"
    validation = first_rows(prepared.test, VALIDATION_ROWS)
    for train in (first_rows(prepared.train, WARM_ROWS), prepared.train):
        checkpoint.unlink(missing_ok=True)
        began = time.perf_counter()
        fit(
            network,
            plan,
            train,
            validation,
            dataclasses.replace(TRAIN, amp=amp),
            Silent(),
            checkpoint,
        )
        taken = time.perf_counter() - began
    aucs.append(
        auc_variance(
            prepared.test.labels.numpy(), predict(network, prepared.test).astype(np.float64)
        )[0]
    )
    return taken


def peer_epoch(model: str, peer: str, prepared: Prepared, folder: Path, aucs: list[float]) -> float:
    """Return the seconds of one epoch by the peer's package."""
    job = {
        "peer": peer,
        "model": model,
        "settings": SETTINGS[model] | {"embedding_std": 0.01},
        "field_sizes": prepared.field_sizes,
        "rows": str(prepared.file),
        "folder": str(folder),
        "batch_size": BATCH,
        "learning_rate": TRAIN.learning_rate,
        "threads": torch.get_num_threads(),
        "workers": 1,
        "seed": 0,
    }
    answer = run_peer_job(job, folder)
    aucs.append(answer["auc"])
    return float(answer["seconds"])


def run_peer_job(job: dict[str, Any], folder: Path) -> dict[str, float]:
    """Run a job of benchmarks.peer_speed in the peers' environment, and return its answer."""
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [str(peer_python()), "-m", "benchmarks.peer_speed", str(folder / "job.json")]
    done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def checkpoint_seconds(prepared: Prepared, folder: Path) -> float:
    """Seconds of a checkpoint of the DNN with both of Adam's moments, the median of three."""
    network = build_network("dnn", SETTINGS["dnn"], prepared.field_sizes, HeadSettings())
    optimiser = torch.optim.AdamW(network.parameters())
    for weight in network.parameters():
        optimiser.state[weight] = {
            name: torch.ones_like(weight) for name in ("exp_avg", "exp_avg_sq")
        }
    weights = network.state_dict()
    progress = Progress(
        0.0, {name: tensor.clone() for name, tensor in weights.items()}, TRAIN.learning_rate
    )
    path = folder / "checkpoint.pt"
    return float(
        np.median(
            [
                time_call(lambda: save_checkpoint(path, progress, weights, optimiser))
                for _ in range(3)
            ]
        )
    )


def product_operations(prepared: Prepared, model: str) -> float:
    """Return the floating-point operations of an epoch's matrix products.

    They are two per weight and row in the forward pass, and four in the backward pass.
    """
    network = build_network(model, SETTINGS[model], prepared.field_sizes, HeadSettings())
    weights = sum(count(part) for part in network.modules() if isinstance(part, torch.nn.Linear))
    return 6.0 * weights * len(prepared.train)


def measure(model: str, prepared: Prepared, many: bool, folder: Path, rounds: int) -> list[str]:
    """A line of the table for each peer of the model."""
    peers = [peer for one, peer in PAIRS if one == model]
    aucs: dict[str, list[float]] = {name: [] for name in ("ours", "half", *peers)}
    contestants: dict[str, Callable[[], float]] = {
        "ours": partial(our_epoch, model, prepared, folder, aucs["ours"])
    }
    contestants["half"] = partial(our_epoch, model, prepared, folder, aucs["half"], amp=True)
    contestants |= {
        peer: partial(peer_epoch, model, peer, prepared, folder, aucs[peer]) for peer in peers
    }
    # The machine's own speed changes from minute to minute.
    contestants["product"] = product_rate
    taken = alternate(contestants, rounds)
    reached_rates = product_operations(prepared, model) / np.array(taken["ours"]) / 1e9
    share = float(np.median(reached_rates / np.array(taken["product"])))
    lines = []
    for peer in peers:
        goal = GOALS.get((peer, many))
        reached = (
            "reached" if goal and ratio(taken["ours"], taken[peer])[0] >= goal else "not reached"
        )
        cells = [
            TITLES[model],
            f"{sum(prepared.field_sizes):,}",
            PEERS[peer],
            " / ".join(f"{np.median(taken[name]):.2f}" for name in ("ours", "half", peer)),
            ratio_text(taken["ours"], taken[peer]),
            f"{goal}x: {reached}" if goal else "—",
            ratio_text(taken["half"], taken[peer]),
            " / ".join(f"{np.mean(aucs[name]):.4f}" for name in ("ours", "half", peer)),
            f"{share:.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


BODY = """Made by `python -m benchmarks.speed_training` on {today} ({machine}; {limits}).

One epoch over {rows:,} simulated rows, batch {batch:,}, Adam, embedding 16, three blocks of 400;
{rounds} rounds, ours and the peers in turn, medians. The peers train as their packages do:
DeepCTR-Torch by `fit`, FuxiCTR by `train_epoch` from its npz loader, with the class its package
ships (DCNv2; without cross layers it is the DNN), pytorch_tabular (CategoryEmbeddingModel, no goal)
by `train` on its own data set in memory, its column encoding and its accuracy of every batch left
out. Ours is `fit` of `core/training/loop.py`, in float32 as the peers, and with the switch "Mixed
precision (bfloat16)". A ratio above 1 means that ours took less time; the goal is for float32. AUC
is after this epoch, each from its own start (after training to the end: parity.md). An epoch that
another one follows ends with a checkpoint, which the peers have none of and this epoch neither: of
the DNN {few_checkpoint:.2f} s at 95,000 ids, {many_checkpoint:.2f} s at 1,260,000.

| model | ids | peer | s: float32 / bfloat16 / theirs | theirs / float32 (lowest to highest) | goal | theirs / bfloat16 | AUC: float32 / bfloat16 / theirs | float32, of the matrix product |
|---|---|---|---|---|---|---|---|---|
{table}

The last column is the operations of the epoch's matrix products over its time, as a share of what a
plain product of 2,048 x 2,048 reached in the same round (median; goal: over 75 %).
"""  # noqa: E501


def main() -> None:
    """Measures and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default=",".join(SETTINGS))
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    peer_python()
    described, limits, lines, checkpoints = machine(), ceilings(), [], []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for many in (False, True):
            prepared = prepare(folder, options.rows, many)
            checkpoints.append(checkpoint_seconds(prepared, folder))
            for model in options.models.split(","):
                lines += measure(model, prepared, many, folder, options.rounds)
    body = BODY.format(
        today=time.strftime("%Y-%m-%d"),
        machine=described,
        limits=str(limits),
        rows=options.rows,
        batch=BATCH,
        rounds=options.rounds,
        few_checkpoint=checkpoints[0],
        many_checkpoint=checkpoints[1],
        table="\n".join(lines),
    )
    put_section(options.out, HEADING, body)
    print(body)


if __name__ == "__main__":
    main()
