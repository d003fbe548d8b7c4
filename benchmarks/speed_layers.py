"""The layers of core.models.layers compared with torch's own (docs/performance.md).

`python -m benchmarks.speed_layers` writes its part of docs/performance.md.

A step's worth of each: forward and backward of one layer at the shapes of a click model,
alternating in one process.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.page_section import put_section
from benchmarks.speed_training import BATCH, PAGE
from benchmarks.timing import alternate, machine, ratio_text, time_call
from core.models.layers import EmbeddingTable, Linear

HEADING = "Our layers compared with torch's"
FIELDS, SIZE, NUMBERS, WIDTH, IDS = 39, 16, 13, 400, 95_000
DEEP = FIELDS * SIZE + NUMBERS
CALLS = 10

BODY = """Made by `python -m benchmarks.speed_layers` on {today} ({machine}; {threads} threads).

Forward and backward of one layer for a batch of {batch:,} rows in float32, {calls} calls a round,
{rounds} rounds, alternating in one process. Expected: no difference where the sides of a product
are multiples of 16, a clear one at {deep}.

| layer | ours, ms | torch's, ms | theirs / ours (lowest to highest) |
|---|---|---|---|
{table}
"""


def step(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> float:
    """Return the seconds of CALLS forward and backward passes through a layer.

    As within a network, the gradient is also computed for the input, where it has one.
    """

    def work() -> None:
        for _ in range(CALLS):
            layer.zero_grad()
            layer(inputs).backward(gradient)

    return time_call(work)


def contestants() -> dict[str, dict[str, Callable[[], float]]]:
    """For each row of the table, ours and torch's."""
    ids = torch.randint(0, IDS, (BATCH, FIELDS))
    by_row: dict[str, dict[str, Callable[[], float]]] = {}
    for inputs, outputs, where in (
        (DEEP, WIDTH, "first block"),
        (DEEP, DEEP, "cross layer"),
        (WIDTH, WIDTH, "later block"),
    ):
        rows, gradient = torch.randn(BATCH, inputs, requires_grad=True), torch.randn(BATCH, outputs)
        by_row[f"linear, {inputs} to {outputs} ({where})"] = {
            name: partial(step, kind(inputs, outputs), rows, gradient)
            for name, kind in (("ours", Linear), ("torch", nn.Linear))
        }
    for size, where in ((SIZE, "embedding"), (1, "first order")):
        gradient = torch.randn(BATCH, FIELDS, size)
        by_row[f"{FIELDS} look-ups a row in {IDS:,} x {size} ({where})"] = {
            name: partial(step, kind(IDS, size), ids, gradient)
            for name, kind in (("ours", EmbeddingTable), ("torch", nn.Embedding))
        }
    return by_row


def main() -> None:
    """Measures and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    started, lines = machine(), []
    for title, both in contestants().items():
        alternate(both, 1)
        taken = alternate(both, options.rounds)
        ours, theirs = (
            sorted(taken[name])[options.rounds // 2] * 1000 / CALLS for name in ("ours", "torch")
        )
        lines.append(
            f"| {title} | {ours:.1f} | {theirs:.1f} | {ratio_text(taken['ours'], taken['torch'])} |"
        )
    body = BODY.format(
        today=time.strftime("%Y-%m-%d"),
        machine=started,
        threads=torch.get_num_threads(),
        batch=BATCH,
        calls=CALLS,
        rounds=options.rounds,
        deep=DEEP,
        table="\n".join(lines),
    )
    put_section(options.out, HEADING, body)


if __name__ == "__main__":
    main()
