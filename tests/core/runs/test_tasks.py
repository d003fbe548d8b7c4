"""Background tasks: progress, failure, stopping, and a limit on how many run at a time."""

import errno
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from core.errors import BadInput
from core.runs import tasks
from core.runs.subprocess_commands import ProgressFn
from core.runs.tasks import MAX_CONCURRENT_TASKS, MAX_REMEMBERED_FAILURES

PATIENCE = 30


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No tasks of other tests, and none of these left over."""
    monkeypatch.setattr(tasks, "_tasks", {})
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def finished(key: str, job: Callable[[ProgressFn], None]) -> tasks.BackgroundTask | None:
    """What is known of a task once it has ended."""
    before = set(threading.enumerate())
    tasks.start(key, job)
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
    return tasks.find(key)


def test_one_that_ends_well_is_forgotten_and_one_that_fails_says_why() -> None:
    def refuse(report: ProgressFn) -> None:
        raise BadInput("Row 7 is bad.")

    def break_down(report: ProgressFn) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/out/scores.csv")

    def surprise(report: ProgressFn) -> None:
        raise KeyError("x")

    assert finished("well", lambda report: report(1.0)) is None
    refused, broken = finished("refused", refuse), finished("broken", break_down)
    assert refused and str(refused.error) == "Row 7 is bad." and not refused.active
    assert broken and str(broken.error).startswith("The disk with '/srv")
    surprised = finished("surprised", surprise)
    assert surprised and str(surprised.error) == "It could not be finished: 'x'"
    tasks.forget("refused")
    assert tasks.find("refused") is None
    for number in range(MAX_REMEMBERED_FAILURES + 5):
        finished(f"again {number}", refuse)
    assert len(tasks._tasks) == MAX_REMEMBERED_FAILURES


def test_the_same_task_is_not_started_twice_and_can_be_stopped() -> None:
    begun, going, calls = threading.Event(), threading.Event(), []

    def job(report: ProgressFn) -> None:
        calls.append(1)
        report(0.25)
        begun.set()
        assert going.wait(PATIENCE)
        report(0.5)
        calls.append(2)

    tasks.start("one", job)
    assert begun.wait(PATIENCE)
    tasks.start("one", job)
    task = tasks.find("one")
    assert task and task.progress == 0.25 and task.active
    task.stop()
    assert task.stopping
    going.set()
    # Not by the thread's name, which is that of a function and changes with it.
    deadline = time.monotonic() + PATIENCE
    while tasks.find("one") is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert calls == [1] and tasks.find("one") is None


def test_computations_wait_for_a_free_slot() -> None:
    going, begun = threading.Event(), threading.Semaphore(0)

    def job(report: ProgressFn) -> None:
        begun.release()
        assert going.wait(PATIENCE)

    for number in range(MAX_CONCURRENT_TASKS):
        tasks.start(f"{number}", job)
        assert begun.acquire(timeout=PATIENCE)
    tasks.start("late", job)
    late = tasks.find("late")
    assert late and late.progress is None and not begun.acquire(timeout=0.05)
    going.set()
    assert begun.acquire(timeout=PATIENCE)
