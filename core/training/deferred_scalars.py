"""Read numbers off the GPU without waiting for them.

`tensor.item()` blocks the CPU until the GPU has computed everything queued before the number. In a
loop of small steps the GPU then runs idle while Python prepares the next step. Here a number is
copied in the background and handed to a callback once it has arrived.
"""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

Callback = Callable[[list[float]], None]


class DeferredScalars:
    """A queue of numbers on their way to the CPU. Callbacks run in the order of `enqueue`."""

    def __init__(self) -> None:
        self._pending: deque[tuple[Tensor, torch.cuda.Event, Callback]] = deque()

    def enqueue(self, values: Tensor, callback: Callback) -> None:
        """Call `callback` with `values`, shape ``(n,)``, once they are in main memory.

        That is now for a CPU tensor; else in a later `enqueue`, or in `flush` at the latest.
        """
        if values.device.type != "cuda":
            callback(values.tolist())
            return
        # Only pinned memory can be copied to without the CPU waiting.
        copied = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        copied.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._pending.append((copied, arrived, callback))
        while self._pending and self._pending[0][1].query():
            self._deliver_first()

    def flush(self) -> None:
        """Wait for all values. Call it before a checkpoint: points up to it must be logged."""
        while self._pending:
            self._pending[0][1].synchronize()
            self._deliver_first()

    def _deliver_first(self) -> None:
        copied, _, callback = self._pending.popleft()
        callback(copied.tolist())
