"""Good input: every dialect in every container, compared with pandas."""

import csv
import io
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import pytest

from core.data.reading import ingest as module
from core.data.reading import textblocks
from core.data.reading.dialects import detect_format
from core.data.reading.ingest import ingest
from core.data.samples import delete_sample, find_sample, list_samples, read_sample_rows
from core.data.schema import CATEGORICAL, FIELDS, LABEL, NUMERIC
from core.errors import BadInput
from core.workspace import Workspace, hash_file, open_workspace
from tests.core.data.helpers import PACK, fingerprint, rows, text, write

LINES = rows(300, seed=4)


def expected(data: bytes) -> pd.DataFrame:
    """pandas' own reading of 40 tab-separated columns."""
    return pd.read_csv(
        io.BytesIO(data),
        sep="\t",
        header=None,
        names=[LABEL, *FIELDS],
        dtype=dict.fromkeys(CATEGORICAL, str),
        keep_default_na=False,
        na_values=[""],
        quoting=csv.QUOTE_NONE,
    )


def same(actual: pd.DataFrame, wanted: pd.DataFrame) -> None:
    for column in wanted.columns:
        if column in CATEGORICAL:
            assert actual[column].astype(object).where(actual[column].notna(), None).tolist() == (
                wanted[column].astype(object).where(wanted[column].notna(), None).tolist()
            ), column
        else:
            np.testing.assert_array_equal(
                actual[column].to_numpy(float), wanted[column].to_numpy(float), column
            )


@pytest.mark.parametrize("container", PACK)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tab_separated_rows_in_every_container(
    container: str, end: str, workspace: Workspace, tmp_path: Path
) -> None:
    data = text(LINES, end)
    sample = ingest(workspace, write(tmp_path, PACK[container](data)), "a sample")
    assert (sample.container, sample.rows, sample.labelled, sample.bad_rows) == (
        container,
        300,
        True,
        0,
    )
    wanted = expected(text(LINES))
    assert sample.click_rate == pytest.approx(wanted[LABEL].mean())
    same(read_sample_rows(sample).to_pandas(), wanted)


def test_mixed_line_ends_bom_and_blank_lines_read_the_same(
    workspace: Workspace, tmp_path: Path
) -> None:
    ends = ["\n", "\r\n", "\n\n", "\r\n\r\n"]
    data = (
        b"\xef\xbb\xbf"
        + "".join("\t".join(line) + ends[i % 4] for i, line in enumerate(LINES)).encode()
    )
    sample = ingest(workspace, write(tmp_path, data), "mixed")
    assert sample.bad_rows == 0
    same(read_sample_rows(sample).to_pandas(), expected(text(LINES)))


def test_values_of_any_kind(workspace: Workspace, tmp_path: Path) -> None:
    lines = [list(line) for line in LINES]
    odd = ['say "hi"', "naïve ☃", " spaced ", "NAN0", "nulls", "0", "a,b", "'", '"']
    for place, value in enumerate(odd):
        lines[place][20] = value
        lines[place][1] = ["1.0", "-3", "+7", "1e3", ".5", "0", "2.", "-0.0", "12345678901"][place]
    lines[0][0], lines[1][0] = "1.0", "0.0"
    sample = ingest(workspace, write(tmp_path, text(lines)), "odd")
    table = read_sample_rows(sample)
    assert table["C7"].to_pylist()[: len(odd)] == odd
    assert table["I1"].to_pylist()[: len(odd)] == [1, -3, 7, 1000, 0.5, 0, 2, 0, 12345678901]
    assert table[LABEL].to_pylist()[:2] == [1, 0]


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_csv_with_columns_in_any_order(
    delimiter: str, workspace: Workspace, tmp_path: Path
) -> None:
    frame = expected(text(LINES)).astype(object)
    frame = frame.where(frame.notna(), "")
    frame.loc[0, "C7"] = f'with {delimiter} and "quotes"'
    frame = frame.rename(columns={LABEL: "Label"}).assign(Id=range(300))
    shuffled = frame[[*np.random.default_rng(0).permutation(frame.columns)]]
    path = tmp_path / "rows.csv"
    shuffled.to_csv(path, index=False, sep=delimiter)
    sample = ingest(workspace, path, "csv")
    assert sample.dialect == "csv"
    wanted = expected(text(LINES))
    wanted.loc[0, "C7"] = f'with {delimiter} and "quotes"'
    assert sample.id_column == "Id" and read_sample_rows(sample, ["Id"])["Id"].to_pylist() == [
        str(row) for row in range(300)
    ]
    same(read_sample_rows(sample, [LABEL, *FIELDS]).to_pandas(), wanted)


def test_parquet_of_numbers_and_of_text(workspace: Workspace, tmp_path: Path) -> None:
    wanted = expected(text(LINES))
    wanted.to_parquet(tmp_path / "numbers.parquet")
    wanted.astype(dict.fromkeys(NUMERIC, "Int64")).astype(str).replace(
        {"<NA>": None, "nan": None}
    ).to_parquet(tmp_path / "texts.parquet")
    for name in ("numbers", "texts"):
        sample = ingest(workspace, tmp_path / f"{name}.parquet", name)
        assert sample.dialect == sample.container == "parquet"
        same(read_sample_rows(sample).to_pandas(), wanted)


def test_rows_without_a_label_are_read(workspace: Workspace, tmp_path: Path) -> None:
    lines = [line[1:] for line in LINES]
    sample = ingest(workspace, write(tmp_path, text(lines)), "unlabelled")
    assert (sample.dialect, sample.labelled, sample.click_rate) == ("kaggle-test", False, None)
    assert LABEL not in read_sample_rows(sample).column_names


def test_a_day_file_of_the_terabyte_set_is_recognised_by_c20(tmp_path: Path) -> None:
    lines = [list(line) for line in LINES]
    kaggle = detect_format(
        write(tmp_path, text([[*line[:33], "0000000a", *line[34:]] for line in lines]))
    )
    assert (
        kaggle.dialect == "kaggle-train"
        and "C20 has 1 value in those 300 of the first rows that have one; Kaggle" in kaggle.reason
    )
    for place, line in enumerate(lines):
        line[33] = f"{place:08x}"
    day = detect_format(write(tmp_path, text(lines)))
    assert day.dialect == "criteo-1tb" and "C20 has 300 values in those 300" in day.reason
    few = detect_format(write(tmp_path, text(lines[:10])))
    assert few.dialect == "kaggle-train" and "look alike" in few.reason


def test_the_same_file_is_the_same_sample_and_is_found_again(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write(tmp_path, text(LINES))
    first = ingest(workspace, path, "one")
    second = ingest(workspace, path, "two")
    assert ingest(workspace, path, "one") == first and ingest(workspace, path, "two") == second
    assert first.id != second.id and first.rows_id == second.rows_id
    again = open_workspace(workspace.root)
    assert {sample.name for sample in list_samples(again)} == {"one", "two"}
    assert find_sample(again, "two") == second == find_sample(again, second.id)
    assert read_sample_rows(second) == read_sample_rows(first)
    assert first.rows_path.samefile(second.rows_path), "the rows take their room once"
    delete_sample(first)
    with pytest.raises(BadInput, match=r"no sample 'one'; the samples here are \['two'\]"):
        find_sample(again, "one")
    assert read_sample_rows(second).num_rows == len(LINES)
    delete_sample(second)
    assert list_samples(again) == []


@pytest.mark.usefixtures("read_in_process")
def test_a_file_that_is_there_already_is_not_read_to_its_end(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, text(LINES))
    first = ingest(workspace, path, "one")
    hashed: Future[str] = Future()
    hashed.set_result(first.content_hash)
    monkeypatch.setattr(module, "_hash_in_background", lambda path: nullcontext(hashed))
    monkeypatch.setattr(textblocks, "BLOCK_BYTES", 8192)
    shares: list[float] = []
    second = ingest(workspace, path, "two", progress=shares.append)
    assert second.rows_id == first.id and shares[0] < 0.5 and shares[1:] == [1.0]
    assert {found.name for found in workspace.samples.iterdir()} == {first.id, second.id}


def test_the_hash_is_given_up_where_the_file_is_refused(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[str] = []
    started = Event()

    def slow(path: Path, stop: Callable[[], bool]) -> str:
        started.set()
        while not stop():
            time.sleep(0.01)
        answers.append(hash_file(path, stop))
        return answers[0]

    monkeypatch.setattr(module, "hash_file", slow)
    with pytest.raises(BadInput, match="Row 301 of 'file'"):
        ingest(workspace, write(tmp_path, text(LINES) + b"7\n"), "one")
    assert started.is_set() and answers == [""]


@pytest.mark.parametrize("where", ["progress", "on_format"])
def test_ctrl_c_leaves_the_workspace_as_it_was(
    where: str, workspace: Workspace, tmp_path: Path
) -> None:
    def press(value: object) -> None:
        raise KeyboardInterrupt

    before = fingerprint(workspace)
    with pytest.raises(KeyboardInterrupt):
        ingest(workspace, write(tmp_path, text(LINES)), "x", **{where: press})  # type: ignore[arg-type]
    assert fingerprint(workspace) == before
    assert ingest(workspace, tmp_path / "file", "x").rows == len(LINES)


def test_progress_rises_to_one(workspace: Workspace, tmp_path: Path) -> None:
    shares: list[float] = []
    ingest(
        workspace,
        write(tmp_path, PACK["gzip"](text(rows(2000)))),
        "progress",
        progress=shares.append,
    )
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_real_rows(real_rows: Path, workspace: Workspace) -> None:
    sample = ingest(workspace, real_rows, "real")
    assert (sample.dialect, sample.rows, sample.bad_rows) == ("kaggle-train", 100_000, 0)
    assert sample.click_rate == pytest.approx(0.2566)
    frame = pd.read_csv(real_rows, sep="\t", header=None, usecols=[0, 2, 16], nrows=5000)
    table = read_sample_rows(sample, [LABEL, "I2", "C3"], limit=5000)
    assert (
        table["C3"].to_pylist() == frame[16].astype(object).where(frame[16].notna(), None).tolist()
    )
    np.testing.assert_array_equal(table["I2"].to_numpy(), frame[2].to_numpy(float))
