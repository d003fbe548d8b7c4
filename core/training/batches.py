"""Where the rows of a run lie while it trains, and how batches of them reach the device."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.models.network import State

RESIDENT_SHARE = 0.5
"""Share of a GPU's free memory that rows may take; the rest is for weights, activations and
gradients."""


@dataclass(frozen=True)
class RowTensors:
    """Rows as tensors: the state before stage `first_stage`, and labels (rows,) float.

    resident: whether they lie on the training device; otherwise they lie in main memory and go
    there batch by batch.
    """

    state: State
    labels: Tensor
    first_stage: int = 0
    resident: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "RowTensors":
        """The rows of these numbers, copied, where all of them lie."""
        # Brackets take three to five times as long to pick the same rows.
        state = tuple(tensor.index_select(0, index) for tensor in self.state)
        return RowTensors(
            state, self.labels.index_select(0, index), self.first_stage, self.resident
        )


def fits_on_device(tensors: Sequence[Tensor], n_rows: int, device: torch.device) -> bool:
    """Whether `rows` rows of the tensors may lie on the device; always where it is the CPU."""
    if device.type != "cuda":
        return True
    size = n_rows * sum(tensor[:1].nbytes for tensor in tensors)
    return size <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def iterate_batches(
    data: RowTensors, batches: Sequence[Tensor], device: torch.device
) -> Iterator[tuple[RowTensors, Tensor]]:
    """For each batch of row numbers, rows on the device and the numbers of the batch among them.

    Resident rows are handed on as they are. Others are gathered into pinned memory and copied on a
    stream of their own while the batch before is computed.
    """
    if data.resident:
        yield from ((data, batch) for batch in batches)
        return
    gpu = device.type == "cuda"
    stream = torch.cuda.Stream(device) if gpu else None

    def sent(batch: Tensor) -> RowTensors:
        part = data.take(batch)
        with torch.cuda.stream(stream) if stream else contextlib.nullcontext():
            tensors = [
                (tensor.pin_memory() if gpu else tensor).to(device, non_blocking=True)
                for tensor in (*part.state, part.labels)
            ]
        return RowTensors(tuple(tensors[:-1]), tensors[-1], data.first_stage)

    ahead = sent(batches[0]) if batches else None
    for following in [*batches[1:], None]:
        if ahead is None:
            return
        now = ahead
        if stream:
            computing = torch.cuda.current_stream(device)
            computing.wait_stream(stream)
            for tensor in (*now.state, now.labels):
                # Its memory must not be given to the next copy while this batch is still computed.
                tensor.record_stream(computing)
        ahead = sent(following) if following is not None else None
        yield now, torch.arange(len(now), device=device)
