"""Reads rows of an Arrow IPC file (Feather version 2) or stream, memory-mapped and in chunks."""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.data.archives.bounded_reader import check_unpacked_size, first_error_line
from core.data.reading.arrow_messages import MAGIC, file_messages, stream_messages
from core.data.reading.arrow_views import expand_views, is_view, view_bytes
from core.errors import BadInput

CHUNK_ROWS = 65_536
CHUNK_BYTES = 256 * 2**20
"""Bytes of a chunk with its dictionaries decoded; a single row may have more."""
MAX_BATCH_BYTES = 4 * 2**30
"""Largest unpacked size that a batch may claim; Arrow holds a batch in memory."""
_TEXTS = (
    pa.types.is_string,
    pa.types.is_binary,
    pa.types.is_large_string,
    pa.types.is_large_binary,
)


def read_arrow_names(path: Path) -> list[str]:
    """Return the column names; raise BadInput if the file cannot be read."""
    with _arrow_errors_as_bad_input(path.name), _open(path) as reader:
        return list(reader.schema.names)


def read_arrow(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows in chunks of at most CHUNK_ROWS rows and about CHUNK_BYTES, fully validated.

    The sizes that the file claims are checked before anything is unpacked. View columns, and
    dictionaries of views, are converted to large_string or large_binary.

    Args:
        path: the file.
        columns: names of the columns to read, all by default; they come in the file's order.

    Raises:
        BadInput: the file is damaged, truncated, or looks like a decompression bomb.
    """
    packed, unpacked = path.stat().st_size, 0
    with _arrow_errors_as_bad_input(path.name):
        _check_claims(path, packed)
        with _open(path) as reader:
            names = reader.schema.names
            indices = [i for i, name in enumerate(names) if columns is None or name in columns]
            for batch in _batches(reader):
                batch.validate(full=True)
                batch = _expand_dictionary_views(batch.select(indices), packed, path.name)
                for chunk, n_decoded in _split_batch(batch):
                    # A dictionary value that is used a million times takes space only once it
                    # is decoded.
                    unpacked += n_decoded
                    check_unpacked_size(unpacked, packed, path.name)
                    yield _expand_views(chunk)


@contextmanager
def _arrow_errors_as_bad_input(name: str) -> Iterator[None]:
    """Turn what Arrow raises for damaged data into BadInput."""
    try:
        yield
    except (OSError, ValueError, IndexError, struct.error, MemoryError, pa.ArrowException) as error:
        raise BadInput(
            f"{name!r} begins like an Arrow file but cannot be read ({first_error_line(error)});"
            " write it again."
        ) from error


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    with pa.memory_map(str(path)) as file:
        is_file = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        yield pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)


def _batches(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        return (reader.get_batch(i) for i in range(reader.num_record_batches))
    return iter(reader)


def _check_claims(path: Path, packed: int) -> None:
    """Raise BadInput if the batches claim to unpack to too much, or to rows that take no space."""
    claimed = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for message in (
            file_messages(data) if data[: len(MAGIC)] == MAGIC else stream_messages(data)
        ):
            if message.claimed_bytes > MAX_BATCH_BYTES:
                raise BadInput(
                    f"{path.name!r} has a batch of {message.claimed_bytes:,} bytes; write it with"
                    f" batches of at most {MAX_BATCH_BYTES:,} bytes."
                )
            claimed += max(message.claimed_bytes, message.n_cells)
            check_unpacked_size(claimed, packed, path.name)


def _expand_dictionary_views(batch: pa.RecordBatch, packed: int, name: str) -> pa.RecordBatch:
    """Convert dictionaries of views; raise BadInput if they would expand to too much."""
    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type) and is_view(column.type.value_type):
            check_unpacked_size(int(view_bytes(column.dictionary).sum()), packed, name)
            column = pa.DictionaryArray.from_arrays(column.indices, expand_views(column.dictionary))
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _split_batch(batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield (rows, their decoded bytes), each at most CHUNK_ROWS rows and about CHUNK_BYTES."""
    ends = np.cumsum(_row_bytes(batch))
    start = bytes_before = 0
    while start < batch.num_rows:
        rows = (
            int(
                np.searchsorted(
                    ends[start : start + CHUNK_ROWS], bytes_before + CHUNK_BYTES, side="right"
                )
            )
            or 1
        )
        bytes_after = int(ends[start + rows - 1])
        yield batch.slice(start, rows), bytes_after - bytes_before
        start, bytes_before = start + rows, bytes_after


def _row_bytes(batch: pa.RecordBatch) -> np.ndarray:
    """Return the decoded bytes of each row, int64, shape ``(n_rows,)``."""
    total = np.full(batch.num_rows, batch.num_columns, dtype=np.int64)
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            lengths = np.append(_value_bytes(column.dictionary), 0)
            indices = np.asarray(pc.fill_null(column.indices.cast(pa.int64()), len(lengths) - 1))
            total += lengths[indices]
        else:
            total += _value_bytes(column)
    return total


def _value_bytes(values: pa.Array) -> np.ndarray:
    """Return the bytes of each value, int64; the average if the values are not text."""
    if is_view(values.type):
        return view_bytes(values)
    if any(is_text(values.type) for is_text in _TEXTS):
        return np.asarray(pc.fill_null(pc.binary_length(values), 0)).astype(np.int64)
    return np.full(len(values), -(-values.nbytes // max(len(values), 1)), dtype=np.int64)


def _expand_views(chunk: pa.RecordBatch) -> pa.RecordBatch:
    columns = [expand_views(column) if is_view(column.type) else column for column in chunk.columns]
    return pa.RecordBatch.from_arrays(columns, names=chunk.schema.names)
