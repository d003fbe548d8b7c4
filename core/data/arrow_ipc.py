"""Rows of an Arrow IPC file (Feather version 2 is one) or stream, memory-mapped and in bounded pieces."""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.data.arrow_messages import MAGIC, Message, file_messages, stream_messages
from core.data.guard import check_size
from core.errors import BadInput

PIECE_ROWS = 65_536
PIECE_BYTES = 256 * 2**20
"""Bytes of a piece once its dictionaries are decoded; a single row may have more."""
MAX_BATCH_BYTES = 4 * 2**30
"""Bytes that a batch may claim to have unpacked, which Arrow holds in memory at once."""


def arrow_names(path: Path) -> list[str]:
    """The names of the columns; BadInput where the file cannot be read."""
    with _open(path) as reader:
        return list(reader.schema.names)


def read_arrow(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows in pieces of at most `PIECE_ROWS` and about `PIECE_BYTES`, checked in full (`validate`).

    columns: those to read, in the file's order; all by default. What the file claims to unpack to is checked before
    anything is unpacked. BadInput where it is damaged, is truncated, or claims beyond all measure.
    """
    packed = path.stat().st_size
    _check_claims(path, packed)
    with _open(path) as reader:
        names = reader.schema.names
        wanted = [place for place, name in enumerate(names) if columns is None or name in columns]
        unpacked = 0
        for batch in _batches(reader, path.name):
            for piece, decoded in _pieces(batch.select(wanted)):
                # A value of a dictionary that stands there a million times takes no room before it is decoded.
                unpacked += decoded
                check_size(unpacked, packed, path.name)
                yield piece


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    with _said(path.name), pa.memory_map(str(path)) as file:
        is_file = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
        _check_names(reader.schema)
    with pa.memory_map(str(path)) as file:
        yield pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)


def _batches(reader: Any, name: str) -> Iterator[pa.RecordBatch]:
    place = 0
    while True:
        with _said(name):
            if isinstance(reader, pa.ipc.RecordBatchFileReader):
                if place == reader.num_record_batches:
                    return
                batch = reader.get_batch(place)
            else:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
            batch.validate(full=True)
        yield batch
        place += 1


@contextmanager
def _said(name: str) -> Iterator[None]:
    """Turns what Arrow raises over damaged data into a sentence."""
    try:
        yield
    except (OSError, ValueError, IndexError, struct.error, MemoryError, pa.ArrowException) as error:
        told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadInput(f"{name!r} begins like an Arrow file but cannot be read ({told}); write it again.") from error


def _check_claims(path: Path, packed: int) -> None:
    """BadInput where a batch, or all together, claim to unpack beyond all measure, or rows that take no room."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        claimed = 0
        for message in _messages(data, path.name):
            if message.claimed > MAX_BATCH_BYTES:
                raise BadInput(
                    f"{path.name!r} has a batch of {message.claimed:,} bytes; write it with batches of at most "
                    f"{MAX_BATCH_BYTES:,} bytes."
                )
            claimed += max(message.claimed, message.rows)
            check_size(claimed, packed, path.name)


def _messages(data: mmap.mmap, name: str) -> Iterator[Message]:
    with _said(name):
        messages = iter(file_messages(data)) if data[: len(MAGIC)] == MAGIC else stream_messages(data)
    while True:
        with _said(name):
            message = next(messages, None)
        if message is None:
            return
        yield message


def _check_names(schema: pa.Schema) -> None:
    for name in schema.names:
        name.encode()


def _pieces(batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, int]]:
    """(rows, their bytes once decoded): at most `PIECE_ROWS` rows and about `PIECE_BYTES`, but at least one row."""
    ends = np.cumsum(_row_bytes(batch))
    start = begin = 0
    while start < batch.num_rows:
        rows = int(np.searchsorted(ends[start : start + PIECE_ROWS], begin + PIECE_BYTES, side="right")) or 1
        end = int(ends[start + rows - 1])
        yield batch.slice(start, rows), end - begin
        start, begin = start + rows, end


def _row_bytes(batch: pa.RecordBatch) -> np.ndarray:
    """int64 (rows,): the bytes of each row once decoded; a dictionary's value counts as often as it stands there."""
    total = np.full(batch.num_rows, batch.num_columns, dtype=np.int64)
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            lengths = np.append(_value_bytes(column.dictionary), 0)
            places = np.asarray(pc.fill_null(column.indices.cast(pa.int64()), len(lengths) - 1))
            total += lengths[places]
        else:
            total += _value_bytes(column)
    return total


def _value_bytes(values: pa.Array) -> np.ndarray:
    """int64 (n,): the bytes of each value; where they are no text, what they have on average."""
    kind = values.type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        # Each view of 16 bytes begins with the length of its value, and several may show the same bytes.
        views = np.frombuffer(values.buffers()[1] or b"", dtype=np.int32)[::4]
        return views[values.offset : values.offset + len(values)].astype(np.int64)
    if any(is_text(kind) for is_text in _TEXTS):
        return np.asarray(pc.fill_null(pc.binary_length(values), 0)).astype(np.int64)
    return np.full(len(values), -(-values.nbytes // max(len(values), 1)), dtype=np.int64)


_TEXTS = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
