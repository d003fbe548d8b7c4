"""`prepare` and `ingest --no-prepare`, run in this process: what they make, print and refuse."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from core.cli.data_commands import split_spec
from core.cli.parser import build_parser, main
from core.data.datasets import find_dataset, list_datasets
from core.data.samples import find_sample, list_samples
from core.data.split import SplitSpec
from core.workspace import Workspace
from tests.core.data.helpers import rows, text, with_segments, write


@pytest.fixture
def thaw(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in the workspace: (exit status, standard output, standard error)."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["--workspace", str(workspace.root), *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def taken(workspace: Workspace, tmp_path: Path, thaw: Any) -> Workspace:
    """May and June, taken in but not prepared; June begins with 30 rows of May."""
    may, june = rows(600, seed=1), rows(400, seed=2)
    for name, lines in {"may": may, "june": may[:30] + june[30:]}.items():
        status, out, _ = thaw(
            "ingest", write(tmp_path, text(lines), name), "--name", name, "--no-prepare"
        )
        assert status == 0 and "No dataset was prepared" in out
    assert {sample.name for sample in list_samples(workspace)} == {"june", "may"}
    assert list_datasets(workspace) == []
    return workspace


def test_a_dataset_of_several_files(taken: Workspace, tmp_path: Path, thaw: Any) -> None:
    status, out, err = thaw(
        "prepare", "--name", "both", "--source", "may", "--target", "june", "--json"
    )
    assert status == 0, err
    said = json.loads(out)["dataset"]
    assert [one["name"] for one in said["samples"]] == ["may", "june"]
    assert said["duplicates"] == [
        {"part": "target", "other": "source", "rows": 30, "total": 400, "files": True}
    ]
    status, out, _ = thaw("datasets")
    assert "Source from 'may' (600 rows), target from 'june' (400 rows)." in out
    assert (
        "30 of the 400 rows of 'june' also occur in 'may'." in out
        and "Minimum count 2, the default for 513" in out
    )
    test = write(tmp_path, text(rows(90, seed=5)), "test")
    thaw("ingest", test, "--name", "test", "--no-prepare")
    words = [
        "prepare",
        "--name",
        "three",
        "--source",
        "may",
        "--target",
        "june",
        "--target-test",
        "test",
    ]
    assert thaw(*words, "--shuffle", "--split-seed", "3", "--min-count", "4")[0] == 0
    dataset = find_dataset(taken, "three")
    assert (dataset.spec.shuffle, dataset.spec.seed, dataset.min_count, dataset.parts[5].rows) == (
        True,
        3,
        4,
        90,
    )


def test_one_sample_split_in_another_way(taken: Workspace, thaw: Any) -> None:
    with_segments(find_sample(taken, "may"), "day", ["mon", "tue", "wed", "thu"])
    words = ["prepare", "--sample", "may", "--name"]
    assert (
        thaw(*words, "by day", "--split", "column", "--column", "day", "--target-values", "wed")[0]
        == 0
    )
    assert find_dataset(taken, "by day").parts[3].rows == 67
    status, _, err = thaw(
        *words, "by x", "--split", "column", "--column", "x", "--target-values", "wed"
    )
    assert status == 2 and "no column 'x' to split by" in err and "day" in err


def test_a_file_of_one_class_is_taken_in_where_no_dataset_is_prepared(
    thaw: Any, workspace: Workspace, tmp_path: Path
) -> None:
    lines = rows(100, seed=1)
    for line in lines:
        line[0] = "0"
    path = write(tmp_path, text(lines), "quiet")
    assert thaw("ingest", path, "--name", "quiet")[0] == 2
    assert list_samples(workspace) == []
    assert thaw("ingest", path, "--name", "quiet", "--no-prepare")[0] == 0
    status, _, err = thaw("prepare", "--sample", "quiet", "--name", "quiet")
    assert status == 2 and "There are no clicks among 100 source and target rows" in err


def test_a_refused_split_keeps_the_sample_and_says_how_to_go_on(
    thaw: Any, workspace: Workspace, tmp_path: Path
) -> None:
    path = write(tmp_path, text(sorted(rows(300, seed=1))), "sorted")
    status, _, err = thaw("ingest", path, "--name", "sorted")
    assert (
        status == 2
        and "sorted by label: all 200 rows without a click come before the 100 clicks" in err
    )
    assert "--split random" in err and "`prepare --sample`" in err
    assert thaw("prepare", "--sample", "sorted", "--name", "sorted", "--split", "random")[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Name either one sample"),
        (["--sample", "may", "--target", "june"], "Name either one sample"),
        (["--source", "may"], "needs a file with the target's training rows"),
        (["--source", "may", "--target", "april"], "There is no sample 'april'"),
        (
            ["--source", "may", "--target", "june", "--split", "random"],
            "--split, --source-share and --column do not",
        ),
        (["--source", "may", "--target", "june", "--source-share", "0.5"], "do not apply"),
        (["--sample", "may", "--shuffle"], "for rows at random use --split random"),
    ],
)
def test_what_prepare_refuses(taken: Workspace, thaw: Any, words: list[str], sentence: str) -> None:
    status, out, err = thaw("prepare", "--name", "none", *words)
    assert (status, out) == (2, "") and sentence in err
    assert list_datasets(taken) == []


def test_the_defaults_of_the_options_are_those_of_a_split() -> None:
    for words in (["ingest", "file", "--name", "x"], ["prepare", "--sample", "x", "--name", "x"]):
        options: argparse.Namespace = build_parser().parse_args(words)
        assert split_spec(options) == SplitSpec() and options.min_count is None
