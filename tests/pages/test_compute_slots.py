"""Expensive computations: two at a time for all visitors, and a slot is freed whatever happens."""

import threading

import pytest

from pages.components.shared.compute_slots import MAX_CONCURRENT, compute_slot


def test_a_limited_number_of_tasks_runs_and_the_next_starts_when_one_ends() -> None:
    inside, go, most = threading.Semaphore(0), threading.Event(), 0
    running: list[int] = []

    def work() -> None:
        nonlocal most
        with compute_slot():
            running.append(1)
            most = max(most, len(running))
            inside.release()
            go.wait(30)
            running.pop()

    threads = [threading.Thread(target=work) for _ in range(3 * MAX_CONCURRENT)]
    for thread in threads:
        thread.start()
    for _ in range(MAX_CONCURRENT):
        assert inside.acquire(timeout=30)
    assert not inside.acquire(timeout=0.2), "one more than there are places"
    go.set()
    for thread in threads:
        thread.join(30)
    assert most == MAX_CONCURRENT and not running


def test_a_failed_computation_frees_its_slot() -> None:
    for _ in range(MAX_CONCURRENT + 1):
        with pytest.raises(ValueError, match="fails"), compute_slot():
            raise ValueError("fails")
