"""A file is on the disk before it gets its name, and replacing one never leaves its name empty."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import RunError
from core.files import durable
from core.files.durable import (
    make_folder,
    publish_folder,
    remove_folder,
    remove_folders,
    staging,
    sync_tree,
    write_file,
)
from core.files.leftovers import remove_leftovers_in
from core.files.write_guard import guard_writes


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of the disk, in order."""
    found: list[str] = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def synced(descriptor: int) -> None:
        found.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")  # noqa: PTH115
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        found.append(f"rename {path.name}")
        return rename(path, target)

    def replaced(path: Path, target: Path) -> Path:
        found.append(f"rename {path.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(Path, "replace", replaced)
    yield found


def folder_of(parent: Path, word: str) -> Path:
    (parent / "it" / "inner").mkdir(parents=True)
    (parent / "it" / "inner" / "file").write_text(word)
    return parent / "it"


def test_a_file_is_synced_then_named_then_its_name_is_synced(
    tmp_path: Path, calls: list[str]
) -> None:
    write_file(tmp_path / "a.txt", lambda part: part.write_text("a"))
    assert calls == ["sync a.txt", "rename a.txt", f"sync {tmp_path.name}"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_synced_from_within_then_named_then_its_name_is_synced(
    tmp_path: Path, calls: list[str]
) -> None:
    with staging(tmp_path) as new:
        publish_folder(folder_of(new, "new"), tmp_path / "it")
    assert calls == ["sync file", "sync inner", "sync it", "rename it", f"sync {tmp_path.name}"]
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    write_file(tmp_path / "a.txt", lambda part: part.write_text("old"))
    with pytest.raises(ZeroDivisionError):
        write_file(tmp_path / "a.txt", lambda part: part.write_text("new" * (1 // 0)))
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("system", ["exchanges", "cannot exchange"])
def test_a_folder_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system == "cannot exchange":
        monkeypatch.setattr(durable, "_swap", lambda one, other: False)
    for word in ("old", "new"):
        with staging(tmp_path) as new:
            publish_folder(folder_of(new, word), tmp_path / "it")
    assert (tmp_path / "it" / "inner" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


@pytest.mark.parametrize("at", range(1, 8))
@pytest.mark.parametrize("system", ["exchanges", "cannot exchange"])
def test_a_kill_at_any_step_of_replacing_leaves_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, at: int
) -> None:
    """Every rename and every sync of a name ends the process; the next writer there finds the old
    or the new."""
    with staging(tmp_path) as new:
        publish_folder(folder_of(new, "old"), tmp_path / "it")
    child = os.fork()
    if child == 0:
        left = [at]

        def dying(call: object) -> object:
            def run(*given: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return call(*given)  # type: ignore[operator]

            return run

        for owner, name in ((Path, "rename"), (os, "fsync")):
            setattr(owner, name, dying(getattr(owner, name)))
        if system == "cannot exchange":
            durable._swap = lambda one, other: False
        with staging(tmp_path) as new:
            publish_folder(folder_of(new, "new"), tmp_path / "it")
        os._exit(0)
    os.waitpid(child, 0)
    remove_leftovers_in(tmp_path)
    assert (tmp_path / "it" / "inner" / "file").read_text() in ("old", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_a_replacing_that_fails_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with staging(tmp_path) as new:
        publish_folder(folder_of(new, "old"), tmp_path / "it")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.parent.name == "new" and target.exists() is False and target.name == "it":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(durable, "_swap", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input"), staging(tmp_path) as new:
        publish_folder(folder_of(new, "new"), tmp_path / "it")
    assert (tmp_path / "it" / "inner" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_a_removed_file_loses_its_name_first(tmp_path: Path, calls: list[str]) -> None:
    remove_folder(folder_of(tmp_path, "old"))
    assert calls == ["rename it", f"sync {tmp_path.name}"]
    assert not [*tmp_path.iterdir()]


def test_all_that_is_synced_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        sync_tree(folder_of(tmp_path, "mine"))
    finally:
        os.umask(before)
    assert {
        path.stat().st_mode & 0o777 for path in (tmp_path / "it", tmp_path / "it" / "inner")
    } == {0o700}
    assert (tmp_path / "it" / "inner" / "file").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("there", ["a file", "a link to nothing", "an empty folder"])
def test_a_folder_takes_the_place_of_whatever_is_there(tmp_path: Path, there: str) -> None:
    if there == "a file":
        (tmp_path / "it").write_text("in the way")
    elif there == "a link to nothing":
        (tmp_path / "it").symlink_to(tmp_path / "nowhere")
    else:
        (tmp_path / "it").mkdir()
    with staging(tmp_path) as new:
        publish_folder(folder_of(new, "new"), tmp_path / "it")
    assert (tmp_path / "it" / "inner" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_many_are_removed_at_once_and_the_absent_are_passed_over(
    tmp_path: Path, calls: list[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    remove_folders([tmp_path / name for name in ("a", "gone", "b")])
    assert [call for call in calls if call.startswith("sync")] == [f"sync {tmp_path.name}"]
    assert not [*tmp_path.iterdir()]


def test_what_is_staged_is_synced_once_it_is_named(tmp_path: Path, calls: list[str]) -> None:
    """Within a part, which may be thrown away, nothing waits for the disk."""
    with staging(tmp_path) as new:
        write_file(new / "a.txt", lambda part: part.write_text("a"))
        assert calls == ["rename a.txt"]
        publish_folder(new, tmp_path / "it")
    assert calls == [
        "rename a.txt",
        "sync a.txt",
        "sync new",
        "rename new",
        f"sync {tmp_path.name}",
    ]


@pytest.mark.parametrize("looks", [0, 1])
def test_a_folder_that_may_no_longer_be_created_leaves_nothing_behind(
    tmp_path: Path, looks: int
) -> None:
    """Another workspace may come between a look and the making of the folder."""
    left = [looks]

    def check() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise RunError("replaced")

    (tmp_path / "there").mkdir()
    with guard_writes(check), pytest.raises(RunError):
        make_folder(tmp_path / "there" / "runs" / "r-1")
    assert [*tmp_path.rglob("*")] == [tmp_path / "there"]
