"""Duplicate rows compared with pandas."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from core.data.columns.dictionary_file import dictionary_encode
from core.data.dataset_files import SampleRole
from core.data.describe_dataset import describe_duplicates
from core.data.duplicates import Duplicates, count_duplicates, hash_rows
from core.data.schema import CATEGORICAL, LABEL, NUMERIC
from core.data.split import SPLIT_PARTS

TEXTS = ["", "a", "abcdefgh", "abcdefghi", "longer than eight bytes", "é", "nul\0", "ünïcödé text"]


def rows_of(count: int, seed: int) -> pd.DataFrame:
    """Few values per column, so that many rows occur twice, with missing values and long
    strings."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        dict.fromkeys(NUMERIC, 0.0) | dict.fromkeys(CATEGORICAL, "x"), index=range(count)
    )
    frame.insert(0, LABEL, generator.integers(0, 2, count))
    frame["I3"] = generator.choice([np.nan, 0.0, -1.0, 2.0**40], count)
    for name in ("C1", "C26"):
        frame[name] = generator.choice(np.array(TEXTS, object), count)
    return frame


def table_of(frame: pd.DataFrame, batch: int) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.set_column(0, LABEL, table[LABEL].cast(pa.int8()))
    return pa.Table.from_batches(
        [
            one
            for start in range(0, len(frame), batch)
            for one in dictionary_encode(table.slice(start, batch))
        ]
    )


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_equal_rows_have_equal_hashes_and_others_do_not(batch: int) -> None:
    frame = rows_of(300, 1)
    hashes = hash_rows(table_of(frame, batch))
    np.testing.assert_array_equal(hashes, hash_rows(table_of(frame, 300)))
    groups = frame.groupby([*frame.columns], dropna=False, sort=False).ngroup()
    assert len(set(zip(groups, hashes, strict=True))) == groups.nunique() == len(set(hashes))


def test_a_value_in_another_column_is_another_row() -> None:
    frame = rows_of(2, 0).assign(I3=0.0, C1="x", C26="x", label=0)
    frame.loc[0, "C1"], frame.loc[1, "C26"] = "y", "y"
    one, other = hash_rows(table_of(frame, 2))
    assert one != other


def test_counts_equal_a_join() -> None:
    frame = rows_of(400, 2)
    parts = np.random.default_rng(3).integers(0, len(SPLIT_PARTS), 400).astype(np.int8)
    files = [("source", 150), ("target", 250)]
    keys = frame.astype(object).fillna("").astype(str).agg("|".join, axis=1)
    found = {
        (one.part, one.other, one.files): one
        for one in count_duplicates(table_of(frame, 64), parts, files)
    }
    for part in ("source_validation", "source_test", "target_validation", "target_test"):
        for other in ("source_train", "target_train"):
            these, others = (
                keys[parts == SPLIT_PARTS.index(part)],
                keys[parts == SPLIT_PARTS.index(other)],
            )
            assert found[part, other, False] == Duplicates(
                part, other, int(these.isin(others).sum()), len(these)
            )
    in_both = int(keys[150:].isin(keys[:150]).sum())
    assert found["target", "source", True] == Duplicates("target", "source", in_both, 250, True)
    assert len(found) == 9


def test_sentences() -> None:
    roles = [SampleRole("source", "s-1", "May", 100), SampleRole("target", "s-2", "June", 1200)]
    found = (
        Duplicates("target_test", "source_train", 12, 1000),
        Duplicates("target", "source", 15, 1200, files=True),
    )
    assert describe_duplicates(roles, found) == [
        "12 of the 1,000 target test rows also occur among the source training rows.",
        "15 of the 1,200 rows of 'June' also occur in 'May'.",
    ]
    assert describe_duplicates(roles, ()) == [
        "No row occurs both in training and in validation or test, nor in two files."
    ]
    assert describe_duplicates([], ()) == []
