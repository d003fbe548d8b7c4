"""Deferred scalars are reported in order, and before anybody needs them."""

from typing import Any

import pytest
import torch

from core.training.deferred_scalars import DeferredScalars


class OnGpu:
    """A tensor that says it lies on a GPU."""

    device, shape, dtype = torch.device("cuda"), (1,), torch.float32

    def __init__(self, value: float) -> None:
        self.value = value


class Here:
    """Pinned memory that a number was copied to."""

    def copy_(self, numbers: OnGpu, non_blocking: bool) -> None:
        assert non_blocking
        self.numbers = [numbers.value]

    def tolist(self) -> list[float]:
        return self.numbers


class Event:
    """A stand-in for a CUDA event that completes when the test says so."""

    made: list["Event"]

    def __init__(self) -> None:
        self.come = False
        self.made.append(self)

    def record(self) -> None: ...

    def query(self) -> bool:
        return self.come

    def synchronize(self) -> None:
        self.come = True


def test_cpu_scalars_are_reported_at_once() -> None:
    delivered: list[list[float]] = []
    DeferredScalars().enqueue(torch.tensor([1.5, 2.0]), delivered.append)
    assert delivered == [[1.5, 2.0]]


def test_gpu_scalars_are_reported_in_order_once_they_arrive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Event.made = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch, "empty", lambda *size, dtype, pin_memory: Here())
    delivered: list[list[float]] = []
    deferred = DeferredScalars()

    def ask(value: float) -> None:
        numbers: Any = OnGpu(value)
        deferred.enqueue(numbers, delivered.append)

    ask(1.0)
    ask(2.0)
    Event.made[1].come = True
    ask(3.0)
    assert delivered == []
    Event.made[0].come = True
    ask(4.0)
    assert delivered == [[1.0], [2.0]]
    deferred.flush()
    assert delivered == [[1.0], [2.0], [3.0], [4.0]] and all(event.come for event in Event.made)
