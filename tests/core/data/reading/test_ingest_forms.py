"""Files in the formats that people have give the same rows from each of them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from core.data.read_options import ReadOptions
from core.data.reading import textblocks
from core.data.reading.ingest import ingest
from core.data.reading.values import NO_LABEL
from core.data.samples import (
    READER_VERSION,
    file_row_numbers,
    load_sample,
    read_sample_rows,
    save_sample,
)
from core.data.schema import CATEGORICAL, FIELDS, LABEL, NUMERIC
from core.errors import BadInput
from core.workspace import Workspace
from tests.core.data.helpers import rows, text, write

LINES = rows(200, seed=11)
OURS = [LABEL, *FIELDS]
HEADER = [OURS]


def frame(lines: list[list[str]] = LINES) -> pd.DataFrame:
    """The rows as pandas has them: numbers float64, categories object, None where missing."""
    table = pd.DataFrame(lines, columns=OURS).replace({"": None})
    for name in NUMERIC:
        table[name] = pd.to_numeric(table[name])
    return table.astype({LABEL: "int8"})


def expected(name: str) -> list[object]:
    """A column's values by hand: int label, float numbers, string categories, None where
    missing."""
    kind: Callable[[str], object] = int if name == LABEL else float if name in NUMERIC else str
    place = OURS.index(name)
    return [kind(line[place]) if line[place] else None for line in LINES]


def same(workspace: Workspace, path: Path) -> None:
    got = read_sample_rows(ingest(workspace, path, "x"), OURS)
    for name in OURS:
        assert got[name].to_pylist() == expected(name), name


@pytest.mark.parametrize(
    "marker", ["NaN", "NA", "N/A", "null", "None", "<NA>", r"\N", "-", " ", "NULL", "?"]
)
@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
@pytest.mark.parametrize("header", [False, True])
def test_missing_values_in_text(
    marker: str, delimiter: str, header: bool, workspace: Workspace, tmp_path: Path
) -> None:
    lines = [[line[0], *(cell or marker for cell in line[1:])] for line in LINES]
    data = text((HEADER if header else []) + lines).replace(b"\t", delimiter.encode())
    path = write(tmp_path, data)
    same(workspace, path)
    sample = ingest(workspace, path, "again")
    missing = sum(not cell for line in LINES for cell in line)
    assert (
        sample.missing_markers == ((marker.strip() or "blank", missing),) and sample.bad_rows == 0
    )


def test_the_fast_and_the_careful_reader_count_the_same_markers(
    workspace: Workspace, tmp_path: Path
) -> None:
    lines = [
        [line[0], *(cell or ("NaN" if place % 2 else r"\N") for place, cell in enumerate(line[1:]))]
        for line in LINES
    ]
    quick = ingest(
        workspace, write(tmp_path, text(HEADER + lines).replace(b"\t", b","), "quick"), "quick"
    )
    lines[5][20] = '"a,b"'
    careful = ingest(
        workspace, write(tmp_path, text(HEADER + lines).replace(b"\t", b","), "careful"), "careful"
    )
    assert quick.missing_markers == careful.missing_markers and len(quick.missing_markers) == 2


PARQUET: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "null": lambda table: table,
    "NaN in numbers, empty text in categories": lambda table: table.fillna(
        dict.fromkeys(CATEGORICAL, "")
    ),
    "NaN as text": lambda table: table.fillna(dict.fromkeys(CATEGORICAL, "nan")),
    "all text, empty": lambda table: (
        table.astype(dict.fromkeys(NUMERIC, "Int64"))
        .astype(dict.fromkeys(NUMERIC, "string"))
        .fillna("")
        .astype(str)
    ),
    "all text, <NA>": lambda table: (
        table.astype(dict.fromkeys(NUMERIC, "Int64")).fillna(pd.NA).astype(str)
    ),
    "categories": lambda table: table.astype(dict.fromkeys(CATEGORICAL, "category")),
    "a boolean label": lambda table: table.assign(label=table[LABEL].astype(bool)),
    "large strings": lambda table: table.astype(
        dict.fromkeys(CATEGORICAL, "large_string[pyarrow]")
    ),
}


@pytest.mark.parametrize("form", ["parquet", "feather", "feather lz4", "stream"])
@pytest.mark.parametrize("kind", PARQUET)
def test_columnar_files(kind: str, form: str, workspace: Workspace, tmp_path: Path) -> None:
    table = pa.Table.from_pandas(PARQUET[kind](frame()), preserve_index=False)
    path = tmp_path / "file"
    if form == "parquet":
        pq.write_table(table, path)
    elif form == "stream":
        with (
            pa.OSFile(str(path), "wb") as stream,
            pa.ipc.new_stream(stream, table.schema) as writer,
        ):
            writer.write_table(table)
    else:
        feather.write_feather(table, str(path), compression="lz4" if "lz4" in form else "zstd")
    same(workspace, path)


def test_whole_numbers_of_a_category_that_pandas_made_floats(
    workspace: Workspace, tmp_path: Path
) -> None:
    table = frame().assign(C5=np.where(np.arange(200) % 5, np.arange(200) % 7, np.nan))
    table.to_parquet(tmp_path / "file", index=False)
    values = read_sample_rows(ingest(workspace, tmp_path / "file", "x"), ["C5"])["C5"].to_pylist()
    assert values == [None if row % 5 == 0 else str(row % 7) for row in range(200)]


@pytest.mark.parametrize(
    "kind", [pa.duration("s"), pa.date32(), pa.timestamp("ms"), pa.time32("s")]
)
def test_a_time_is_not_a_number(kind: pa.DataType, workspace: Workspace, tmp_path: Path) -> None:
    table = pa.Table.from_pandas(frame(), preserve_index=False)
    column = pa.array([1, 2] * 100, pa.int32()).cast(
        pa.int64() if pa.types.is_duration(kind) or pa.types.is_timestamp(kind) else pa.int32()
    )
    pq.write_table(table.set_column(3, "I3", column.cast(kind)), tmp_path / "file")
    with pytest.raises(BadInput, match="Column I3 of 'file' has the type"):
        ingest(workspace, tmp_path / "file", "x")


def test_columns_beyond_the_forty_are_kept_with_the_sample(
    workspace: Workspace, tmp_path: Path
) -> None:
    lines = [
        [f"id {place}", *line, f"day {place % 3}", "" if place % 4 else "NA"]
        for place, line in enumerate(LINES)
    ]
    path = write(tmp_path, text([["Id", *OURS, "day", "empty"], *lines]).replace(b"\t", b","))
    sample = ingest(workspace, path, "x")
    assert (sample.id_column, sample.kept) == ("Id", ("day", "empty"))
    table = read_sample_rows(sample, ["Id", "day", "empty"])
    assert table["Id"].to_pylist() == [f"id {place}" for place in range(200)]
    assert table["day"].to_pylist() == [f"day {place % 3}" for place in range(200)]
    assert table["empty"].null_count == 200
    assert load_sample(sample.folder) == sample
    fewer = ingest(workspace, path, "fewer", options=ReadOptions(keep=()))
    assert (
        fewer.kept == ()
        and fewer.id != sample.id
        and read_sample_rows(fewer, OURS).equals(read_sample_rows(sample, OURS))
    )


def test_dates_and_lists_outside_the_forty_columns_in_parquet(
    workspace: Workspace, tmp_path: Path
) -> None:
    table = pa.Table.from_pandas(frame(), preserve_index=False)
    table = table.append_column("day", pa.array([pd.Timestamp("2026-11-27").date()] * 200))
    table = table.append_column("history", pa.array([[1, 2]] * 200))
    pq.write_table(table, tmp_path / "file")
    sample = ingest(workspace, tmp_path / "file", "x")
    assert sample.kept == ("day",) and set(
        read_sample_rows(sample, ["day"])["day"].to_pylist()
    ) == {"2026-11-27"}


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.usefixtures("read_in_process")
def test_rows_keep_the_numbers_they_have_in_the_file(
    header: bool, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several blocks with bad rows and blank lines, compared with counting the lines."""
    monkeypatch.setattr(textblocks, "BLOCK_BYTES", 4096)
    out, expected = ["\t".join(OURS)] if header else [], []
    for place, line in enumerate(LINES):
        if place % 31 == 3:
            out.append("")
        bad = place % 17 == 5
        out.append(
            "\t".join(["maybe", *line[1:]] if bad and place % 2 else line[:9] if bad else line)
        )
        if not bad:
            expected.append(len(out))
    sample = ingest(workspace, write(tmp_path, "\n".join(out).encode()), "x", "skip")
    assert file_row_numbers(sample).tolist() == expected
    clean = ingest(
        workspace, write(tmp_path, text((HEADER if header else []) + LINES), "clean"), "clean"
    )
    assert file_row_numbers(clean).tolist() == list(range(1 + header, 201 + header))


def test_unlabelled_rows_keep_their_numbers_too(workspace: Workspace, tmp_path: Path) -> None:
    lines = [line[1:] for line in LINES]
    lines[50] = [""] * 39
    data = text(lines[:10]) + b"\n\n" + text(lines[10:])
    sample = ingest(workspace, write(tmp_path, data), "x")
    assert sample.rows == 200 and file_row_numbers(sample).tolist() == [
        *range(1, 11),
        *range(13, 203),
    ]


@pytest.mark.parametrize("placeholder", ["", "?", "-1", "NaN"])
def test_labels_that_are_all_placeholders(
    placeholder: str, workspace: Workspace, tmp_path: Path
) -> None:
    path = write(tmp_path, text([[placeholder, *line[1:]] for line in LINES]))
    sample = ingest(workspace, path, "x")
    assert (
        not sample.labelled
        and LABEL not in read_sample_rows(sample).column_names
        and "without labels" in sample.notes[-1]
    )


def test_labels_found_after_placeholders(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first megabyte has no labels, later rows do: rows without one are then bad."""
    lines = rows(6000, seed=1)
    path = write(tmp_path, text([["?", *line[1:]] for line in lines[:5500]] + lines[5500:]))
    with pytest.raises(
        BadInput,
        match=(
            "Row 1 of 'file': label is '\\?', not 0 or 1.*choose to skip bad rows to keep those"
            " that have one"
        ),
    ):
        ingest(workspace, path, "x")
    sample = ingest(workspace, path, "x", "skip")
    assert (sample.rows, sample.bad_rows, sample.labelled) == (500, 5500, True)


def test_optional_labels_for_scoring(workspace: Workspace, tmp_path: Path) -> None:
    lines = [list(line) for line in LINES]
    for place, placeholder in enumerate(["", "?", "-1", "NaN"]):
        lines[place][0] = placeholder
    path = write(tmp_path, text(lines))
    sample = ingest(workspace, path, "x", labels="optional")
    labels = read_sample_rows(sample, [LABEL])[LABEL].to_pylist()
    assert labels == [NO_LABEL] * 4 + [int(line[0]) for line in LINES[4:]] and sample.rows == 200
    with pytest.raises(BadInput, match="Row 1 of 'file': label is empty"):
        ingest(workspace, path, "y")


def test_advice_never_drops_nearly_all_rows(workspace: Workspace, tmp_path: Path) -> None:
    few, most = [list(line) for line in LINES], [list(line) for line in LINES]
    few[7][3] = most[0][3] = "many"
    with pytest.raises(BadInput, match="Fix the row, or choose to skip bad rows"):
        ingest(workspace, write(tmp_path, text(few)), "x")
    for line in most[:150]:
        line[3] = "many"
    with pytest.raises(
        BadInput,
        match="150 of the 200 rows read are bad, so skipping bad rows would leave few",
    ):
        ingest(workspace, write(tmp_path, text(most)), "x")


def test_a_sample_of_an_earlier_reader_is_not_taken_for_one_without_missing_values(
    workspace: Workspace, tmp_path: Path
) -> None:
    plain = ingest(workspace, write(tmp_path, text(LINES), "plain"), "plain")
    marked = ingest(
        workspace,
        write(tmp_path, text([[line[0], *(c or "NA" for c in line[1:])] for line in LINES])),
        "x",
    )
    for sample in (plain, marked):
        save_sample(dataclasses.replace(sample, reader=1, missing_markers=()))
    assert ingest(workspace, tmp_path / "plain", "plain").id == plain.id
    again = ingest(workspace, tmp_path / "file", "x")
    assert again.id != marked.id and again.missing_markers and again.reader == READER_VERSION
    assert ingest(workspace, tmp_path / "file", "x").id == again.id
    assert ingest(workspace, tmp_path / "file", "once more").rows_id == again.id
