"""One optimiser step: forward and backward pass, the pull of L2-SP, and the optimiser."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from core.jobs.requests import TrainSettings
from core.models.network import Network
from core.training.batches import RowTensors
from core.training.cuda_graph import CudaGraphStep
from core.training.lazy_adam import LazyAdamW
from core.training.losses import Task
from core.training.param_groups import L2SPPull

CAPTURE_OPTIMISER = True
"""Whether the optimiser is part of the graph. It is; benchmarks.speed_gpu measures what that
brings."""


class TrainStep:
    """Takes optimiser steps; those on full batches are replayed as a CUDA graph if `captured`.

    Not in the graph, as it costs little and needs numbers that change from step to step: the
    average of the weights, AutoFreeze's sums of gradients, and whatever is logged.

    Args:
        network: on the device to train on.
        task: the loss to train by.
        settings: batch size, and whether to compute in bfloat16.
        optimiser: of the network.
        l2_sp: the pull of L2-SP, if there is one.
        captured: whether to capture steps. `task` must then depend on the rows of a batch alone.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        settings: TrainSettings,
        optimiser: LazyAdamW,
        l2_sp: L2SPPull | None,
        captured: bool,
    ) -> None:
        self._network = network
        self._task = task
        self._settings = settings
        self._optimiser = optimiser
        self._l2_sp = l2_sp
        self._device = next(network.parameters()).device
        self._whole = CAPTURE_OPTIMISER
        self._graph = CudaGraphStep(self._captured, network, self._state) if captured else None

    def begin_epoch(self, rows: RowTensors) -> None:
        """Say which rows the batches come from; which stages train may have changed, too."""
        if self._graph is not None:
            self._graph.begin_epoch(rows)

    def __call__(
        self,
        rows: RowTensors,
        index: Tensor,
        step: int,
        on_gradients: Callable[[], None] | None = None,
    ) -> Tensor:
        """Take one step on the batch `index` of `rows`, at the groups' learning rates.

        Args:
            rows: on the device.
            index: positions of the batch in them, int64 ``(batch_size,)``.
            step: steps taken before; see `Task.loss`.
            on_gradients: called when every parameter that trains has its gradient of this batch.

        Returns:
            The mean loss, a scalar on the device; it holds until the next step.
        """
        # A graph finds them in the device's memory.
        self._optimiser.upload_rates()
        if self._graph is None or len(index) != self._settings.batch_size:
            loss = self._forward_backward(rows, index, step)
            if on_gradients is not None:
                # Before the step, since LazyAdamW uses sparse gradients up.
                on_gradients()
            self._update()
            return loss
        loss = self._graph(rows, index)
        if on_gradients is not None:
            # The optimiser leaves dense gradients as they are.
            on_gradients()
        if not self._whole:
            self._update()
        return loss

    def _captured(self, rows: RowTensors, index: Tensor) -> Tensor:
        """What the graph consists of."""
        loss = self._forward_backward(rows, index, 0)
        if self._whole:
            self._update()
        return loss

    def _forward_backward(self, rows: RowTensors, index: Tensor, step: int) -> Tensor:
        """Give the parameters the gradients of a batch; return its mean loss, a scalar."""
        # set_to_none, so that Adam skips what has no gradient and does not move it on momentum.
        self._optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._settings.amp):
            loss = self._task.loss(self._network, rows, index, step)
        loss.backward()
        return loss.detach()

    def _update(self) -> None:
        """Change the weights by their gradients."""
        if self._l2_sp is not None:
            self._l2_sp.step(self._optimiser)
        self._optimiser.step()

    def _state(self) -> Hashable:
        """Return what a captured step depends on beside its batch and the learning rate."""
        return (
            tuple((one.data_ptr(), one.requires_grad) for one in self._network.parameters()),
            tuple(module.training for module in self._network.modules()),
            self._optimiser.layout(),
        )
