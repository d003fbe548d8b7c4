"""Arrow's columns of views (string_view, binary_view, as Polars writes them) as plain ones.

A view is a length and a place of its text. Arrow 26 does not check the views that stand where a
value is missing, and reads them nonetheless when it casts: damaged ones end the process. Those are
blanked here before anything is cast.
"""

import numpy as np
import pyarrow as pa

_VIEW_BYTES = 16


def is_view(kind: pa.DataType) -> bool:
    """Whether a column of this type holds views."""
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def view_bytes(column: pa.Array) -> np.ndarray:
    """int64 (n,): the length of each value of a column of views, 0 where it is missing."""
    lengths = _views(column).view(np.int32)[:, 0].astype(np.int64)
    return np.where(np.asarray(column.is_valid()), lengths, 0)


def expand_views(column: pa.Array) -> pa.Array:
    """A column of views, validated, as large_string or large_binary: as many bytes as `view_bytes`
    has in all."""
    valid = np.asarray(column.is_valid())
    views = _views(column).copy()
    views[~valid] = 0
    buffers = [pa.array(valid).buffers()[1], pa.py_buffer(views), *column.buffers()[2:]]
    blanked = pa.Array.from_buffers(column.type, len(column), buffers)
    return blanked.cast(
        pa.large_string() if pa.types.is_string_view(column.type) else pa.large_binary()
    )


def _views(column: pa.Array) -> np.ndarray:
    """uint8 (n, 16): the views of a column."""
    views = np.frombuffer(
        column.buffers()[1] or b"",
        dtype=np.uint8,
        count=_VIEW_BYTES * (column.offset + len(column)),
    )
    return views.reshape(-1, _VIEW_BYTES)[column.offset :]
