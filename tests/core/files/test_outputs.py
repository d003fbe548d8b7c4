"""Output paths: every kind that must be refused, and nothing left behind by a failure."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadInput, RunError
from core.files import outputs
from core.files.outputs import check_output, check_output_folder, output_folder, write_output


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """An input in a folder of its own."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "rows.tsv"
    path.write_text("the rows")
    return path


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    "way", ["itself", "relative", "dotted", "symbolic link", "link to a link", "hard link"]
)
def test_an_output_that_is_the_input_is_refused(
    way: str, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.csv"
    if way == "itself":
        output = rows
    elif way == "relative":
        monkeypatch.chdir(tmp_path)
        output = Path("data/rows.tsv")
    elif way == "dotted":
        output = tmp_path / "data" / ".." / "data" / "rows.tsv"
    elif way == "symbolic link":
        output.symlink_to(rows)
    elif way == "link to a link":
        (tmp_path / "first").symlink_to(rows)
        output.symlink_to(tmp_path / "first")
    else:
        output.hardlink_to(rows)
    before = listing(tmp_path)
    with pytest.raises(BadInput, match="is the input .*rows.tsv' itself"):
        write_output(output, lambda part: part.write_text("scores"), [tmp_path / "another", rows])
    assert rows.read_text() == "the rows" and listing(tmp_path) == before


def test_invalid_outputs_are_refused(rows: Path, tmp_path: Path) -> None:
    os.symlink("loop", tmp_path / "loop")  # noqa: PTH211
    for output, why in (
        (tmp_path, "is a folder; name a file in it"),
        (Path(), "is a folder"),
        (rows / "out.csv", "Not a directory"),
        (rows / "new" / "out.csv", "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "a\x00b", "null byte"),
        (tmp_path / "loop", "symbolic links"),
        (Path("/proc/no/such/place"), "cannot be written"),
    ):
        with pytest.raises(BadInput, match=why):
            check_output(output)
    with pytest.raises(BadInput, match="is not empty"):
        check_output_folder(rows.parent)
    with pytest.raises(BadInput, match="is a file"):
        check_output_folder(rows)
    with pytest.raises(BadInput, match="Not a directory"):
        check_output_folder(rows / "out")
    assert listing(tmp_path) == ["data", "data/rows.tsv", "loop"]


def test_a_folder_or_file_without_permission(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # The tests may run as root, to whom nothing is forbidden.
    with monkeypatch.context() as patch:
        patch.setattr(outputs.tempfile, "TemporaryFile", refused)
        for check in (check_output, check_output_folder):
            with pytest.raises(
                BadInput, match="folder .*data' cannot be written .Permission denied.; name another"
            ):
                check(tmp_path / "data" / "new")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(BadInput, match="is a read-only file"):
        check_output(rows)


def test_missing_folders_are_made_and_go_again_when_writing_fails(tmp_path: Path) -> None:
    output = tmp_path / "a" / "b" / "out.csv"
    check_output(output)
    assert listing(tmp_path) == []

    def fail(part: Path) -> None:
        part.write_text("half")
        assert output.parent in part.parents, "on the output's own disk"
        raise RunError("no")

    with pytest.raises(RunError, match="no"):
        write_output(output, fail)
    assert listing(tmp_path) == []
    write_output(output, lambda part: part.write_text("whole"))
    with pytest.raises(RunError, match="no"):
        write_output(output, fail)
    assert output.read_text() == "whole" and listing(tmp_path) == ["a", "a/b", "a/b/out.csv"]


def test_permissions_are_the_umasks_or_those_of_the_file_replaced(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_output(tmp_path / "new", lambda part: part.write_text(""))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    write_output(tmp_path / "new", lambda part: part.write_text("x"))
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "out.csv")
    for content in ("first", "second"):
        write_output(tmp_path / "link", lambda part, content=content: part.write_text(content))  # type: ignore[misc]
        assert (tmp_path / "link").is_symlink() and (
            tmp_path / "real" / "out.csv"
        ).read_text() == content


def test_pipes_and_devices_get_the_finished_bytes(tmp_path: Path) -> None:
    null = Path(os.devnull).stat()
    write_output(Path(os.devnull), lambda part: part.write_text("gone"))
    assert Path(os.devnull).stat().st_rdev == null.st_rdev and stat.S_ISCHR(
        Path(os.devnull).stat().st_mode
    )
    os.mkfifo(tmp_path / "pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_output(tmp_path / "pipe", lambda part: part.write_text("rows"))
    reader.join()
    assert got == ["rows"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("to", ["pipe", "file", "null"])
def test_the_commands_own_output_is_refused(to: str, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from core.files.outputs import write_output\n"
        "write_output(Path('/dev/stdout'), lambda part: part.write_text('scores'))"
    )
    with (tmp_path / "said").open("w") as file:
        outs: dict[str, Any] = {"pipe": subprocess.PIPE, "file": file, "null": subprocess.DEVNULL}
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=outs[to],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    # Nothing is lost where everything is thrown away.
    assert (done.returncode == 0) == (to == "null")
    assert to == "null" or "standard output, which carries its messages" in done.stderr
    assert (tmp_path / "said").read_text() == ""


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(part: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda _: type("", (), {"free": 0}))
    with pytest.raises(RunError, match="disk of the output .*out.csv' is full"):
        write_output(tmp_path / "out.csv", fill)
    # It may be another disk, such as the workspace's, that is full.
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda _: type("", (), {"free": 2**30}))
    with pytest.raises(OSError, match="No space"):
        write_output(tmp_path / "out.csv", fill)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("kind", ["new", "nested", "empty", "link"])
def test_a_folder_is_there_whole_or_not_at_all(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" if kind == "nested" else tmp_path / "out"
    if kind in ("empty", "link"):
        (tmp_path / "real").mkdir()
        target = tmp_path / "real"
    if kind == "link":
        target = tmp_path / "out"
        target.symlink_to(tmp_path / "real")
    before = listing(tmp_path)
    with pytest.raises(RunError), output_folder(target) as folder:
        (folder / "x").touch()
        raise RunError("no")
    assert listing(tmp_path) == before
    inode = target.stat().st_ino if target.exists() else None
    with output_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "x").write_text("content")
        assert not (target / "sub").exists()
    assert listing(target) == ["sub", "sub/x"] and (target / "sub" / "x").read_text() == "content"
    # A folder that was there may be a mount point or somebody's working directory.
    assert inode in (None, target.stat().st_ino)
