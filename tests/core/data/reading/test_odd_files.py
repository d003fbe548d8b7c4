"""Files close to a known format are read as intended, or refused with the cause, never silently
misread."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from core.data.read_options import ReadOptions, parse_names, to_cli_args
from core.data.reading.columns_needed import ColumnsNeeded
from core.data.reading.dialects import detect_format
from core.data.reading.ingest import ingest
from core.data.samples import file_row_numbers, list_samples, read_sample_rows, save_sample
from core.data.schema import CATEGORICAL, FIELDS, LABEL, NUMERIC
from core.errors import BadInput, UnreadableRow
from core.workspace import Workspace
from tests.core.data.helpers import packed_tar, packed_zip, rows, write

LINES = rows(60, seed=4)
OURS = [LABEL, *FIELDS]
TURNED = [0, *range(1, 14), *range(39, 13, -1)]


def text(
    lines: list[list[str]], header: list[str] | None = None, delimiter: str = ",", end: str = "\n"
) -> bytes:
    return "".join(
        delimiter.join(line) + end for line in ([header] if header else []) + lines
    ).encode()


def expected(name: str, lines: list[list[str]] = LINES) -> list[object]:
    kind: Callable[[str], object] = int if name == LABEL else float if name in NUMERIC else str
    place = OURS.index(name)
    return [kind(line[place]) if line[place] else None for line in lines]


def same(workspace: Workspace, path: Path, **arguments: object) -> None:
    table = read_sample_rows(
        ingest(workspace, path, f"{len(list_samples(workspace))} x", **arguments),  # type: ignore[arg-type]
        OURS,
    )
    for name in OURS:
        assert table[name].to_pylist() == expected(name), name


def extra(value: Callable[[int], str], lines: list[list[str]] = LINES) -> list[list[str]]:
    return [[*line, value(place)] for place, line in enumerate(lines)]


TURNED_CSV = text(
    [[line[place] for place in TURNED] for line in LINES], [OURS[place] for place in TURNED]
)
BEFORE_HEADER = {
    "a comment": b"# exported 2026-11-27\n",
    "two comments": b"# exported\n# by somebody, on a day\n",
    "a title": b"Clicks of last week\n",
    "blanks": b"   \n",
    "a blank line and a comment": b"\n# exported\n",
}


@pytest.mark.parametrize("kind", BEFORE_HEADER)
def test_a_header_is_found_below_other_lines(
    kind: str, workspace: Workspace, tmp_path: Path
) -> None:
    path = write(tmp_path, BEFORE_HEADER[kind] + TURNED_CSV)
    same(workspace, path)
    sample = ingest(workspace, path, "again")
    lines = BEFORE_HEADER[kind].count(b"\n")
    assert file_row_numbers(sample)[0] == lines + 2 and any(
        "skipped (" in note for note in sample.notes
    )


def test_the_delimiter_that_excel_writes_first(workspace: Workspace, tmp_path: Path) -> None:
    same(workspace, write(tmp_path, b"sep=;\r\n" + text(LINES, OURS, ";", "\r\n")))
    same(workspace, write(tmp_path, b"sep=;\n" + text(LINES, None, ";"), "headerless"))


def test_comments_above_rows_without_a_header(workspace: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, b"# exported\n" + text(LINES, None, "\t"))
    same(workspace, path)
    assert file_row_numbers(ingest(workspace, path, "again"))[0] == 2


def test_a_second_header_in_another_order_is_refused_even_when_skipping(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write(tmp_path, text(LINES, OURS) + TURNED_CSV)
    for way in ("reject", "skip"):
        with pytest.raises(
            BadInput, match="Row 62 of 'file' names the columns again, in another order"
        ):
            ingest(workspace, path, "x", way)
    twice = write(tmp_path, text(LINES, OURS) + text(LINES, OURS), "twice")
    with pytest.raises(UnreadableRow, match="a header line in the middle of the file"):
        ingest(workspace, twice, "x")
    sample = ingest(workspace, twice, "x", "skip")
    assert (sample.rows, sample.bad_rows) == (120, 1)


@pytest.mark.parametrize("cell", ['"a\n\nb"', '"a\nb"', '"\n"'])
def test_line_ends_in_quotation_marks_lose_no_row(
    cell: str, workspace: Workspace, tmp_path: Path
) -> None:
    lines = extra(lambda place: cell if place in (5, 17) else "z")
    data = text(lines[:30], [*OURS, "note"]) + b"\n" + text(lines[30:])
    sample = ingest(workspace, write(tmp_path, data), "x")
    assert sample.rows == 60 and read_sample_rows(sample, [LABEL])[LABEL].to_pylist() == expected(
        LABEL
    )
    assert file_row_numbers(sample).tolist() == [*range(2, 32), *range(33, 63)]


@pytest.mark.parametrize("place", [5, 52, 58])
@pytest.mark.parametrize("column", ["note", "C26"])
def test_a_quotation_mark_that_is_not_closed_is_a_bad_row(
    place: int, column: str, workspace: Workspace, tmp_path: Path
) -> None:
    lines = extra(lambda at: '"abc' if column == "note" and at == place else "z")
    if column == "C26":
        lines[place][39] = '"abc'
    with pytest.raises(BadInput, match="quotation mark .* closed"):
        ingest(workspace, write(tmp_path, text(lines, [*OURS, "note"])), "x")


def test_a_quotation_mark_closed_some_rows_later_is_a_bad_row(
    workspace: Workspace, tmp_path: Path
) -> None:
    lines = extra(lambda at: '"abc' if at == 20 else 'x"' if at == 25 else "z")
    with pytest.raises(
        UnreadableRow, match="Row 22 of 'file': note is .* 6 lines: a quotation mark"
    ):
        ingest(workspace, write(tmp_path, text(lines, [*OURS, "note"])), "x")


@pytest.mark.parametrize("mapping", [{"I1": "I2"}, {"I1": "I2", "I2": 3}, {"I1": "I2", "I2": "i2"}])
def test_a_mapping_that_takes_a_column_from_another(
    mapping: dict, workspace: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="lacks the columns I2|for both I1 and I2"):
        ingest(
            workspace, write(tmp_path, text(LINES, OURS)), "x", options=ReadOptions(columns=mapping)
        )


def test_a_mapping_of_the_label_alone_leaves_the_rest_in_order(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write(tmp_path, text([[*line[1:], line[0]] for line in LINES], None, "\t"))
    same(workspace, path, options=ReadOptions(columns={LABEL: 40}))


def arrow_table() -> pa.Table:
    return pa.table({name: pa.array(expected(name)) for name in OURS})


@pytest.mark.parametrize("form", ["parquet", "feather"])
def test_two_further_columns_of_one_name(form: str, workspace: Workspace, tmp_path: Path) -> None:
    table = arrow_table()
    for value in ("a", "b"):
        table = table.append_column("day", pa.array([value] * 60))
    path = tmp_path / "file"
    if form == "parquet":
        pq.write_table(table, path)
    else:
        pytest.importorskip("pyarrow.feather")
        with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)
    same(workspace, path)
    assert "day (no text)" in ingest(workspace, path, "again").notes[0]


@pytest.mark.parametrize(
    "names",
    [
        ["n" * 299 + "a", "n" * 299 + "b"],
        ["I1 (file)", "day"],
        ["day", "day"],
        ["国家", "день1"],
        ["😀", "a,b"],
    ],
)
def test_names_of_further_columns(names: list[str], workspace: Workspace, tmp_path: Path) -> None:
    lines = [[*line, "first", "second"] for line in LINES]
    sample = ingest(
        workspace, write(tmp_path, text(lines, [*OURS, *(f'"{name}"' for name in names)])), "x"
    )
    assert len(set(sample.kept)) == 2
    table = read_sample_rows(sample, [*sample.kept])
    assert [table[name].to_pylist()[0] for name in sample.kept] == ["first", "second"]
    kept = ReadOptions(keep=sample.kept)
    assert parse_names(to_cli_args(kept)[1]) == sample.kept
    assert ingest(workspace, tmp_path / "file", "x", options=kept).kept == sample.kept


@pytest.mark.parametrize("container", ["text", "parquet", "feather"])
@pytest.mark.parametrize(
    "names",
    [
        [str(n) for n in range(40)],
        [f"_c{n}" for n in range(40)],
        [f"column{n:02d}" for n in range(40)],
    ],
)
def test_numbers_for_names_in_every_container(
    names: list[str], container: str, workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    table = arrow_table().rename_columns(names)
    if container == "text":
        path.write_bytes(text(LINES, names))
    elif container == "parquet":
        pq.write_table(table, path)
    else:
        feather.write_feather(table, str(path))
    same(workspace, path)


@pytest.mark.parametrize(
    "names", [[f"{n}.0" for n in range(40)], [str(n) for n in [*range(20), *range(21, 41)]]]
)
def test_a_header_of_numbers_with_gaps_or_points_is_not_a_row(
    names: list[str], workspace: Workspace, tmp_path: Path
) -> None:
    same(workspace, write(tmp_path, text(LINES, names)))


def test_a_header_of_more_than_forty_numbers_is_asked_about(
    workspace: Workspace, tmp_path: Path
) -> None:
    lines = [[f"row {place}", *line] for place, line in enumerate(LINES)]
    path = write(tmp_path, text(lines, [str(number) for number in range(41)]))
    with pytest.raises(ColumnsNeeded, match="may be columns 2 to 41") as error:
        detect_format(path)
    same(workspace, path, options=ReadOptions(columns=error.value.proposal))


@pytest.mark.parametrize("label", ["标签", "outcome", "bought?"])
@pytest.mark.parametrize("spelling", [("0", "1"), ("N", "Y"), ("false", "TRUE")])
def test_a_label_of_a_foreign_name_is_asked_for(
    label: str, spelling: tuple[str, str], workspace: Workspace, tmp_path: Path
) -> None:
    lines = [[spelling[int(line[0])], *line[1:]] for line in LINES]
    path = write(tmp_path, text(lines, [label, *FIELDS]))
    with pytest.raises(ColumnsNeeded) as error:
        detect_format(path)
    same(workspace, path, options=ReadOptions(columns=error.value.proposal))


def test_a_header_without_the_labels_name_is_asked_about(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write(tmp_path, text(LINES, list(FIELDS)))
    with pytest.raises(ColumnsNeeded, match="'column 1' holds only 0 and 1") as error:
        detect_format(path)
    same(workspace, path, options=ReadOptions(columns=error.value.proposal))


def test_forty_foreign_names_have_a_proposal_in_order(workspace: Workspace, tmp_path: Path) -> None:
    for names in (["outcome", *(f"x{n}y" for n in range(39))], [f"{name} (n)" for name in OURS]):
        path = write(tmp_path, text(LINES, names))
        with pytest.raises(ColumnsNeeded) as error:
            detect_format(path)
        assert [error.value.proposal[ours] for ours in OURS] == names and error.value.usable
        same(workspace, path, options=ReadOptions(columns=error.value.proposal))


@pytest.mark.parametrize(
    ("names", "delimiter"),
    [
        (
            [
                LABEL,
                *(f"number_{n}" for n in range(1, 14)),
                *(f"category_{n}" for n in range(1, 27)),
            ],
            ",",
        ),
        ([f"train.{name.lower()}" for name in OURS], "\t"),
        ([LABEL, *(f"I{n}_int" for n in range(1, 14)), *(f"C{n}_cat" for n in range(1, 27))], ","),
        (
            [
                LABEL,
                *(f"feature_int_{n}" for n in range(13)),
                *(f"feature_cat_{n}" for n in range(26)),
            ],
            ";",
        ),
    ],
)
def test_further_spellings(
    names: list[str], delimiter: str, workspace: Workspace, tmp_path: Path
) -> None:
    same(workspace, write(tmp_path, text(LINES, names, delimiter)))


def test_c1_to_c39_are_proposed_in_order(tmp_path: Path) -> None:
    names = [LABEL, *(f"C{n}" for n in range(1, 40))]
    with pytest.raises(ColumnsNeeded) as error:
        detect_format(write(tmp_path, text(LINES, names)))
    assert [error.value.proposal[ours] for ours in OURS] == names


@pytest.mark.parametrize(
    "words", [" ".join(["word"] * 60), ";".join("abc" for _ in range(60)), "a|b|c"]
)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_prose_is_not_a_row(
    words: str, delimiter: str, workspace: Workspace, tmp_path: Path
) -> None:
    same(workspace, write(tmp_path, text(extra(lambda place: words), [*OURS, "note"], delimiter)))


@pytest.mark.parametrize("delimiter", ["\x01", "^", "~"])
@pytest.mark.parametrize("header", [None, OURS])
def test_rare_delimiters(
    delimiter: str, header: list[str] | None, workspace: Workspace, tmp_path: Path
) -> None:
    same(workspace, write(tmp_path, text(LINES, header, delimiter)))


@pytest.mark.parametrize("delimiter", [", ", "; ", "| "])
@pytest.mark.parametrize("header", [None, OURS])
@pytest.mark.parametrize("mark", ["", '"'])
def test_spaces_after_delimiters(
    delimiter: str, header: list[str] | None, mark: str, workspace: Workspace, tmp_path: Path
) -> None:
    lines = [
        [
            line[0],
            *(
                f"{mark}{cell}{mark}" if place > 13 else cell
                for place, cell in enumerate(line[1:], 1)
            ),
        ]
        for line in LINES
    ]
    same(workspace, write(tmp_path, text(lines, header, delimiter)))


@pytest.mark.parametrize("header", [None, OURS, [*OURS, ""]])
@pytest.mark.parametrize("rows_too", [True, False])
def test_a_delimiter_at_the_end_of_lines(
    header: list[str] | None, rows_too: bool, workspace: Workspace, tmp_path: Path
) -> None:
    same(workspace, write(tmp_path, text(extra(lambda place: "") if rows_too else LINES, header)))


def test_a_decimal_comma_and_libsvm_are_named(workspace: Workspace, tmp_path: Path) -> None:
    lines = [
        [line[0], *(f"{cell},0" if cell else "" for cell in line[1:14]), *line[14:]]
        for line in LINES
    ]
    for header in (None, OURS):
        with pytest.raises(BadInput, match="a decimal comma"):
            ingest(workspace, write(tmp_path, text(lines, header, ";")), "x")
    with pytest.raises(BadInput, match="in the form of libsvm"):
        ingest(workspace, write(tmp_path, b"1 1:0.5 3:2 7:1 9:0.25\n0 2:1 4:1 5:2 6:1\n"), "x")


def test_one_text_for_missing_values_is_named_in_the_advice(
    workspace: Workspace, tmp_path: Path
) -> None:
    lines = [[line[0], *(cell or "unknown" for cell in line[1:14]), *line[14:]] for line in LINES]
    with pytest.raises(
        BadInput, match="if 'unknown' stands for a missing value, write nothing or NaN"
    ):
        ingest(workspace, write(tmp_path, text(lines, None, "\t")), "x")


@pytest.mark.parametrize("end", ["NULL    ", "NaN     ", "null          ", "#N/A N/A", "-1.#QNAN"])
def test_markers_padded_to_any_length(end: str, workspace: Workspace, tmp_path: Path) -> None:
    lines = [[line[0], *(cell or end for cell in line[1:])] for line in LINES]
    same(workspace, write(tmp_path, text(lines, OURS)))


def test_invalid_bytes_outside_the_forty_columns_do_not_refuse_a_file(
    workspace: Workspace, tmp_path: Path
) -> None:
    pq.write_table(
        arrow_table().append_column("digest", pa.array([b"\xff\xfe"] * 60)), tmp_path / "file"
    )
    same(workspace, tmp_path / "file")
    note = "x" * 6000
    path = write(tmp_path, text(extra(lambda place: note), [*OURS, "note"]), "long")
    assert (
        read_sample_rows(ingest(workspace, path, "long"), ["note"])["note"].to_pylist()
        == [note] * 60
    )


def test_an_encoding_found_late_gets_the_same_advice_and_the_row(
    workspace: Workspace, tmp_path: Path
) -> None:
    lines = rows(9000, seed=2)
    data = text(lines, None, "\t")
    assert len(data) > 2**21
    wrong = data.rstrip(b"\n") + b"\xe9\n"
    with pytest.raises(BadInput, match=r"iconv -f cp1252 .* \(row 9,000\)"):
        ingest(workspace, write(tmp_path, wrong), "x")


def test_labels_as_numpy_writes_them(workspace: Workspace, tmp_path: Path) -> None:
    lines = [[f"{int(line[0]):.18e}", *line[1:]] for line in LINES]
    same(workspace, write(tmp_path, text(lines, None, "\t")))
    unlabelled = [["-1.000000", *line[1:]] for line in LINES]
    assert not ingest(
        workspace, write(tmp_path, text(unlabelled, None, "\t"), "none"), "none"
    ).labelled


def test_a_sample_whose_header_was_read_as_a_row_is_read_again(
    workspace: Workspace, tmp_path: Path
) -> None:
    import dataclasses

    path = write(tmp_path, text(LINES, [str(n) for n in range(40)]))
    old = ingest(workspace, path, "x")
    save_sample(dataclasses.replace(old, reader=1, rows=61))
    again = ingest(workspace, path, "x")
    assert again.id != old.id and again.rows == 60


@pytest.mark.parametrize("member", ["train.csv", "valid.csv"])
def test_members_of_one_archive_are_samples_and_datasets_of_their_own(
    member: str, workspace: Workspace, tmp_path: Path
) -> None:
    from core.data.datasets import list_datasets
    from core.data.prepare import prepare
    from core.data.split import SplitSpec

    data = packed_tar(
        ("train.csv", text(rows(400), OURS)), ("valid.csv", text(rows(400, seed=9), OURS))
    )
    path = write(tmp_path, data)
    ids = set()
    for name in ("train.csv", "valid.csv"):
        sample = ingest(workspace, path, name, options=ReadOptions(member=name))
        ids |= {sample.id, prepare(workspace, sample, SplitSpec(), name).id}
    assert len(ids) == 4 and len(list_datasets(workspace)) == 2


@pytest.mark.parametrize("packing", ["tar.gz", "zip"])
def test_a_truncated_archive_keeps_the_rows_before_its_break(
    packing: str, workspace: Workspace, tmp_path: Path
) -> None:
    lines = rows(4000, seed=6)
    data = text(lines, None, "\t")
    packed = packed_tar(("train.txt", data)) if packing == "tar.gz" else packed_zip(data)
    path = write(tmp_path, packed[: len(packed) // 2])
    with pytest.raises(UnreadableRow, match="truncated"):
        ingest(workspace, path, "x")
    sample = ingest(workspace, path, "x", "skip")
    assert 500 < sample.rows < 4000
    assert read_sample_rows(sample, ["C1"])["C1"].to_pylist() == [
        line[14] or None for line in lines[: sample.rows]
    ]


def test_categories_keep_their_own_marks(workspace: Workspace, tmp_path: Path) -> None:
    lines = [[*line[:39], '"'] for line in LINES]
    assert set(
        read_sample_rows(
            ingest(workspace, write(tmp_path, text(lines, None, "\t")), "x"), [CATEGORICAL[-1]]
        )["C26"].to_pylist()
    ) == {'"'}


@pytest.mark.parametrize("delimiter", ["\t", ",", "|"])
def test_a_line_of_nothing_but_delimiters(
    delimiter: str, workspace: Workspace, tmp_path: Path
) -> None:
    for count in (5, 40, 41, 60, 900_000):
        with pytest.raises(BadInput):
            ingest(
                workspace,
                write(tmp_path, f"{delimiter * count}\n{delimiter * count}\n".encode()),
                "x",
            )


def test_twenty_sorted_rows_get_advice_that_works(workspace: Workspace, tmp_path: Path) -> None:
    from core.data.prepare import prepare
    from core.data.split import SplitSpec

    lines = [["1" if place < 5 else "0", *line[1:]] for place, line in enumerate(LINES[:20])]
    sample = ingest(workspace, write(tmp_path, text(lines, None, "\t")), "few")
    with pytest.raises(BadInput, match="--split random --source-share 0"):
        prepare(workspace, sample, SplitSpec(), "few")
    dataset = prepare(workspace, sample, SplitSpec(method="random", source_share=0), "few")
    assert all(0 < part.clicks < part.rows for part in dataset.parts if part.rows)  # type: ignore[operator]


def test_what_a_library_says_in_several_lines_is_one_line_of_a_message(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The Parquet reader's message ends with a line break if the footer is empty."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1" + bytes(4) + b"PAR1")
    with pytest.raises(BadInput) as caught:
        ingest(workspace, path, "x")
    assert "\n" not in str(caught.value) and str(caught.value).endswith("); write it again.")
