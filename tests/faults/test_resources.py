"""Disk, memory, permissions or a GPU run out: a message, nothing lost, and the queue continues."""

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.data.datasets import Dataset, list_datasets
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.samples import find_sample, list_samples
from core.data.split import SplitSpec
from core.errors import explain_system_error
from core.jobs.reporter import Reporter
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.runs import worker
from core.runs.launch import refresh_statuses
from core.runs.worker import OUT_OF_MEMORY_MESSAGE, explain_failure, run_worker
from core.training.checkpoint import Progress, save_checkpoint
from core.workspace import PROJECT, Workspace, open_workspace
from tests.core.data.helpers import fingerprint
from tests.core.runs.processes import start_pretender, wait_for
from tests.core.training.helpers import pretrained, run_request
from tests.faults.disks import SMALL_MEGABYTES, fill_disk, remount_read_only


def submit(workspace: Workspace, **named: Any) -> Run:
    return RunStore(workspace).submit(FinetuneRequest("d-1", "b-1", **named), "a run", "cpu")


def test_a_disk_that_fills_up_while_rows_come_in(
    tiny: tuple[Workspace, Dataset], small_disk: Path
) -> None:
    """Wherever it fills up: a sentence (pages ask system_sentence as well), and samples and
    datasets as they were."""
    source = tiny[0].uploads / "tiny.tsv"
    workspace = open_workspace(small_disk / "workspace")
    # An empty lock that an attempt leaves behind changes nothing.
    (workspace.root / "names.lock").touch()
    refused = 0
    for size in (0, 8_192, 65_536, 200_000, 500_000, 900_000, SMALL_MEGABYTES * 2**20):
        ballast = fill_disk(small_disk, size)
        before = fingerprint(workspace)
        try:
            prepare(workspace, ingest(workspace, source, "tiny"), SplitSpec(), "tiny", min_count=5)
        except Exception as error:
            refused += 1
            assert "is full" in (explain_system_error(error, workspace.root) or ""), repr(error)
            if not list_samples(workspace):
                assert fingerprint(workspace) == before
            assert not list_datasets(workspace) and not [*workspace.root.rglob(".part-*")]
        ballast.unlink()
    assert (
        refused >= 4
        and find_sample(workspace, "tiny").rows == 3000
        and len(list_datasets(workspace)) == 1
    )


def test_a_disk_that_fills_up_under_a_run(
    tiny: tuple[Workspace, Dataset], small_disk: Path
) -> None:
    """Failed or interrupted with a message, and once there is room resumed to the uninterrupted
    result."""
    workspace, dataset = tiny
    train = TrainSettings(epochs=3, batch_size=256, early_stopping=0, plateau=0, device="cpu")
    request = FinetuneRequest(dataset.id, pretrained(workspace, "dnn").id, "depth", 1, train=train)
    whole = run_request(workspace, request)
    shutil.rmtree(workspace.cache)
    shutil.copytree(workspace.root, small_disk / "workspace")
    workspace = open_workspace(small_disk / "workspace")
    store = RunStore(workspace)
    broken = 0
    for size in (0, 60_000, 150_000):
        run = store.submit(request, "broken", "cpu")
        for entry in workspace.cache.glob("prefix-*"):
            shutil.rmtree(entry)
        ballast = fill_disk(small_disk, size)
        # In a process of its own: a worker may die of a full disk.
        command = [
            sys.executable,
            "-m",
            "core.runs.worker",
            "--workspace",
            str(workspace.root),
            "--lane",
            "cpu",
        ]
        ended = subprocess.run(
            command,
            cwd=PROJECT,
            env={**os.environ, "THAW_WORKER_LINGER": "0.2", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=False,
        )
        assert ended.returncode in (0, 1), "died of a signal"
        ballast.unlink()
        refresh_statuses(workspace, store)
        after = store.get(run.id)
        if after.status != "done":
            broken += 1
            assert "is full" in after.message or after.status in ("queued", "interrupted"), (
                after.message
            )
            if after.status != "queued":
                store.resume(run.id)
            run_worker(workspace, "cpu", worker_execute(), idle_timeout=0.1)
            after = store.get(run.id)
        assert after.status == "done" and after.result is not None and whole.result is not None, (
            after.message
        )
        assert after.result.metrics == whole.result.metrics
        store.delete(run.id)
    assert broken


def worker_execute() -> Any:
    from core.runs.dispatch import execute

    return execute


def test_a_workspace_that_may_not_be_written(
    tiny: tuple[Workspace, Dataset], small_disk: Path
) -> None:
    shutil.copytree(tiny[0].root, small_disk / "workspace")
    workspace = Workspace(small_disk / "workspace")
    RunStore(workspace)
    remount_read_only(small_disk)
    for act in (
        lambda: RunStore(workspace).submit(FinetuneRequest("d-1", "b-1"), "a run", "cpu"),
        lambda: ingest(workspace, workspace.uploads / "tiny.tsv", "again", "skip"),
    ):
        with pytest.raises((OSError, sqlite3.OperationalError)) as raised:
            act()
        assert "may not be written" in (explain_system_error(raised.value, workspace.root) or ""), (
            repr(raised.value)
        )
    assert len(list_datasets(workspace)) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "is full"),
        (OSError(122, "Disk quota exceeded"), "is full"),
        (OSError("2000000 requested and 786400 written"), "is full"),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
            "is full",
        ),
        (sqlite3.OperationalError("database or disk is full"), "is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "may not be written"),
        (sqlite3.OperationalError("database is locked"), "busy"),
        (OSError(30, "Read-only file system"), "may not be written"),
        (OSError(5, "Input/output error"), "cannot be read or written"),
        (MemoryError(), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
    ],
)
def test_what_the_system_says_in_our_words(error: Exception, words: str, tmp_path: Path) -> None:
    """Without a file's name or a code; tests/core/test_errors.py has real ones, and look-alikes."""
    assert words in (explain_system_error(error, tmp_path) or "")
    assert explain_system_error(KeyError("x"), tmp_path) is None


def test_sqlite_says_a_full_disk_is_broken(small_disk: Path) -> None:
    """Where not even its index of what is new fits, SQLite speaks of an input or output error; so
    we look."""
    error = sqlite3.OperationalError("disk I/O error")
    assert "check the disk" in (explain_system_error(error, small_disk) or "")
    fill_disk(small_disk, 0)
    assert "is full. Free some space" in (explain_system_error(error, small_disk) or "")


def test_the_queue_continues_after_a_run_is_out_of_memory(tiny: tuple[Workspace, Dataset]) -> None:
    """A real one on the CPU, by a limit on the process; and CUDA's own error, raised in the
    loop."""
    workspace, _ = tiny
    limit = resource.getrlimit(resource.RLIMIT_AS)

    def execute(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        if run.finetune_request.freeze_depth == 0:
            resource.setrlimit(resource.RLIMIT_AS, (2**36, limit[1]))
            try:
                torch.zeros(2**37)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limit)
        if run.finetune_request.freeze_depth == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return RunResult()

    runs = [submit(workspace, freeze_depth=depth) for depth in range(3)]
    run_worker(workspace, "cpu", execute, idle_timeout=0.1)
    ends = [RunStore(workspace).get(run.id) for run in runs]
    assert [run.status for run in ends] == ["failed", "failed", "done"]
    assert ends[0].message == ends[1].message == OUT_OF_MEMORY_MESSAGE


def test_a_gpu_that_disappears_fails_the_run_with_a_message(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process can never use it again, so a fresh worker takes the queue over."""
    woken: list[str] = []
    monkeypatch.setattr(worker, "ensure_worker", lambda space, queue: woken.append(queue))

    def execute(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        raise RuntimeError(
            "CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later"
        )

    first, second = submit(workspace), submit(workspace)
    run_worker(workspace, "cpu", execute, idle_timeout=30)
    ended = RunStore(workspace).get(first.id)
    assert (
        ended.status == "failed"
        and "GPU failed or vanished" in ended.message
        and "Resume" in ended.message
    )
    assert RunStore(workspace).get(second.id).status == "queued" and woken == ["cpu"]


def test_the_queue_continues_after_a_run_is_killed_for_memory(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel sends SIGKILL: the run is interrupted, and whatever notices starts a worker for
    the others."""
    woken: list[str] = []
    monkeypatch.setattr("core.runs.launch.ensure_worker", lambda space, queue: woken.append(queue))
    run, _ = submit(workspace), submit(workspace)
    process = start_pretender(workspace, "stubborn")
    wait_for((workspace.root / "started").exists)
    process.kill()
    process.wait()
    store = RunStore(workspace)
    refresh_statuses(workspace, store)
    assert store.get(run.id).status == "interrupted" and woken == ["cpu"]
    refresh_statuses(workspace, store)
    assert woken == ["cpu"]


def test_a_log_that_cannot_be_written_does_not_hide_the_message(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", die)
    assert "unforeseen KeyError" in explain_failure(
        KeyError("surprise"), workspace, submit(workspace)
    )


def test_nan_weights_never_replace_a_checkpoint(tmp_path: Path) -> None:
    network: Any = torch.nn.Linear(2, 1)
    optimiser = torch.optim.AdamW(network.parameters())
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, Progress(1.0, {}, 1e-3, step=1), network.state_dict(), optimiser)
    with torch.no_grad():
        network.weight[0, 0] = np.nan
    save_checkpoint(path, Progress(1.0, {}, 1e-3, step=2), network.state_dict(), optimiser)
    kept = torch.load(path, weights_only=True)
    assert kept["progress"]["step"] == 1 and torch.isfinite(kept["network"]["weight"]).all()
