"""Columns with unknown values: the reason is found for every spelling, and never where values only
drift."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from core.data.drift import drift_counts
from core.data.preprocessing import Preprocessing
from core.data.schema import CATEGORICAL
from core.inference.unknown_sentences import unknown_sentences
from core.inference.unknown_values import known_shares, unknown_columns
from tests.core.inference.changed_spellings import (
    Columns,
    Spell,
    count_ids,
    respell,
    simulate_columns,
    to_table,
    unknown_columns_of,
)


def signed(value: str) -> str:
    return str(int(np.uint32(int(value, 16)).view(np.int32)))


WAYS: dict[str, tuple[Spell, str, str]] = {
    "upper case": (str.upper, "upper_case", "in upper case, the model in lower case"),
    "0x": (lambda value: "0x" + value, "hex_prefix", "with 0x before them, the model without"),
    "0X and upper case": (
        lambda value: "0X" + value.upper(),
        "upper_case+hex_prefix",
        "in upper case and with 0x before",
    ),
    "the column's name": (lambda value: f"cat_{value}", "addition", "with 'cat_' before them"),
    "a suffix": (lambda value: f"{value}#v2", "addition", "with '#v2' after them"),
    "decimal": (
        lambda value: str(int(value, 16)),
        "decimal",
        "as decimal numbers, the model in hexadecimal",
    ),
    "decimal floats": (lambda value: f"{int(value, 16)}.0", "decimal", "as decimal numbers"),
    "signed decimal": (signed, "decimal", "as decimal numbers"),
    "spaces": (lambda value: f" {value} ", "spaces", "with spaces around them"),
    "one quote kind": (lambda value: f"'{value}'", "quotes", "in quotation marks"),
    "bytes as text": (lambda value: f"b'{value}'", "quotes", "in quotation marks"),
    "quoted upper case": (
        lambda value: f'"{value.upper()}"',
        "quotes+upper_case",
        "in quotation marks and in upper case",
    ),
    "16 digits": (lambda value: value.zfill(16), "added_zeros", "with leading zeros"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_reason_is_found_by_undoing_it(
    way: str, trained: tuple[Preprocessing, np.ndarray], fresh: Columns
) -> None:
    spell, reason, words = WAYS[way]
    columns = unknown_columns_of(trained, respell(fresh, spell))
    assert len(columns) >= 20 and {column.reason for column in columns} == {reason}
    known = {
        column.field: set(trained[0].vocabularies[column.field].to_pylist()) for column in columns
    }
    for column in columns:
        # In upper case a value without letters is still known.
        as_it_is = sum(
            value is not None and spell(value) in known[column.field]
            for value in fresh[column.field]
        )
        assert column.known == as_it_is and column.rows == 500 - fresh[column.field].count(None)
    (sentence,) = unknown_sentences(columns)
    assert words in sentence and f"({len(columns)} of 26 categorical columns)" in sentence
    assert sentence.startswith(
        "Only " if sum(column.known for column in columns) else "No value of C1"
    )
    assert "score the file again" in sentence


@pytest.mark.parametrize("way", ["upper case", "decimal"])
def test_one_column_alone(
    way: str, trained: tuple[Preprocessing, np.ndarray], fresh: Columns
) -> None:
    spell, reason, words = WAYS[way]
    (column,) = unknown_columns_of(trained, respell(fresh, spell, ("C9",)))
    assert (column.field, column.reason, column.rows) == ("C9", reason, 500)
    (sentence,) = unknown_sentences([column])
    assert (
        sentence.startswith(f"No value of C9, such as {column.example!r}, is known")
        and words in sentence
    )


def test_lost_leading_zeros_affect_only_some_values(
    trained: tuple[Preprocessing, np.ndarray], fresh: Columns
) -> None:
    # As when a column passes through a spreadsheet: the others' values are letters and stay.
    columns = unknown_columns_of(trained, respell(fresh, lambda value: value.lstrip("0")))
    known = {field: set(trained[0].vocabularies[field].to_pylist()) for field in CATEGORICAL}
    lost = {
        field: sum(value in known[field] and value[0] == "0" for value in fresh[field] if value)
        for field in CATEGORICAL
    }
    assert (
        {column.field for column in columns}
        == {field for field, rows in lost.items() if rows >= 20}
        != set()
    )
    for column in columns:
        assert column.reason == "leading_zeros" and column.example.zfill(8) in known[column.field]
        kept = sum(
            value.lstrip("0") in known[column.field] for value in fresh[column.field] if value
        )
        assert column.known == kept < column.rows
    (sentence,) = unknown_sentences(columns)
    assert (
        "without their leading zeros, the model with them" in sentence
        and "were in training" in sentence
    )


def test_a_long_file_is_looked_at_in_places(
    trained: tuple[Preprocessing, np.ndarray], fresh: Columns
) -> None:
    # Two files of other spellings, one after the other, in many batches.
    rows = pa.concat_tables([to_table(fresh)] * 10 + [to_table(respell(fresh, str.upper))] * 10)
    counts = drift_counts(trained[0].encode(rows).ids)
    columns = unknown_columns(trained[0], rows, counts, trained[1])
    assert len(columns) >= 20 and {column.reason for column in columns} == {"upper_case"}
    assert not any(column.nearly_all for column in columns) and columns[0].rows == 20 * (
        500 - fresh["C1"].count(None)
    )


def test_columns_in_another_order(
    trained: tuple[Preprocessing, np.ndarray], fresh: Columns
) -> None:
    columns = unknown_columns_of(trained, fresh | {"C5": fresh["C8"], "C8": fresh["C5"]})
    assert {(column.field, column.reason) for column in columns} == {
        ("C5", "column:C8"),
        ("C8", "column:C5"),
    }
    (sentence,) = unknown_sentences(columns)
    assert "C5 has those of C8 and C8 has those of C5" in sentence and sentence.endswith(
        "another order?"
    )


def test_columns_moved_by_one_are_one_sentence(
    trained: tuple[Preprocessing, np.ndarray], fresh: Columns
) -> None:
    others = (*CATEGORICAL[1:], CATEGORICAL[0])
    columns = unknown_columns_of(
        trained,
        fresh | {field: fresh[other] for field, other in zip(CATEGORICAL, others, strict=True)},
    )
    moved = [column for column in columns if column.reason.startswith("column:")]
    assert len(moved) > 10 and all(
        column.reason == f"column:{others[int(column.field[1:]) - 1]}" for column in moved
    )
    sentences = unknown_sentences(columns)
    assert len(sentences) == len({column.reason.partition(":")[0] for column in columns}) <= 2
    assert f"({len(moved)} of 26 categorical columns)" in sentences[0]
    assert (
        f"{moved[0].field} has those of {moved[0].reason[7:]}, " in sentences[0]
        and "and so on" in sentences[0]
    )


def test_each_columns_own_name_before_its_values_is_one_sentence(
    trained: tuple[Preprocessing, np.ndarray], fresh: Columns
) -> None:
    columns = unknown_columns_of(
        trained, fresh | {f: [v and f"{f}={v}" for v in fresh[f]] for f in CATEGORICAL}
    )
    assert len({column.file for column in columns}) == len(columns) >= 20
    (sentence,) = unknown_sentences(columns)
    assert "the file has those of C1 with 'C1=' before them, the model without" in sentence
    assert "likewise in the other columns. Write them" in sentence


@pytest.mark.parametrize(
    ("hashed", "reason", "words"),
    [
        (
            lambda value: hashlib.md5(value.encode()).hexdigest()[:8],
            "another_hash",
            "come from another hash or data",
        ),
        (
            lambda value: hashlib.md5(value.encode()).hexdigest(),
            "another_spelling",
            "has 32 lower-case hexadecimal",
        ),
        (
            lambda value: str(int(value, 16) % 1000),
            "another_spelling",
            "has short numbers, the model 8 lower-case hexa",
        ),
    ],
)
def test_another_hash(
    hashed: Spell,
    reason: str,
    words: str,
    trained: tuple[Preprocessing, np.ndarray],
    fresh: Columns,
) -> None:
    columns = unknown_columns_of(trained, respell(fresh, hashed))
    assert len(columns) >= 20 and {column.reason for column in columns} == {reason}
    (sentence,) = unknown_sentences(columns)
    assert words in sentence and f"({len(columns)} of 26 categorical columns)" in sentence


def test_rows_like_the_training_rows_drift_and_few_rows_give_no_warning(
    trained: tuple[Preprocessing, np.ndarray], fresh: Columns, tmp_path: Path
) -> None:
    assert unknown_columns_of(trained, fresh) == ()
    # Two values in five of five columns are new there.
    assert (
        unknown_columns_of(trained, simulate_columns(tmp_path / "target.tsv", 2000, "target", 3))
        == ()
    )
    assert (
        unknown_columns_of(
            trained, respell({field: values[:10] for field, values in fresh.items()}, str.upper)
        )
        == ()
    )
    assert unknown_columns_of(trained, fresh | dict.fromkeys(CATEGORICAL, [None] * 500)) == ()
    # In a column whose values training hardly knew either, nothing is missed.
    other = respell(fresh, lambda value: hashlib.md5(value.encode()).hexdigest())
    assert (
        unknown_columns(trained[0], to_table(other), count_ids(trained[0], other), np.zeros(39))
        == ()
    )


def test_without_the_training_rows_the_least_the_vocabulary_allows_is_expected(
    trained: tuple[Preprocessing, np.ndarray], fresh: Columns
) -> None:
    least = known_shares(trained[0], None)
    assert (least[13:] <= trained[1][13:] + 1e-9).all() and least[13:].max() > 0.1
    upper = respell(fresh, str.upper)
    columns = unknown_columns(trained[0], to_table(upper), count_ids(trained[0], upper), least)
    assert columns and {column.reason for column in columns} == {"upper_case"}
