"""Replay an optimiser step as a CUDA graph.

A step is some hundred kernels, and Python and the driver take longer to launch them one by one than
a GPU takes to compute them. A captured graph is launched as one piece.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import warnings
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from core.models.network import Network
from core.training.batches import RowTensors

StepFn = Callable[[RowTensors, Tensor], Tensor]
"""Takes rows and the index of the batch in them; leaves gradients in the parameters and returns the
mean loss, detached."""
WARMUP_STEPS = 3
"""Steps before the capture, as PyTorch's notes on CUDA graphs ask for. They train as others do."""


class CudaGraphStep:
    """A `StepFn` that runs its first batches kernel by kernel, and then replays what it captured.

    The graph reads its batch at a fixed address, so that all batches must have one size. On devices
    other than a GPU nothing is captured, and the step runs anew on the same tensors.

    Args:
        step_fn: the step to capture. It sets gradients to None before its backward pass, which then
            allocates them in the graph's own memory.
        network: whose gradients it computes.
        depends_on: returns what the step depends on beside its batch, such as which parameters
            train and where in memory they are. `begin_epoch` drops the graph if that has changed.
    """

    def __init__(
        self, step_fn: StepFn, network: Network, depends_on: Callable[[], Hashable]
    ) -> None:
        self._step_fn = step_fn
        self._network = network
        self._depends_on = depends_on
        self._device = next(network.parameters()).device
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        self._source: RowTensors | None = None
        self._key: Hashable = None
        self._failed = False
        self._drop()

    def begin_epoch(self, rows: RowTensors) -> None:
        """Drop the graph if it is one of other rows, or if what the step depends on has changed."""
        # Rows that are not resident reach the step batch by batch, in other tensors every time.
        source = rows if rows.resident else None
        if source is not self._source or self._depends_on() != self._key:
            self._drop()
            self._source = source
            self._key = self._depends_on()

    def __call__(self, rows: RowTensors, batch: Tensor) -> Tensor:
        """Take a step on the rows numbered `batch`; return their mean loss, a scalar.

        The tensor returned, and the gradients of the parameters, hold until the next call.
        """
        if self._replay is None:
            if self._failed or self._warmup_steps < WARMUP_STEPS:
                self._warmup_steps += 1
                return self._on_side_stream(rows, batch)
            self._capture(rows, batch)
            if self._replay is None:
                return self._on_side_stream(rows, batch)
        assert self._rows is not None and self._batch is not None
        if rows is self._rows:
            self._batch.copy_(batch)
        else:
            inputs = (*self._rows.state, self._rows.labels)
            for static, source in zip(inputs, (*rows.state, rows.labels), strict=True):
                static.copy_(source)
        return self._replay()

    def _drop(self) -> None:
        """Forget the graph, which gives its memory back."""
        self._replay: Callable[[], Tensor] | None = None
        self._rows: RowTensors | None = None
        self._batch: Tensor | None = None
        self._warmup_steps = 0

    def _on_side_stream(self, rows: RowTensors, batch: Tensor) -> Tensor:
        """Take a step kernel by kernel, on the stream that the capture will use.

        cuBLAS and autograd set up work spaces for a stream in its first steps; a capture forbids
        that.
        """
        if self._stream is None:
            return self._step_fn(rows, batch)
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            loss = self._step_fn(rows, batch)
        current.wait_stream(self._stream)
        return loss

    def _capture(self, rows: RowTensors, batch: Tensor) -> None:
        """Make `_replay` from a step on static inputs; nothing is computed on a GPU yet."""
        # Rows on the device stay where they are, and the graph gathers its batch from them.
        self._rows = rows if rows is self._source else rows.take(batch)
        self._batch = batch.clone()
        static_rows, static_batch = self._rows, self._batch

        def step() -> Tensor:
            return self._step_fn(static_rows, static_batch)

        if self._stream is None:
            self._replay, self._key = step, self._depends_on()
            return
        # Without gradients from before, the graph allocates them in its own memory.
        self._network.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                loss = step()
        except RuntimeError as error:
            warnings.warn(
                "This step could not be captured as a CUDA graph and runs kernel by kernel:"
                f" {error}",
                stacklevel=2,
            )
            self._network.zero_grad(set_to_none=True)
            self._drop()
            self._failed = True
            return
        gradients = [
            (parameter, parameter.grad)
            for parameter in self._network.parameters()
            if parameter.grad is not None
        ]

        def replay() -> Tensor:
            graph.replay()
            # A step of another batch size, run in between, has made gradients of its own.
            for parameter, gradient in gradients:
                parameter.grad = gradient
            return loss

        self._replay, self._key = replay, self._depends_on()
