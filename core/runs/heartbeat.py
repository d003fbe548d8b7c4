"""Signs of life of a process that carries runs out, and whether it has stopped giving them.

The process counts in a file of its own, by a thread, once a second; beside the count stands how
long its loop has done nothing. A process that is stopped, or whose disk hangs, no longer counts;
one whose GPU hangs counts and does nothing. Nothing here is read off a clock that may be set: who
watches sees the count change, or sees that it does not.
"""

import contextlib
import json
import os
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from core.files.durable import make_folder
from core.jobs.filesystems import shared_filesystem
from core.jobs.process_place import current_place, machine_name
from core.program import PROGRAM

BEAT_INTERVAL = 1.0
STALLED_AFTER = 15.0
"""Seconds without a beat after which a process is called stalled."""
CONFIRMED_AFTER = 3.0
"""Seconds that a watcher sees no beat itself, whatever age the last one states: the machine may
have slept."""
NO_PROGRESS_AFTER = 600.0
"""Seconds without a word of its loop after which a run that beats is called stalled."""
MAX_LOOK_GAP = 10.0
"""Seconds between two looks from which a watcher may have slept itself, and begins to watch
anew."""
_RECORD_BYTES = 512


class Heartbeat:
    """Beats into `path` as long as it is entered. key: what the beats are of, such as a run's
    claim.

    Where `record_progress` is called, the beats also say for how long it was not.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self._last_progress: float | None = None
        self._over = threading.Event()
        self._file: int | None = None
        self._shared = False

    def record_progress(self) -> None:
        """The loop says that it goes on."""
        self._last_progress = time.monotonic()

    def __enter__(self) -> "Heartbeat":
        # Without room on the disk a run may still end well; nobody then sees it beat, nor says that
        # it does not.
        with contextlib.suppress(OSError):
            make_folder(self._path.parent)
            # Held open, so that it never beats into the file of a workspace that was put in this
            # one's place.
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._shared = bool(shared_filesystem(self._path.parent))
            self._beat(0)
            threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                own, there = os.fstat(self._file), self._path.stat()
                if (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino):
                    self._path.unlink()
        self._over.set()

    def _run(self) -> None:
        assert self._file is not None
        beats = 0
        while not self._over.wait(BEAT_INTERVAL):
            beats += 1
            with contextlib.suppress(OSError):
                self._beat(beats)
        os.close(self._file)

    def _beat(self, beats: int) -> None:
        assert self._file is not None
        now = time.monotonic()
        said = {"key": self._key, "host": current_place(), "pid": os.getpid(), "beats": beats}
        idle = 0.0 if self._last_progress is None else now - self._last_progress
        said |= {"clock": round(now, 3), "idle": round(idle, 3)}
        # One length for all, written at once, so that nobody reads two halves.
        os.pwrite(self._file, json.dumps(said).ljust(_RECORD_BYTES).encode(), 0)
        if self._shared:
            # Other machines see what has reached the server.
            os.fsync(self._file)


@dataclass(frozen=True)
class Stall:
    """A process that gives no sign of life, or whose run does not go on. seconds: for how long, at
    least."""

    host: str
    pid: int
    seconds: float
    beats: bool

    @property
    def since(self) -> str:
        """The time in UTC, ISO, to the minute."""
        return (datetime.now(UTC) - timedelta(seconds=self.seconds)).isoformat(timespec="minutes")

    def message(self, run_id: str = "") -> str:
        """What is known and what to do. run_id: of the run that it carries out; "" for one that
        only waits for it."""
        since = (datetime.now().astimezone() - timedelta(seconds=self.seconds)).strftime(
            "%d %B, %H:%M"
        )
        where = f"process {self.pid} on {machine_name(self.host)}"
        if self.beats:
            return (
                f"No progress since {since}: {where} lives, but its run has not gone on. A long"
                " step of boosting or of counting may take so long; where a GPU or a disk hangs,"
                " cancel the run and resume it: it goes on from its checkpoint."
            )
        cancel = (
            f"cancel the run (`{PROGRAM} cancel --run {run_id}`) and resume it"
            if run_id
            else f"end it (`kill -KILL {self.pid}`)"
        )
        here_too = "" if self.host == current_place() else f" there, on {machine_name(self.host)}"
        return (
            f"Stalled since {since}: the worker ({where}) does not answer. It was stopped, its"
            f" machine sleeps, or a disk hangs. Continue it (`kill -CONT {self.pid}`){here_too}, or"
            f" {cancel}."
        )


@dataclass
class ChangeWatcher:
    """What one process has seen of values that should change, by its own monotonic clock."""

    _seen: dict[str, tuple[Any, float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def unchanged_for(self, key: str, value: Any) -> float:
        """Seconds that looks at `key`, none more than GAP apart, have found this value."""
        now = time.monotonic()
        with self._lock:
            before, first, last = self._seen.get(key, (None, now, now))
            if before != value or now - last > MAX_LOOK_GAP:
                first = now
            self._seen[key] = (value, first, now)
            for old in [
                one for one, (_, _, last) in self._seen.items() if now - last > MAX_LOOK_GAP
            ]:
                del self._seen[old]
        return now - first


_watcher = ChangeWatcher()


@dataclass(frozen=True)
class StallCheck:
    """What a heartbeat shows now. suspected: the last beat says that it is old, and it was not
    watched for long yet."""

    stall: Stall | None = None
    suspected: bool = False


def check_heartbeat(path: Path, key: str = "", watcher: ChangeWatcher = _watcher) -> StallCheck:
    """Whether the process that beats into `path` has stalled. key: whose beats count; "" for
    anybody's."""
    said = _read(path)
    if said is None or (key and said["key"] != key):
        return StallCheck()
    unchanged = watcher.unchanged_for(str(path), (said["key"], said["beats"]))
    age = time.monotonic() - said["clock"] if said["host"] == current_place() else 0.0
    silent = max(age, unchanged)
    if silent >= STALLED_AFTER:
        if unchanged < CONFIRMED_AFTER:
            return StallCheck(suspected=True)
        return StallCheck(Stall(said["host"], said["pid"], silent, beats=False))
    if said["idle"] >= NO_PROGRESS_AFTER:
        return StallCheck(Stall(said["host"], said["pid"], said["idle"], beats=True))
    return StallCheck()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        kinds = {
            "key": str,
            "host": str,
            "pid": int,
            "beats": int,
            "clock": int | float,
            "idle": int | float,
        }
        return said if all(isinstance(said[name], kind) for name, kind in kinds.items()) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
