"""The format of a text file: delimiter, header, quotation marks, and lines that are not rows."""

from pathlib import Path

import pytest

from core.data.read_options import ReadOptions
from core.data.reading.columns_needed import ColumnsNeeded
from core.data.reading.dialects import FileFormat, count_lines_before_rows, detect_format
from core.data.schema import FIELDS, LABEL
from core.errors import BadInput
from tests.core.data.helpers import rows, text, write

LINES = rows(60, seed=3)
NAMES = [LABEL, *FIELDS]


def form_of(
    folder: Path, lines: list[list[str]], delimiter: str = "\t", options: ReadOptions | None = None
) -> FileFormat:
    data = "".join(delimiter.join(line) + "\n" for line in lines).encode()
    return detect_format(write(folder, data), options or ReadOptions())


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|", " "])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
def test_delimiters(delimiter: str, header: bool, labelled: bool, tmp_path: Path) -> None:
    skip = 0 if labelled else 1
    lines = [line[skip:] for line in LINES]
    form = form_of(tmp_path, [NAMES[skip:], *lines] if header else lines, delimiter)
    assert (form.delimiter, form.rows_before_data, form.columns) == (
        delimiter,
        int(header),
        tuple(NAMES[skip:]),
    )
    plain = {True: "kaggle-train", False: "kaggle-test"}[labelled]
    assert form.dialect == ("csv" if header else plain if delimiter == "\t" else "delimited")


def test_a_delimiter_within_cells_does_not_mislead(tmp_path: Path) -> None:
    lines = [[*line[:20], "a, b; c|d e", *line[21:]] for line in LINES]
    assert form_of(tmp_path, lines).delimiter == "\t"


COUNTING = {
    "pandas": [str(number) for number in range(40)],
    "pandas with its row numbers": ["", *(str(number) for number in range(40))],
    "from 1": [str(number) for number in range(1, 41)],
    "Spark": [f"_c{number}" for number in range(40)],
    "polars": [f"column_{number}" for number in range(1, 41)],
    "R": [f"V{number}" for number in range(1, 41)],
    "DuckDB": [f"column{number:02d}" for number in range(40)],
}


@pytest.mark.parametrize("kind", COUNTING)
@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_a_header_of_numbers_is_not_a_row(kind: str, delimiter: str, tmp_path: Path) -> None:
    names = COUNTING[kind]
    lines = [[str(place), *line] if len(names) == 41 else line for place, line in enumerate(LINES)]
    form = form_of(tmp_path, [names, *lines], delimiter)
    assert (
        form.rows_before_data == 1
        and form.columns[-40:] == tuple(NAMES)
        and "no row" in form.reason
    )
    assert len(names) == 40 or form.columns[0] is None


def test_a_counting_header_of_rows_without_a_label(tmp_path: Path) -> None:
    form = form_of(tmp_path, [[str(number) for number in range(39)], *(line[1:] for line in LINES)])
    assert form.rows_before_data == 1 and form.columns == FIELDS


def test_a_header_of_one_name_less_than_there_are_columns(tmp_path: Path) -> None:
    form = form_of(
        tmp_path, [NAMES, *([str(place), *line] for place, line in enumerate(LINES))], " "
    )
    assert form.columns == (None, *NAMES)


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
def test_quotation_marks_without_a_header(delimiter: str, tmp_path: Path) -> None:
    form = form_of(tmp_path, [[f'"{cell}"' for cell in line] for line in LINES], delimiter)
    assert form.quoted and form.columns == tuple(NAMES) and form.rows_before_data == 0


def test_a_single_quotation_mark_in_criteos_own_form_is_a_letter(tmp_path: Path) -> None:
    lines = [list(line) for line in LINES]
    lines[7][20] = '"'
    assert not form_of(tmp_path, lines).quoted


def ask(folder: Path, lines: list[list[str]], delimiter: str = "\t") -> ColumnsNeeded:
    with pytest.raises(ColumnsNeeded) as error:
        form_of(folder, lines, delimiter)
    return error.value


def test_a_label_at_the_end_is_spotted_and_its_proposal_reads_the_file(tmp_path: Path) -> None:
    lines = [[*line[1:], line[0]] for line in LINES]
    error = ask(tmp_path, lines)
    assert "the label seems to be at the end" in str(error) and '{"label": 40, "I1": 1' in str(
        error
    )
    form = form_of(tmp_path, lines, options=ReadOptions(columns=error.proposal))
    assert form.columns == (*FIELDS, LABEL)


def test_columns_before_the_label_are_spotted(tmp_path: Path) -> None:
    error = ask(
        tmp_path, [[f"row{place}", "2026-11-27", *line] for place, line in enumerate(LINES)], ","
    )
    assert "may be columns 3 to 42" in str(error)
    assert error.proposal[LABEL] == "column 3" and error.proposal["C26"] == "column 42"


def test_categories_where_numbers_belong_are_spotted(tmp_path: Path) -> None:
    error = ask(tmp_path, [[line[0], *line[14:], *line[1:14]] for line in LINES])
    assert "most cells are not numbers" in str(error) and "another order" in str(error)


def test_positions_in_a_mapping_for_a_file_without_a_header(tmp_path: Path) -> None:
    positions = {ours: place + 1 for place, ours in enumerate([*FIELDS, LABEL])}
    form = form_of(
        tmp_path,
        [[*line[1:], line[0], "de"] for line in LINES],
        "|",
        ReadOptions(columns=positions),
    )
    assert form.columns == (*FIELDS, LABEL, "column 41") and form.segment_columns == ("column 41",)


def test_labels_that_are_all_placeholders_are_noticed(tmp_path: Path) -> None:
    for placeholder in ("", "?", "-1", "NULL"):
        assert form_of(tmp_path, [[placeholder, *line[1:]] for line in LINES]).unknown_labels
    assert not form_of(
        tmp_path, [["?", *line[1:]] for line in LINES[:-1]] + LINES[-1:]
    ).unknown_labels


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_another_encoding_gets_advice(encoding: str, tmp_path: Path) -> None:
    lines = [[*line[:20], "café", *line[21:]] for line in LINES]
    with pytest.raises(BadInput, match="Save it as UTF-8, for instance with: iconv"):
        detect_format(write(tmp_path, text(lines).decode().encode(encoding)))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (4, "C20 has 4 values in those 60 of the first rows that have one; Kaggle's"),
        (1, "C20 has 1 value in those 60"),
        (60, "have one, where Kaggle's train.txt has 4"),
    ],
)
def test_the_evidence_of_c20_is_given_in_numbers(
    values: int, sentence: str, tmp_path: Path
) -> None:
    lines = [[*line[:33], f"{place % values:08x}", *line[34:]] for place, line in enumerate(LINES)]
    assert sentence in form_of(tmp_path, lines).reason


def test_heads_that_look_like_rows() -> None:
    assert count_lines_before_rows(text(LINES)) == 0
    assert count_lines_before_rows(text([NAMES, *LINES]).replace(b"\t", b";")) == 1
    assert count_lines_before_rows(text([["row", *NAMES], ["x", *LINES[0]]])) == 1
    for other in (
        b"",
        b"Criteo Kaggle data, see the licence, and the readme.\n" * 9,
        b"a,b,c\n1,2,3\n",
    ):
        assert count_lines_before_rows(other) is None
    assert None is count_lines_before_rows(
        b"# Criteo\n\nEach row has: label, 13 integers, 26 categories.\n\n- one\n- two\n"
    )
