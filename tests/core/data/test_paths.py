"""Paths as people paste them."""

from pathlib import Path

import pytest

from core.data.paths import clean_path
from core.errors import BadInput


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/data/train.txt", "/data/train.txt"),
        ("  /data/train.txt\n", "/data/train.txt"),
        ('"/data/train.txt"', "/data/train.txt"),
        ("'/data/a b.txt'", "/data/a b.txt"),
        ("“/data/train.txt”", "/data/train.txt"),
        ("\"'/data/train.txt'\"", "/data/train.txt"),
        ("file:///data/a%20b.txt", "/data/a b.txt"),
        ("file://localhost/data/x", "/data/x"),
        ("FILE:/data/x", "/data/x"),
        ("rows.tsv", "rows.tsv"),
        ("it's.tsv", "it's.tsv"),
        ("s3.tsv", "s3.tsv"),
    ],
)
def test_what_surrounds_a_path_goes(text: str, path: str) -> None:
    assert clean_path(text) == Path(path)


def test_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert clean_path("~/rows.tsv") == Path("/home/somebody/rows.tsv")


def test_spaces_with_a_backslash_before_them(tmp_path: Path) -> None:
    (tmp_path / "a b.tsv").touch()
    assert clean_path(str(tmp_path / "a\\ b.tsv")) == tmp_path / "a b.tsv"
    (tmp_path / "a\\ b.tsv").touch()
    assert clean_path(str(tmp_path / "a\\ b.tsv")) == tmp_path / "a\\ b.tsv"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("https://example.org/train.txt.gz", "download the file first"),
        ("HTTP://example.org/x", "download the file first"),
        ("'s3://bucket/day_0.gz'", "download the file first"),
        ("gs://bucket/x", "download the file first"),
        ("file://server/share/x", "a file on the machine 'server'"),
        ("C:\\Users\\me\\train.txt", "a Windows path"),
        ("  ", "names no file"),
        ('""', "names no file"),
    ],
)
def test_a_path_of_another_system_gets_advice(text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        clean_path(text)
