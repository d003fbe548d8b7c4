"""Arrays on disk that are filled through memory."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike


def create_memmap(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy file, memory-mapped for writing, with all its room on the disk taken at once.

    Raises OSError when the disk has not so much: without the room taken, writing to the map would
    kill the process.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with path.open("rb+") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, path.stat().st_size))
    return array
