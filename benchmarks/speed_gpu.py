"""Training on a GPU (docs/performance.md).

`python -m benchmarks.speed_gpu` prints a table and writes it into docs/performance.md; without a
GPU it says so. It needs no network and no files, and takes under two minutes.

An epoch of DCNv2 in float32, TF32 and bfloat16, with batches of 4,096 and 16,384, beside the step
as it was up to version 0.13: products of odd widths, and the optimiser outside of the CUDA graph.
"""

import argparse
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu_rows import GpuRows, draw_rows
from benchmarks.page_section import put_section
from benchmarks.parity import Silent, plan_at
from benchmarks.speed_training import MANY_IDS, PAGE, SETTINGS, VALIDATION_ROWS, first_rows
from benchmarks.timing import alternate, machine
from core.evaluation.roc_auc import auc_variance
from core.jobs.requests import TrainSettings
from core.models import layers
from core.models.backbone import build_network
from core.models.card import HeadSettings
from core.models.network import Network
from core.training import loop, train_step
from core.training.batches import RowTensors, epoch_batches
from core.training.devices import device_name, tf32_products
from core.training.lazy_adam import LazyAdamW
from core.training.loop import fit
from core.training.losses import CLICK_TASK, predict
from core.training.param_groups import parameter_groups, set_trainable
from core.training.train_step import TrainStep

HEADING = "On a GPU"
CLICK_LOGS = 45_840_617
"""Rows of the Kaggle file, for which the goal is stated: an epoch in under 10 s on one H100."""
TEST_ROWS = 200_000
BATCH, LARGE_BATCH, SMALL_BATCH = 4096, 16384, 32
SMALL_ROWS = 20_000
PROFILED_STEPS, PROFILED_KERNELS = 50, 25


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        title: in the table.
        batch_size: rows of a step.
        precision: "float32", "tf32" or "bfloat16".
        earlier: whether products are not padded and the optimiser is outside of the graph.
        replayed: whether steps are replayed as a CUDA graph.
        resident: whether the rows are on the GPU.
        ema: whether an average of the weights is kept.
        model: an architecture of benchmarks.speed_training.
        rows: maximum number of rows.
    """

    title: str
    batch_size: int = BATCH
    precision: str = "tf32"
    earlier: bool = False
    replayed: bool = True
    resident: bool = True
    ema: bool = False
    model: str = "dcnv2"
    rows: int = CLICK_LOGS

    @property
    def settings(self) -> TrainSettings:
        """One epoch."""
        return TrainSettings(
            epochs=1,
            batch_size=self.batch_size,
            early_stopping=0,
            plateau=0,
            device="cuda",
            amp=self.precision == "bfloat16",
            ema=self.ema,
        )

    def apply(self) -> None:
        """Set what the code that trains looks up."""
        layers.PADDED_DEVICES = () if self.earlier else ("cuda",)
        train_step.CAPTURE_OPTIMISER = not self.earlier
        loop.GRAPH_DEVICES = ("cuda",) if self.replayed else ()


WAYS = (
    Way("float32, as up to 0.13", precision="float32", earlier=True),
    Way("float32", precision="float32"),
    Way("TF32, as up to 0.13", earlier=True),
    Way("TF32"),
    Way("bfloat16, as up to 0.13", precision="bfloat16", earlier=True),
    Way("bfloat16", precision="bfloat16"),
    Way("TF32, batch 16,384", LARGE_BATCH),
    Way("bfloat16, batch 16,384", LARGE_BATCH, "bfloat16"),
    Way("TF32, averaged weights", ema=True),
    Way("TF32, launched one by one", replayed=False),
    Way("TF32, rows from main memory", resident=False),
    Way("DNN, TF32", model="dnn"),
    Way("DeepFM, TF32", model="deepfm"),
    Way("TF32, batch 32, as up to 0.13", SMALL_BATCH, earlier=True, rows=SMALL_ROWS),
    Way("TF32, batch 32", SMALL_BATCH, rows=SMALL_ROWS),
)


@dataclasses.dataclass
class Measured:
    """What was measured of one way, a number for each round.

    Attributes:
        aucs: after the epoch.
        step_ms: milliseconds of a step, from the difference of two epochs of unequal length, which
            start-up, capture and validation do not enter.
    """

    aucs: list[float] = dataclasses.field(default_factory=list)
    step_ms: list[float] = dataclasses.field(default_factory=list)


def new_network(way: Way, rows: GpuRows, device: torch.device) -> Network:
    """Return a network with the same first weights for every way."""
    torch.manual_seed(0)
    return build_network(way.model, SETTINGS[way.model], rows.field_sizes, HeadSettings()).to(
        device
    )


def epoch_seconds(way: Way, network: Network, train: RowTensors, test: RowTensors) -> float:
    """Return the seconds of one epoch, with a small validation."""
    with tempfile.TemporaryDirectory() as folder, tf32_products(way.precision == "tf32"):
        torch.cuda.synchronize()
        began = time.perf_counter()
        fit(
            network,
            plan_at(network, 0),
            train,
            first_rows(test, VALIDATION_ROWS),
            way.settings,
            Silent(),
            Path(folder) / "checkpoint.pt",
        )
        torch.cuda.synchronize()
        return time.perf_counter() - began


def measure(way: Way, rows: GpuRows, device: torch.device, measured: Measured) -> float:
    """Return the seconds of an epoch after shorter ones; append what else was measured."""
    way.apply()
    chosen = first_rows(rows.train, way.rows)
    if not way.resident:
        state = tuple(tensor.cpu() for tensor in chosen.state)
        chosen = RowTensors(state, chosen.labels.cpu(), resident=False)
    quarter = first_rows(chosen, len(chosen) // 4 // way.batch_size * way.batch_size)
    epoch_seconds(way, new_network(way, rows, device), quarter, rows.test)
    short = epoch_seconds(way, new_network(way, rows, device), quarter, rows.test)
    network = new_network(way, rows, device)
    taken = epoch_seconds(way, network, chosen, rows.test)
    steps = (len(chosen) - len(quarter)) / way.batch_size
    measured.step_ms.append(1000 * (taken - short) / steps)
    scores = predict(network, rows.test).astype(np.float64)
    measured.aucs.append(auc_variance(rows.test.labels.cpu().numpy(), scores)[0])
    return taken


def profile(way: Way, rows: GpuRows, device: torch.device) -> str:
    """Return torch's table of the kernels of PROFILED_STEPS steps."""
    way.apply()
    network = new_network(way, rows, device)
    plan = plan_at(network, 0)
    groups = parameter_groups(network, plan)
    optimiser = LazyAdamW(groups, lr=1e-3, weight_decay=0.0, fused=True)
    set_trainable(network, plan, groups, 0)
    step = TrainStep(network, CLICK_TASK, way.settings, optimiser, None, way.replayed)
    step.begin_epoch(rows.train)
    batches = [
        batch
        for batch in epoch_batches(rows.train, way.settings, 0, device)
        if len(batch) == way.batch_size
    ]
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with tf32_products(way.precision == "tf32"):
        for number, batch in enumerate(batches[:10]):
            step(rows.train, batch, number)
        torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.profiler.profile(activities=activities) as recorded:
            for number, batch in enumerate(batches[10 : 10 + PROFILED_STEPS]):
                step(rows.train, batch, number)
            torch.cuda.synchronize()
        passed = time.perf_counter() - began
    kernels = [
        event
        for event in recorded.key_averages()
        if event.device_type == torch.autograd.DeviceType.CUDA
    ]
    kernels.sort(key=lambda event: -event.self_device_time_total)
    whole = sum(event.self_device_time_total for event in kernels)
    count = sum(event.count for event in kernels)
    steps = min(PROFILED_STEPS, len(batches) - 10)
    lines = [
        (
            f"{way.title}: {whole / steps / 1000:.3f} ms of kernels a step, {count / steps:.0f}"
            f" kernels, {1000 * passed / steps:.3f} ms a step under the profiler"
        )
    ]
    lines += [
        (
            f"{event.self_device_time_total / steps:9.1f} us a step"
            f" {event.count / steps:6.1f} calls  {event.key[:150]}"
        )
        for event in kernels[:PROFILED_KERNELS]
    ]
    return "\n".join(lines)


def table(taken: dict[str, list[float]], measured: dict[str, Measured], n_rows: int) -> list[str]:
    """Return the lines of the table: medians over the rounds."""
    lines = [
        "| way | rows | s | ms a step | rows/s | s for 45.8 M rows | times as fast | AUC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    steps = {way.title: float(np.median(measured[way.title].step_ms)) for way in WAYS}
    for way in WAYS:
        step, rows = steps[way.title], min(way.rows, n_rows)
        earlier = steps.get(f"{way.title}, as up to 0.13")
        lines.append(
            f"| {way.title} | {rows:,} | {np.median(taken[way.title]):.2f} | {step:.3f}"
            f" | {1000 * way.batch_size / step:,.0f}"
            f" | {CLICK_LOGS / way.batch_size * step / 1000:.1f}"
            f" | {f'{earlier / step:.2f}x' if earlier else ''}"
            f" | {np.mean(measured[way.title].aucs):.4f} |"
        )
    return lines


def main() -> None:
    """Measures, prints and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="print the slowest kernels, too")
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here: nothing was measured.")
        return
    device = torch.device("cuda")
    rows = draw_rows(options.rows, TEST_ROWS, MANY_IDS, device)
    measured = {way.title: Measured() for way in WAYS}
    contestants: dict[str, Callable[[], float]] = {
        way.title: functools.partial(measure, way, rows, device, measured[way.title])
        for way in WAYS
    }
    taken = alternate(contestants, options.rounds)
    today = time.strftime("%Y-%m-%d")
    lines = [
        (
            f"Made by `python -m benchmarks.speed_gpu` on {today} ({device_name(device)}, torch"
            f" {torch.__version__}; {machine()})."
        ),
        "",
        (
            f"One epoch of DCNv2 where no other model is named, {sum(rows.field_sizes):,} ids of 16"
            f" floats, batches of {BATCH:,} where no other size is named; medians of"
            f" {options.rounds} rounds. Seconds are those of a whole training; milliseconds of a"
            " step, and what follows from them, leave out its start, the capture of the graph and"
            " validations. Times as fast: as up to version 0.13, at the same precision."
        ),
        "",
        *table(taken, measured, options.rows),
    ]
    put_section(options.out, HEADING, "\n".join(lines))
    print("\n".join(lines))
    if options.profile:
        for way in WAYS:
            if way.title in ("TF32", "bfloat16"):
                print(f"\n{profile(way, rows, device)}")


if __name__ == "__main__":
    main()
