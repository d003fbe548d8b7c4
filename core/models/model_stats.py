"""Parameters and operations of each architecture on a dataset. Free of torch.

Only a built network knows its stages, and building one needs torch, which no page loads. So another
process counts them once, and the result is cached in the workspace.
"""

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.datasets import Dataset
from core.data.target_statistics import count_dense
from core.errors import BadInput, Damaged
from core.models.card import StageCard
from core.models.recommended_settings import choose_settings, pretraining_rows
from core.models.registry import ARCHITECTURES, complete_settings, settings_to_flags
from core.stored import load_stored, parse_stored
from core.workspace import PROJECT, Workspace, hash_file, hash_json, write_json

StatsRequest = Mapping[str, dict[str, Any]]
"""Architectures, each with the settings that differ from its defaults."""


@dataclass(frozen=True)
class ModelStats:
    """An architecture with its settings, on the vocabulary of a dataset.

    Args:
        architecture: a key of ARCHITECTURES.
        stages: from the input up, without the head.
        values: size of the vocabulary over all fields, which is the number of embedding vectors.
        representation: floats per row, and per member, that the last stage returns.
        members: of an ensemble, else 1.
    """

    architecture: str
    stages: tuple[StageCard, ...]
    values: int
    representation: int
    members: int

    @property
    def parameters(self) -> int:
        """Scalars in all stages."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def flops(self) -> int:
        """Floating-point operations per row of the forward pass; a multiply-add counts as two."""
        return sum(stage.flops for stage in self.stages)


def load_stats(
    workspace: Workspace, dataset: Dataset, wanted: StatsRequest, statistics: str = "none"
) -> dict[str, ModelStats]:
    """The cached counts of the requested architectures, by name; damaged files count as missing.

    Args:
        workspace: of the dataset.
        dataset: has the vocabulary.
        wanted: architectures, each with the settings that differ from its defaults.
        statistics: among the inputs, of `core.jobs.requests.STATISTICS`.
    """
    found = {}
    for name, settings in wanted.items():
        with suppress(Damaged):
            path = _path(workspace, dataset, name, settings, statistics)
            found[name] = load_stored(
                path, "delete it", lambda values: parse_stored(ModelStats, values)
            )
    return found


def save_stats(
    workspace: Workspace,
    dataset: Dataset,
    stats: ModelStats,
    settings: dict[str, Any],
    statistics: str = "none",
) -> None:
    """Cache the counts of an architecture with these settings and statistics."""
    path = _path(workspace, dataset, stats.architecture, settings, statistics)
    write_json(path, dataclasses.asdict(stats))


def count_in_background(
    workspace: Workspace, dataset: Dataset, wanted: StatsRequest, statistics: str = "none"
) -> None:
    """Start processes that count what is not cached, and return at once; see `load_stats`.

    Args:
        workspace: of the dataset.
        dataset: has the vocabulary.
        wanted: architectures, each with the settings that differ from its defaults.
        statistics: among the inputs, of `core.jobs.requests.STATISTICS`.

    Raises:
        BadInput: with the message of a process that ended without a result, because the settings
            make no network.
    """
    with _lock:
        _count_missing(workspace, dataset, wanted, statistics)


def _count_missing(
    workspace: Workspace, dataset: Dataset, wanted: StatsRequest, statistics: str
) -> None:
    cached = load_stats(workspace, dataset, wanted, statistics)
    missing = {name: settings for name, settings in wanted.items() if name not in cached}
    keys = {
        name: str(_path(workspace, dataset, name, settings, statistics))
        for name, settings in wanted.items()
    }
    for name in cached:
        _processes.pop(keys.pop(name), None)
    new = {name: settings for name, settings in missing.items() if keys[name] not in _processes}
    _forget_oldest()
    # One process counts all that have the settings which the command gives them by itself.
    rows = pretraining_rows(dataset)
    usual = {name: one for name, one in new.items() if one == choose_settings(name, {}, rows)}
    for group in (usual, *({name: one} for name, one in new.items() if name not in usual)):
        # A waiting page calls this again, so what exceeds the limit now is started later.
        if group and sum(one.poll() is None for one in {*_processes.values()}) < MAX_PROCESSES:
            started = _start(workspace, dataset, group, statistics)
            _processes.update(dict.fromkeys((keys[name] for name in group), started))
    for name, key in keys.items():
        ended = key in _processes and _processes[key].poll() is not None
        # It may have written its result since the cache was read.
        if ended and not load_stats(workspace, dataset, {name: wanted[name]}, statistics):
            raise BadInput(
                _last_line(_processes[key]) or f"What {name!r} costs could not be counted."
            )


def _forget_oldest() -> None:
    """Drop the oldest of the ended processes; each keeps a pipe open."""
    ended = [key for key, one in _processes.items() if one.poll() is not None]
    for key in ended[:-MAX_ENDED]:
        one = _processes.pop(key)
        _last_line(one)
        if one not in _processes.values():
            del _last_lines[one]


MAX_PROCESSES = 2
"""Processes at a time: each takes a core and the memory of torch, and any visitor can start one."""
MAX_ENDED = 64
"""Ended processes whose message is kept."""
_processes: dict[str, subprocess.Popen[str]] = {}
"""By path of the result: the process that counts it."""
_last_lines: dict[subprocess.Popen[str], str] = {}
_lock = threading.Lock()


def _last_line(ended: subprocess.Popen[str]) -> str:
    """The last line that an ended process wrote to standard error."""
    if ended not in _last_lines:
        _, stderr = ended.communicate()
        _last_lines[ended] = stderr.strip().rpartition("\n")[2].removeprefix("thaw: ")
    return _last_lines[ended]


def _start(
    workspace: Workspace, dataset: Dataset, group: StatsRequest, statistics: str
) -> subprocess.Popen[str]:
    """Start a process that counts a group and caches each result.

    A group of several architectures has the settings that the command gives them by itself.
    """
    command = [
        sys.executable,
        "-m",
        "core",
        "--workspace",
        str(workspace.root),
        "costs",
        "--dataset",
        dataset.id,
        "--statistics",
        statistics,
    ]
    flags = []
    if len(group) == 1:
        ((name, settings),) = group.items()
        # All of them: the command would take a recommended value for what is left out.
        flags = settings_to_flags(complete_settings(name, settings))
    return subprocess.Popen(
        [*command, "--architectures", ",".join(group), *flags],
        cwd=PROJECT,
        env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _path(
    workspace: Workspace,
    dataset: Dataset,
    architecture: str,
    settings: dict[str, Any],
    statistics: str,
) -> Path:
    """Where counts are cached: by inputs, settings and the code that builds the network."""
    modules = (ARCHITECTURES[architecture].module, "core.models.network", "core.models.backbone")
    code = [hash_file(PROJECT / (module.replace(".", "/") + ".py")) for module in modules]
    complete = complete_settings(architecture, settings)
    dense = count_dense(statistics)
    key = hash_json([dataset.preprocessing_hash, architecture, complete, code, dense])
    return workspace.cache / "costs" / f"{key[:32]}.json"
