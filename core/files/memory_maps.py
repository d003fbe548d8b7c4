"""Arrays on disk that are written through memory maps."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike


def create_memmap(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """Create an .npy file and map it for writing, with its space on the disk allocated.

    Args:
        path: the file.
        dtype, shape: of the array.

    Raises:
        OSError: the disk has not enough space. If it were not allocated at once, writing to the map
            would kill the process.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with path.open("rb+") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, path.stat().st_size))
    return array
