"""Reads from the messages of an Arrow IPC file or stream what sizes they claim to unpack to.

A compressed buffer starts with its claimed unpacked size, for which Arrow allocates memory at once.
Format: https://arrow.apache.org/docs/format/Columnar.html. The metadata are flatbuffers, of which
only a few fields are read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

MAGIC = b"ARROW1"
_CONTINUATION = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _RECORDS = 1, 2, 3
_MAX_PADDING = 64
"""Largest number of bytes between two messages."""
_NOT_COMPRESSED = -1


@dataclass(frozen=True)
class Message:
    """A batch of rows, or of the values of a dictionary.

    Attributes:
        n_cells: rows times columns; they may take no space in the file.
        claimed_bytes: claimed unpacked size.
        end: position after the message.
    """

    n_cells: int
    claimed_bytes: int
    end: int


def file_messages(data: mmap) -> Iterator[Message]:
    """Yield every batch that the footer of an IPC file names.

    Raises:
        ValueError, IndexError, struct.error: the file is damaged.
        ValueError: it holds batches that the footer does not name (two files put end to end), or
            the footer names a batch twice.
    """
    if len(data) < 20 or data[-6:] != MAGIC:
        raise ValueError("its end is missing: it is truncated")
    (length,) = struct.unpack_from("<i", data, len(data) - 10)
    start = len(data) - 10 - length
    if length <= 0 or start < 8:
        raise ValueError("its footer is damaged")
    footer = _Table.root(data, start, len(data) - 10)
    position = _find_schema_end(data, start)
    for offset, metadata, _ in sorted((*footer.structs(2, "<qi4xq"), *footer.structs(3, "<qi4xq"))):
        if offset < position:
            raise ValueError("its footer names the same place twice")
        if offset - position > _MAX_PADDING:
            raise ValueError("it holds data that its footer does not name: two files end to end?")
        message = _file_message(data, offset, metadata, start)
        yield message
        position = message.end
    if start - position > _MAX_PADDING + 8:
        raise ValueError("it holds data that its footer does not name: two files end to end?")


def stream_messages(data: mmap) -> Iterator[Message]:
    """Yield every batch of an IPC stream.

    Raises:
        ValueError: the stream is truncated, or more follows its end.
    """
    position = 0
    while position < len(data):
        metadata, length = _read_prefix(data, position)
        if not length:
            if data[metadata:].strip(b"\x00"):
                raise ValueError("more follows its end: two streams end to end?")
            return
        message = _message(data, metadata, metadata + length)
        if message.end > len(data):
            raise ValueError("it is truncated")
        yield message
        position = message.end


def _find_schema_end(data: mmap, end: int) -> int:
    """Return where the first batch of a file may start: after the schema."""
    metadata, length = _read_prefix(data, 8)
    if not 0 < length <= end - metadata:
        raise ValueError("its schema is missing")
    return metadata + length


def _file_message(data: mmap, position: int, metadata_length: int, end: int) -> Message:
    if position < 8 or metadata_length < 8 or position + metadata_length > end:
        raise ValueError("its footer names a batch that is not in the file")
    metadata, length = _read_prefix(data, position)
    if length <= 0 or metadata + length > position + metadata_length:
        raise ValueError("the header of a batch is damaged")
    message = _message(data, metadata, metadata + length, position + metadata_length)
    if message.end > end:
        raise ValueError("a batch is longer than the file")
    return message


def _read_prefix(data: mmap, position: int) -> tuple[int, int]:
    """Return (position of a message's metadata, its length; 0 marks the end of the stream)."""
    (first_word,) = struct.unpack_from("<I", data, position)
    if first_word != _CONTINUATION:
        # Arrow before 0.15 (2019) wrote no continuation mark.
        return position + 4, first_word
    (length,) = struct.unpack_from("<i", data, position + 4)
    if length < 0:
        raise ValueError("the header of a batch has a length below 0")
    return position + 8, length


def _message(data: mmap, metadata: int, end: int, body: int | None = None) -> Message:
    body = end if body is None else body
    message = _Table.root(data, metadata, end)
    kind, length = message.number(1, "<B"), message.number(3, "<q")
    if length < 0:
        raise ValueError("a batch has a length below 0")
    if kind == _SCHEMA:
        return Message(0, 0, body + length)
    if kind not in (_DICTIONARY, _RECORDS):
        raise ValueError("it holds tensors instead of rows")
    header = message.table(2)
    batch = header.table(1) if kind == _DICTIONARY else header
    rows = batch.number(0, "<q")
    if rows < 0:
        raise ValueError("a batch has fewer than 0 rows")
    claimed = length
    if batch.has(3):
        claimed = sum(
            _read_claimed_bytes(data, body, length, *buffer) for buffer in batch.structs(2, "<qq")
        )
    return Message(rows * len(batch.structs(1, "<qq")), claimed, body + length)


def _read_claimed_bytes(data: mmap, body: int, length: int, offset: int, size: int) -> int:
    """Return the claimed unpacked size of a compressed buffer."""
    if offset < 0 or size < 0 or offset + size > length:
        raise ValueError("a buffer lies outside its batch")
    if size == 0:
        return 0
    if size < 8 or body + offset + 8 > len(data):
        raise ValueError("a compressed buffer lacks its size")
    (claimed,) = struct.unpack_from("<q", data, body + offset)
    if claimed < _NOT_COMPRESSED:
        raise ValueError("a compressed buffer has a size below 0")
    return int(size - 8 if claimed == _NOT_COMPRESSED else claimed)


class _Table:
    """A table of a flatbuffer that ends at `end`; see https://flatbuffers.dev/internals/."""

    def __init__(self, data: mmap, position: int, begin: int, end: int) -> None:
        self._data = data
        self._begin = begin
        self._end = end
        self._position = self._check_bounds(position, 4)
        self._fields = self._check_bounds(position - self._unpack("<i", position), 4)
        self._size = self._unpack("<H", self._fields)
        self._check_bounds(self._fields, self._size)

    @classmethod
    def root(cls, data: mmap, begin: int, end: int) -> "_Table":
        """Return the root table of the flatbuffer between `begin` and `end`."""
        if end - begin < 8 or end > len(data):
            raise ValueError("its metadata are damaged")
        (offset,) = struct.unpack_from("<I", data, begin)
        return cls(data, begin + offset, begin, end)

    def has(self, field: int) -> bool:
        """Return whether the field is present."""
        return self._field_offset(field) is not None

    def number(self, field: int, format_: str) -> int:
        """Return a number; 0 by default, as for every field read here."""
        position = self._field_offset(field)
        return 0 if position is None else self._unpack(format_, position)

    def table(self, field: int) -> "_Table":
        """Return a nested table."""
        return _Table(self._data, self._follow_offset(field), self._begin, self._end)

    def structs(self, field: int, format_: str) -> list[tuple[int, ...]]:
        """Return the structs of a vector, each as a tuple; [] by default."""
        if not self.has(field):
            return []
        position, size = self._follow_offset(field), struct.calcsize(format_)
        count = self._unpack("<I", position)
        self._check_bounds(position + 4, count * size)
        return list(
            struct.iter_unpack(format_, self._data[position + 4 : position + 4 + count * size])
        )

    def _field_offset(self, field: int) -> int | None:
        slot = 4 + 2 * field
        offset = self._unpack("<H", self._fields + slot) if slot + 2 <= self._size else 0
        return self._position + offset if offset else None

    def _follow_offset(self, field: int) -> int:
        position = self._field_offset(field)
        if position is None:
            raise ValueError("its metadata lack a field")
        return position + self._unpack("<I", position)

    def _unpack(self, format_: str, position: int) -> int:
        (value,) = struct.unpack_from(
            format_, self._data, self._check_bounds(position, struct.calcsize(format_))
        )
        return int(value)

    def _check_bounds(self, position: int, size: int) -> int:
        if not (self._begin <= position and position + size <= self._end):
            raise ValueError("its metadata are damaged")
        return position
