"""Failures of the system are told by their kind, name the file they are about, and no look-alike is
taken for one.

The errors are real ones wherever this machine can be brought to give them.
"""

import contextlib
import errno
import os
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import save_file

from core.errors import (
    BadInput,
    RunError,
    caused_by_gpu_failure,
    caused_by_out_of_memory,
    caused_by_system,
    explain_system_error,
)
from core.jobs.database import is_busy
from core.models.backbone import load_weights
from core.models.card import load_card
from core.training.checkpoint import read_checkpoint
from core.workspace import write_atomic
from tests.faults.disks import fill_disk, remount_read_only

NUMBERS = np.random.default_rng(0).random(200_000)
TABLE = pa.table({"a": NUMBERS})
NOBODY = 65534


def write_csv(part: Path) -> None:
    with pyarrow.csv.CSVWriter(part, TABLE.schema) as writer:
        writer.write_table(TABLE)


def by_stream(write: Callable[[IO[bytes]], object]) -> Callable[[Path], None]:
    """Writes to an open file, which is closed whatever happens."""

    def fill(part: Path) -> None:
        with part.open("wb") as stream:
            write(stream)

    return fill


WRITERS: dict[str, Callable[[Path], object]] = {
    "python": lambda part: part.write_bytes(NUMBERS.tobytes()),
    "numpy array": by_stream(lambda stream: np.save(stream, NUMBERS)),
    "numpy arrays": by_stream(lambda stream: np.savez(stream, numbers=NUMBERS)),
    "numpy bytes": NUMBERS.tofile,
    "numpy stream": by_stream(NUMBERS.tofile),
    "torch": lambda part: torch.save({"a": torch.from_numpy(NUMBERS)}, part),
    "safetensors": lambda part: save_file({"a": torch.from_numpy(NUMBERS)}, part),
    "arrow csv": write_csv,
    "parquet": lambda part: pa.parquet.write_table(TABLE, part),
}


def failure(act: Callable[[], object]) -> BaseException:
    """What `act` raises."""
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError("nothing was refused")


def said(act: Callable[[], object], root: Path) -> str:
    return explain_system_error(failure(act), root) or ""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's rights, which no file's rights would stop."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def limited(what: int, value: int) -> Iterator[None]:
    limit = resource.getrlimit(what)
    resource.setrlimit(what, (value, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, limit)


@pytest.mark.parametrize("writer", [*WRITERS])
def test_a_full_disk_is_the_disk_of_the_file(writer: str, small_disk: Path, tmp_path: Path) -> None:
    """Whatever writes: libraries that hide the errno, too, and though the unfinished file is gone
    by then."""
    fill_disk(small_disk, 300_000)
    target = small_disk / "out" / "scores.bin"
    error = failure(lambda: write_atomic(target, WRITERS[writer]))
    assert [*target.parent.iterdir()] == []
    assert (
        isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename == str(target)
    )
    elsewhere, inside = (
        explain_system_error(error, tmp_path / "workspace"),
        explain_system_error(error, small_disk),
    )
    assert (
        elsewhere
        == f"The disk with {str(target.parent)!r} is full. Free some space there, or choose another"
        " folder, then try again."
    )
    assert inside and inside.startswith(
        f"The disk with the workspace {str(small_disk)!r} is full. Free some space"
    )


def test_writing_that_no_one_names_is_judged_by_the_disk(small_disk: Path, tmp_path: Path) -> None:
    fill_disk(small_disk, 0)
    for name in ("numpy bytes", "torch"):
        assert "is full. Free" in said(lambda: WRITERS[name](small_disk / name), small_disk)  # noqa: B023
    device = Path("/dev/full")
    assert said(lambda: WRITERS["numpy bytes"](device), tmp_path).startswith(
        "A file could not be written to its end"
    )
    assert said(lambda: WRITERS["torch"](device), tmp_path).startswith(
        "A file could not be written to its end"
    )
    words = said(lambda: device.open("wb", buffering=0).write(b"1"), tmp_path)
    assert words.startswith("A disk is full. Free some space") and str(tmp_path) in words


def test_copying_to_a_full_disk_does_not_blame_the_source(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(NUMBERS.tobytes())
    fill_disk(small_disk, 0)
    words = said(
        lambda: shutil.copyfile(tmp_path / "source", small_disk / "copy"), tmp_path / "workspace"
    )
    assert words.startswith(f"The disk with {str(small_disk)!r} is full")


@pytest.mark.parametrize("writer", ["python", "numpy bytes", "arrow csv", "torch"])
def test_a_limit_on_the_size_of_files(writer: str, tmp_path: Path) -> None:
    with limited(resource.RLIMIT_FSIZE, 100_000):
        words = said(lambda: write_atomic(tmp_path / "large.bin", WRITERS[writer]), tmp_path)
    assert words.startswith(f"The file {str(tmp_path / 'large.bin')!r} would become larger than")


def test_a_file_that_may_not_be_written_is_named_and_not_the_workspace(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "closed").mkdir(mode=0o555)
    target = folder / "closed" / "scores.csv"
    for name, writer in WRITERS.items():
        with as_nobody():
            words = said(lambda: write_atomic(target, writer), tmp_path)  # noqa: B023
        assert (
            words
            == f"{str(target)!r} may not be written (permission denied): choose another folder or"
            " change its rights."
        ), name
    with as_nobody():
        by_arrow = said(lambda: pa.OSFile(str(target), "wb"), tmp_path)
        moved = said(lambda: Path(folder / "closed").rename(folder / "open"), tmp_path)
        unfinished = said(
            lambda: tempfile.mkdtemp(dir=folder / "closed", prefix=".part-"), tmp_path
        )
    assert by_arrow.startswith(f"{str(target)!r} may not be written")
    assert moved.startswith(f"{str(folder / 'open')!r} may not be written")
    assert unfinished.startswith(f"{str(folder / 'closed')!r} may not be written")


def test_a_file_that_may_not_be_read(folder: Path, tmp_path: Path) -> None:
    (folder / "rows.tsv").write_text("1")
    (folder / "rows.tsv").chmod(0)
    with as_nobody():
        words = said((folder / "rows.tsv").read_text, tmp_path)
    assert (
        words
        == f"{str(folder / 'rows.tsv')!r} may not be read (permission denied): change its rights or"
        " take another file."
    )


def test_rights_within_the_workspace(folder: Path) -> None:
    (folder / "runs").mkdir(mode=0o555)
    with as_nobody():
        words = said(lambda: (folder / "runs" / "notes").write_text("1"), folder)
    assert words.startswith(f"The workspace {str(folder)!r} may not be written (permission denied)")
    folder.chmod(0o777)
    with as_nobody():
        words = said(lambda: (folder / "runs" / "notes").write_text("1"), folder)
    assert words.startswith(
        f"{str(folder / 'runs' / 'notes')!r} in the workspace may not be written"
    )


def test_a_disk_that_is_read_only(small_disk: Path, tmp_path: Path) -> None:
    remount_read_only(small_disk)
    for name, writer in WRITERS.items():
        target, root = small_disk / "scores.csv", tmp_path / "workspace"
        words = said(lambda: write_atomic(target, writer), root)  # noqa: B023
        assert (
            words
            == f"{str(target)!r} may not be written (its disk is read-only): choose another folder."
        ), name
    assert said(lambda: (small_disk / "x").touch(), small_disk).startswith(
        f"The workspace {str(small_disk)!r} may not"
    )


def test_too_many_open_files(tmp_path: Path) -> None:
    opened: list[int] = []
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [*map(os.close, opened)])
        stack.enter_context(limited(resource.RLIMIT_NOFILE, 64))

        def open_all() -> None:
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))

        errors = [failure(open_all), failure(lambda: sqlite3.connect(tmp_path / "thaw.sqlite"))]
        sentences = [explain_system_error(error, tmp_path) for error in errors]
    assert isinstance(errors[1], sqlite3.OperationalError)
    assert (
        sentences
        == [
            "Thaw has as many files open as it may. Raise the limit (ulimit -n), then start Thaw"
            " again."
        ]
        * 2
    )


def test_memory_that_runs_out_whoever_asked_for_it(tmp_path: Path) -> None:
    class OutOfMemoryError(RuntimeError):
        """Of another library."""

    for act in (
        lambda: np.ones(2**50),
        lambda: torch.zeros(2**50),
        lambda: pa.allocate_buffer(2**50),
    ):
        error = failure(act)
        assert caused_by_out_of_memory(error) and "ran out of memory" in (
            explain_system_error(error, tmp_path) or ""
        ), repr(error)
    for error in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"
        ),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ):
        assert caused_by_out_of_memory(error) and caused_by_system(error), repr(error)
    assert not caused_by_out_of_memory(OutOfMemoryError("CUDA out of memory"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A run store's file with a table, in write-ahead mode as Thaw's."""
    with contextlib.closing(sqlite3.connect(tmp_path / "thaw.sqlite")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE runs (id TEXT)")
    return tmp_path / "thaw.sqlite"


def insert(store: Path, text: str = "r-1") -> None:
    with contextlib.closing(sqlite3.connect(store, timeout=0)) as db, db:
        db.execute("INSERT INTO runs VALUES (?)", (text,))


def test_the_store_is_busy_damaged_or_no_store(store: Path) -> None:
    with contextlib.closing(sqlite3.connect(store, isolation_level="IMMEDIATE")) as db:
        db.execute("INSERT INTO runs VALUES ('r-0')")
        assert "store is busy" in said(lambda: insert(store), store.parent)
    store.write_bytes(b"no database at all" * 500)
    assert f"The run store {str(store)!r} is damaged" in said(lambda: insert(store), store.parent)


def test_a_lock_of_the_log_that_a_stopped_process_holds_is_a_busy_store(tmp_path: Path) -> None:
    error = sqlite3.OperationalError("locking protocol")
    assert "store is busy" in (explain_system_error(error, tmp_path) or "")
    assert is_busy(error) and not is_busy(sqlite3.OperationalError("no such function: f"))


def test_the_store_on_a_disk_that_is_full_or_read_only(store: Path, small_disk: Path) -> None:
    """Full, it is called full where there is room for its index, and broken where there is none."""
    copy = small_disk / "thaw.sqlite"
    shutil.copyfile(store, copy)
    codes = []
    for free in (40_000, 0):
        ballast = fill_disk(small_disk, free)
        error = failure(lambda: insert(copy, "r" * 100_000))
        assert isinstance(error, sqlite3.OperationalError)
        codes.append(error.sqlite_errorcode & 0xFF)
        assert f"{str(small_disk)!r} is full. Free some space" in (
            explain_system_error(error, small_disk) or ""
        )
        ballast.unlink()
        for left in small_disk.glob("thaw.sqlite-*"):
            left.unlink()
    assert codes == [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR]
    assert "is full" not in (explain_system_error(error, small_disk) or ""), (
        "the same error with room again"
    )
    remount_read_only(small_disk)
    assert f"The workspace {str(small_disk)!r} may not be written" in said(
        lambda: insert(copy), small_disk
    )


def test_a_store_that_may_not_be_written(store: Path, folder: Path) -> None:
    copy = folder / "thaw.sqlite"
    shutil.copyfile(store, copy)
    folder.chmod(0o777)
    copy.chmod(0o444)
    with as_nobody():
        words = said(lambda: insert(copy), folder)
    assert words.startswith(f"The run store {str(copy)!r} may not be written")


LOOK_ALIKES = [
    ValueError("100 rows requested and 90 found"),
    OSError("a column was requested and none was there"),
    OSError("5 requested and 3 written, says the log"),
    ValueError("5 requested and 3 written"),
    ValueError("No space left on device"),
    OSError("No space left on device"),
    OSError(errno.ECONNREFUSED, "Connection refused: No space left on device"),
    RuntimeError("Disk quota exceeded"),
    RuntimeError("unexpected pos 576 vs 534"),
    ValueError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    RuntimeError(
        "[enforce fail at inline_container.cc:720] . invalid file name: /tmp/unexpected pos"
    ),
    RuntimeError("The log says: PytorchStreamWriter failed writing file data/0"),
    KeyError("unexpected pos"),
    ValueError("column 'database is locked'"),
    sqlite3.OperationalError("no such table: database is locked"),
    sqlite3.OperationalError("near 'disk is full': syntax error"),
    sqlite3.IntegrityError("UNIQUE constraint failed: sweeps.name"),
    ValueError("Permission denied"),
    RuntimeError("Read-only file system"),
    RuntimeError("the run ran out of memory budget"),
    ValueError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes."),
    RuntimeError(
        "It said: DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes."
    ),
    ValueError("Input/output error"),
    FileNotFoundError(errno.ENOENT, "No such file or directory", "/srv/Permission denied"),
    KeyError("x"),
]


@pytest.mark.parametrize("error", LOOK_ALIKES, ids=repr)
def test_words_alone_say_nothing(error: Exception, tmp_path: Path) -> None:
    assert (
        explain_system_error(error, tmp_path) is None
        and not caused_by_out_of_memory(error)
        and not caused_by_system(error)
    )


def test_a_permission_error_without_a_file_does_not_blame_the_workspace(tmp_path: Path) -> None:
    """Such as that to stop another user's process."""
    assert (
        explain_system_error(PermissionError(errno.EPERM, "Operation not permitted"), tmp_path)
        is None
    )


def test_a_failed_gpu_is_recognised_by_type_or_by_torchs_message() -> None:
    assert caused_by_gpu_failure(
        RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported")
    )
    assert caused_by_gpu_failure(torch.AcceleratorError("CUDA error: device-side assert triggered"))
    assert not caused_by_gpu_failure(ValueError("CUDA error: unspecified launch failure"))
    assert not caused_by_gpu_failure(
        RuntimeError("The log holds 'CUDA error: unspecified launch failure'")
    )


def test_what_an_error_was_raised_from_counts(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))

    def raise_while_handling(error: Exception, suppressed: bool = False) -> None:
        try:
            raise full
        except OSError:
            if suppressed:
                raise error from None
            raise error  # noqa: B904

    caused = ValueError("the archive is not closed")
    caused.__cause__ = full
    assert "is full" in (explain_system_error(caused, tmp_path) or "")
    assert "is full" in said(
        lambda: raise_while_handling(ValueError("the archive is not closed")), tmp_path
    )
    assert said(lambda: raise_while_handling(ValueError("x"), suppressed=True), tmp_path) == ""
    assert (
        said(lambda: raise_while_handling(AttributeError("a mistake in the code")), tmp_path) == ""
    )
    loop = ValueError("a"), ValueError("b")
    loop[0].__cause__, loop[1].__cause__ = loop[1], loop[0]
    assert explain_system_error(loop[0], tmp_path) is None


def test_an_impossible_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    workspace = tmp_path / "workspace"
    words = said(lambda: write_atomic(tmp_path, WRITERS["python"]), workspace)
    assert words == f"{str(tmp_path)!r} cannot be used (is a directory): choose another path."
    below = tmp_path / "file" / "scores.csv"
    assert "cannot be used (not a directory)" in said(lambda: below.write_text("1"), workspace)


def test_an_error_of_ours_is_left_as_it_is(small_disk: Path) -> None:
    """Also on a full disk: it says itself what is wrong."""
    fill_disk(small_disk, 0)
    for error in (BadInput("Row 7 is bad."), RunError("The loss is no number."), KeyError("x")):

        def write(part: Path) -> None:
            raise error  # noqa: B023

        assert failure(lambda: write_atomic(small_disk / "file", write)) is error


def test_a_failing_system_is_not_called_a_bad_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reads a file and may find it damaged: the file stays, and the error says what was
    lacking."""
    for name in ("card.json", "model.safetensors"):
        (folder / name).write_text("{}")
        (folder / name).chmod(0)
    network: Any = torch.nn.Linear(2, 1)
    for read in (
        lambda: load_card(folder),
        lambda: load_weights(network, folder / "model.safetensors"),
    ):
        with as_nobody():
            assert "may not be read (permission denied)" in said(read, folder.parent / "workspace")

    def load(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    (folder / "checkpoint.pt").write_bytes(b"whole")
    monkeypatch.setattr(torch, "load", load)
    assert caused_by_out_of_memory(
        failure(lambda: read_checkpoint(folder / "checkpoint.pt", torch.device("cpu")))
    )
    assert (folder / "checkpoint.pt").read_bytes() == b"whole"
