"""The frozen prefix, computed once: what the frozen stages hand on for every row, kept on disk and
memory-mapped. Entries of the cache are folders of arrays; the backbone's own scores
(core.training.baseline_scores) lie among them.

The entry's key covers the frozen weights, the rows and the depth, so a stale entry is never read.
Training from the entry equals training through the frozen stages to float32 rounding, because
frozen stages run in eval mode.
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
from core.models.network import Network, State
from core.stored import damaged_file_error
from core.workspace import Workspace

MAX_ENTRY_BYTES = 4 * 2**30
"""Bytes one entry may take; a wider prefix is run uncached."""
MAX_CACHE_BYTES = 12 * 2**30
"""Bytes all entries may take; the least recently used ones go first."""
CHUNK_ROWS = 8192


def prefix_keys(network: Network, depth: int, data_key: str) -> list[str]:
    """Hex keys of the first 1, 2, … `depth` stages' weights and buffers on the data that `data_key`
    identifies."""
    # Up to version 0.10.0 entries were not synced, and room taken for an array that was never
    # written reads as zeros.
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
    state: State,
    data_key: str,
    workspace: Workspace,
) -> State | None:
    """The state after the first `depth` stages for all rows of `state`, as memory-mapped CPU
    tensors.

    Computed from the deepest shallower entry there is, else from `state`. None when it would take
    more than ENTRY_LIMIT bytes; the caller then trains through the frozen stages.
    """
    network.eval()
    keys = prefix_keys(network, depth, data_key)
    folders = [workspace.cache / f"prefix-{key}" for key in keys]
    folder, found = folders[-1], _deepest_entry(folders)
    if found and found[0] == depth:
        return found[1]
    below, known = found or (0, state)
    rows = len(known[0])
    device = next(network.parameters()).device

    def chunk(start: int, count: int = CHUNK_ROWS) -> State:
        part = tuple(tensor[start : start + count].to(device) for tensor in known)
        return network.run_stages(part, below, depth)

    shapes = [tuple(tensor.shape[1:]) for tensor in chunk(0, 1)]
    if rows * sum(map(math.prod, shapes)) * 4 > MAX_ENTRY_BYTES:
        return None
    return write_entry(folder, lambda part: _write_arrays(part, shapes, rows, chunk))


def _deepest_entry(folders: list[Path]) -> tuple[int, State] | None:
    """(its depth, its state) of the deepest entry there is among those of depths 1, 2, …; None
    where there is none."""
    for depth in range(len(folders), 0, -1):
        # Another worker may evict it at any moment; once mapped it stays readable.
        with contextlib.suppress(FileNotFoundError):
            try:
                return depth, read_entry(folders[depth - 1])
            except Damaged:
                # What a power cut left: computed again below.
                remove_folder(folders[depth - 1])
    return None


def write_entry(folder: Path, fill: Callable[[Path], None]) -> State:
    """Makes an entry of the arrays 0.npy, 1.npy, … that `fill` puts into the folder it is given,
    and reads it."""
    with staging(folder.parent) as part:
        fill(part)
        # Where another worker computed the same entry in the meantime, its bytes are the same.
        publish_folder(part, folder)
    made = read_entry(folder)
    evict(folder.parent, keep=folder)
    return made


def read_entry(folder: Path) -> State:
    """The entry's tensors, and the entry marked as used; FileNotFoundError when it is not there, or
    not any more.

    `Damaged` where an array is not whole.
    """
    os.utime(folder)
    try:
        files = sorted(folder.glob("*.npy"), key=lambda file: int(file.stem))
        state = tuple(torch.from_numpy(np.load(file, mmap_mode="c")) for file in files)
    except (ValueError, TypeError, EOFError, IsADirectoryError) as error:
        raise damaged_file_error(folder, error, "delete it") from error
    if not state and folder.exists():
        raise damaged_file_error(folder, "it holds no array", "delete it")
    # Eviction takes an entry away in one piece first, so what is still there was read whole.
    folder.stat()
    return state


def _write_arrays(
    folder: Path, shapes: list[tuple[int, ...]], rows: int, chunk: Callable[[int], State]
) -> None:
    arrays = [
        create_memmap(folder / f"{index}.npy", np.float32, (rows, *shape))
        for index, shape in enumerate(shapes)
    ]
    for start in range(0, rows, CHUNK_ROWS):
        for array, tensor in zip(arrays, chunk(start), strict=True):
            array[start : start + len(tensor)] = tensor.float().cpu().numpy()
    for array in arrays:
        array.flush()


def evict(cache: Path, keep: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
    """Removes least recently used entries until the rest, `keep` among them, take at most `limit`
    bytes."""
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
    """Bytes of an entry; 0 when another worker has just taken it away."""
    with contextlib.suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in path.iterdir())
    return 0


def _last_used(path: Path) -> float:
    """When an entry was last used; long ago when another worker has just taken it away."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
