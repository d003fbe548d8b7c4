"""The forward and backward pass of a batch as a CUDA graph: launched as one piece, not kernel by
kernel.

With small batches the launches take longer than the work. What a graph does not hold: the
optimiser's step, whose rates change, and a last batch of another size.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from core.models.network import Network
from core.training.batches import RowTensors

StepFn = Callable[[RowTensors, Tensor], Tensor]
"""Gives the mean loss of the rows of these numbers, detached, and leaves gradients in the
parameters."""
WARMUP_STEPS = 3
"""Passes before the recording, as torch's notes on CUDA graphs ask for."""


class CudaGraphStep:
    """A Learn that copies its batch to a fixed place and replays what was recorded there.

    Valid while the same parameters train, modes stay, and batches have the size of `example`.
    Outside a GPU nothing is recorded: the pass is run anew on the same fixed place.
    """

    def __init__(self, step_fn: StepFn, network: Network, example: RowTensors) -> None:
        self._static_rows = example
        self._static_index = torch.arange(len(example), device=example.labels.device)
        self._replay = _capture(
            lambda: step_fn(self._static_rows, self._static_index), network, example.labels.device
        )

    def __call__(self, rows: RowTensors, batch: Tensor) -> Tensor:
        here = (*self._static_rows.state, self._static_rows.labels)
        for mine, theirs in zip(here, (*rows.state, rows.labels), strict=True):
            torch.index_select(theirs, 0, batch, out=mine)
        return self._replay()


def _capture(
    step: Callable[[], Tensor], network: Network, device: torch.device
) -> Callable[[], Tensor]:
    """What replays `work`, or `work` itself where the device has no graphs or cannot record this
    one."""
    if device.type != "cuda":
        return step
    # Warming up must leave no trace: neither in BatchNorm's statistics nor in what dropout draws
    # next.
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    chance = torch.cuda.get_rng_state(device)
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARMUP_STEPS):
            network.zero_grad(set_to_none=True)
            step()
    torch.cuda.current_stream(device).wait_stream(side)
    for buffer, before in kept:
        buffer.copy_(before)
    torch.cuda.set_rng_state(chance, device)
    network.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            loss = step()
    except RuntimeError as error:
        warnings.warn(
            f"This pass could not be recorded as a CUDA graph and runs step by step: {error}",
            stacklevel=2,
        )
        network.zero_grad(set_to_none=True)
        return step
    gradients = [
        (parameter, parameter.grad)
        for parameter in network.parameters()
        if parameter.grad is not None
    ]

    def replay() -> Tensor:
        graph.replay()
        for parameter, gradient in gradients:
            parameter.grad = gradient
        return loss

    return replay
