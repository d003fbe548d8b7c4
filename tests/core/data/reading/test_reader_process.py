"""Reading in a separate process: whatever happens to it, this one continues, and nothing is left
behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from core.data.archives.member_choice import MemberNeeded
from core.data.reading import reader_process
from core.data.reading.columns_needed import ColumnsNeeded
from core.data.reading.reader_process import call
from core.errors import BadInput, ReaderFailed, UnreadableRow
from core.workspace import PROJECT
from tests.core.data.reading import reader_jobs

FILE = Path("/data/some.parquet")


def gone(pid: int, seconds: float = 20) -> bool:
    """Whether the process ends within some seconds."""
    for _ in range(int(seconds * 50)):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def pid_in(path: Path) -> int:
    """The number in a file, once it is there."""
    for _ in range(1000):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError("the job did not begin")


def refused(job: Any, request: dict[str, Any]) -> ReaderFailed:
    with pytest.raises(ReaderFailed) as raised:
        call(job, FILE, request)
    assert call(reader_jobs.echo, FILE, {"still": "here"}) == {"still": "here"}
    return raised.value


def test_answers_and_events_arrive_in_order() -> None:
    events: list[int] = []
    request = {"text": "é\udc80\n\x00", "list": [1, 2.5, None, True], "long": "x" * 3_000_000}
    assert call(reader_jobs.echo, FILE, request, events.append) == request
    assert events == [0, 1, 2]


@pytest.mark.parametrize(
    "number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGTERM]
)
def test_a_signal_gives_a_message(number: int) -> None:
    error = refused(reader_jobs.die, {"signal": number})
    assert str(error).startswith(
        f"'some.parquet' ended the process that read it (signal {int(number)}, "
    )
    assert error.cause == f"signal {int(number)}" and isinstance(error, BadInput)


def test_a_run_killed_from_outside_is_reported_as_such() -> None:
    assert "was killed (signal 9)" in str(refused(reader_jobs.die, {"signal": signal.SIGKILL}))


def test_an_abort_in_the_middle_of_an_answer() -> None:
    assert "signal 6" in str(refused(reader_jobs.die_in_a_word, {}))


def test_a_fault_of_the_hardware(tmp_path: Path) -> None:
    assert "signal 7" in str(refused(reader_jobs.fault, {"path": str(tmp_path / "cut")}))


@pytest.mark.parametrize("of", ["numpy", "arrow", "python"])
def test_memory_has_a_bound(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_process, "memory_limit", lambda: 3 * 2**30)
    assert str(refused(reader_jobs.hog, {"of": of})).startswith(
        "'some.parquet' needs more than 3.0 GB of memory"
    )


def test_memory_is_bounded_by_the_machine() -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert (
        reader_process.MIN_MEMORY_BYTES
        <= reader_process.memory_limit()
        <= max(machine, reader_process.MIN_MEMORY_BYTES)
    )


def test_a_child_without_progress_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_process, "IDLE_SECONDS", 1.0)
    monkeypatch.setattr(reader_process, "_POLL_SECONDS", 0.2)
    error = refused(reader_jobs.hang, {"pid": str(tmp_path / "pid")})
    assert "made no progress for 1 seconds" in str(error)
    assert gone(pid_in(tmp_path / "pid"))


def test_a_child_that_makes_progress_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_process, "IDLE_SECONDS", 1.0)
    monkeypatch.setattr(reader_process, "_POLL_SECONDS", 0.25)
    assert call(reader_jobs.quiet, FILE, {"times": 10, "seconds": 0.15}) == "at last"


def test_a_large_file_has_more_time(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(10**9)
    limit = reader_process._idle_seconds
    assert limit(tmp_path / "large") == pytest.approx(limit(tmp_path / "none") + 3000)
    assert limit(tmp_path) == limit(tmp_path / "large")
    assert limit(Path("a\0b")) == limit(tmp_path / "none")


@pytest.mark.parametrize("kind", ["BadInput", "UnreadableRow"])
def test_messages_are_the_same_across_processes(kind: str) -> None:
    with pytest.raises(BadInput) as raised:
        call(reader_jobs.refuse, FILE, {"error": kind})
    assert type(raised.value) is {"BadInput": BadInput, "UnreadableRow": UnreadableRow}[kind]
    assert str(raised.value) == {"BadInput": "a sentence", "UnreadableRow": "Row 3"}[kind]


def test_questions_keep_all_their_fields_across_processes() -> None:
    with pytest.raises(ColumnsNeeded) as columns:
        call(reader_jobs.refuse, FILE, {"error": "ColumnsNeeded"})
    error = columns.value
    assert (str(error), error.reason, error.usable) == ("why what to do", "why", True)
    assert (error.names, error.examples) == (("a", "b"), (("1", "2"), ()))
    assert error.proposal == reader_jobs.PROPOSAL
    with pytest.raises(MemberNeeded) as members:
        call(reader_jobs.refuse, FILE, {"error": "MemberNeeded"})
    assert members.value.members == reader_jobs.MEMBERS


def test_what_the_system_refuses_comes_through_with_number_and_files() -> None:
    with pytest.raises(OSError) as full:
        call(reader_jobs.refuse, FILE, {"error": "OSError"})
    assert (full.value.errno, full.value.filename, full.value.filename2) == (28, "/a/b", "/c")
    with pytest.raises(FileNotFoundError) as lost:
        call(reader_jobs.refuse, FILE, {"error": "no file"})
    assert lost.value.filename == "/x"
    with pytest.raises(OSError) as short:
        call(reader_jobs.refuse, FILE, {"error": "numpy"})
    assert short.value.errno is None and str(short.value) == "10 requested and 5 written"


def test_an_error_nobody_expected_gives_a_message_too() -> None:
    for kind, words in (("unicode", "can't decode byte 0xff"), ("key", "'x'")):
        error = refused(reader_jobs.refuse, {"error": kind})
        assert str(error).startswith("'some.parquet' cannot be read (") and words in str(error)
    assert refused(reader_jobs.refuse, {"error": "threads"}).cause == "no memory"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_when_the_caller_leaves_nothing_writes_on(
    kind: type[BaseException], tmp_path: Path
) -> None:
    def leave(event: int) -> None:
        if event == 20:
            raise kind

    with pytest.raises(kind):
        call(reader_jobs.write_on, FILE, {"folder": str(tmp_path)}, leave)
    before = len([*tmp_path.iterdir()])
    assert before >= 20
    time.sleep(0.2)
    assert len([*tmp_path.iterdir()]) == before


def test_many_at_once_and_one_of_them_dies() -> None:
    ends: dict[int, Any] = {}

    def work(number: int) -> None:
        try:
            job = reader_jobs.die if number % 3 == 0 else reader_jobs.quiet
            ends[number] = call(job, FILE, {"signal": signal.SIGSEGV, "times": 5, "seconds": 0.05})
        except BadInput as error:
            ends[number] = str(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ends[number] for number in range(12) if number % 3] == ["at last"] * 8
    assert all("signal 11" in ends[number] for number in range(0, 12, 3))


def test_a_server_that_ended_is_started_again() -> None:
    assert call(reader_jobs.echo, FILE, {}) == {}
    process = reader_process._server._process
    assert process is not None
    process.kill()
    assert gone(process.pid)
    assert call(reader_jobs.echo, FILE, {"a": 1}) == {"a": 1}


def test_a_server_that_ends_under_a_job_gives_a_message(tmp_path: Path) -> None:
    def end(event: Any) -> None:
        process = reader_process._server._process
        assert process is not None
        process.kill()

    with pytest.raises(ReaderFailed, match="ended without an answer"):
        call(reader_jobs.hang, FILE, {"pid": str(tmp_path / "pid")}, end)
    assert gone(pid_in(tmp_path / "pid"))
    assert call(reader_jobs.echo, FILE, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_reader_survives_the_one_who_asked(number: int, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from core.data.reading.reader_process import call\n"
        "from tests.core.data.reading.reader_jobs import hang\n"
        "call(hang, Path('x'), {'pid': sys.argv[1]})\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "pid")]
    asking = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.DEVNULL)
    pid = pid_in(tmp_path / "pid")
    server = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    asking.send_signal(number)
    asking.wait(30)
    assert gone(pid) and gone(server)


def test_the_process_that_forks_has_one_thread() -> None:
    call(reader_jobs.echo, FILE, {})
    process = reader_process._server._process
    assert process is not None
    assert len([*Path(f"/proc/{process.pid}/task").iterdir()]) == 1


def test_warming_up_starts_one_server() -> None:
    reader_process.stop()
    reader_process.warm_up()
    first = reader_process._server._process
    reader_process.warm_up()
    assert first is not None and reader_process._server._process is first
    assert call(reader_jobs.echo, FILE, {}) == {} and reader_process._server._process is first
