"""How cells are interpreted, compared with pandas and Python's float."""

import io
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.reading.values import (
    MAX_CATEGORY_LENGTH,
    MISSING_MARKERS,
    NO_LABEL,
    is_missing,
    is_number,
    parse_categories,
    parse_label,
    parse_labels,
    parse_numbers,
)


@pytest.mark.parametrize(
    "marker",
    [
        "NaN",
        "nan",
        "NA",
        "N/A",
        "null",
        "NULL",
        "None",
        "<NA>",
        r"\N",
        "-",
        "",
        " ",
        "#N/A",
        "-nan",
        "?",
    ],
)
def test_markers_are_missing_numbers_and_missing_categories(marker: str) -> None:
    cells = pa.array(["12345678", marker, "7", f" {marker} "])
    for parsed in (parse_numbers(cells), parse_categories(cells)):
        assert not parsed.faults and parsed.values.is_null().to_pylist() == [
            False,
            True,
            False,
            True,
        ]
        assert parsed.markers.tolist() == [1, 3]
    assert is_missing(marker)


def test_every_marker_of_pandas_that_is_a_word_is_one_of_ours() -> None:
    column = pd.read_csv(
        io.StringIO("\n".join(["x", *(f'"{marker}"' for marker in sorted(MISSING_MARKERS))]))
    )["x"]
    known = MISSING_MARKERS - {"", "nan", "null"}
    assert {str(cell) for cell in column.dropna()} <= known
    for marker in (
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
        "<NA>",
        "#N/A",
        "-NaN",
        "-nan",
    ):
        assert is_missing(marker) and pd.isna(pd.read_csv(io.StringIO(f"x,y\n{marker},1"))["x"][0])


@pytest.mark.parametrize(
    "word", ["nana", "nan1", "nullable", "nonee", "---", "-1", "N", "0", "n a", "N\\A", "NaN,"]
)
def test_words_like_markers_are_categories(word: str) -> None:
    parsed = parse_categories(pa.array([word]))
    assert parsed.values.to_pylist() == [word] and not len(parsed.markers) and not parsed.faults


def test_categories_of_eight_letters_and_others_are_kept_as_they_are() -> None:
    cells = [
        "68fd1e64",
        "        ",
        " padded ",
        "ünïcode☃",
        "x" * MAX_CATEGORY_LENGTH,
        "x" * (MAX_CATEGORY_LENGTH + 1),
        None,
    ]
    parsed = parse_categories(pa.array(cells))
    assert parsed.values.to_pylist()[:5] == [
        "68fd1e64",
        None,
        " padded ",
        "ünïcode☃",
        "x" * MAX_CATEGORY_LENGTH,
    ]
    assert [*parsed.faults] == [5] and parsed.markers.tolist() == [1]


def test_cells_of_a_sliced_column() -> None:
    cells = pa.array(["no", "nan", "12345678", " ", "longer than eight", "5"]).slice(1, 4)
    assert parse_categories(cells).values.to_pylist() == [
        None,
        "12345678",
        None,
        "longer than eight",
    ]
    assert parse_numbers(cells.slice(0, 3)).values.to_pylist() == [None, 12345678.0, None]
    assert parse_categories(cells.slice(0, 0)).values.to_pylist() == []


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.floats(), st.integers(-(10**20), 10**20)))
def test_numbers_equal_pythons_floats(number: float) -> None:
    text = str(number)
    parsed = parse_numbers(pa.array([text, f" {text}\t"]))
    if math.isnan(number):
        assert parsed.values.null_count == 2 and not parsed.faults
    elif math.isinf(number):
        assert set(parsed.faults.values()) == {"not a finite number"} and not is_number(text)
    else:
        assert parsed.values.to_pylist() == [float(number)] * 2 and is_number(text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=12))
def test_whatever_a_cell_is_it_is_a_number_missing_or_a_fault(text: str) -> None:
    cell = text.encode("utf-8", "ignore").decode()
    parsed = parse_numbers(pa.array([cell]))
    missing = parsed.values[0].as_py() is None
    assert missing == (is_missing(cell) or 0 in parsed.faults)
    assert missing or np.isclose(parsed.values[0].as_py(), float(cell.strip()))


def test_faults_say_which_kind() -> None:
    parsed = parse_numbers(pa.array(["5", "many", "1e999", "Infinity", "0x1f", "1,5", "1_000"]))
    kinds = ["not a number", "not a finite number", "not a finite number", *["not a number"] * 3]
    assert parsed.faults == dict(enumerate(kinds, 1))


def test_minus_zero_is_zero() -> None:
    assert math.copysign(1, parse_numbers(pa.array(["-0"])).values[0].as_py()) == 1


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("0", 0),
        ("1", 1),
        ("1.0", 1),
        ("0.000000", 0),
        ("True", 1),
        ("FALSE", 0),
        (" 1 ", 1),
        ("t", 1),
        ("no", 0),
        ("", NO_LABEL),
        (None, NO_LABEL),
        ("?", NO_LABEL),
        ("-1", NO_LABEL),
        ("NaN", NO_LABEL),
        ("\\N", NO_LABEL),
        ("2", None),
        ("01", None),
        ("0.5", None),
        ("label", None),
        ("1e0", 1),
        ("-2", None),
    ],
)
def test_labels(cell: str | None, label: int | None) -> None:
    assert parse_label(cell) == label
    cells = pa.array(["1", cell])
    optional, required = parse_labels(cells, optional=True), parse_labels(cells)
    assert (1 in optional.faults) == (label is None)
    assert (1 in required.faults) == (label not in (0, 1))
    if label is not None:
        assert optional.values.to_pylist() == [1, label]
