"""The frozen prefix, computed once: what the frozen stages hand on for every row, kept on disk and memory-mapped.

The entry's key covers the frozen weights, the rows and the depth, so a stale entry is never read. Training from the
entry equals training through the frozen stages to float32 rounding, because frozen stages run in eval mode.
"""

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from core.arrays import new_array
from core.models.network import Network, State
from core.workspace import Workspace

ENTRY_LIMIT = 4 * 2**30
"""Bytes one entry may take; a wider prefix is run uncached."""
TOTAL_LIMIT = 12 * 2**30
"""Bytes all entries may take; the least recently used ones go first."""
CHUNK_ROWS = 8192


def prefix_key(network: Network, depth: int, data_key: str) -> str:
    """Hex key of the first `depth` stages' weights and buffers on the data that `data_key` identifies."""
    digest = hashlib.sha256(f"{data_key}|{depth}".encode())
    for stage in network.stages[:depth]:
        for name, tensor in stage.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:24]


@torch.no_grad()
def frozen_state(
    network: Network,
    depth: int,
    state: State,
    data_key: str,
    workspace: Workspace,
) -> State | None:
    """The state after the first `depth` stages for all rows of `state`, as memory-mapped CPU tensors.

    None when it would take more than ENTRY_LIMIT bytes; the caller then trains through the frozen stages.
    """
    network.eval()
    rows = len(state[0])
    device = next(network.parameters()).device

    def chunk(start: int, count: int = CHUNK_ROWS) -> State:
        part = tuple(tensor[start : start + count].to(device) for tensor in state)
        return network.run_stages(part, 0, depth)

    shapes = [tuple(tensor.shape[1:]) for tensor in chunk(0, 1)]
    if rows * sum(map(math.prod, shapes)) * 4 > ENTRY_LIMIT:
        return None
    folder = workspace.cache / f"prefix-{prefix_key(network, depth, data_key)}"
    if not folder.exists():
        part = Path(tempfile.mkdtemp(dir=workspace.cache, prefix=".part-"))
        try:
            _fill(part, shapes, rows, chunk)
            _publish(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        evict(workspace.cache, keep=folder)
    os.utime(folder)
    arrays = [np.load(folder / f"{index}.npy", mmap_mode="c") for index in range(len(shapes))]
    return tuple(torch.from_numpy(array) for array in arrays)


def _fill(folder: Path, shapes: list[tuple[int, ...]], rows: int, chunk: Callable[[int], State]) -> None:
    arrays = [new_array(folder / f"{index}.npy", np.float32, (rows, *shape)) for index, shape in enumerate(shapes)]
    for start in range(0, rows, CHUNK_ROWS):
        for array, tensor in zip(arrays, chunk(start), strict=True):
            array[start : start + len(tensor)] = tensor.float().cpu().numpy()
    for array in arrays:
        array.flush()


def _publish(part: Path, folder: Path) -> None:
    try:
        part.rename(folder)
    except OSError:
        # Another worker computed the same entry in the meantime; its bytes are the same.
        if not folder.exists():
            raise


def evict(cache: Path, keep: Path, limit: int = TOTAL_LIMIT) -> None:
    """Removes least recently used entries until the rest, `keep` among them, take at most `limit` bytes."""
    entries = sorted((path for path in cache.glob("prefix-*") if path != keep), key=lambda path: path.stat().st_mtime)
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in (*entries, keep)}
    total = sum(sizes.values())
    for path in entries:
        if total <= limit:
            return
        shutil.rmtree(path, ignore_errors=True)
        total -= sizes[path]
