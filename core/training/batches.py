"""Rows as tensors, and batches of them on the training device."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.freezing.schedule import count_steps
from core.jobs.requests import TrainSettings
from core.models.network import Activations

RESIDENT_SHARE = 0.5
"""Share of a GPU's free memory that rows may take; weights, activations and gradients need the
rest."""
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class RowTensors:
    """Inputs and labels of rows; the first dimension of every tensor is rows.

    Args:
        state: inputs of the stage `first_stage`. For stage 0: ids int32 ``(rows, fields)`` and
            numerics float32 ``(rows, dense)``.
        labels: float32 ``(rows,)``, 0 or 1.
        first_stage: index of the stage that `state` enters; above 0 after a cached frozen prefix.
        resident: whether the tensors are on the training device. Otherwise they are in main memory
            and `iterate_batches` moves one batch at a time.
    """

    state: Activations
    labels: Tensor
    first_stage: int = 0
    resident: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "RowTensors":
        """Return a copy of the rows numbered `index`, int64 ``(n,)``, on the same device."""
        # index_select picks the same rows as tensor[index] in a third to a fifth of the time.
        state = tuple(tensor.index_select(0, index) for tensor in self.state)
        labels = self.labels.index_select(0, index)
        return RowTensors(state, labels, self.first_stage, self.resident)


def fits_on_device(tensors: Sequence[Tensor], n_rows: int, device: torch.device) -> bool:
    """Return whether `n_rows` rows of the tensors may be put on the device; True for a CPU."""
    if device.type != "cuda":
        return True
    n_bytes = n_rows * sum(tensor[:1].nbytes for tensor in tensors)
    return n_bytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of one epoch's random numbers.

    It depends on the run's seed and the epoch alone, so that a resumed run draws the same numbers.
    """
    return seed * 1_000_003 + epoch


def epoch_batches(
    rows: RowTensors,
    settings: TrainSettings,
    epoch: int,
    device: torch.device = _CPU,
) -> list[Tensor]:
    """Return the row numbers of every batch of `epoch`, shuffled.

    A GPU draws the order itself: 45 million rows take a CPU more than a second, an eighth of their
    epoch. The order is thus another one than on a CPU, as dropout is too.

    A last batch of a single row is merged into the batch before it: BatchNorm cannot take the
    variance of one row.

    Args:
        rows: to shuffle.
        settings: batch size and seed.
        epoch: from 0.
        device: to train on, where the rows may be or not.

    Returns:
        int64 tensors of shape ``(batch_size,)`` on the device of the rows.
    """
    generator = torch.Generator(device).manual_seed(epoch_seed(settings.seed, epoch))
    order = torch.randperm(len(rows), generator=generator, device=device)
    order = order.to(rows.labels.device)
    batches = list(order.split(settings.batch_size))
    if len(batches) > count_steps_per_epoch(rows, settings):
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def count_steps_per_epoch(rows: RowTensors, settings: TrainSettings) -> int:
    """Return the number of batches that `epoch_batches` makes."""
    return count_steps(len(rows), settings.batch_size)


def iterate_batches(
    data: RowTensors, batches: Sequence[Tensor], device: torch.device
) -> Iterator[tuple[RowTensors, Tensor]]:
    """Yield ``(rows, index)`` for every batch: `index` are the positions of the batch in `rows`.

    If the data is already on the device, `rows` is `data` itself and `index` the row numbers of
    the batch. Otherwise only the batch is moved: it is gathered into pinned memory and copied on a
    side stream while the previous batch is being computed (double buffering).

    Args:
        data: rows to take batches from.
        batches: row numbers of each batch, int64 ``(batch_size,)``.
        device: where the network is.
    """
    if data.resident:
        yield from ((data, index) for index in batches)
        return
    gpu = device.type == "cuda"
    stream = torch.cuda.Stream(device) if gpu else None

    def start_copy(index: Tensor) -> RowTensors:
        batch = data.take(index)
        with torch.cuda.stream(stream) if stream else contextlib.nullcontext():
            # Only a copy from pinned (page-locked) memory can run beside the computation.
            tensors = [
                (tensor.pin_memory() if gpu else tensor).to(device, non_blocking=True)
                for tensor in (*batch.state, batch.labels)
            ]
        return RowTensors(tuple(tensors[:-1]), tensors[-1], data.first_stage)

    copied = start_copy(batches[0]) if batches else None
    for next_index in [*batches[1:], None]:
        if copied is None:
            return
        batch = copied
        if stream:
            computing = torch.cuda.current_stream(device)
            computing.wait_stream(stream)
            for tensor in (*batch.state, batch.labels):
                # Otherwise the allocator may give its memory to the next copy, on the side stream,
                # while this batch is still being computed.
                tensor.record_stream(computing)
        # Started before the current batch is handed out, so that both run at the same time.
        copied = start_copy(next_index) if next_index is not None else None
        yield batch, torch.arange(len(batch), device=device)
