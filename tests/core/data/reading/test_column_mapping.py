"""Columns are recognised by their names, in every usual spelling; otherwise Thaw asks."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.data.read_options import DEFAULT_OPTIONS, ReadOptions, load_mapping
from core.data.reading.column_mapping import MAX_EXTRA_COLUMNS, match_header
from core.data.reading.column_names import recognise_columns
from core.data.reading.columns_needed import ColumnsNeeded
from core.data.schema import CATEGORICAL, FIELDS, LABEL, NUMERIC
from core.errors import BadInput

OURS = [LABEL, *FIELDS]
ROW = ["1", *["5"] * 13, *["68fd1e64"] * 26]


def named(
    label: str, numeric: str, categorical: str, first: int = 1, first_category: int = 1
) -> list[str]:
    """A header from a label's name and two patterns such as ``int_{}``."""
    numbers = [numeric.format(number) for number in range(first, first + 13)]
    return [
        label,
        *numbers,
        *(categorical.format(number) for number in range(first_category, first_category + 26)),
    ]


SPELLINGS = {
    "ours": named("label", "I{}", "C{}"),
    "lower case": named("label", "i{}", "c{}"),
    "a hash before the label": named("#label", "I{}", "C{}"),
    "TensorFlow": named("clicked", "int-feature-{}", "categorical-feature-{}", 1, 14),
    "NVTabular": named("label", "I{}", "C{}", 1, 1),
    "from 0": named("y", "int_{}", "cat_{}", 0, 0),
    "through": named("is_click", "I{}", "C{}", 1, 14),
    "from 0 and through": named("Click", "dense_{}", "sparse_{}", 0, 13),
    "words": named("TARGET", "integer feature {}", "categorical feature {}"),
    "padded numbers": named("isClicked", "num_{:02d}", "cat_{:02d}"),
    "camel case": named("wasClicked", "intFeature{}", "catFeature{}"),
    "dots": named("clk", "int.{}", "cat.{}"),
}


@pytest.mark.parametrize("kind", SPELLINGS)
@pytest.mark.parametrize("turned", [False, True])
def test_spellings_of_all_forty(kind: str, turned: bool) -> None:
    names = SPELLINGS[kind][:: -1 if turned else 1]
    columns = match_header(names, [ROW], DEFAULT_OPTIONS, "file")
    assert list(columns.stored_as) == OURS[:: -1 if turned else 1]
    wanted = {
        (ours, name) for ours, name in zip(OURS, SPELLINGS[kind], strict=True) if ours != name
    }
    assert (
        set(columns.renamed) == wanted
        and not columns.segment_columns
        and not columns.missing_fields
    )


def test_other_columns_of_the_same_prefix_do_not_mislead() -> None:
    names = [*named("label", "I{}", "C{}"), "n1", "n2", "c_total", "id_2"]
    columns = match_header(names, [], DEFAULT_OPTIONS, "file")
    assert list(columns.stored_as[:40]) == OURS and columns.segment_columns == (
        "n1",
        "n2",
        "c_total",
        "id_2",
    )


def test_an_exact_label_goes_before_other_names_of_one() -> None:
    assert recognise_columns(["click", "y", "label"])[LABEL] == 2
    assert LABEL not in recognise_columns(["click", "y"])


def ask(
    names: Sequence[str], row: Sequence[str] = (), options: ReadOptions = DEFAULT_OPTIONS
) -> ColumnsNeeded:
    with pytest.raises(ColumnsNeeded) as error:
        match_header(names, [row] if row else [], options, "file")
    return error.value


def test_a_field_that_is_not_there_is_asked_for_by_name() -> None:
    names = named("label", "I{}", "C{}")
    names[3] = "amount"
    error = ask(names, ROW)
    assert "lacks the columns I3" in str(error) and '{"I3": "amount"}' in str(error)
    assert error.proposal["I3"] == "amount" and error.proposal["C26"] == "C26"
    assert error.names == tuple(names) and error.examples[3] == ("5",)


def test_forty_names_of_another_kind_are_proposed_in_order() -> None:
    names = ["label", *(f"f{number}" for number in range(39))]
    error = ask(names, ROW)
    assert error.proposal == dict(zip(OURS, names, strict=True))
    options = ReadOptions(columns=error.proposal)
    assert list(match_header(names, [ROW], options, "file").stored_as) == OURS


@pytest.mark.parametrize("label", ["conversion", "bought", "outcome"])
def test_a_column_of_zeros_and_ones_may_be_the_label_so_thaw_asks(label: str) -> None:
    names = [label, *FIELDS]
    error = ask(names, ROW)
    assert f"{label!r} holds only 0 and 1" in str(error) and error.proposal[LABEL] == label
    assert {field: error.proposal[field] for field in FIELDS} == {field: field for field in FIELDS}
    assert match_header(names, [ROW], ReadOptions(columns={LABEL: label}), "file").labelled
    without = match_header(names, [ROW], ReadOptions(columns={LABEL: None}), "file")
    assert not without.labelled and without.segment_columns == (label,)
    assert not match_header(names, [ROW], DEFAULT_OPTIONS, "file", need_label=False).labelled
    assert not match_header(names, [["7", *ROW[1:]]], DEFAULT_OPTIONS, "file").labelled


@pytest.mark.parametrize(
    ("names", "title"),
    [
        ([*(f"f{n}" for n in range(12)), "treatment", "conversion", "visit", "exposure"], "uplift"),
        (
            [
                "id",
                "click",
                "hour",
                "C1",
                "banner_pos",
                "site_id",
                "device_id",
                *(f"C{n}" for n in range(14, 22)),
            ],
            "Avazu",
        ),
        (
            ["timestamp", "uid", "campaign", "conversion", "attribution", "cat1", "cost"],
            "attribution",
        ),
    ],
)
def test_headers_of_other_datasets_are_named(names: list[str], title: str) -> None:
    error = ask(names)
    assert title in str(error) and "cannot be used" in str(error) and not error.proposal


def test_a_mapping_by_name_by_position_and_for_missing_columns() -> None:
    names = ["row", *named("label", "I{}", "C{}")]
    names[6] = "five"
    names.remove("C26")
    options = ReadOptions(columns={"I5": "FIVE", "C26": None, "label": 2, "id": "row"})
    columns = match_header(names, [], options, "file")
    assert (
        columns.missing_fields == ("C26",)
        and columns.id_column == "row"
        and columns.segment_columns == ()
    )
    assert columns.stored_as[6] == "I5" and columns.renamed == (("I5", "five"),)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"I1": "nowhere"}, "gives 'nowhere' for I1, which 'file' does not have"),
        ({"I1": 41}, "gives position 41 for I1; 'file' has columns 1 to 40"),
        ({"clicked": "label"}, "names 'clicked'; on the left it must have label"),
        ({"I1": "a", "I2": "a"}, "gives 'a' for both I1 and I2"),
        ({"I1": 1.5}, "gives 1.5 for I1"),
        ({"I1": True}, "gives True for I1"),
    ],
)
def test_mappings_that_cannot_be_used(columns: dict, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        match_header(OURS, [], ReadOptions(columns=columns), "file")


def test_a_mapping_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"label": "clicked", "I5": None}))
    assert (
        load_mapping(str(path))
        == load_mapping(path.read_text())
        == {"label": "clicked", "I5": None}
    )
    for text, sentence in (
        ("{", "is not JSON"),
        ("[1]", "holds a list"),
        ('{"x": 1}', "names 'x'"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=sentence):
            load_mapping(str(path))
    with pytest.raises(BadInput, match=r"no file '.*absent.json'"):
        load_mapping(str(tmp_path / "absent.json"))


def test_columns_beyond_the_forty_are_kept_but_for_row_numbers_of_pandas() -> None:
    names = ["", *OURS, "Id", "day", "domain", "index"]
    columns = match_header(names, [], DEFAULT_OPTIONS, "file")
    assert columns.id_column == "Id" and columns.segment_columns == ("day", "domain")
    assert columns.stored_as[0] is None and columns.stored_as[-1] is None
    assert match_header(names, [], ReadOptions(keep=("domain",)), "file").segment_columns == (
        "domain",
    )
    assert match_header(names, [], ReadOptions(keep=()), "file").segment_columns == ()
    with pytest.raises(BadInput, match="has no column 'campaign' to keep"):
        match_header(names, [], ReadOptions(keep=("campaign",)), "file")


def test_of_many_further_columns_some_are_dropped_and_reported() -> None:
    names = [*OURS, *(f"extra{number}x" for number in range(MAX_EXTRA_COLUMNS + 3))]
    columns = match_header(names, [], DEFAULT_OPTIONS, "file")
    assert (
        len(columns.segment_columns) == MAX_EXTRA_COLUMNS
        and "extra16x (more than 16)" in columns.notes[0]
        and "--keep" in columns.notes[0]
    )


def test_a_kept_column_never_takes_one_of_our_names() -> None:
    names = ["click", *FIELDS, "label"]
    columns = match_header(names, [], ReadOptions(columns={"label": "click"}), "file")
    assert columns.stored_as[0] == LABEL and columns.segment_columns == ("label (file)",)


def test_numbers_of_fields_that_leave_one_out_are_not_guessed() -> None:
    names = named("label", "int_{}", "cat_{}")
    names.remove("int_7")
    error = ask(names)
    assert all(error.proposal.get(field) is None for field in NUMERIC)
    assert [error.proposal[field] for field in CATEGORICAL] == [
        f"cat_{number}" for number in range(1, 27)
    ]
