"""Training on a GPU (docs/performance.md).

`python -m benchmarks.speed_gpu` writes its section of docs/performance.md; without a GPU the
section says so.

Passes replayed as a CUDA graph and launched one by one, float32 and bfloat16, resident rows and
rows from main memory: an epoch of DCNv2 with batches of 4,096, and the article's batch of 32.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.page_section import put_section
from benchmarks.parity import Silent, plan_at
from benchmarks.speed_training import PAGE, SETTINGS, TRAIN, VALIDATION_ROWS, first_rows, prepare
from benchmarks.timing import alternate, machine
from core.evaluation.roc_auc import auc_variance
from core.models.backbone import build_network
from core.models.card import HeadSettings
from core.training import loop
from core.training.batches import RowTensors
from core.training.devices import device_name
from core.training.loop import fit
from core.training.losses import predict

HEADING = "On a GPU"
MODEL = "dcnv2"
CLICK_LOGS = 45_840_617
"""Rows of the Kaggle file, for which the goal is stated: an epoch in under 10 s on one H100."""
SMALL_BATCH, SMALL_ROWS = 32, 20_000


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        replayed: whether steps are replayed as a CUDA graph.
        resident: whether the rows are on the GPU.
        rows: maximum number of rows.
    """

    title: str
    batch_size: int = 4096
    amp: bool = False
    replayed: bool = True
    resident: bool = True
    rows: int = CLICK_LOGS


WAYS = (
    Way("float32"),
    Way("float32, launched one by one", replayed=False),
    Way("float32, rows from main memory", resident=False),
    Way("bfloat16", amp=True),
    Way("article's batch of 32", SMALL_BATCH, rows=SMALL_ROWS),
    Way("article's batch of 32, launched one by one", SMALL_BATCH, replayed=False, rows=SMALL_ROWS),
)


def to_device(device: torch.device, rows: RowTensors) -> RowTensors:
    """Return the rows on the device."""
    return RowTensors(
        tuple(tensor.to(device) for tensor in rows.state), rows.labels.to(device), rows.first_stage
    )


def epoch(
    way: Way,
    train: RowTensors,
    test: RowTensors,
    sizes: tuple[int, ...],
    folder: Path,
    aucs: list[float],
) -> float:
    """Return the seconds of one epoch after a warm-up.

    They include the checkpoint and a small validation.
    """
    torch.manual_seed(0)
    device = test.labels.device
    network = build_network(MODEL, SETTINGS[MODEL], sizes, HeadSettings()).to(device)
    settings = dataclasses.replace(TRAIN, batch_size=way.batch_size, amp=way.amp, device="cuda")
    loop.GRAPH_DEVICES = ("cuda",) if way.replayed else ()
    chosen = first_rows(train, way.rows)
    chosen = (
        to_device(device, chosen) if way.resident else dataclasses.replace(chosen, resident=False)
    )
    for rows in (first_rows(chosen, 4 * way.batch_size), chosen):
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        torch.cuda.synchronize()
        began = time.perf_counter()
        fit(
            network,
            plan_at(network, 0),
            rows,
            first_rows(test, VALIDATION_ROWS),
            settings,
            Silent(),
            folder / "checkpoint.pt",
        )
        torch.cuda.synchronize()
        taken = time.perf_counter() - began
    aucs.append(
        auc_variance(test.labels.cpu().numpy(), predict(network, test).astype(np.float64))[0]
    )
    return taken


def main() -> None:
    """Measures and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here: nothing was measured.")
        return
    device = torch.device("cuda")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        prepared = prepare(folder, options.rows, many=True)
        test = to_device(device, prepared.test)
        aucs: dict[str, list[float]] = {way.title: [] for way in WAYS}
        contestants: dict[str, Callable[[], float]] = {
            way.title: partial(
                epoch, way, prepared.train, test, prepared.field_sizes, folder, aucs[way.title]
            )
            for way in WAYS
        }
        taken = alternate(contestants, options.rounds)
    today = time.strftime("%Y-%m-%d")
    lines = [
        (
            f"Made by `python -m benchmarks.speed_gpu` on {today} ({device_name(device)};"
            f" {machine()})."
        ),
        "",
        (
            f"One epoch of DCNv2, {sum(prepared.field_sizes):,} ids of 16 floats; medians of"
            f" {options.rounds} rounds."
        ),
        "",
        (
            "| way | rows | s | rows/s | s for 45.8 M rows (goal with batches of 4,096: under 10 s"
            " on one H100) | AUC |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for way in WAYS:
        rows, median = min(way.rows, options.rows), float(np.median(taken[way.title]))
        whole = f"{median * CLICK_LOGS / rows:.1f}"
        auc = f"{np.mean(aucs[way.title]):.4f}"
        lines.append(
            f"| {way.title} | {rows:,} | {median:.2f} | {rows / median:,.0f} | {whole} | {auc} |"
        )
    put_section(options.out, HEADING, "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
