"""The exported script on files as users have them: the scores, row numbers and ids that `score`
writes."""

import bz2
import csv
import errno
import gzip
import io
import json
import lzma
import os
import runpy
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.datasets import Dataset, find_dataset
from core.data.preprocessing import load_preprocessing
from core.data.schema import FIELDS
from core.inference.export import export_model
from core.inference.score_file import score_file
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.store import Run
from core.workspace import Workspace, open_workspace
from tests.core.data.helpers import packed_tar, packed_zip, packed_zstd, text
from tests.core.inference.exported import run_exported_script, unusual_rows
from tests.core.training.helpers import QUICK, pretrained, run_request

Exported = tuple[Workspace, Run, Path]
Cells = list[list[str]]


@pytest.fixture(scope="module")
def exported(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A fine-tuning run and the folder of its export."""
    place = tmp_path_factory.mktemp("exported")
    workspace = open_workspace(shutil.copytree(tiny_template, place / "tiny"))
    request = FinetuneRequest(
        find_dataset(workspace, "tiny").id,
        pretrained(workspace, "dnn").id,
        freeze_depth=1,
        train=QUICK,
    )
    run = run_request(workspace, request)
    export_model(workspace, run, place / "out")
    return workspace, run, place / "out"


def test_target_statistics_are_those_of_thaw(
    tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    """Of listed, rare, unknown and missing values, and of pairs of them."""
    workspace, dataset = tiny
    settings = {"embedding": 4, "widths": [8], "rank": 3}
    run = run_request(
        workspace,
        PretrainRequest(dataset.id, "dcnv2", "wide", QUICK, settings, statistics="pairs"),
    )
    said = export_model(workspace, run, tmp_path / "out")
    assert "preprocessing/statistics.parquet" in said["files"] and said["onnx"]["checked"]
    preprocessing = load_preprocessing(tmp_path / "out" / "preprocessing")
    assert preprocessing.n_dense == 95
    (tmp_path / "rows.tsv").write_bytes(
        text(unusual_rows()) + (workspace.uploads / "tiny.tsv").read_bytes()
    )
    script = runpy.run_path(str(tmp_path / "out" / "score.py"))
    rows = next(script["read_rows"](tmp_path / "rows.tsv", script["BadRows"](False)))[0]
    ids, numerics = script["encode"](rows, script["load_preprocessing"]())
    ours = preprocessing.encode(rows)
    np.testing.assert_array_equal(ids, ours.ids)
    np.testing.assert_allclose(numerics, ours.numerics, atol=1e-6, rtol=0)
    assert (numerics[:, 13:].std(axis=0) > 0).sum() > 60, "nearly all columns vary"
    script["main"](tmp_path / "rows.tsv", tmp_path / "alone.csv", "reject")
    score_file(workspace, run, tmp_path / "rows.tsv", tmp_path / "thaw.csv")
    alone, thaw = (pd.read_csv(tmp_path / f"{name}.csv")["score"] for name in ("alone", "thaw"))
    assert thaw.nunique() > 1000
    np.testing.assert_allclose(alone, thaw, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def cells(exported: Exported) -> Cells:
    """60 rows that are known, odd or missing."""
    known = (exported[0].uploads / "tiny.tsv").read_text().splitlines()[:40]
    return [line.split("\t") for line in known] + unusual_rows(20)


@pytest.fixture(scope="module")
def expected(exported: Exported, cells: Cells) -> np.ndarray:
    """The scores of the rows as `score` gives them."""
    place = exported[2].parent
    (place / "plain.tsv").write_bytes(text(cells))
    score_file(exported[0], exported[1], place / "plain.tsv", place / "plain.csv")
    return pd.read_csv(place / "plain.csv")["score"].to_numpy()


@pytest.fixture(scope="module")
def script(exported: Exported) -> Callable[[Path, Path, str], None]:
    """The script's main function, in this process."""
    main: Callable[[Path, Path, str], None] = runpy.run_path(str(exported[2] / "score.py"))["main"]
    return main


def separated(
    rows: Cells, delimiter: str, names: list[str] | None = None, quoting: int = csv.QUOTE_MINIMAL
) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([names, *rows] if names else rows)
    return file.getvalue().encode()


def parquet(rows: Cells) -> bytes:
    columns = dict(zip(["label", *FIELDS], zip(*rows, strict=True), strict=True))
    sink = io.BytesIO()
    numbers = {
        field: pa.array([float(one) if one else None for one in columns[field]])
        for field in FIELDS[:13]
    }
    texts = {field: pa.array([one or None for one in columns[field]]) for field in FIELDS[13:]}
    table = pa.table(
        {"label": pa.array([int(one) for one in columns["label"]]), **numbers, **texts}
    )
    pq.write_table(table, sink, row_group_size=7)
    return sink.getvalue()


def with_ids(rows: Cells) -> Cells:
    return [[*row[1:4], f"{place:06d}", *row[4:]] for place, row in enumerate(rows)]


def marked(rows: Cells) -> Cells:
    """A text that means a missing value in every empty cell, of another kind each."""
    markers = (
        "NaN",
        "nan",
        "NA",
        "N/A",
        "null",
        "NULL",
        "None",
        "<NA>",
        "\\N",
        "-",
        "?",
        " ",
        "",
        "nil",
        "NaT",
    )
    return [
        [cell or markers[(at + place) % len(markers)] for at, cell in enumerate(row)]
        for place, row in enumerate(rows)
    ]


NAMES = ["label", *FIELDS]
TENSORFLOW = [
    "clicked",
    *(f"int-feature-{number}" for number in range(1, 14)),
    *(f"categorical-feature-{number}" for number in range(1, 27)),
]
FORMS: dict[str, tuple[Callable[[Cells], bytes], int]] = {
    "labelled": (text, 1),
    "unlabelled, Windows line ends": (lambda rows: text([row[1:] for row in rows], "\r\n"), 1),
    "old Mac line ends": (lambda rows: text(rows, "\r"), 1),
    "no line end at the end": (lambda rows: text(rows)[:-1], 1),
    "a byte order mark": (lambda rows: b"\xef\xbb\xbf" + text(rows), 1),
    "commas and a header": (lambda rows: separated(rows, ",", NAMES), 2),
    "semicolons and a header in lower case": (
        lambda rows: separated(rows, ";", [*map(str.lower, NAMES)]),
        2,
    ),
    "vertical bars": (lambda rows: separated(rows, "|"), 1),
    "tabs and a header of other names": (lambda rows: separated(rows, "\t", TENSORFLOW), 2),
    "a header that counts": (lambda rows: separated(rows, "\t", [*map(str, range(40))]), 2),
    "every cell in quotation marks": (lambda rows: separated(rows, ",", NAMES, csv.QUOTE_ALL), 2),
    "labels that are ?": (lambda rows: text([["?", *row[1:]] for row in rows]), 1),
    "labels that are -1 or empty": (
        lambda rows: text([[["-1", ""][len(row[1]) % 2], *row[1:]] for row in rows]),
        1,
    ),
    "ids": (lambda rows: separated(with_ids(rows), ",", [*FIELDS[:3], "Id", *FIELDS[3:]]), 2),
    "texts for missing values": (
        lambda rows: text([[row[0], *marked([row[1:]])[0]] for row in rows]),
        1,
    ),
    "gzip": (lambda rows: gzip.compress(text(rows)), 1),
    "bzip2": (lambda rows: bz2.compress(text(rows)), 1),
    "xz": (lambda rows: lzma.compress(text(rows)), 1),
    "zstd": (lambda rows: packed_zstd(text(rows)), 1),
    "zip": (lambda rows: packed_zip(text(rows)), 1),
    "Parquet": (parquet, 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_rows_gives_the_same_scores(
    form: str,
    script: Callable[[Path, Path, str], None],
    cells: Cells,
    expected: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make, first = FORMS[form]
    # In quotation marks a cell that has some of its own would be another.
    rows = [[cell.replace('"', "").replace("\u2028", "") for cell in row] for row in cells]
    (tmp_path / "rows").write_bytes(make(rows))
    script(tmp_path / "rows", tmp_path / "alone.csv", "reject")
    found = pd.read_csv(tmp_path / "alone.csv", dtype=str)
    assert found["row"].astype(int).tolist() == list(range(first, first + 60))
    np.testing.assert_allclose(found["score"].astype(float), expected, atol=1e-5, rtol=0)
    assert list(found.columns) == [
        "row",
        *(["Id"] if form == "ids" else []),
        "score",
        "predicted_click",
    ]
    if form == "ids":
        assert found["Id"].tolist() == [f"{place:06d}" for place in range(60)]
    assert capsys.readouterr().out == f"Wrote 60 scores to {tmp_path / 'alone.csv'}.\n"


@pytest.mark.parametrize("header", [False, True])
def test_bad_rows_as_score_has_them(
    header: bool, exported: Exported, cells: Cells, tmp_path: Path
) -> None:
    bad = [list(row) for row in cells]
    bad[2][3], bad[9][0], bad[30], bad[50][20] = "oops", "2", ["1", "2"], "a" * 5000
    data = separated(bad, ",", NAMES) if header else text(bad)
    (tmp_path / "bad").write_bytes(data)
    said = score_file(exported[0], exported[1], tmp_path / "bad", tmp_path / "thaw.csv", "skip")
    done = run_exported_script(
        exported[2], tmp_path / "bad", tmp_path / "alone.csv", "--on-bad-rows", "skip"
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("thaw", "alone"))
    assert theirs["row"].equals(ours["row"]) and len(ours) == 56 and said["bad_rows"] == 4
    np.testing.assert_allclose(theirs["score"], ours["score"], atol=1e-5, rtol=0)
    assert "4 bad rows skipped, such as: Row " in done.stdout
    assert f"Row {4 if header else 3} of 'bad': I3 is 'oops'" in done.stdout
    refused = run_exported_script(exported[2], tmp_path / "bad", tmp_path / "none.csv")
    assert refused.returncode == 2 and refused.stdout == "" and refused.stderr.count("\n") == 1
    assert "I3 is 'oops'" in refused.stderr and "--on-bad-rows skip" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.csv", "bad", "thaw.csv"]


def test_a_file_that_breaks_off(
    exported: Exported, cells: Cells, expected: np.ndarray, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    many = [cells[place] for place in generator.integers(0, 40, 3000)]
    packed = gzip.compress(text(many))
    (tmp_path / "rows.gz").write_bytes(packed[: len(packed) // 2])
    refused = run_exported_script(exported[2], tmp_path / "rows.gz", tmp_path / "out.csv")
    assert (
        refused.returncode == 2
        and "truncated" in refused.stderr
        and not (tmp_path / "out.csv").exists()
    )
    done = run_exported_script(
        exported[2], tmp_path / "rows.gz", tmp_path / "out.csv", "--on-bad-rows", "skip"
    )
    assert done.returncode == 0 and "rows before the break" in done.stdout
    assert 500 < len(pd.read_csv(tmp_path / "out.csv")) < 2500


def test_outputs_that_are_refused_and_ones_that_are_not(
    exported: Exported, cells: Cells, tmp_path: Path
) -> None:
    (tmp_path / "rows.tsv").write_bytes(text(cells))
    (tmp_path / "hard").hardlink_to(tmp_path / "rows.tsv")
    (tmp_path / "soft").symlink_to(tmp_path / "rows.tsv")
    for output, sentence in (
        ("rows.tsv", "is the input itself"),
        ("hard", "is the input itself"),
        ("soft", "is the input itself"),
        (exported[2] / "model.onnx", "or the model's"),
        ("", "is a folder"),
    ):
        done = run_exported_script(exported[2], tmp_path / "rows.tsv", tmp_path / output)
        assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "rows.tsv").read_bytes() == text(cells)
    assert (
        run_exported_script(exported[2], tmp_path / "none.tsv", tmp_path / "x.csv").returncode == 2
    )
    done = run_exported_script(exported[2], tmp_path / "rows.tsv", tmp_path / "new" / "out.csv")
    assert done.returncode == 0 and (tmp_path / "new" / "out.csv").read_text().count("\n") == 61
    assert run_exported_script(exported[2], tmp_path / "rows.tsv", os.devnull).returncode == 0
    assert Path(os.devnull).is_char_device()
    (tmp_path / "two.zip").write_bytes(packed_zip(text(cells)))
    with zipfile.ZipFile(tmp_path / "two.zip", "a") as archive:
        archive.writestr("__MACOSX/._train.txt", "x")
    assert (
        run_exported_script(exported[2], tmp_path / "two.zip", tmp_path / "out.csv").returncode == 0
    )
    with zipfile.ZipFile(tmp_path / "two.zip", "a") as archive:
        archive.writestr("test.txt", "x")
    assert (
        "holds 2 files"
        in run_exported_script(exported[2], tmp_path / "two.zip", tmp_path / "out.csv").stderr
    )
    (tmp_path / "rows.tar.gz").write_bytes(packed_tar(("train.txt", text(cells))))
    assert (
        "tar archive"
        in run_exported_script(exported[2], tmp_path / "rows.tar.gz", tmp_path / "out.csv").stderr
    )


def test_unknown_columns_are_named(exported: Exported, cells: Cells, tmp_path: Path) -> None:
    many = [[*row[:14], *(f"x{value}" for value in row[14:])] for row in cells * 10]
    (tmp_path / "rows.tsv").write_bytes(text(many))
    done = run_exported_script(exported[2], tmp_path / "rows.tsv", tmp_path / "out.csv")
    assert done.returncode == 0 and "no value of C1" in done.stdout and "C9" in done.stdout
    assert (
        f"such as {many[0][14]!r} in C1: another spelling" in done.stdout
        and "another hash" in done.stdout
    )
    (tmp_path / "rows.tsv").write_bytes(text(cells * 10))
    assert (
        "no value of"
        not in run_exported_script(exported[2], tmp_path / "rows.tsv", tmp_path / "out.csv").stdout
    )


def test_a_model_that_knew_no_value_in_training_is_reported(
    exported: Exported, cells: Cells, tmp_path: Path
) -> None:
    folder = shutil.copytree(exported[2], tmp_path / "out")
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(
        json.dumps(about | {"known_in_training": dict.fromkeys(FIELDS, 0.0)})
    )
    other = [[*row[:14], *(value and f"x{value}" for value in row[14:])] for row in cells]
    for rows, said in ((other, True), (cells, False)):
        (tmp_path / "rows.tsv").write_bytes(text(rows))
        done = run_exported_script(folder, tmp_path / "rows.tsv", tmp_path / "out.csv")
        assert (
            done.returncode == 0
            and ("neither of this file nor of its own training rows" in done.stdout) is said
        )


def test_outputs_that_the_system_refuses_are_named(
    exported: Exported, cells: Cells, tmp_path: Path
) -> None:
    (tmp_path / "rows.tsv").write_bytes(text(cells))
    (tmp_path / "file").write_text("x")
    for output, why in (
        (tmp_path / "file" / "out.csv", "there is a file where its folder should be"),
        (tmp_path / "file" / "new" / "out.csv", "there is a file where its folder should be"),
        (Path("/proc/out.csv"), "No such file or directory"),
        (Path("/proc/new/out.csv"), "No such file or directory"),
        (tmp_path / ("a" * 300), "File name too long"),
        (Path("/dev/full"), "No space left on device"),
    ):
        done = run_exported_script(exported[2], tmp_path / "rows.tsv", output)
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
        assert (
            f"The output {str(output)[:200]!r} cannot be" in done.stderr
            and f"({why}); name a" in done.stderr
        )
        assert "[Errno" not in done.stderr and ".part-" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "rows.tsv"]


def test_a_full_disk_is_reported_and_nothing_is_left(exported: Exported, tmp_path: Path) -> None:
    names = runpy.run_path(str(exported[2] / "score.py"))

    def fill(part: Path) -> None:
        part.write_text("some of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = tmp_path / "new" / "deep" / "out.csv"
    with pytest.raises(
        names["Refused"], match="out.csv' is full; nothing was written. Free some space"
    ) as caught:
        names["write_whole"](target, [], fill)
    assert caught.value.status == 1 and list(tmp_path.iterdir()) == []
