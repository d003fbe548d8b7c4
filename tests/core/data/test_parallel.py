"""Order, bounded memory and errors of work done in threads."""

import time
from collections.abc import Iterator

import pytest

from core.data.parallel import THREADS, map_ordered


def test_results_come_in_the_order_of_the_items_and_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(40):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        time.sleep(0.002 if number % 3 else 0)
        return number * number

    for place, result in enumerate(map_ordered(work, items())):
        assert result == place * place
        assert len(taken) <= place + THREADS + 1
    assert place == 39


def test_an_error_reaches_the_caller_after_the_results_before_it() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = map_ordered(work, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
