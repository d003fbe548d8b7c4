"""Half-written files are removed once their writer has ended, and never before, whatever the clock
says."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.files.durable import staging
from core.files.leftovers import part_folder, remove_leftovers_below, remove_leftovers_in

LONG_AGO = 1_000_000_000.0

WRITER = """
import sys
from pathlib import Path
from core.files.durable import staging

with staging(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def parts(folder: Path) -> list[Path]:
    return [*folder.glob(".part-*")]


def make_old(folder: Path) -> None:
    """Sets every time back, as a clock that has stepped forward does to all files."""
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def writer(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process, in the midst of writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.parametrize("clear", [remove_leftovers_in, remove_leftovers_below])
def test_files_of_a_live_process_are_kept_however_old_they_look(
    writer: subprocess.Popen[str], tmp_path: Path, clear: object
) -> None:
    make_old(tmp_path)
    assert callable(clear)
    clear(tmp_path)
    assert [path.name for path in tmp_path.rglob("half")] == ["half"]
    # Stopped, as a machine asleep is, it is still at work.
    writer.send_signal(signal.SIGSTOP)
    clear(tmp_path)
    assert [path.name for path in tmp_path.rglob("half")] == ["half"]
    writer.kill()
    writer.wait()
    clear(tmp_path)
    assert not parts(tmp_path), "though it was written a moment ago"


def test_the_next_writer_removes_leftovers_beside_its_file(
    writer: subprocess.Popen[str], tmp_path: Path
) -> None:
    writer.kill()
    writer.wait()
    assert parts(tmp_path)
    with staging(tmp_path):
        assert not [*tmp_path.rglob("half")]
    assert not parts(tmp_path)


def test_files_of_a_live_thread_are_kept(tmp_path: Path) -> None:
    ready, over = threading.Event(), threading.Event()
    seen: list[bool] = []

    def write() -> None:
        with staging(tmp_path) as folder:
            (folder / "half").write_text("half")
            ready.set()
            over.wait()
            seen.append((folder / "half").exists())

    thread = threading.Thread(target=write)
    thread.start()
    ready.wait()
    make_old(tmp_path)
    remove_leftovers_below(tmp_path)
    with staging(tmp_path):
        pass
    over.set()
    thread.join()
    assert seen == [True]
    assert not parts(tmp_path)


def test_a_fork_that_outlives_its_parent_keeps_running(tmp_path: Path) -> None:
    code = WRITER.replace(
        "sys.stdin.read()", "import os\n    if os.fork(): os._exit(0)\n    sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdin is not None
    process.stdout.readline()
    process.wait()
    remove_leftovers_below(tmp_path)
    assert [*tmp_path.rglob("half")]
    process.stdin.close()
    process.stdout.read()
    assert not parts(tmp_path), "the fork cleared up itself"


def test_a_command_that_outlives_its_parent_keeps_running(tmp_path: Path) -> None:
    """Its output goes into a folder of its parent, whose lock is free."""
    parent = f"""
import subprocess, sys, os
from pathlib import Path
from core.files.durable import staging

with staging(Path(sys.argv[1])) as folder:
    child = subprocess.Popen([sys.executable, "-c", {WRITER!r}, str(folder)])
    sys.stdin.readline()
    os._exit(1)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", parent, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == "writing\n"
    process.stdin.write("die\n")
    process.stdin.flush()
    process.wait()
    remove_leftovers_below(tmp_path)
    assert [*tmp_path.rglob("half")]
    process.stdin.close()
    process.stdout.read()
    remove_leftovers_below(tmp_path)
    assert not parts(tmp_path)


def test_a_lock_without_a_folder_and_a_folder_without_a_lock_go(tmp_path: Path) -> None:
    """Either may be what a cut of power leaves."""
    (tmp_path / ".part-thaw-0123456789abcdef.lock").touch()
    (tmp_path / ".part-thaw-fedcba9876543210").mkdir()
    remove_leftovers_in(tmp_path)
    assert not parts(tmp_path)


def test_a_sweep_between_the_making_and_the_locking_costs_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open
    swept: list[Path] = []

    def swept_at_once(path: Path, flags: int, *rights: int) -> int:
        found = real(path, flags, *rights)
        if flags & os.O_EXCL and not swept:
            swept.append(path)
            remove_leftovers_in(tmp_path)
            assert not parts(tmp_path)
        return found

    monkeypatch.setattr(os, "open", swept_at_once)
    with staging(tmp_path) as folder:
        assert folder.exists()
        remove_leftovers_in(tmp_path)
        assert folder.exists()
    assert swept


@pytest.mark.parametrize(
    ("age", "goes"), [("before the start", True), ("a day ago", False), ("new", False)]
)
def test_what_earlier_versions_left_goes_only_where_nobody_can_be_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: str, goes: bool
) -> None:
    """They held no lock: it must be older than a day and than the start of this machine."""
    up = 3 * 24 * 3600.0
    monkeypatch.setattr(time, "clock_gettime", lambda which: up)
    touched = time.time() - {"before the start": up + 60, "a day ago": up - 60, "new": 0}[age]
    for name in (".part-abcd_123", ".part-0011.json"):
        (tmp_path / "s-1" / name).mkdir(parents=True)
        os.utime(tmp_path / "s-1" / name, (touched, touched))
    remove_leftovers_below(tmp_path)
    assert bool(parts(tmp_path / "s-1")) != goes


def test_files_of_other_users_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output may lie in a folder that everybody writes to."""
    part = tmp_path / ".part-thaw-0123456789abcdef"
    (part / "replaced").mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    remove_leftovers_in(tmp_path)
    assert part.exists()


def test_a_symbolic_link_is_not_a_leftover(tmp_path: Path) -> None:
    aim = tmp_path / "aim"
    (aim / "replaced" / "theirs").mkdir(parents=True)
    (tmp_path / ".part-thaw-0123456789abcdef").symlink_to(aim)
    remove_leftovers_in(tmp_path)
    assert (aim / "replaced" / "theirs").exists()
    assert not parts(tmp_path)


def test_a_part_is_private(tmp_path: Path) -> None:
    with part_folder(tmp_path) as part:
        assert part.stat().st_mode & 0o777 == 0o700


def test_without_locks_nothing_is_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    with staging(tmp_path) as folder:
        make_old(tmp_path)
        remove_leftovers_below(tmp_path)
        assert folder.exists()
    assert not parts(tmp_path)
