"""Heartbeats of a process that runs jobs, and whether they have stopped.

A thread of the process increments a count in a file of its own once a second. Beside the count it
writes for how long its main loop has made no progress. A process that is stopped, or whose disk
hangs, stops counting; one whose GPU hangs counts on without progress. No decision depends on a
clock that may be set: a watcher sees the count change, or sees that it does not.
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
from core.jobs.process_location import current_location, machine_name
from core.program import PROGRAM

BEAT_INTERVAL = 1.0
STALLED_AFTER = 15.0
"""Seconds without a beat after which a process has stalled."""
CONFIRMED_AFTER = 3.0
"""Seconds for which a watcher must see no beat itself, however old the last one: the machine may
have slept."""
NO_PROGRESS_AFTER = 600.0
"""Seconds without progress after which a run has stalled, although its process beats."""
MAX_LOOK_GAP = 10.0
"""Seconds between two looks after which a watcher starts anew: it may have slept itself."""
_RECORD_BYTES = 512


class Heartbeat:
    """Beats into a file while it is entered.

    Where `record_progress` is called, the beats also say for how long it was not.

    Args:
        path: the file.
        key: what the beats are of, such as a run's claim.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self._last_progress: float | None = None
        self._over = threading.Event()
        self._file: int | None = None
        self._shared = False

    def record_progress(self) -> None:
        """Record that the main loop makes progress."""
        self._last_progress = time.monotonic()

    def __enter__(self) -> "Heartbeat":
        # On a full disk a run may still end well: without a heartbeat file nothing is reported.
        with contextlib.suppress(OSError):
            make_folder(self._path.parent)
            # Kept open, so that it never writes into a workspace put in the place of this one.
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
        record = {"key": self._key, "host": current_location(), "pid": os.getpid(), "beats": beats}
        idle = 0.0 if self._last_progress is None else now - self._last_progress
        record |= {"clock": round(now, 3), "idle": round(idle, 3)}
        # Records of one length, each written at once, so that a reader never sees two halves.
        os.pwrite(self._file, json.dumps(record).ljust(_RECORD_BYTES).encode(), 0)
        if self._shared:
            # Other machines see only what has reached the server.
            os.fsync(self._file)


@dataclass(frozen=True)
class Stall:
    """A process that gives no heartbeat, or whose run makes no progress.

    Args:
        host: current_location() of the process (core.jobs.process_location).
        pid: its process id there.
        seconds: for how long, at least.
        beats: whether it still gives heartbeats.
    """

    host: str
    pid: int
    seconds: float
    beats: bool

    @property
    def since(self) -> str:
        """The time in UTC, ISO, to the minute."""
        return (datetime.now(UTC) - timedelta(seconds=self.seconds)).isoformat(timespec="minutes")

    def message(self, run_id: str = "") -> str:
        """Return what is known and what to do.

        Args:
            run_id: of the run that the process runs; "" for a run that only waits for the process.
        """
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
        here_too = (
            "" if self.host == current_location() else f" there, on {machine_name(self.host)}"
        )
        return (
            f"Stalled since {since}: the worker ({where}) does not answer. It was stopped, its"
            f" machine sleeps, or a disk hangs. Continue it (`kill -CONT {self.pid}`){here_too}, or"
            f" {cancel}."
        )


@dataclass
class ChangeWatcher:
    """Remembers when values were last seen to change, by this process's monotonic clock."""

    _seen: dict[str, tuple[Any, float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def unchanged_for(self, key: str, value: Any) -> float:
        """Return for how many seconds `key` has had this value.

        Counted are only looks at most MAX_LOOK_GAP apart: over a longer gap the machine may have
        slept.
        """
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
    """What a heartbeat shows now.

    Args:
        stall: that the process has stalled.
        suspected: that the last beat looks old, but has not been watched for long enough.
    """

    stall: Stall | None = None
    suspected: bool = False


def check_heartbeat(path: Path, key: str = "", watcher: ChangeWatcher = _watcher) -> StallCheck:
    """Check whether the process that beats into a file has stalled.

    Args:
        path: the file.
        key: only beats of this key count; "" for any.
        watcher: what remembers earlier looks.
    """
    record = _read(path)
    if record is None or (key and record["key"] != key):
        return StallCheck()
    unchanged = watcher.unchanged_for(str(path), (record["key"], record["beats"]))
    age = time.monotonic() - record["clock"] if record["host"] == current_location() else 0.0
    silent = max(age, unchanged)
    if silent >= STALLED_AFTER:
        if unchanged < CONFIRMED_AFTER:
            return StallCheck(suspected=True)
        return StallCheck(Stall(record["host"], record["pid"], silent, beats=False))
    if record["idle"] >= NO_PROGRESS_AFTER:
        return StallCheck(Stall(record["host"], record["pid"], record["idle"], beats=True))
    return StallCheck()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kinds = {
            "key": str,
            "host": str,
            "pid": int,
            "beats": int,
            "clock": int | float,
            "idle": int | float,
        }
        return (
            record if all(isinstance(record[name], kind) for name, kind in kinds.items()) else None
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
