"""Numbers that a GPU is still computing, told once they have arrived: nobody waits for them within
an epoch."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

Callback = Callable[[list[float]], None]


class DeferredScalars:
    """Tells numbers in the order in which they were asked for; at once when they lie in main
    memory."""

    def __init__(self) -> None:
        self._pending: deque[tuple[Tensor, torch.cuda.Event, Callback]] = deque()

    def enqueue(self, values: Tensor, callback: Callback) -> None:
        """Calls `tell` with `numbers` (n,) now, or in a later `ask` or `flush`."""
        if values.device.type != "cuda":
            callback(values.tolist())
            return
        here = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        here.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._pending.append((here, arrived, callback))
        while self._pending and self._pending[0][1].query():
            self._deliver_first()

    def flush(self) -> None:
        """Waits for what has not arrived yet; before a checkpoint, so that what it counts as told
        was told."""
        while self._pending:
            self._pending[0][1].synchronize()
            self._deliver_first()

    def _deliver_first(self) -> None:
        here, _, tell = self._pending.popleft()
        tell(here.tolist())
