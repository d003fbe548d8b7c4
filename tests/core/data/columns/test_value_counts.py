"""Value counts compared with Python's Counter, for encoded and plain columns."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from core.data.columns.value_counts import count_column, sort_by_value

DICE = random.Random(3)
SHORT = [DICE.choice([f"{DICE.randrange(90):x}", "", "é", None]) for _ in range(2000)]
COLUMNS: dict[str, list] = {
    "words": SHORT,
    "longer texts": [None if text is None else text * 5 for text in SHORT],
    "a NUL byte": [*SHORT, "a\x00", "a"],
    "numbers": [DICE.choice([None, -0.0, 0.0, 1.0, -2.0, 1e300, 0.1]) for _ in range(2000)],
    "nothing but missing": [None] * 50,
}


def chunks(kind: str, coded: bool) -> pa.ChunkedArray:
    """The column in three chunks."""
    values, form = COLUMNS[kind], pa.float64() if kind == "numbers" else pa.string()
    arrays = [pa.array(values[start::3], form) for start in range(3)]
    return pa.chunked_array(
        [
            pc.dictionary_encode(array, null_encoding="encode") if coded else array
            for array in arrays
        ]
    )


@pytest.mark.parametrize("chosen", ["all rows", "some", "none"])
@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("kind", COLUMNS)
def test_counts_equal_counting_by_hand(kind: str, coded: bool, chosen: str) -> None:
    column = chunks(kind, coded)
    share = {"all rows": 1.0, "some": 0.6, "none": 0.0}[chosen]
    picked = np.random.default_rng(1).random(len(column)) < share
    counts = count_column(column, None if chosen == "all rows" else picked)
    wanted = Counter(value for value, one in zip(column.to_pylist(), picked, strict=True) if one)
    assert counts.missing == wanted.pop(None, 0)
    ranked = sorted(
        wanted.items(),
        key=lambda item: (-item[1], item[0].encode() if kind != "numbers" else item[0]),
    )
    for least in (1, 20, 10**6):
        values, totals = counts.values_with_min_count(least)
        assert list(zip(values.to_pylist(), totals.tolist(), strict=True)) == [
            one for one in ranked if one[1] >= least
        ]
    for number in (1, 5, 10**6):
        values, totals = counts.most_common(number)
        assert list(zip(values.to_pylist(), totals.tolist(), strict=True)) == ranked[:number]
    if kind == "numbers":
        numbers, totals = sort_by_value(counts)
        assert list(zip(numbers.tolist(), totals.tolist(), strict=True)) == sorted(wanted.items())
