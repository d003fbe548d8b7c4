"""Numbers that a GPU is still computing, told once they have arrived: nobody waits for them within
an epoch."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

Tell = Callable[[list[float]], None]


class Late:
    """Tells numbers in the order in which they were asked for; at once when they lie in main
    memory."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Tensor, torch.cuda.Event, Tell]] = deque()

    def ask(self, numbers: Tensor, tell: Tell) -> None:
        """Calls `tell` with `numbers` (n,) now, or in a later `ask` or `tell_all`."""
        if numbers.device.type != "cuda":
            tell(numbers.tolist())
            return
        here = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
        here.copy_(numbers, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._waiting.append((here, arrived, tell))
        while self._waiting and self._waiting[0][1].query():
            self._tell_first()

    def tell_all(self) -> None:
        """Waits for what has not arrived yet; before a checkpoint, so that what it counts as told
        was told."""
        while self._waiting:
            self._waiting[0][1].synchronize()
            self._tell_first()

    def _tell_first(self) -> None:
        here, _, tell = self._waiting.popleft()
        tell(here.tolist())
