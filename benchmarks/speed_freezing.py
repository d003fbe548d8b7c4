"""What freezing saves: `python -m benchmarks.speed_freezing` writes its section of performance.md.

A DNN of three blocks on simulated rows: an epoch at every freeze depth with and without the cached
prefix, and a sweep of all depths with three seeds, compared with the same sweep in DeepCTR-Torch.
"""

import argparse
import dataclasses
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.page_section import put_section
from benchmarks.parity import Silent, count, plan_at
from benchmarks.speed_training import (
    BATCH,
    PAGE,
    SETTINGS,
    TRAIN,
    VALIDATION_ROWS,
    Prepared,
    first_rows,
    prepare,
    run_peer_job,
)
from benchmarks.timing import alternate, ceilings, machine, ratio, ratio_text
from core.models.backbone import build_network
from core.models.card import HeadSettings
from core.models.network import Activations, Network
from core.training.batches import RowTensors
from core.training.loop import fit
from core.training.prefix_cache import frozen_prefix_outputs
from core.workspace import Workspace, open_workspace

HEADING = "Freezing pays"
MODEL = "dnn"
DEPTHS = range(5)
SEEDS = range(3)
EPOCHS = 3
HEAD_GOAL, SWEEP_GOAL, SHARE_GOAL = 10.0, 2.5, 1.15


def train(
    network: Network,
    depth: int,
    rows: RowTensors,
    validation: RowTensors,
    folder: Path,
    epochs: int,
    seed: int,
    amp: bool = False,
) -> float:
    """Seconds of `fit` at this depth, checkpoints between epochs included."""
    checkpoint = folder / "checkpoint.pt"
    checkpoint.unlink(missing_ok=True)
    settings = dataclasses.replace(TRAIN, epochs=epochs, seed=seed, amp=amp)
    began = time.perf_counter()
    fit(network, plan_at(network, depth), rows, validation, settings, Silent(), checkpoint)
    return time.perf_counter() - began


def rows_after_prefix(
    network: Network, depth: int, rows: RowTensors, workspace: Workspace, key: str
) -> RowTensors:
    """Return the outputs of the frozen prefix for all rows, from the cache if they are there."""
    state: Activations | None = (
        frozen_prefix_outputs(network, depth, rows.state, key, workspace) if depth else None
    )
    return rows if state is None else RowTensors(state, rows.labels, depth)


class Bench:
    """One backbone, its rows and the cache they share."""

    def __init__(self, prepared: Prepared, folder: Path) -> None:
        self.prepared, self.folder = prepared, folder
        torch.manual_seed(0)
        self.backbone = build_network(MODEL, SETTINGS[MODEL], prepared.field_sizes, HeadSettings())
        self.weights = {name: tensor.clone() for name, tensor in self.backbone.state_dict().items()}
        self.validation = first_rows(prepared.test, VALIDATION_ROWS)

    def start(self, seed: int) -> Network:
        """The backbone with a new head."""
        torch.manual_seed(seed)
        self.backbone.load_state_dict(self.weights)
        self.backbone.replace_head(HeadSettings())
        return self.backbone

    def epoch(self, depth: int, cached: bool, workspace: Workspace) -> float:
        """Seconds of one epoch; the cache is filled before."""
        network = self.start(0)
        rows, validation = self.prepared.train, self.validation
        if cached:
            rows, validation = (
                rows_after_prefix(network, depth, one, workspace, key)
                for one, key in ((rows, "train"), (validation, "valid"))
            )
        return train(network, depth, rows, validation, self.folder, 1, 0)

    def sweep(self, amp: bool = False) -> float:
        """Seconds of all depths and seeds, filling an empty cache included."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            workspace = open_workspace(name)
            began = time.perf_counter()
            for depth in DEPTHS:
                for seed in SEEDS:
                    network = self.start(seed)
                    rows = rows_after_prefix(
                        network, depth, self.prepared.train, workspace, "train"
                    )
                    validation = rows_after_prefix(
                        network, depth, self.validation, workspace, "valid"
                    )
                    train(network, depth, rows, validation, self.folder, EPOCHS, seed, amp)
            return time.perf_counter() - began

    def peer_sweep(self) -> float:
        """Seconds of the same sweep with DeepCTR-Torch."""
        job: dict[str, Any] = {
            "settings": SETTINGS[MODEL] | {"embedding_std": 0.01},
            "field_sizes": self.prepared.field_sizes,
            "rows": str(self.prepared.file),
            "batch_size": BATCH,
            "learning_rate": TRAIN.learning_rate,
            "threads": torch.get_num_threads(),
            "seed": 0,
            "depths": list(DEPTHS),
            "seeds": list(SEEDS),
            "epochs": EPOCHS,
        }
        return float(run_peer_job(job, self.folder)["seconds"])

    def share_of_operations(self, depth: int) -> float:
        """Return the operations of an epoch after the prefix as a share of those of a full epoch.

        Two per weight forward, and two for each gradient, of weights and of inputs; the lowest
        trained layer's inputs need none, an embedding's always do.
        """
        widths = [
            count(part) for part in self.backbone.modules() if isinstance(part, torch.nn.Linear)
        ]
        whole = 6 * sum(widths)
        above = widths[max(0, depth - 1) :]
        return (6 * sum(above) - (2 * above[0] if depth else 0)) / whole


def table(bench: Bench, rounds: int, workspace: Workspace) -> tuple[str, bool]:
    """(lines for each depth, whether head-only reached its goal)."""
    contestants = {
        f"{depth} cached": partial(bench.epoch, depth, True, workspace) for depth in DEPTHS
    }
    contestants |= {
        f"{depth} uncached": partial(bench.epoch, depth, False, workspace) for depth in DEPTHS[1:]
    }
    for fill in list(contestants.values())[: len(DEPTHS)]:
        fill()
    taken = alternate(contestants, rounds)
    full = taken["0 cached"]
    lines = []
    for depth in DEPTHS:
        cached = taken[f"{depth} cached"]
        share = bench.share_of_operations(depth)
        share_needed = float(
            np.median([one / whole for one, whole in zip(cached, full, strict=True)])
        )
        within = (
            f"goal {HEAD_GOAL:.0f}x"
            if depth == DEPTHS[-1]
            else "yes"
            if share_needed <= share * SHARE_GOAL
            else "no"
        )
        uncached = np.median(taken.get(f"{depth} uncached", full))
        cells = [
            str(depth),
            f"{np.median(cached):.3f}",
            f"{uncached:.3f}",
            ratio_text(cached, full),
        ]
        lines.append(f"| {' | '.join([*cells, f'{share:.1%}', f'{share_needed:.1%}', within])} |")
    return "\n".join(lines), ratio(taken[f"{DEPTHS[-1]} cached"], full)[0] >= HEAD_GOAL


BODY = """Made by `python -m benchmarks.speed_freezing` on {today} ({machine}; {limits}).

A DNN (embedding 16, three blocks of 400, {ids:,} ids) on {rows:,} simulated rows, batch {batch:,};
{rounds} rounds in turn, medians. Cached: from the prefix computed once. Depth {deepest} is the head
only.

| freeze depth | s, cached | s, uncached | full epoch / cached (lowest to highest) | share of operations | share of time | within 15 % of the share |
|---|---|---|---|---|---|---|
{table}

Head only at least {head_goal:.0f}x faster than a full epoch: {head}.

A sweep of all {depths} depths with {seeds} seeds, {epochs} epochs each, beside the same done by
DeepCTR-Torch's `fit` with gradients off below the freeze line: ours {ours:.1f} s, theirs
{theirs:.1f} s, {ratio}; goal {goal}x: {reached}. With the switch "Mixed precision (bfloat16)"
{half:.1f} s, {half_ratio}. Ours includes filling the cache from nothing and a checkpoint between
any two epochs.
"""  # noqa: E501


def main() -> None:
    """Measures and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    described, limits = machine(), ceilings()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        prepared = prepare(folder, options.rows, many=False)
        bench = Bench(prepared, folder)
        lines, head = table(bench, options.rounds, open_workspace(folder / "cache"))
        half = partial(bench.sweep, amp=True)
        sweeps = alternate(
            {"ours": bench.sweep, "half": half, "theirs": bench.peer_sweep}, options.rounds
        )
    reached = ratio(sweeps["ours"], sweeps["theirs"])[0] >= SWEEP_GOAL
    body = BODY.format(
        today=time.strftime("%Y-%m-%d"),
        machine=described,
        limits=str(limits),
        ids=sum(prepared.field_sizes),
        rows=options.rows,
        batch=BATCH,
        rounds=options.rounds,
        deepest=DEPTHS[-1],
        table=lines,
        head_goal=HEAD_GOAL,
        head="reached" if head else "not reached",
        depths=len(DEPTHS),
        seeds=len(SEEDS),
        epochs=EPOCHS,
        ours=float(np.median(sweeps["ours"])),
        theirs=float(np.median(sweeps["theirs"])),
        ratio=ratio_text(sweeps["ours"], sweeps["theirs"]),
        half=float(np.median(sweeps["half"])),
        half_ratio=ratio_text(sweeps["half"], sweeps["theirs"]),
        goal=SWEEP_GOAL,
        reached="reached" if reached else "not reached",
    )
    put_section(options.out, HEADING, body)
    print(body)


if __name__ == "__main__":
    main()
