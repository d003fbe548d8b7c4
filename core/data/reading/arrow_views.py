"""Converts Arrow's view columns (string_view, binary_view; Polars writes them) to ordinary ones.

A view is the length of a value and its position. Arrow 26 does not validate the views of missing
values, but reads them when it casts; damaged ones crash the process. They are zeroed here first.
"""

import numpy as np
import pyarrow as pa

_VIEW_BYTES = 16


def is_view(type_: pa.DataType) -> bool:
    """Return whether columns of this type hold views."""
    return bool(pa.types.is_string_view(type_) or pa.types.is_binary_view(type_))


def view_bytes(column: pa.Array) -> np.ndarray:
    """Return the length of each value, int64, 0 where it is missing."""
    lengths = _views(column).view(np.int32)[:, 0].astype(np.int64)
    return np.where(np.asarray(column.is_valid()), lengths, 0)


def expand_views(column: pa.Array) -> pa.Array:
    """Convert a validated view column to large_string or large_binary.

    The result has as many bytes as `view_bytes` sums to.
    """
    valid = np.asarray(column.is_valid())
    views = _views(column).copy()
    views[~valid] = 0
    buffers = [pa.array(valid).buffers()[1], pa.py_buffer(views), *column.buffers()[2:]]
    blanked = pa.Array.from_buffers(column.type, len(column), buffers)
    return blanked.cast(
        pa.large_string() if pa.types.is_string_view(column.type) else pa.large_binary()
    )


def _views(column: pa.Array) -> np.ndarray:
    """Return the views of a column, uint8, shape ``(n_values, 16)``."""
    views = np.frombuffer(
        column.buffers()[1] or b"",
        dtype=np.uint8,
        count=_VIEW_BYTES * (column.offset + len(column)),
    )
    return views.reshape(-1, _VIEW_BYTES)[column.offset :]
