"""Helpers that the speed scripts share.

They time contestants in turn, give ratios with their spread, and measure what this machine can do
at best.
"""

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

MATRIX = 2048
COPY_BYTES = 2**28
REPEATS = 5


@dataclass(frozen=True)
class Ceilings:
    """The machine's own limits, medians of REPEATS: matrix product in GFLOP/s, the rest in GB/s.

    product: two float32 matrices of MATRIX x MATRIX by torch, with its present number of threads.
    copy: bytes copied from memory to memory, counted once. cached: a file read from the page cache.
    disk: the same file read anew.
    """

    product: float
    copy: float
    cached: float
    disk: float

    def __str__(self) -> str:
        return (
            f"matrix product {self.product:.0f} GFLOP/s, memory copy {self.copy:.1f} GB/s, file"
            f" read {self.cached:.1f} GB/s from the page cache and {self.disk:.1f} GB/s from disk"
        )


def alternate(
    contestants: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Return what each contestant returned (seconds, say) in each of `rounds` rounds.

    A round runs all of them in turn, so that other load on the machine affects all alike. Every
    second round goes backwards.
    """
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name in list(contestants)[:: -1 if number % 2 else 1]:
            taken[name].append(contestants[name]())
            print(
                f"round {number + 1} of {rounds}: {name} {taken[name][-1]:.3f}",
                file=sys.stderr,
                flush=True,
            )
    return taken


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Return (median, lowest, highest) of the ratio of their time to ours, round by round.

    2.0 means that ours took half the time.
    """
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def ratio_text(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """A ratio as tables show it: median (lowest to highest)."""
    middle, low, high = ratio(ours, theirs)
    return f"{middle:.2f}x ({low:.2f} to {high:.2f})"


def time_call(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ceilings() -> Ceilings:
    """Measures the machine's limits; takes some seconds."""
    source, target = np.ones(COPY_BYTES, np.uint8), np.zeros(COPY_BYTES, np.uint8)
    with tempfile.NamedTemporaryFile() as file:
        file.write(source.tobytes())
        file.flush()
        os.fsync(file.fileno())
        path = Path(file.name)

        def from_disk() -> float:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return time_call(lambda: _read(path))

        copy = _median(lambda: time_call(lambda: np.copyto(target, source)))
        disk = _median(from_disk)
        cached = _median(lambda: time_call(lambda: _read(path)))
    return Ceilings(
        product_rate(), COPY_BYTES / copy / 1e9, COPY_BYTES / cached / 1e9, COPY_BYTES / disk / 1e9
    )


def product_rate() -> float:
    """GFLOP/s of a float32 product of two matrices of MATRIX x MATRIX; half a second."""
    left, right = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    return 2 * MATRIX**3 / _median(lambda: time_call(lambda: left @ right)) / 1e9


def machine() -> str:
    """Processor, cores, memory, versions and load, as one line for a table's head."""
    names = [
        line
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{names[0].split(':')[1].strip() if names else platform.machine()}, {os.cpu_count()}"
        f" cores, {memory:.0f} GiB, Python {platform.python_version()}, torch {torch.__version__},"
        f" load {os.getloadavg()[0]:.1f} at the start"
    )


def _median(measure: Callable[[], float]) -> float:
    measure()
    return statistics.median(measure() for _ in range(REPEATS))


def _read(path: Path) -> None:
    buffer = bytearray(2**22)
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
