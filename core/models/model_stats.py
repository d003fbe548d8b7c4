"""What each architecture costs on a dataset: its stages with their parameters and operations.
Torch-free.

Only a built network knows its stages, and building one needs torch, which no page loads. So a
process of its own counts them once, and the answer is kept in the workspace's cache.
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
from core.errors import BadInput, Damaged
from core.models.card import StageCard
from core.models.registry import ARCHITECTURES, complete_settings, settings_to_flags
from core.stored import load_stored, parse_stored
from core.workspace import PROJECT, Workspace, hash_file, hash_json, write_json

StatsRequest = Mapping[str, dict[str, Any]]
"""Architectures, each with the settings that differ from its defaults."""


@dataclass(frozen=True)
class ModelStats:
    """An architecture with its settings on a dataset's vocabulary; the head is not among the
    stages.

    values: embedding vectors a field's vocabulary asks for, over all fields. representation: floats
    a row, and a member, that the last stage hands to the head. members: of an ensemble, else 1.
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
        """Operations of one row's forward pass through all stages (a multiply-add counts as
        two)."""
        return sum(stage.flops for stage in self.stages)


def load_stats(
    workspace: Workspace, dataset: Dataset, wanted: StatsRequest
) -> dict[str, ModelStats]:
    """The costs, by architecture, of those in `wanted` that were counted before; what is damaged is
    counted again."""
    found = {}
    for name, settings in wanted.items():
        with suppress(Damaged):
            path = _path(workspace, dataset, name, settings)
            found[name] = load_stored(
                path, "delete it", lambda values: parse_stored(ModelStats, values)
            )
    return found


def save_stats(
    workspace: Workspace, dataset: Dataset, cost: ModelStats, settings: dict[str, Any]
) -> None:
    """Stores a cost that was counted for these settings."""
    write_json(_path(workspace, dataset, cost.architecture, settings), dataclasses.asdict(cost))


def count_in_background(workspace: Workspace, dataset: Dataset, wanted: StatsRequest) -> None:
    """Has what was never counted counted by processes of their own, and returns at once;
    `load_stats` has the answers.

    wanted: architectures with settings over their defaults. Raises BadInput with the sentence of a
    process that has ended without an answer: it refuses settings which make no network.
    """
    with _lock:
        _count_missing(workspace, dataset, wanted)


def _count_missing(workspace: Workspace, dataset: Dataset, wanted: StatsRequest) -> None:
    kept = load_stats(workspace, dataset, wanted)
    missing = {name: settings for name, settings in wanted.items() if name not in kept}
    keys = {
        name: str(_path(workspace, dataset, name, settings)) for name, settings in wanted.items()
    }
    for name in kept:
        _processes.pop(keys.pop(name), None)
    new = {name: settings for name, settings in missing.items() if keys[name] not in _processes}
    _forget_oldest()
    plain = {name: settings for name, settings in new.items() if not settings}
    for group in (plain, *({name: settings} for name, settings in new.items() if settings)):
        # What finds no place now is asked for again while a page waits for it.
        if group and sum(one.poll() is None for one in {*_processes.values()}) < MAX_PROCESSES:
            _processes.update(
                dict.fromkeys((keys[name] for name in group), _start(workspace, dataset, group))
            )
    for name, key in keys.items():
        ended = key in _processes and _processes[key].poll() is not None
        # It may have answered since.
        if ended and not load_stats(workspace, dataset, {name: wanted[name]}):
            raise BadInput(
                _last_line(_processes[key]) or f"What {name!r} costs could not be counted."
            )


def _forget_oldest() -> None:
    """Drops ended processes that nobody has asked about for long; each keeps a file open."""
    ended = [key for key, one in _processes.items() if one.poll() is not None]
    for key in ended[:-MAX_ENDED]:
        one = _processes.pop(key)
        _last_line(one)
        if one not in _processes.values():
            del _last_lines[one]


MAX_PROCESSES = 2
"""Processes that count at a time: each takes a core and torch's memory, and any visitor can ask for
other settings."""
MAX_ENDED = 64
"""Processes without an answer whose sentence is remembered."""
_processes: dict[str, subprocess.Popen[str]] = {}
"""By the file of the answer: the process that owes it."""
_last_lines: dict[subprocess.Popen[str], str] = {}
_lock = threading.Lock()


def _last_line(ended: subprocess.Popen[str]) -> str:
    """The last line that an ended process had to say."""
    if ended not in _last_lines:
        _, said = ended.communicate()
        _last_lines[ended] = said.strip().rpartition("\n")[2].removeprefix("thaw: ")
    return _last_lines[ended]


def _start(workspace: Workspace, dataset: Dataset, group: StatsRequest) -> subprocess.Popen[str]:
    """A process that counts the group and keeps every answer as it comes; settings only for one
    alone."""
    command = [
        sys.executable,
        "-m",
        "core",
        "--workspace",
        str(workspace.root),
        "costs",
        "--dataset",
        dataset.id,
    ]
    flags = [flag for settings in group.values() for flag in settings_to_flags(settings)]
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
    workspace: Workspace, dataset: Dataset, architecture: str, settings: dict[str, Any]
) -> Path:
    """Where a cost lies: by vocabulary, settings, and the code that would build the network."""
    modules = (ARCHITECTURES[architecture].module, "core.models.network", "core.models.backbone")
    code = [hash_file(PROJECT / (module.replace(".", "/") + ".py")) for module in modules]
    complete = complete_settings(architecture, settings)
    key = hash_json([dataset.preprocessing_hash, architecture, complete, code])
    return workspace.cache / "costs" / f"{key[:32]}.json"
