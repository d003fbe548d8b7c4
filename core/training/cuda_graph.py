"""Run the forward and backward pass of a batch as a CUDA graph.

A small batch takes the GPU less time than Python and the driver take to launch its kernels. A
captured graph is launched as one piece. The optimiser's step is not part of it, because learning
rates change, and neither is a last batch of another size.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from core.models.network import Network
from core.training.batches import RowTensors

StepFn = Callable[[RowTensors, Tensor], Tensor]
"""Takes rows and the index of the batch in them; leaves gradients in the parameters and returns the
mean loss, detached."""
WARMUP_STEPS = 3
"""Passes before the capture, as PyTorch's notes on CUDA graphs ask for."""


class CudaGraphStep:
    """A `StepFn` that copies its batch to a fixed address and replays the graph captured there.

    Valid while the same parameters train in the same modes and batches have the size of `example`.
    On other devices nothing is captured, and the pass runs anew on the same tensors.

    Args:
        step_fn: the pass to capture.
        network: whose gradients it computes.
        example: the first batch, on the device. Its tensors become the graph's inputs.
    """

    def __init__(self, step_fn: StepFn, network: Network, example: RowTensors) -> None:
        self._static_rows = example
        device = example.labels.device
        self._static_index = torch.arange(len(example), device=device)
        self._replay = _capture(
            lambda: step_fn(self._static_rows, self._static_index), network, device
        )

    def __call__(self, rows: RowTensors, batch: Tensor) -> Tensor:
        """Replay the pass on the rows numbered `batch`; return their mean loss, a scalar."""
        inputs = (*self._static_rows.state, self._static_rows.labels)
        for static, source in zip(inputs, (*rows.state, rows.labels), strict=True):
            torch.index_select(source, 0, batch, out=static)
        return self._replay()


def _capture(
    step: Callable[[], Tensor], network: Network, device: torch.device
) -> Callable[[], Tensor]:
    """Return a function that replays `step`, or `step` itself if it cannot be captured."""
    if device.type != "cuda":
        return step
    # Warming up must leave no trace: a run with graphs gives the same numbers as one without. So
    # BatchNorm's statistics and the state of the random numbers (dropout) are put back.
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    rng_state = torch.cuda.get_rng_state(device)
    # cuBLAS and autograd set up their work spaces in the first passes; a capture forbids that. It
    # must happen on a side stream, as the capture itself does.
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARMUP_STEPS):
            network.zero_grad(set_to_none=True)
            step()
    torch.cuda.current_stream(device).wait_stream(side)
    for buffer, saved in buffers:
        buffer.copy_(saved)
    torch.cuda.set_rng_state(rng_state, device)
    # With no gradients there, the captured backward pass allocates them in the graph's own memory.
    network.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            loss = step()
    except RuntimeError as error:
        warnings.warn(
            f"This pass could not be captured as a CUDA graph and runs kernel by kernel: {error}",
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
        # The loop sets gradients to None before each step; the graph writes to these tensors.
        for parameter, gradient in gradients:
            parameter.grad = gradient
        return loss

    return replay
