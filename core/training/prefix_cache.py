"""The cache of frozen stages: their outputs for every row, computed once and memory-mapped.

The key of an entry covers the frozen weights, the rows and the depth, so a stale entry is never
read. Frozen stages run in eval mode, so training from an entry equals training through the frozen
stages to float32 rounding. An entry is a folder of arrays; scores of backbones
(`core.training.baseline_scores`) are cached in the same way.
"""

import contextlib
import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from core.errors import Damaged
from core.files.durable import publish_folder, remove_folder, staging
from core.files.memory_maps import create_memmap
from core.models.network import Activations, Network
from core.stored import damaged_file_error
from core.workspace import Workspace

MAX_ENTRY_BYTES = 4 * 2**30
"""Largest entry; the outputs of a wider prefix are computed in every epoch."""
MAX_CACHE_BYTES = 12 * 2**30
"""Bytes of all entries together; the least recently used ones are removed first."""
CHUNK_ROWS = 8192
"""Rows that run through the frozen stages at a time."""


def prefix_keys(network: Network, depth: int, data_key: str) -> list[str]:
    """Return the keys (24 hex digits) of the first 1, 2, …, `depth` stages on the given data.

    Args:
        network: its weights and buffers are part of the keys.
        depth: number of stages, at least 1.
        data_key: identifies the rows.
    """
    # "synced": up to version 0.10.0 entries were not synced to the disk, so after a power failure
    # one may read as zeros. Keys with this word never name such an entry.
    digest, keys = hashlib.sha256(f"synced|{data_key}".encode()), []
    for stage in network.stages[:depth]:
        for name, tensor in stage.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().numpy().tobytes())
        digest.update(b"|")
        keys.append(digest.hexdigest()[:24])
    return keys


@torch.no_grad()
def frozen_prefix_outputs(
    network: Network,
    depth: int,
    state: Activations,
    data_key: str,
    workspace: Workspace,
) -> Activations | None:
    """Return the outputs of the first `depth` stages for all rows, from the cache if possible.

    They are computed from the deepest entry below `depth`, else from `state`.

    Args:
        network: put in eval mode.
        depth: number of stages, at least 1.
        state: inputs of stage 0, all rows.
        data_key: identifies the rows.
        workspace: holds the cache.

    Returns:
        Memory-mapped float32 CPU tensors ``(rows, …)``; None if they would take more than
        `MAX_ENTRY_BYTES`: the caller then trains through the frozen stages.
    """
    network.eval()
    keys = prefix_keys(network, depth, data_key)
    folders = [workspace.cache / f"prefix-{key}" for key in keys]
    folder, cached = folders[-1], _deepest_entry(folders)
    if cached and cached[0] == depth:
        return cached[1]
    first_stage, inputs = cached or (0, state)
    rows = len(inputs[0])
    device = next(network.parameters()).device

    def compute_chunk(start: int, count: int = CHUNK_ROWS) -> Activations:
        chunk = tuple(tensor[start : start + count].to(device) for tensor in inputs)
        return network.run_stages(chunk, first_stage, depth)

    # The outputs of one row show how large the entry will be.
    shapes = [tuple(tensor.shape[1:]) for tensor in compute_chunk(0, 1)]
    if rows * sum(map(math.prod, shapes)) * 4 > MAX_ENTRY_BYTES:
        return None
    return write_entry(folder, lambda part: _write_arrays(part, shapes, rows, compute_chunk))


def _deepest_entry(folders: list[Path]) -> tuple[int, Activations] | None:
    """Return (depth, outputs) of the deepest entry among those of depths 1, 2, …, if any."""
    for depth in range(len(folders), 0, -1):
        # Another worker may remove it at any moment. Once mapped, it stays readable.
        with contextlib.suppress(FileNotFoundError):
            try:
                return depth, read_entry(folders[depth - 1])
            except Damaged:
                # Left by a power failure; the entry is computed again.
                remove_folder(folders[depth - 1])
    return None


def write_entry(folder: Path, fill: Callable[[Path], None]) -> Activations:
    """Make an entry, remove old ones if the cache is full, and read it.

    Args:
        folder: of the entry.
        fill: writes the arrays 0.npy, 1.npy, … to the folder that it is given.
    """
    with staging(folder.parent) as part:
        fill(part)
        # If another worker has published the same entry in the meantime, its bytes are the same.
        publish_folder(part, folder)
    entry = read_entry(folder)
    evict(folder.parent, keep=folder)
    return entry


def read_entry(folder: Path) -> Activations:
    """Return the tensors of an entry and mark it as used.

    Raises:
        FileNotFoundError: there is no such entry, or it was removed meanwhile.
        Damaged: an array is incomplete.
    """
    os.utime(folder)
    try:
        files = sorted(folder.glob("*.npy"), key=lambda file: int(file.stem))
        # Copy-on-write: torch wants writable memory, and nothing must change the file.
        state = tuple(torch.from_numpy(np.load(file, mmap_mode="c")) for file in files)
    except (ValueError, TypeError, EOFError, IsADirectoryError) as error:
        raise damaged_file_error(folder, error, "delete it") from error
    if not state and folder.exists():
        raise damaged_file_error(folder, "it holds no array", "delete it")
    # An entry is renamed before its files are removed. If the folder is still here, no file was
    # missing while they were read.
    folder.stat()
    return state


def _write_arrays(
    folder: Path,
    shapes: list[tuple[int, ...]],
    rows: int,
    compute_chunk: Callable[[int], Activations],
) -> None:
    arrays = [
        create_memmap(folder / f"{index}.npy", np.float32, (rows, *shape))
        for index, shape in enumerate(shapes)
    ]
    for start in range(0, rows, CHUNK_ROWS):
        for array, tensor in zip(arrays, compute_chunk(start), strict=True):
            array[start : start + len(tensor)] = tensor.float().cpu().numpy()
    for array in arrays:
        array.flush()


def evict(cache: Path, keep: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
    """Remove least recently used entries until all take at most `max_bytes`; never `keep`."""
    entries = sorted((path for path in cache.glob("[!.]*-*") if path != keep), key=_last_used)
    sizes = {path: _entry_bytes(path) for path in (*entries, keep)}
    total = sum(sizes.values())
    for path in entries:
        if total <= max_bytes:
            return
        with contextlib.suppress(FileNotFoundError):
            remove_folder(path)
        total -= sizes[path]


def _entry_bytes(path: Path) -> int:
    """Return the bytes of an entry; 0 if another worker has just removed it."""
    with contextlib.suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in path.iterdir())
    return 0


def _last_used(path: Path) -> float:
    """Return when an entry was last used; 0 if another worker has just removed it."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
