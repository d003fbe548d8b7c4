"""Batches from main memory against those of resident rows."""

import pytest
import torch

from core.training.batches import RowTensors, fits_on_device, iterate_batches

CPU = torch.device("cpu")
ROWS = RowTensors((torch.arange(20).reshape(10, 2), torch.arange(10.0)), torch.arange(10) % 2, 3)
BATCHES = list(torch.tensor([7, 1, 4, 9, 0, 2, 8, 3, 6, 5]).split(4))


def picked(rows: RowTensors) -> list[list[torch.Tensor]]:
    found = []
    for where, batch in iterate_batches(rows, BATCHES, CPU):
        part = where.take(batch)
        assert part.first_stage == 3
        found.append([*part.state, part.labels])
    return found


def test_rows_in_main_memory_arrive_as_resident_ones_do() -> None:
    away = RowTensors(ROWS.state, ROWS.labels, ROWS.first_stage, resident=False)
    for theirs, ours, batch in zip(picked(ROWS), picked(away), BATCHES, strict=True):
        expected = [tensor[batch] for tensor in (*ROWS.state, ROWS.labels)]
        for one, other, right in zip(theirs, ours, expected, strict=True):
            assert torch.equal(one, right) and torch.equal(other, right)
    assert list(iterate_batches(away, [], CPU)) == []


def test_the_batch_after_is_gathered_while_one_is_computed() -> None:
    gathered: list[int] = []

    class Watched(RowTensors):
        def take(self, index: torch.Tensor) -> RowTensors:
            gathered.append(len(index))
            return super().take(index)

    batches = iterate_batches(Watched(ROWS.state, ROWS.labels, resident=False), BATCHES, CPU)
    next(batches)
    assert gathered == [4, 4]
    next(batches)
    assert gathered == [4, 4, 2]


def test_rows_lie_on_a_gpu_up_to_half_of_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1000 * (16 + 4)
    tensors = (torch.zeros(5, 2, dtype=torch.int64), torch.zeros(5))
    for free, expected in ((2 * size, True), (2 * size - 2, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * size))
        assert fits_on_device(tensors, 1000, torch.device("cuda")) is expected
    assert fits_on_device(tensors, 10**12, CPU)
