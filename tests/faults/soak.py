"""A state machine of what befalls a workspace, with a model of its own of what must be there
afterwards.

The rules come in random order, most of them while a worker trains: kills of worker and app, sleep
and waking, steps of the clock, a disk that fills up, a workspace that is moved away and replaced by
a copy, commands that are killed. After every rule the listed runs are those that were submitted; in
the end each has the numbers of a run that nothing befell.
"""

import copy
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.data.dataset_rows import load_encoded
from core.data.datasets import list_datasets
from core.data.preprocessing import load_preprocessing
from core.data.samples import list_samples, read_sample_rows
from core.errors import ThawError
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.runs.launch import is_worker_alive
from tests.faults.outcomes import outcome, require_same
from tests.faults.processes import FAKETIME, Processes
from tests.faults.soak_world import ROWS, SEEDS, STRATEGIES, Key, Template, World

KEYS = st.tuples(st.sampled_from(sorted(STRATEGIES)), st.sampled_from(SEEDS))
CLOCK_STEPS = (-90_000, -4_000, -30, 30, 4_000, 90_000, 4_000_000)
"""Seconds, from half a minute to forty-six days."""
COMMAND_SECONDS = (0.0, 0.1, 0.2, 0.4, 0.8, None)
PATIENCE = 120.0
"""Seconds within which one more run must have ended."""


@dataclass
class Known:
    """The expected state of a run.

    done: its outcome was seen, and how often it had been started by then.
    """

    key: Key
    cancelled: bool = False
    disk_was_full: bool = False
    done: int | None = None


@dataclass
class Model:
    """What must be in one workspace, kept beside it. maybe_*: what was being made when its process
    was killed."""

    runs: dict[str, Known] = field(default_factory=dict)
    samples: set[str] = field(default_factory=set)
    maybe_samples: set[str] = field(default_factory=set)
    datasets: set[str] = field(default_factory=set)
    maybe_datasets: set[str] = field(default_factory=set)


class Soak(RuleBasedStateMachine):
    """See the module. Set `template`, `processes` and `folder` before it is run; `counted` says
    what happened."""

    template: ClassVar[Template]
    processes: ClassVar[Processes]
    folder: ClassVar[Path]
    counted: ClassVar[Counter[str]] = Counter()
    trail: ClassVar[list[str]] = []
    """What was done to the newest workspace, for a failure that does not come back when it is tried
    again."""

    def __init__(self) -> None:
        super().__init__()
        self.trail.clear()
        self.processes.set_clock(0)
        self.world = World(Path(tempfile.mkdtemp(dir=self.folder)), self.template)
        self.model = Model(samples={"tiny"}, datasets={"tiny"})
        self.workers: list[int] = []
        self.asleep: list[int] = []
        self.app: int | None = None
        self.full = False
        self.clock = 0
        self.backup: tuple[Path, Model] | None = None
        self.away: tuple[Path, Model] | None = None
        self.swaps = 0

    @property
    def store(self) -> RunStore:
        return self.world.store

    def try_to(self, action: Callable[[], Any]) -> Any:
        """What `action` gives; None where it says that the disk is full, or that a sleeping process
        has the store."""
        try:
            return action()
        except (sqlite3.OperationalError, ThawError, OSError) as error:
            if self.asleep and any(
                word in str(error) for word in ("locking protocol", "locked", "in use", "keeps")
            ):
                self._note("refused while another process slept")
                return None
            if not self.full:
                raise
            self._note("refused on a full disk")
            assert any(
                word in str(error) for word in ("full", "No space", "disk I/O", "unable to open")
            ), error
            return None

    def _note(self, what: str) -> None:
        self.counted[what] += 1
        self.trail.append(f"{time.monotonic():.3f} {what}")

    # What users do.

    # What a rule draws, and whether it may come, never depends on how far a worker is: Hypothesis
    # repeats sequences.

    @initialize(keys=st.lists(KEYS, min_size=8, max_size=24))
    def submit_first(self, keys: list[Key]) -> None:
        """Queues runs, so that what befalls the workspace befalls them."""
        self.submit(keys)

    @rule(keys=st.lists(KEYS, min_size=4, max_size=16))
    def submit(self, keys: list[Key]) -> None:
        """Queues runs."""
        wanted = [(self.template.request(key), "soaked") for key in keys]
        for run, key in zip(
            self.try_to(lambda: self.store.submit_all(wanted, "cpu")) or [], keys, strict=False
        ):
            self.model.runs[run.id] = Known(key, disk_was_full=self.full)
            self._note("runs")

    @rule(place=st.integers(0, 1000))
    def cancel(self, place: int) -> None:
        """Asks one run to stop."""
        if ids := sorted(self.model.runs):
            one = ids[place % len(ids)]
            self.model.runs[one].cancelled = True
            self.try_to(lambda: self.store.request_cancel(one))
            self._note("cancels")

    @rule(place=st.integers(0, 1000))
    def delete(self, place: int) -> None:
        """Deletes a run that is done."""
        ids = sorted(one for one, known in self.model.runs.items() if known.done is not None)
        if ids and not self.full and not self.asleep:
            self.store.delete(ids[place % len(ids)])
            del self.model.runs[ids[place % len(ids)]]
            self._note("deletions")

    @precondition(lambda self: not self.asleep)
    @rule(
        what=st.sampled_from(("ingest", "prepare")),
        number=st.integers(1, 3),
        seconds=st.sampled_from(COMMAND_SECONDS),
    )
    def command(self, what: str, number: int, seconds: float | None) -> None:
        """A command for a sample or dataset that may be there already, which is killed after some
        time, or not."""
        name = f"{what} {number}"
        if what == "ingest":
            words = ["ingest", str(self.world.rows_file(number)), "--name", name, "--no-prepare"]
            self._command(words, seconds, name, self.model.samples, self.model.maybe_samples)
        else:
            words = ["prepare", "--sample", "tiny", "--name", name, "--min-count", str(number)]
            self._command(words, seconds, name, self.model.datasets, self.model.maybe_datasets)

    def _command(
        self, words: list[str], seconds: float | None, name: str, sure: set[str], maybe: set[str]
    ) -> None:
        pid = self.processes.start("command", "--workspace", str(self.world.root), *words)
        status = self.processes.wait(pid, 60 if seconds is None else seconds)
        if status == 0:
            sure.add(name)
            self._note("commands done")
        elif status is None:
            assert seconds is not None, f"{words} hangs"
            self.processes.kill(pid)
            maybe.add(name)
            self._note("commands killed")
        else:
            assert self.full and status in (1, 2), (
                f"{words} ended with {status}: see {self.folder / 'log'}"
            )

    # What befalls the machine.

    @rule(linger=st.sampled_from((0.05, 30.0)))
    def start_worker(self, linger: float) -> None:
        """A worker more; where one lives this one finds the lock taken and leaves."""
        self.workers.append(self.processes.start("worker", str(self.world.root), str(linger)))
        self._note("workers started")

    @precondition(lambda self: bool(self.workers))
    @rule(seconds=st.floats(0, 0.2))
    def kill_worker(self, seconds: float) -> None:
        """Kills one of them, after a while."""
        time.sleep(seconds)
        self.processes.kill(self.workers.pop(0))
        self._note("workers killed")

    @rule()
    def restart_app(self) -> None:
        """Kills the app, where there is one, and starts another."""
        if self.app is not None:
            self.processes.kill(self.app)
            self._note("apps killed")
        self.app = self.processes.start("app", str(self.world.root))

    @precondition(lambda self: not self.asleep and (self.workers or self.app))
    @rule()
    def sleep(self) -> None:
        """Stops every process, as a laptop does whose lid is closed, or a container that is
        paused."""
        self.asleep = [*self.workers, *([self.app] if self.app else [])]
        for _ in range(100):
            for pid in self.asleep:
                self.processes.signal(pid, signal.SIGSTOP)
            if self.world.may_be_written():
                break
            # Stopped within a transaction, where others have to wait: that is no fault, but takes
            # half a minute.
            for pid in self.asleep:
                self.processes.signal(pid, signal.SIGCONT)
        self._note("sleeps")

    @precondition(lambda self: bool(self.asleep))
    @rule()
    def wake(self) -> None:
        """Let them continue."""
        for pid in self.asleep:
            self.processes.signal(pid, signal.SIGCONT)
        self.asleep = []

    @precondition(lambda self: FAKETIME is not None)
    @rule(step=st.sampled_from(CLOCK_STEPS))
    def step_clock(self, step: int) -> None:
        """Sets the clock of every process to another time, forwards or back."""
        self.clock += step
        self.processes.set_clock(self.clock)
        self._note("clock steps")

    @precondition(lambda self: self.world.has_disk and not self.full)
    @rule(left=st.sampled_from((0, 4096, 65_536, 400_000)))
    def fill_disk(self, left: int) -> None:
        """From now on next to nothing can be written."""
        self.world.fill(left)
        self.full = True
        for known in self.model.runs.values():
            known.disk_was_full = True
        self._note("full disks")

    @precondition(lambda self: self.full)
    @rule()
    def free_disk(self) -> None:
        """There is room again."""
        self.world.free()
        self.full = False

    @rule()
    def a_moment(self) -> None:
        """Nothing: Hypothesis begins with the rule that comes first by the number of its arguments
        and by its name."""
        time.sleep(0.02)

    @rule(seconds=st.floats(0, 0.3))
    def pause(self, seconds: float) -> None:
        """Lets the worker work."""
        time.sleep(seconds)

    # Workspaces that are swapped.

    @precondition(lambda self: not self.full and not self.asleep)
    @rule()
    def save_copy(self) -> None:
        """Copy the workspace while no process works in it."""
        self._end_all()
        if self.backup:
            shutil.rmtree(self.backup[0])
        self.swaps += 1
        self.backup = self.world.copy(f"backup-{self.swaps}"), copy.deepcopy(self.model)
        self._note("backups")

    @precondition(lambda self: bool(self.backup) and not self.full and not self.away)
    @rule(at_once=st.booleans(), seconds=st.floats(0, 0.1))
    def restore(self, at_once: bool, seconds: float) -> None:
        """Moves the workspace away, under a worker that may be training, and puts the copy in its
        place."""
        assert self.backup
        self.swaps += 1
        copied = self.backup[0]
        ready = Path(shutil.copytree(copied, self.world.disk / "ready")) if at_once else None
        self.away = self.world.disk / f"away-{self.swaps}", self.model
        self.world.root.rename(self.away[0])
        time.sleep(seconds)
        assert not self.world.root.exists(), f"made anew by nobody: {self.world.files()}"
        ready.rename(self.world.root) if ready else shutil.copytree(copied, self.world.root)
        self.model = copy.deepcopy(self.backup[1])
        for known in self.model.runs.values():
            # The journal tells a copy from what it was copied from.
            known.done = None if known.done is None else 0
        self._note("workspaces swapped")

    @precondition(lambda self: bool(self.away) and not self.full)
    @rule(seconds=st.floats(0, 0.1))
    def swap_back(self, seconds: float) -> None:
        """Puts the workspace that was moved away back in its place."""
        assert self.away
        shutil.rmtree(self.world.disk / "gone", ignore_errors=True)
        self.world.root.rename(self.world.disk / "gone")
        time.sleep(seconds)
        self.away[0].rename(self.world.root)
        self.model, self.away = self.away[1], None
        self._note("workspaces swapped")

    # What must hold.

    @invariant()
    def nothing_lost_or_made(self) -> None:
        """The listed runs are those that were submitted, each as far as it can have come."""
        runs = self.try_to(self.store.list)
        if runs is None:
            return
        assert sorted(run.id for run in runs) == sorted(self.model.runs), "runs were lost or made"
        for run in runs:
            self._check_state(run, self.model.runs[run.id])

    def _check_state(self, run: Run, known: Known) -> None:
        allowed = {"queued", "running", "interrupted", "done"}
        allowed |= {"cancelled"} if known.cancelled else set()
        allowed |= {"failed"} if known.disk_was_full else set()
        assert run.status in allowed, f"{run.id} ({known.key}) is {run.status}: {run.message}"
        if known.done is not None:
            assert run.status == "done", f"{run.id} was done and is {run.status}"
        elif run.status == "done":
            known.done = self.processes.started(self.world.root).get(run.id, 0)

    @rule()
    def settle(self) -> None:
        """With room and awake, a worker brings every run to its end; then everything is
        compared."""
        self.free_disk()
        self.wake()
        left, end = -1, 0.0
        while waiting := [run for run in self.store.list() if run.status != "done"]:
            if len(waiting) != left:
                left, end = len(waiting), time.monotonic() + PATIENCE
            assert time.monotonic() < end, (
                f"nothing ended in {PATIENCE} s: {[(r.id, r.status) for r in waiting]}"
            )
            for run in waiting:
                known = self.model.runs[run.id]
                self._check_state(run, known)
                if run.status in RESUMABLE_STATUSES:
                    known.cancelled = known.disk_was_full = False
                    self.store.resume(run.id)
            if not is_worker_alive(self.world.workspace, "cpu"):
                self.start_worker(0.3)
            time.sleep(0.02)
        self.nothing_lost_or_made()
        self._end_all()
        last = self.processes.start("worker", str(self.world.root), "0.0")
        assert self.processes.wait(last, 60) == 0
        self._compare_all()
        self._note("settled")

    def _end_all(self) -> None:
        """Kills every process."""
        for pid in [*self.processes.alive]:
            self.processes.kill(pid)
        self.workers, self.asleep, self.app = [], [], None

    def _compare_all(self) -> None:
        workspace, begun = self.world.workspace, self.processes.started(self.world.root)
        for one, known in self.model.runs.items():
            found = outcome(workspace, self.store, self.store.get(one))
            require_same(found, self.template.unbroken[known.key], f"{one} {known.key}")
            assert known.done == begun.get(one, 0), f"{one} was done, and begun again"
            self._note("runs compared")
        left = [
            path
            for path in self.world.files()
            if ".part-" in path or path.endswith("checkpoint.pt")
        ]
        assert not left, f"left behind: {left}"
        folders = {path.name for path in workspace.runs.iterdir() if path.is_dir()}
        assert folders == set(self.model.runs), (
            f"folders of no run: {folders - set(self.model.runs)}"
        )
        self._compare_data()

    def _compare_data(self) -> None:
        """What is listed is what was made, and whole."""
        workspace, model = self.world.workspace, self.model
        samples = {sample.name: sample for sample in list_samples(workspace)}
        assert model.samples <= set(samples) <= model.samples | model.maybe_samples, sorted(samples)
        for sample in samples.values():
            assert read_sample_rows(sample).num_rows == sample.rows == ROWS
        datasets = {dataset.name: dataset for dataset in list_datasets(workspace)}
        assert model.datasets <= set(datasets) <= model.datasets | model.maybe_datasets, sorted(
            datasets
        )
        for dataset in datasets.values():
            rows = load_encoded(
                workspace, dataset, load_preprocessing(dataset.folder / "preprocessing")
            )
            assert len(rows.ids) == dataset.rows == ROWS

    def teardown(self) -> None:
        """The last comparison, unless one has failed; then nothing is left of it."""
        sound = sys.exc_info()[0] is None
        try:
            if sound:
                self.settle()
            if sound and self.away:
                self.swap_back(0.0)
                self.settle()
        finally:
            self._end_all()
            self.world.close()
