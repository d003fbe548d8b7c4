"""Arms of one shape trained together or in turn (docs/performance.md).

`python -m benchmarks.speed_arms` writes its section of docs/performance.md.

Arms that differ in learning rate (one batch order) or in seed (an order each), of the head alone
and of the top block with the head, after the cached prefix: by the product's `fit` one after
another, and all in one: by the product's `fit_batched_heads` where it has them so, by a bare loop
over one batched network elsewhere. Both must end with the same weights. Whole runs of a sweep say
what that is worth.
"""

import argparse
import dataclasses
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.page_section import put_section
from benchmarks.parity import Silent, plan_at
from benchmarks.real_rows import thaw
from benchmarks.speed_freezing import MODEL, Bench, rows_after_prefix
from benchmarks.speed_training import BATCH, PAGE, SETTINGS, TRAIN, first_rows, prepare
from benchmarks.timing import alternate, machine, ratio_text
from core.data.datasets import list_datasets
from core.jobs.requests import TrainSettings
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone
from core.models.network import Network
from core.runs.dispatch import execute
from core.runs.launch import CLUSTER_QUEUE
from core.runs.sweep import Arm as SweepArm
from core.runs.sweep import SweepSpec, submit_sweep
from core.runs.worker import run_job
from core.training.batched_heads import fit_batched_heads
from core.training.batches import RowTensors, epoch_batches
from core.training.loop import fit
from core.workspace import Workspace, open_workspace

HEADING = "Arms of one shape, together or one after another"
SIZES = (4, 16)
PARTS = {4: "head", 3: "block 3 and head"}
"""What trains at each freeze depth."""
KINDS = ("learning rates", "seeds")
EPOCHS = 3
VALIDATION_ROWS = 10_000
THREADS = 2
ALIKE = 0.999
Stack = list[tuple[Tensor, Tensor]]
"""Each linear layer of all arms: weights (arms, outputs, inputs) and biases (arms, outputs)."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """In what arms of the same shape differ."""

    seed: int
    rate: float


def arms_of(kind: str, number: int) -> list[Arm]:
    """Return `number` arms that differ in `kind` alone.

    Learning rates are evenly spaced on a logarithmic scale from 3e-4 to 3e-3.
    """
    if kind == "seeds":
        return [Arm(seed, TRAIN.learning_rate) for seed in range(number)]
    return [
        Arm(0, rate) for rate in torch.logspace(-3.5, -2.5, number, dtype=torch.float64).tolist()
    ]


def linears(network: Network, depth: int) -> list[nn.Linear]:
    """The linear layers that train at this depth, from the input up."""
    parts = [*network.stage_list()[depth:], network.head]
    return [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Linear)]


def stack_of_one(network: Network, depth: int) -> Stack:
    """Return the weights that train at this depth, as a stack of one arm."""
    layers = linears(network, depth)
    return [
        (layer.weight.detach().clone()[None], layer.bias.detach().clone()[None]) for layer in layers
    ]


def concat_stacks(starts: Sequence[Stack]) -> Stack:
    """Return the stacks of several arms as one."""
    return [
        (torch.cat([weight for weight, _ in layers]), torch.cat([bias for _, bias in layers]))
        for layers in zip(*starts, strict=True)
    ]


def stack_forward(stack: Stack, x: Tensor) -> Tensor:
    """Return logits of shape (arms, rows).

    Args:
        x: rows that all arms share, (rows, inputs), or each arm's own rows, (arms, rows, inputs).
    """
    for place, (weight, bias) in enumerate(stack):
        if place:
            x = x.relu()
        if x.ndim == 2:
            # Shared rows need no batched product: all arms' outputs lie side by side in one.
            arms, wide, _ = weight.shape
            x = (
                nn.functional.linear(x, weight.flatten(0, 1), bias.flatten())
                .unflatten(1, (arms, wide))
                .transpose(0, 1)
            )
        else:
            x = torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))
    return x[:, :, 0]


def losses(stack: Stack, x: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of each arm (arms,) over labels (rows,) or (arms, rows)."""
    logits = stack_forward(stack, x)
    return nn.functional.binary_cross_entropy_with_logits(
        logits, labels.expand_as(logits), reduction="none"
    ).mean(1)


def make_optimiser(
    stack: Stack, arms: Sequence[Arm]
) -> tuple[torch.optim.Optimizer, Callable[[], None]]:
    """Return one fused optimiser with a group per learning rate, and how to set its gradients.

    A group holds views of its arms' slices of the stack, so its steps change the stack itself.

    Returns:
        (the optimiser, a function that sets its gradients).
    """
    if len({arm.rate for arm in arms}) == 1:
        whole = [tensor for layer in stack for tensor in layer]
        return torch.optim.AdamW(whole, lr=arms[0].rate, weight_decay=0, fused=True), lambda: None
    groups = [
        [tensor.detach()[index] for layer in stack for tensor in layer]
        for index in range(len(arms))
    ]

    def hand_on() -> None:
        for index, group in enumerate(groups):
            for part, tensor in zip(
                group, (tensor for layer in stack for tensor in layer), strict=True
            ):
                assert tensor.grad is not None
                part.grad = tensor.grad[index]

    named = [{"params": group, "lr": arm.rate} for group, arm in zip(groups, arms, strict=True)]
    return torch.optim.AdamW(named, weight_decay=0, fused=True), hand_on


def train_stack(
    stack: Stack, arms: Sequence[Arm], train: RowTensors, validation: RowTensors
) -> Stack:
    """Return the best epoch's weights of every arm, all trained in one loop without reporting."""
    (x,), (x_validation,) = train.state, validation.state
    stack = [
        (weight.clone().requires_grad_(), bias.clone().requires_grad_()) for weight, bias in stack
    ]
    optimiser, hand_on = make_optimiser(stack, arms)
    shared = len({arm.seed for arm in arms}) == 1
    with torch.no_grad():
        lowest = losses(stack, x_validation, validation.labels)
    best = [(weight.detach().clone(), bias.detach().clone()) for weight, bias in stack]
    for epoch in range(EPOCHS):
        orders = [
            epoch_batches(train, dataclasses.replace(TRAIN, seed=arm.seed), epoch) for arm in arms
        ]
        for batches in zip(*orders[: 1 if shared else None], strict=True):
            rows = batches[0] if shared else torch.stack(batches)
            for layer in stack:
                for tensor in layer:
                    tensor.grad = None
            shape, picked = rows.shape, rows.flatten()
            near = x.index_select(0, picked).unflatten(0, shape)
            losses(
                stack, near, train.labels.index_select(0, picked).unflatten(0, shape)
            ).sum().backward()
            hand_on()
            optimiser.step()
        with torch.no_grad():
            now = losses(stack, x_validation, validation.labels)
            better = now < lowest
            lowest = torch.where(better, now, lowest)
            for kept, layer in zip(best, stack, strict=True):
                for old, new in zip(kept, layer, strict=True):
                    old[better] = new[better]
    return best


class Trial:
    """Arms of one kind, number and depth, and two ways to train them, with their final weights."""

    def __init__(
        self, bench: Bench, workspace: Workspace, kind: str, number: int, depth: int
    ) -> None:
        self.bench, self.depth, self.arms = bench, depth, arms_of(kind, number)
        network = bench.start(0)
        self.train = rows_after_prefix(network, depth, bench.prepared.train, workspace, "train")
        self.validation = rows_after_prefix(
            network, depth, first_rows(bench.prepared.test, VALIDATION_ROWS), workspace, "arms"
        )
        self.ended: dict[str, Stack] = {}

    def start(self, arm: Arm) -> Stack:
        """The weights the arm begins with."""
        return stack_of_one(self.bench.start(arm.seed), self.depth)

    def in_turn(self) -> float:
        """Return the seconds of `fit` for one arm after the other.

        They include reporting and checkpoints.
        """
        final_weights, seconds = [], 0.0
        for arm in self.arms:
            network, checkpoint = self.bench.start(arm.seed), self.bench.folder / "checkpoint.pt"
            checkpoint.unlink(missing_ok=True)
            settings = dataclasses.replace(
                TRAIN, epochs=EPOCHS, seed=arm.seed, learning_rate=arm.rate
            )
            plan = plan_at(network, self.depth)
            began = time.perf_counter()
            fit(network, plan, self.train, self.validation, settings, Silent(), checkpoint)
            seconds += time.perf_counter() - began
            final_weights.append(stack_of_one(network, self.depth))
        self.ended["in turn"] = concat_stacks(final_weights)
        return seconds

    def together(self) -> float:
        """Return the seconds of training all arms together.

        For learning rates of the head this is `fit_batched_heads`, otherwise `train_stack`.
        """
        if self.depth == max(PARTS) and len({arm.rate for arm in self.arms}) > 1:
            return self.product_together()
        start = concat_stacks([self.start(arm) for arm in self.arms])
        began = time.perf_counter()
        self.ended["together"] = train_stack(start, self.arms, self.train, self.validation)
        return time.perf_counter() - began

    def product_together(self) -> float:
        """Return the seconds of `fit_batched_heads` for one arm after the other.

        They include reporting and the cache.
        """
        rates, final_weights, seconds = [arm.rate for arm in self.arms], [], 0.0
        with tempfile.TemporaryDirectory(dir=self.bench.folder) as name:
            for arm in self.arms:
                network = self.bench.start(arm.seed)
                settings = dataclasses.replace(
                    TRAIN, epochs=EPOCHS, seed=arm.seed, learning_rate=arm.rate
                )
                plan = plan_at(network, self.depth)
                began = time.perf_counter()
                fit_batched_heads(
                    network,
                    plan,
                    self.train,
                    self.validation,
                    settings,
                    Silent(),
                    rates,
                    Path(name),
                )
                seconds += time.perf_counter() - began
                final_weights.append(stack_of_one(network, self.depth))
        self.ended["together"] = concat_stacks(final_weights)
        return seconds

    def largest_gap(self) -> float:
        """Return the largest difference between the weights of both ways, which must be rounding.

        Below the head, matrix products come from another library, and Adam turns the rounding of a
        gradient near 0 into a whole step: one weight in a thousand may differ by more there.
        """
        gaps = []
        for ours, theirs in zip(self.ended["in turn"], self.ended["together"], strict=True):
            for one, other in zip(ours, theirs, strict=True):
                share = torch.isclose(other, one, rtol=1e-3, atol=1e-4).float().mean()
                assert share == 1 or (self.depth < max(PARTS) and share > ALIKE), (
                    f"{1 - share:.1%} of the weights differ between in turn and together"
                )
                gaps.append(float((one - other).abs().max()))
        return max(gaps)


def whole_runs(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds per run of whole sweeps of the head alone.

    One sweep has several seeds, trained in turn; the other has as many learning rates, trained
    together.
    """
    workspace = open_workspace(folder / "workspace")
    wide = ",".join(map(str, SETTINGS[MODEL]["widths"]))
    shape = (
        f"--architecture {MODEL} --widths {wide} --embedding {SETTINGS[MODEL]['embedding']}"
        " --epochs 1"
    )
    thaw(workspace, f"pretrain --dataset few {shape} --name base --device cpu", [])
    store, names = RunStore(workspace), itertools.count()
    dataset = next(one for one in list_datasets(workspace) if one.name == "few")
    every = dataclasses.replace(TrainSettings(), early_stopping=0, device="cpu")
    plain = SweepSpec(
        dataset.id, find_backbone(workspace, "base").id, (SweepArm("linear-probe"),), train=every
    )

    def sweep(spec: SweepSpec) -> float:
        submit_sweep(workspace, spec, f"sweep {next(names)}", run_here=True)
        began, runs = time.perf_counter(), 0
        while run := store.claim(CLUSTER_QUEUE, os.getpid()):
            run_job(workspace, store, run, execute)
            assert store.get(run.id).status == "done"
            runs += 1
        return (time.perf_counter() - began) / runs

    seeds = dataclasses.replace(plain, seeds=tuple(range(SIZES[0])))
    rates = tuple(arm.rate for arm in arms_of("learning rates", SIZES[0]))
    ways = {
        "in turn": partial(sweep, seeds),
        "together": partial(sweep, dataclasses.replace(plain, seeds=(0,), learning_rates=rates)),
    }
    # The first imports what training takes, and fills the cache.
    sweep(plain)
    return alternate(ways, rounds)


def line(trial: Trial, kind: str, rounds: int) -> str:
    """A line of the table."""
    taken = alternate({"in turn": trial.in_turn, "together": trial.together}, rounds)
    cells = [
        PARTS[trial.depth],
        f"{len(trial.arms)} {kind}",
        *(f"{statistics.median(found):.3f}" for found in taken.values()),
        ratio_text(taken["together"], taken["in turn"]),
        f"{trial.largest_gap():.0e}",
    ]
    return f"| {' | '.join(cells)} |"


BODY = """Made by `python -m benchmarks.speed_arms` on {today} ({machine}).

A DNN (embedding 16, three blocks of 400) on {rows:,} simulated rows after the cached prefix, batch
{batch:,}, {epochs} epochs, validated on {validation:,} rows after each, {threads} threads; {rounds}
rounds in turn, medians; ratios are median (lowest to highest). In turn: the product's `fit`, arm
after arm. Together: learning rates of the head alone by the product's `fit_batched_heads`, with its
reports and what it keeps; the rest, which the product trains in turn, by a bare loop over all arms'
weights stacked, with one optimiser and one gather where the batch order is the same. Both ways end
with the same weights (largest difference in the last column).

| trained | arms | s, in turn | s, together | in turn / together | gap |
|---|---|---|---|---|---|
{table}

A whole run of the head alone in a sweep (preset *fast*, all 20 epochs; encoding, cache, training,
scoring, store and files): {in_turn:.2f} s in a sweep of {number} seeds, which train in turn,
{together:.2f} s in one of {number} learning rates, which train together: {ratio}.
"""


def main() -> None:
    """Measures and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    described = machine()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        bench = Bench(prepare(folder, options.rows, many=False), folder)
        whole = whole_runs(folder, options.rounds)
        cache = open_workspace(folder / "cache")
        lines = [
            line(Trial(bench, cache, kind, number, depth), kind, options.rounds)
            for depth in PARTS
            for kind in KINDS
            for number in SIZES
        ]
    body = BODY.format(
        today=time.strftime("%Y-%m-%d"),
        machine=described,
        rows=options.rows,
        batch=BATCH,
        epochs=EPOCHS,
        validation=VALIDATION_ROWS,
        threads=THREADS,
        rounds=options.rounds,
        table="\n".join(lines),
        number=SIZES[0],
        in_turn=statistics.median(whole["in turn"]),
        together=statistics.median(whole["together"]),
        ratio=ratio_text(whole["together"], whole["in turn"]),
    )
    put_section(options.out, HEADING, body)
    print(body)


if __name__ == "__main__":
    main()
